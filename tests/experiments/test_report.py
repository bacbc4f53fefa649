import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image

from videossl.experiments.evaluate import Evaluate
from videossl.experiments.published import PUBLISHED
from videossl.experiments.report import POINTS, Report, binned, mistakes, report, spoken
from videossl.experiments.results import grouped, read_results, rows
from videossl.methods.shuffle_and_learn import ShuffleAndLearn
from videossl.models.caffenet import CaffeNet
from videossl.models.small import Small
from videossl.training.checkpoints import plain

CLASSES = ["<b>&", "Punch", "$x_1$", "YoYo"]
VERSIONS = {"python": "3.11", "torch": "2.15"}
VOID = {"meta", "img", "link", "br"}


def run(folder: Path, seed: int = 0, steps: int = 400, finished: bool = True, log: bool = True, **method) -> Path:
    """A folder as `videossl pretrain` leaves it, but for the checkpoint."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    config = {"is": "videossl.experiments.pretrain:Pretrain", "steps": steps, "seed": seed, "batch": 16}
    config |= {"method": plain(ShuffleAndLearn(**method)), "trunk": plain(Small())}
    data = {"name": "actions split 1 train", "listed": 40, "train": 30, "held_out": 6, "fingerprint": "ab12"}
    (folder / "config.json").write_text(json.dumps({"config": config, "data": data, "versions": VERSIONS}))
    if log:
        lines = []
        for step in range(10, steps + 1, 10):
            learned = step / steps
            line = {"step": step, "loss": 0.56 - 0.3 * learned + 0.05 * rng.random(), "accuracy": 0.74 + 0.15 * learned}
            if step % 50 == 0:
                line |= {"held_out_loss": 0.6 - 0.2 * learned, "held_out_accuracy": 0.73 + 0.1 * learned}
            lines.append(line | {"rate": 1e-3, "examples_per_second": 90 + 9 * rng.random(), "waiting": 0.1})
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if finished:
        result = {
            "held_out_loss": 0.4,
            "held_out_accuracy": 0.83 + seed / 100,
            "chance": {"accuracy": 0.75},
            "videos": 6,
        }
        (folder / "result.json").write_text(json.dumps(result))
        predicted = rng.dirichlet([1, 1], 4)
        clips = rng.integers(0, 256, (4, 3, 3, 24, 32), np.uint8)
        np.savez_compressed(folder / "examples.npz", clips=clips, answers=rng.integers(0, 2, 4), predicted=predicted)
    return folder


def result(
    folder: Path,
    protocol: str,
    pretrained: bool = True,
    weights: str = "w0",
    trained: str | None = None,
    seed: int = 0,
    split: int = 1,
    metrics: dict | None = None,
    title: str = "a subset of UCF101 split 1 (22 of 9537 train, 35 of 3783 test videos)",
    benchmark: str | None = "UCF101",
    data: str = "d",
    step: int = 400,
    trunk: object = Small(),
    **method,
) -> dict:
    """Write one result as `videossl evaluate` does."""
    rng = np.random.default_rng([seed, split, pretrained])
    folder.mkdir(parents=True, exist_ok=True)
    if metrics is None and protocol == "retrieval":
        metrics = {f"R@{k}": 1 - 0.7 ** (k * (1 + pretrained)) - seed / 50 for k in (1, 5, 10)}
        metrics |= {f"chance R@{k}": 1 - 0.75**k for k in (1, 5, 10)}
    elif metrics is None:
        accuracy = 0.41 + 0.1 * pretrained + seed / 30 + split / 100
        metrics = {"video_accuracy": accuracy, "clip_accuracy": accuracy - 0.05, "chance": 0.25, "majority": 0.3}
    complete = not title.startswith("a subset")
    missing = {} if complete else {"Punch/v_Punch_g01_c01": "not there", "YoYo/<i>": "unreadable: no <frames>"}
    part = {"listed": 40, "missing": len(missing), "reasons": missing, "used": 40 - len(missing)}
    name = "run" if pretrained else "random"
    content = {
        "title": f"{name}: {protocol} on {title}",
        "subject": name,
        "asked": {
            "name": protocol,
            "protocol": plain(Evaluate.__dataclass_fields__[protocol].default_factory()),
            "views": {"is": "videossl.evaluation.views:Views", "clips": 10, "length": 16, "crops": 1, "size": 48},
            "checkpoint": {
                "kind": "pretrained" if pretrained else "random",
                **({"seed": trained or weights} if pretrained else {}),
                "method": plain(ShuffleAndLearn(**method)) if pretrained else None,
                "step": step if pretrained else None,
                "weights": weights,
            },
            "trunk": plain(trunk),
            "split": split,
            "seed": seed,
            "data": {"train": f"{data}{split}", "test": f"{data}{split}"},
        },
        "dataset": {
            "title": title.replace("split 1", f"split {split}"),
            "series": title.removeprefix("a subset of ").partition(" split ")[0],
            "benchmark": benchmark,
            "complete": complete,
            "classes": CLASSES,
            "train": part,
            "test": part,
        },
        "metrics": metrics,
        "confusion": None if protocol == "retrieval" else rng.integers(0, 9, (4, 4)).tolist(),
        "seconds": 1.0,
        "date": "2025-01-01T00:00:00+00:00",
        "versions": VERSIONS,
    }
    path = folder / f"{name}-{protocol}{weights}-split{split}-seed{seed}.json"
    path.write_text(json.dumps(content))
    if protocol == "retrieval":
        labels = np.random.default_rng(split).integers(0, 4, (3, 6))
        labels[:, 1:] = rng.integers(0, 4, (3, 5))
        pictures = rng.integers(0, 256, (3, 6, 3, 18, 24), np.uint8)
        np.savez_compressed(path.with_suffix(".npz"), pictures=pictures, labels=labels)
    return content


def evaluated(folder: Path, seeds=(0, 1), **more) -> Path:
    """Results of four protocols, pretrained and random."""
    for protocol in ("knn", "retrieval", "linear", "finetune"):
        for seed in seeds:
            result(folder, protocol, seed=seed, weights=f"w{seed}", **more)
            result(folder, protocol, pretrained=False, seed=seed, weights=f"r{seed}", **more)
    return folder


class Page(HTMLParser):
    """A page as its texts, attributes and table rows; fails where tags do not close in the order they opened."""

    def __init__(self, html: str):
        super().__init__()
        self.open, self.tags, self.attributes, self.rows, self.texts = [], [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page(*folders: Path, out: Path | None = None) -> Page:
    out = out or folders[0].parent / "report.html"
    assert report(Report(folders, out)) == out
    return Page(out.read_text())


@pytest.fixture
def folder(tmp_path):
    evaluated(run(tmp_path / "a") / "evaluation")
    return tmp_path / "a"


def test_the_page_needs_nothing_but_itself(folder):
    found = page(folder)
    assert "script" not in found.tags and "link" not in found.tags and "iframe" not in found.tags
    sources = [value for name, value in found.attributes if name in ("src", "href", "srcset", "data", "poster")]
    assert sources and all(source.startswith("data:image/") for source in sources)
    html = (folder.parent / "report.html").read_text()
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert len(html) < 5e6


def test_the_tables_numbers_are_those_of_rows(folder):
    found = page(folder)
    table = {row[0]: row for row in found.rows}
    numbers = rows(read_results(folder / "evaluation"))
    for subject, head in (("ShuffleAndLearn", "Shuffle and Learn"), ("random initialisation", "random initialisation")):
        (line,) = (row for name, row in table.items() if name.startswith(head) and "CaffeNet" not in name)
        shown = {(r.protocol, r.metric): r for r in numbers if r.subject == subject}
        columns = [("Fine-tuning", "video_accuracy"), ("Fine-tuning", "clip_accuracy"), ("k-NN", "video_accuracy")]
        columns += [("Linear probe", "video_accuracy"), *(("Retrieval", f"R@{k}") for k in (1, 5, 10))]
        assert line[1] == "2"
        assert line[2:] == [shown[column].words for column in columns]
        assert all("±" in cell for cell in line[2:])
    assert ["chance", "", "25.0", "25.0", "25.0", "25.0", "25.0", "76.3", "94.4"] in found.rows


def test_a_subset_is_titled_so_and_the_papers_number_told_apart(folder):
    found = page(folder)
    assert "subset" in found.text and "22 of 9537 train, 35 of 3783 test videos" in found.text
    printed = [row for row in found.rows if "CaffeNet" in row[0]]
    expected = [p for p in PUBLISHED if p.benchmark == "UCF101"]
    assert len(printed) == len(expected)
    for row, p in zip(printed, expected, strict=True):
        assert p.subject + "†" in row[0] and f"{p.percent:.1f}" in row
    assert "Not comparable with ours" in found.text and "of all of UCF101" in found.text


def test_the_whole_benchmark_with_the_papers_trunk_and_splits_is_comparable(tmp_path):
    for split in (1, 2, 3):
        result(tmp_path / "r", "finetune", split=split, title="UCF101 split 1", trunk=CaffeNet())
    found = page(tmp_path / "r")
    assert "UCF101 splits 1, 2, 3" in found.text and "subset" not in found.text
    marks = {
        row[0].rpartition("CaffeNet")[2]: "†" in row[0] for row in found.rows if "Shuffle" in row[0] and not row[1]
    }
    assert marks == {", mean of 3 splits": False, ", split 1": True}


def test_videos_of_no_benchmark_stand_beside_no_printed_number(tmp_path):
    result(tmp_path / "r", "finetune", title="actions split 1", benchmark=None)
    found = page(tmp_path / "r")
    assert not any("CaffeNet" in row[0] for row in found.rows)
    assert (
        "No number is printed of these videos and protocols; elsewhere papers have Shuffle and Learn 50.2 on UCF101"
        in found.text
    )


def test_names_are_escaped(folder):
    found = page(folder)
    assert "<b>&" in found.text and "YoYo/<i>: unreadable: no <frames>" in found.text
    assert not {"b", "i", "frames"} & set(found.tags)


def test_an_evaluation_folder_alone_gives_scores_alone(folder):
    found = page(folder / "evaluation", out=folder / "r.html")
    assert "Pretraining" not in found.text and "Fine-tuning" in found.text


def test_a_run_alone_gives_pretraining_alone(tmp_path):
    found = page(run(tmp_path / "a"))
    assert "Fine-tuning" not in found.text and "83.0" in found.text and "in order" in found.text


@pytest.mark.parametrize("log", [True, False])
def test_a_run_that_was_stopped_is_shown_as_far_as_it_went(tmp_path, log):
    found = page(run(tmp_path / "a", finished=False, log=log))
    assert ("accuracy over the steps" in str(found.attributes)) == log
    assert "in order" not in found.text


def test_a_log_cut_off_early_says_of_how_many_steps(tmp_path):
    folder = run(tmp_path / "a", finished=False)
    lines = (folder / "log.jsonl").read_text().splitlines()
    (folder / "log.jsonl").write_text("\n".join(lines[:20]) + '\n{"step": 2')
    assert "200 of 400" in page(folder).text


def test_a_method_of_another_version_is_shown_without_its_words(tmp_path):
    folder = run(tmp_path / "a")
    config = json.loads((folder / "config.json").read_text())
    config["config"]["method"] |= {"is": "videossl.methods.gone:Gone"}
    (folder / "config.json").write_text(json.dumps(config))
    assert "answer 0" in page(folder).text


def test_several_runs_of_a_method_are_averaged(tmp_path):
    folders = [run(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 1), ("c", 2))]
    found = page(*folders)
    (mean,) = (row for row in found.rows if row[0] == "mean")
    assert mean[5] == "84.0 ± 1.0"


def test_what_is_named_twice_is_read_once(folder, capsys):
    page(folder, folder / "evaluation", out=folder / "r.html")
    assert "1 runs, 16 results" in capsys.readouterr().out


def test_an_old_page_is_replaced(folder):
    out = folder / "r.html"
    out.write_text("old")
    page(folder, out=out)
    assert out.read_text()[:3] != "old"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".r")] == []


def test_what_cannot_be_reported_is_said_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="name at least one run folder"):
        report(Report(()))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        report(Report((tmp_path / "gone",)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"is no run .* and holds no results"):
        report(Report((tmp_path / "empty",)))
    (tmp_path / "empty" / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is no JSON file"):
        report(Report((tmp_path / "empty",)))
    (tmp_path / "empty" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="is not of a run"):
        report(Report((tmp_path / "empty",)))
    with pytest.raises(ValueError, match="name the file to write"):
        report(Report((run(tmp_path / "a"),), out=tmp_path))


def test_the_command_line_takes_folders_by_position():
    assert tyro.cli(Report, args=["a", "b", "--out", "c.html"]) == Report((Path("a"), Path("b")), Path("c.html"))


def test_a_long_curve_is_averaged_over_equal_stretches():
    rng = np.random.default_rng(0)
    log = [{"step": step, "loss": rng.random()} for step in range(1, 10 * POINTS + 1)]
    steps, losses = binned(log, "loss", 10 * POINTS)
    for n in range(1, POINTS - 1):
        part = [line for line in log if 10 * n <= line["step"] < 10 * (n + 1)]
        assert steps[n] == pytest.approx(np.mean([line["step"] for line in part]))
        assert losses[n] == pytest.approx(np.mean([line["loss"] for line in part]))


def test_a_short_curve_keeps_its_points():
    steps, losses = binned([{"step": 10, "loss": 3.0}, {"step": 20}, {"step": 400, "loss": 1.0}], "loss", 400)
    known = np.isfinite(losses)
    assert steps[known].tolist() == [10, 400] and losses[known].tolist() == [3, 1]


def test_the_most_frequent_mistakes_are_named():
    assert mistakes(np.array([[5, 0, 3], [1, 9, 0], [0, 0, 2]]), ["Run", "Sit", "Eat"]) == [
        "Run for Eat (3 of 8)",
        "Sit for Run (1 of 10)",
    ]


def test_classes_are_spoken_as_words():
    assert spoken("ShuffleAndLearn, far 30") == "Shuffle and Learn, far 30"
    assert (spoken("OPN"), spoken("ClipOrder"), spoken("Voxel2Voxel")) == ("OPN", "Clip Order", "Voxel2Voxel")
    for name in ("SimCLR", "MoCo", "BiGAN", "SwAV", "VICReg", "SimSiam", "DrLIM", "DeepCluster", "CNN"):
        assert spoken(f"{name}, out 64") == f"{name}, out 64"
    assert (spoken("IBOT"), spoken("BarlowTwins"), spoken("PatchPosition")) == (
        "iBOT",
        "Barlow Twins",
        "Patch Position",
    )


# Putting results together


def test_splits_are_averaged_before_runs(tmp_path):
    for weights, values in (("w0", (0.1, 0.2, 0.6)), ("w1", (0.5, 0.5, 0.5))):
        for split, value in enumerate(values, 1):
            result(
                tmp_path, "finetune", weights=weights, split=split, metrics={"video_accuracy": value, "chance": 0.25}
            )
    (row,) = rows(read_results(tmp_path))
    assert (row.mean, row.spread, row.count) == (pytest.approx(0.4), pytest.approx(0.02**0.5), 2)
    assert row.dataset.startswith("a subset of UCF101 splits 1, 2, 3 (38/38/38 of 40/40/40 train")


def test_runs_pretrained_for_each_split_make_one_mean(tmp_path):
    for split, accuracy in ((1, 0.2), (2, 0.5), (3, 0.8)):
        metrics = {"video_accuracy": accuracy, "chance": 0.25}
        result(tmp_path, "finetune", weights=f"w{split}", trained="seed 0", split=split, metrics=metrics)
    (row,) = rows(read_results(tmp_path))
    assert (row.mean, row.count, row.spread) == (pytest.approx(0.5), 1, None)
    result(tmp_path, "finetune", weights="other", trained="seed 0", metrics=metrics)
    with pytest.raises(ValueError, match="of two trunks with the same method, seed and split"):
        rows(read_results(tmp_path))


def test_seeds_of_a_protocol_that_draws_nothing_are_one_run(tmp_path):
    for seed in (0, 1, 2):
        for protocol in ("knn", "linear"):
            result(tmp_path, protocol, seed=seed, metrics={"video_accuracy": 0.5, "chance": 0.25})
    assert {row.protocol: (row.count, row.spread) for row in rows(read_results(tmp_path))} == {
        "k-NN": (1, None),
        "Linear probe": (3, 0),
    }


def test_a_result_that_is_in_two_folders_counts_once(tmp_path):
    for folder in ("a", "b"):
        result(tmp_path / folder, "finetune", pretrained=False, metrics={"video_accuracy": 0.5, "chance": 0.25})
    result(tmp_path / "a", "finetune", pretrained=False, split=2, metrics={"video_accuracy": 0.2, "chance": 0.25})
    (row,) = rows([*read_results(tmp_path / "a"), *read_results(tmp_path / "b")])
    assert (row.mean, row.count) == (pytest.approx(0.35), 1)


def test_methods_with_other_fields_or_steps_are_other_rows(tmp_path):
    result(tmp_path, "knn", weights="w0", far=60)
    result(tmp_path, "knn", weights="w1", far=30)
    result(tmp_path, "knn", weights="w2", far=30, step=800)
    assert {group.subject for group in grouped(read_results(tmp_path))} == {
        "ShuffleAndLearn, far 60, steps 400",
        "ShuffleAndLearn, far 30, steps 400",
        "ShuffleAndLearn, far 30, steps 800",
    }


def test_other_videos_under_one_name_are_refused(tmp_path):
    result(tmp_path, "knn", weights="w0")
    result(tmp_path, "knn", weights="w1", data="other")
    with pytest.raises(ValueError, match="are of different videos, but both call them"):
        rows(read_results(tmp_path))


def test_published_numbers_are_those_of_the_paper():
    printed = {(p.subject, p.benchmark, p.splits): p.percent for p in PUBLISHED if p.verified}
    assert printed["Shuffle and Learn", "UCF101", (1, 2, 3)] == 50.2
    assert printed["Shuffle and Learn", "UCF101", (1,)] == 50.9
    assert printed["Shuffle and Learn", "HMDB51", (1, 2, 3)] == 18.1
    assert printed["random initialisation", "UCF101", (1, 2, 3)] == 38.6
    assert printed["random initialisation", "HMDB51", (1, 2, 3)] == 13.3
    assert all(p.source and 0 < p.percent < 100 for p in PUBLISHED)
    assert all(re.fullmatch(r"\w+", p.method) for p in PUBLISHED)


def test_pictures_that_a_net_made_are_shown_moving_beside_the_truth_and_numbers_without_chance_as_they_are(tmp_path):
    folder = run(tmp_path / "prediction")
    result = {
        "held_out_loss": 0.4,
        "held_out_future_mse": 0.01234,
        "held_out_copy_mse": 0.05,
        "chance": {},
        "videos": 6,
    }
    (folder / "result.json").write_text(json.dumps(result))
    rng = np.random.default_rng(0)
    clips = {
        name: rng.integers(0, 256, (2, 5, channels, 24, 32), np.uint8) for name, channels in (("truth", 3), ("own", 1))
    }
    np.savez_compressed(folder / "panels.npz", **clips)
    page = report(Report((folder,), tmp_path / "page.html")).read_text()
    assert page.count("data:image/webp") == 4 and page.count("<figcaption>truth</figcaption>") == 2
    assert "future mse" in page and "0.01234" in page


def test_pictures_that_lie_in_the_folders_are_shown_with_their_names(tmp_path):
    folder = run(tmp_path / "run")
    Image.new("RGB", (4, 3), (200, 30, 30)).save(folder / "map.png")
    (folder / "notes.txt").write_text("no picture")
    page = report(Report((folder, folder), tmp_path / "report.html")).read_text()
    data = base64.b64encode((folder / "map.png").read_bytes()).decode()
    assert page.count(f"data:image/png;base64,{data}") == 1
    assert f"<figcaption>{folder}/map.png</figcaption>" in page and "notes.txt" not in page
