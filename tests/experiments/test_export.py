"""Exports hold what was collected, as the formats' own readers see it where these are installed.

They need other versions of what the toolkit needs. To have them tested, make them an environment of their own, such as
with `pip install lerobot tensorflow tensorflow-datasets`, and name its python in the variable VIDEOSSL_READERS.
"""

import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from videossl.datasets.interactions import interactions
from videossl.datasets.shards import Field, pack, write
from videossl.experiments.cli import main
from videossl.experiments.export import Export, export
from videossl.robot.outputs import write_whole

pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("google_crc32c")

SIDE = 16
READER = os.environ.get("VIDEOSSL_READERS", sys.executable)
FIELDS = {
    "category": Field((), "int32", "of the object", ("ball", "box", "cup")),
    "unseen": Field((), "uint8", "1 if kept for tests"),
    "mass": Field((), "float32", "kg"),
    "T_world_object": Field((7,), "float64", "m and quaternion xyzw"),
    "intrinsics": Field((3, 3), "float64", "pixels"),
    "pixels": Field((2, 2), "float32", "x, y"),
    "action": Field((3,), "float32", "m, m, rad"),
    "success": Field((), "bool", "lifted"),
}
VIEWS = {"grasp": ("patch",), "push": ("before", "after")}
EPISODES = 22


def made_up(field: Field, rng: np.random.Generator) -> np.ndarray:
    if field.dtype.startswith("float"):
        return rng.normal(size=field.shape).astype(field.dtype)
    return rng.integers(0, 256 if field.is_picture else 2, field.shape).astype(field.dtype)


@pytest.fixture(scope="session")
def collected(tmp_path_factory) -> Path:
    """Grasps and pushes in two shards each, two of a scene, none of which a robot ever did."""
    root, entries = tmp_path_factory.mktemp("collected"), []
    for task, views in VIEWS.items():
        fields = {**{name: Field((SIDE, SIDE, 3), "uint8", "RGB") for name in views}, **FIELDS}
        (root / task).mkdir()
        for number, (first, count) in enumerate([(0, 12), (12, EPISODES - 12)]):
            records = []
            for episode in range(first, first + count):
                rng = np.random.default_rng([len(task), episode])
                records.append({name: made_up(field, rng) for name, field in fields.items()})
            about = {"task": task, "first": first, "trials": 2, "seed": 0, "config": "{}"}
            content = pack(fields, records, about)
            write(root / task / f"{number:06}.h5", content)
            told = {"file": f"{task}/{number:06}.h5", "task": task, "first": first, "episodes": count}
            entries.append({**told, "bytes": len(content), "sha256": ""})
    write_whole(root / "manifest.json", json.dumps({"shards": entries}))
    return root


def wanted(root: Path, task: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Pictures (N, T, H, W, 3) and values (N, ...) of all that was collected."""
    records = interactions(root, task=task) + interactions(root, task=task, train=False)
    records.sort(key=lambda record: record["episode"])
    pictures = np.stack([record["frames"].array(np.arange(len(VIEWS[task]))) for record in records])
    names = (*FIELDS, "name", "episode", "scene")
    return pictures.transpose(0, 1, 3, 4, 2), {name: np.stack([record[name] for record in records]) for name in names}


def exported(root: Path, out: Path, format: str, task: str = "push", **options) -> Path:
    export(Export(root, format, out, task, progress=False, **options))
    return out


def tables(folder: Path):
    return pq.read_table(sorted(folder.rglob("*.parquet")))


def same(stored, value: np.ndarray) -> bool:
    """Whether they are equal to the last bit, and what is stored is not of fewer bits."""
    stored = np.asarray(stored).reshape(value.shape)
    return (
        np.array_equal(stored, value)
        if value.dtype.kind == "U"
        else stored.astype(value.dtype).tobytes() == value.tobytes()
    )


@pytest.mark.parametrize("task", VIEWS)
def test_lerobot_rows_are_frames_and_hold_every_value_and_pixel(collected, tmp_path, task):
    out = exported(collected, tmp_path / "out", "lerobot", task)
    pictures, values = wanted(collected, task)
    frames = len(VIEWS[task])
    table = tables(out / "data")
    images = [Image.open(io.BytesIO(image["bytes"])) for image in table["observation.image"].to_pylist()]
    assert np.array_equal(np.stack(images).reshape(pictures.shape), pictures)
    for name, value in values.items():
        assert same(table[name].to_pylist(), np.repeat(value, frames, 0)), name
    assert table.schema.field("T_world_object").type.value_type == "double"
    assert table["index"].to_pylist() == list(range(EPISODES * frames))
    assert table["frame_index"].to_pylist() == list(range(frames)) * EPISODES
    assert table["timestamp"].to_pylist() == table["frame_index"].to_pylist()
    info = json.loads((out / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["total_episodes"] == EPISODES
    assert info["features"].keys() == set(table.column_names)
    assert info["features"]["category"]["info"]["names"] == ["ball", "box", "cup"]
    assert info["features"]["intrinsics"]["shape"] == [9] and info["features"]["intrinsics"]["info"]["matrix"] == [3, 3]
    assert pq.read_table(out / "meta/tasks.parquet").to_pandas().to_dict() == {"task_index": {task: 0}}


def test_lerobot_statistics_are_of_all_and_of_each_episode(collected, tmp_path):
    out = exported(collected, tmp_path / "out", "lerobot")
    pictures, values = wanted(collected, "push")
    found = json.loads((out / "meta/stats.json").read_text())
    action = np.repeat(values["action"].astype(float), 2, 0)
    ours = {"min": action.min(0), "max": action.max(0), "mean": action.mean(0), "std": action.std(0)}
    ours |= {"q01": np.quantile(action, 0.01, 0), "q50": np.median(action, 0), "count": [2 * EPISODES]}
    for name, value in ours.items():
        assert np.allclose(found["action"][name], value), name
    shades, shape = pictures.reshape(-1, 3) / 255, (3, 1, 1)
    ours = {"min": shades.min(0), "max": shades.max(0), "mean": shades.mean(0), "std": shades.std(0)}
    ours |= {"q10": np.quantile(shades, 0.1, 0, method="inverted_cdf"), "q50": np.median(shades, 0)}
    for name, value in ours.items():
        assert np.allclose(found["observation.image"][name], value.reshape(shape), atol=1 / 255), name
    assert np.allclose(found["observation.image"]["mean"], ours["mean"].reshape(shape))
    assert np.allclose(found["observation.image"]["std"], ours["std"].reshape(shape))
    of_episodes = tables(out / "meta/episodes")
    assert np.allclose(of_episodes["stats/action/mean"].to_pylist(), values["action"])
    assert np.allclose(
        np.array(of_episodes["stats/observation.image/mean"].to_pylist()).reshape(-1, 3),
        pictures.mean((1, 2, 3)) / 255,
    )
    assert of_episodes["stats/mass/count"].to_pylist() == [[2]] * EPISODES


def decoded(path: Path) -> np.ndarray:
    import av

    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_lerobot_mp4_is_exact_with_factor_0_and_near_with_others(collected, tmp_path):
    pictures, values = wanted(collected, "push")
    flat = pictures.reshape(-1, SIDE, SIDE, 3).astype(int)
    exact = exported(collected, tmp_path / "exact", "lerobot", mp4=0)
    (video,) = exact.rglob("*.mp4")
    assert np.array_equal(decoded(video), flat)
    table = tables(exact / "data")
    assert "observation.image" not in table.column_names and same(
        table["action"].to_pylist(), np.repeat(values["action"], 2, 0)
    )
    info = json.loads((exact / "meta/info.json").read_text())
    assert info["features"]["observation.image"]["dtype"] == "video"
    assert exact / info["video_path"].format(video_key="observation.image", chunk_index=0, file_index=0) == video
    (near,) = exported(collected, tmp_path / "near", "lerobot", mp4=10).rglob("*.mp4")
    grey = np.array([0.299, 0.587, 0.114])  # noise loses its colours, which have half the size, but not its brightness
    assert 0 < np.abs((decoded(near) - flat) @ grey).mean() < 4


def test_lerobot_files_that_follow_each_other_are_found_by_what_is_told_of_the_episodes(
    collected, tmp_path, monkeypatch
):
    from videossl.experiments import export_lerobot

    for name, value in {"BATCH": 5, "CHUNK": 2, "VIDEO": 9000}.items():
        monkeypatch.setattr(export_lerobot, name, value)
    pictures, _ = wanted(collected, "push")
    out = exported(collected, tmp_path / "out", "lerobot", mp4=0)
    info = json.loads((out / "meta/info.json").read_text())
    assert len(list(out.glob("data/chunk-00[012]/*.parquet"))) == 5 and len(list(out.rglob("*.mp4"))) > 2
    for episode in tables(out / "meta/episodes").to_pylist():
        place = {name: episode[f"data/{name}"] for name in ("chunk_index", "file_index")}
        rows = pq.read_table(out / info["data_path"].format(**place)).to_pylist()
        rows = [row["index"] for row in rows if row["episode_index"] == episode["episode_index"]]
        assert rows == list(range(episode["dataset_from_index"], episode["dataset_to_index"]))
        assert len(rows) == episode["length"] == 2
        of_video = {name: episode[f"videos/observation.image/{name}"] for name in ("chunk_index", "file_index")}
        video = decoded(out / info["video_path"].format(video_key="observation.image", **of_video))
        first, end = (int(episode[f"videos/observation.image/{name}_timestamp"]) for name in ("from", "to"))
        assert np.array_equal(video[first:end], pictures[episode["episode_index"]])


def records_of(path: Path) -> list[bytes]:
    """Records of a TFRecord file, whose check sums tensorboard computes in its own way."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    content, at, found = path.read_bytes(), 0, []
    while at < len(content):
        length, sum_of_length = struct.unpack_from("<QI", content, at)
        assert masked_crc32c(content[at : at + 8]) == sum_of_length
        found.append(content[at + 12 : at + 12 + length])
        assert len(found[-1]) == length
        assert struct.unpack_from("<I", content, at + 12 + length) == (masked_crc32c(found[-1]),)
        at += 16 + length
    return found


@pytest.mark.parametrize("task", VIEWS)
def test_rlds_examples_are_episodes_and_hold_every_value_and_pixel(collected, tmp_path, task):
    from videossl.experiments.export_rlds import Example

    out = exported(collected, tmp_path / "out", "rlds", task)
    pictures, values = wanted(collected, task)
    examples = [Example.FromString(one) for one in records_of(out / f"{task}-train.tfrecord-00000-of-00001")]
    assert len(examples) == EPISODES
    steps = len(VIEWS[task])
    for n, example in enumerate(examples):
        feature = example.features.feature
        images = [Image.open(io.BytesIO(image)) for image in feature["steps/observation/image"].bytes_list.value]
        assert np.array_equal(np.stack(images), pictures[n])
        assert same(feature["steps/action"].float_list.value, np.stack([values["action"][n]] * steps))
        assert list(feature["steps/is_first"].int64_list.value) == [1, 0][:steps]
        assert list(feature["steps/is_last"].int64_list.value) == [0, 1][-steps:]
        for name in ("T_world_object", "intrinsics"):
            assert feature[f"episode_metadata/{name}"].bytes_list.value == [values[name][n].tobytes()]
        for name in ("category", "unseen", "success", "episode", "scene"):
            assert same(feature[f"episode_metadata/{name}"].int64_list.value, values[name][n])
        for name in ("mass", "pixels"):
            assert same(feature[f"episode_metadata/{name}"].float_list.value, values[name][n])
        assert feature["episode_metadata/name"].bytes_list.value == [str(values["name"][n]).encode()]
    (split,) = json.loads((out / "dataset_info.json").read_text())["splits"]
    assert split["shardLengths"] == [str(EPISODES)]
    assert (out / "episode_metadata-category.labels.txt").read_text() == "ball\nbox\ncup\n"


def test_rlds_messages_are_those_of_tensorflow():
    from videossl.experiments.export_rlds import Example

    example = Example()
    example.features.feature["age"].int64_list.value[:] = [29]
    # By hand: Example.features (field 1) holds a map entry (1) of "age" (1) and a Feature (2) with int64_list (3)
    assert (
        example.SerializeToString() == b"\n\x0e" + b"\n\x0c" + b"\n\x03age" + b"\x12\x05" + b"\x1a\x03" + b"\n\x01\x1d"
    )


def test_rlds_goes_on_in_another_file_when_one_is_full(collected, tmp_path, monkeypatch):
    from videossl.experiments import export_rlds

    monkeypatch.setattr(export_rlds, "SHARD", 10_000)
    out = exported(collected, tmp_path / "out", "rlds")
    files = sorted(out.glob("*.tfrecord-*"))
    (split,) = json.loads((out / "dataset_info.json").read_text())["splits"]
    assert len(files) > 2 and files[-1].name.endswith(f"-{len(files) - 1:05}-of-{len(files):05}")
    assert [len(records_of(file)) for file in files] == [int(length) for length in split["shardLengths"]]
    assert int(split["numBytes"]) == sum(file.stat().st_size for file in files)


@pytest.mark.parametrize("options", [{"format": "rlds"}, {"format": "lerobot"}, {"format": "lerobot", "mp4": 0}])
def test_the_same_interactions_make_the_same_bytes(collected, tmp_path, options):
    contents = []
    for name in "ab":
        out = exported(collected, tmp_path / name, **options)
        contents.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert contents[0] == contents[1]


def test_what_cannot_be_exported_is_refused_in_one_line_and_leaves_nothing(collected, tmp_path, monkeypatch, capsys):
    def refused(*words) -> str:
        monkeypatch.setattr(sys, "argv", ["videossl", "export", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = stopped.value.code
        assert isinstance(said, str) and said.startswith("videossl: ") and "\n" not in said, said
        return said

    before, out = sorted(tmp_path.iterdir()), tmp_path / "out"
    assert "grasp, push: say which" in refused(collected, "--format", "rlds", "--out", out)
    assert "no interactions of 'poke', but of grasp, push" in refused(
        collected, "--format", "rlds", "--out", out, "--task", "poke"
    )
    assert "nowhere is not there" in refused(tmp_path / "nowhere", "--format", "rlds", "--out", out)
    assert "holds no interactions" in refused(tmp_path, "--format", "rlds", "--out", out)
    assert "is there already" in refused(collected, "--format", "rlds", "--out", collected, "--task", "push")
    for wrong in ({"format": "rlds", "mp4": 3}, {"format": "lerobot", "mp4": 52}):
        with pytest.raises(ValueError, match="lerobot alone has MP4, of a factor of 0 to 51"):
            Export(collected, out=out, **wrong)
    monkeypatch.delitem(sys.modules, "videossl.experiments.export_rlds", raising=False)
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    said = refused(collected / "push", "--format", "rlds", "--out", out)
    assert "no module google_crc32c" in said and "pip install 'videossl[export]'" in said
    assert sorted(tmp_path.iterdir()) == before
    monkeypatch.setattr(
        sys, "argv", ["videossl", "export", f"{collected}/push", "--format", "lerobot", "--out", str(out)]
    )
    main()
    assert f"{EPISODES} episodes of push, LeRobotDataset v3.0" in capsys.readouterr().out


@pytest.mark.parametrize("options", [{"format": "rlds"}, {"format": "lerobot"}, {"format": "lerobot", "mp4": 0}])
def test_an_export_that_fails_half_way_leaves_nothing_and_one_that_was_killed_is_replaced(
    collected, tmp_path, monkeypatch, options
):
    from videossl.datasets.interactions import Pictures

    out, read = tmp_path / "out", Pictures._read

    def damaged(self, wanted):
        if self.row == 5:
            raise ValueError("is damaged")
        return read(self, wanted)

    monkeypatch.setattr(Pictures, "_read", damaged)
    with pytest.raises(ValueError, match="is damaged"):
        exported(collected, out, **options)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(Pictures, "_read", read)
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "half").write_text("of it")
    exported(collected, out, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and not (out / "half").exists()


def test_mp4_that_is_not_exact_needs_even_sizes(tmp_path):
    from videossl.experiments.export_lerobot import write_lerobot

    with pytest.raises(ValueError, match="33x32, but MP4 needs even sizes: take --mp4 0, or PNG"):
        write_lerobot([], FIELDS, (1, 33, 32, 3), "grasp", tmp_path, mp4=20)


# As the formats' own readers see it


def reads(kind: str, library: str, folder: Path, tmp_path: Path) -> dict[str, np.ndarray]:
    """What `read_export.py` finds; skips the test where the reader is not installed."""
    probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({library!r}) is None)"
    if subprocess.run([READER, "-c", probe]).returncode:
        pytest.skip(f"{library} is not installed for {READER}: VIDEOSSL_READERS may name a python that has it")
    quiet = {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }
    script = Path(__file__).with_name("read_export.py")
    command = [READER, str(script), kind, str(folder), str(tmp_path / "read.npz")]
    done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(np.load(tmp_path / "read.npz"))


@pytest.mark.parametrize("mp4", [None, 0])
@pytest.mark.parametrize("task", VIEWS)
def test_lerobot_reads_every_value_and_pixel(collected, tmp_path, task, mp4):
    found = reads("lerobot", "lerobot", exported(collected, tmp_path / "out", "lerobot", task, mp4=mp4), tmp_path)
    pictures, values = wanted(collected, task)
    frames = len(VIEWS[task])
    images = found["given/observation.image"].transpose(0, 2, 3, 1).reshape(pictures.shape)
    assert np.array_equal(images, np.float32(pictures) / np.float32(255))
    assert set(found["given/task"]) == {task}
    for name, value in values.items():
        value = np.repeat(value, frames, 0)
        assert same(found[f"stored/{name}"], value), name
        given = found[f"given/{name}"].reshape(value.shape)
        assert np.array_equal(given, value.astype(np.float32) if value.dtype == np.float64 else value), name


def test_lerobot_tools_can_take_an_episode_away(collected, tmp_path):
    found = reads("lerobot_split", "lerobot", exported(collected, tmp_path / "out", "lerobot"), tmp_path)
    pictures, values = wanted(collected, "push")
    assert found["stored/episode"].tolist() == np.repeat(np.arange(1, EPISODES), 2).tolist()
    assert same(found["stored/T_world_object"], np.repeat(values["T_world_object"][1:], 2, 0))
    assert np.allclose(found["mean/action"], values["action"][1:].mean(0), atol=1e-6)
    images = found["given/observation.image"].transpose(0, 2, 3, 1).reshape(pictures[1:].shape)
    assert np.array_equal(images, np.float32(pictures[1:]) / np.float32(255))


@pytest.mark.parametrize("task", VIEWS)
def test_tensorflow_datasets_reads_every_value_and_pixel(collected, tmp_path, task):
    found = reads("rlds", "tensorflow_datasets", exported(collected, tmp_path / "out", "rlds", task), tmp_path)
    pictures, values = wanted(collected, task)
    steps = len(VIEWS[task])
    assert np.array_equal(found["steps/image"], pictures)
    assert same(found["steps/action"], np.repeat(values["action"][:, None], steps, 1))
    assert found["steps/is_first"].tolist() == [[True, False][:steps]] * EPISODES
    assert found["steps/is_last"].tolist() == found["steps/is_terminal"].tolist() == [[False, True][-steps:]] * EPISODES
    assert found["names/category"].tolist() == ["ball", "box", "cup"]
    for name, value in values.items():
        if name == "name":
            assert [text.decode() for text in found["known/name"]] == value.tolist()
        elif name != "action":
            kept = np.int64 if name == "category" else value.dtype
            assert found[f"known/{name}"].dtype == kept and same(found[f"known/{name}"], value), name
