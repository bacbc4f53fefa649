"""`videossl embed` and `videossl search`, on a run that learned nothing."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from videossl.evaluation.features import Encoder
from videossl.evaluation.views import Views
from videossl.experiments.data import Videos
from videossl.experiments.devices import Devices
from videossl.experiments.embed import Embed, Search, Table, by_name, embed, keep, read_features, search, whole_name
from videossl.experiments.pretrain import Pretrain, pretrain
from videossl.methods.shuffle_and_learn import ShuffleAndLearn
from videossl.models.small import Small
from videossl.training.checkpoints import load_trunk

VIEWS = Views(clips=3, crops=1)
CPU = Devices(accelerator="cpu")


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    plan = Pretrain(
        Videos(tiny, size=(32, 32)),
        tmp_path_factory.mktemp("runs") / "learned",
        method=ShuffleAndLearn(far=8, near=4, different=0.0, jitter=1),
        trunk=Small(length=1, width=4, size=28),
        **{"steps": 1, "batch": 2, "log": 1, "save": 1, "held_out": 0.2, "probes": 2, "workers": 0},
        engine=CPU,
    )
    return pretrain(plan)


@pytest.fixture(scope="module", params=["parquet", "h5"])
def features(request, tiny, run, tmp_path_factory):
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path_factory.mktemp("features") / f"features.{request.param}"
    embed(Embed(run, out, Videos(tiny, "video_folder", size=(32, 32)), views=VIEWS, workers=0, engine=CPU))
    return out


def test_rows_are_the_features_of_each_clip(features, tiny, run):
    table = read_features(features)
    records = Videos(tiny, "video_folder").records(True, 1, (32, 32))
    found = Encoder(load_trunk(run)).features(records, VIEWS)
    assert torch.equal(table.values, found.values.flatten(0, 1))
    assert table.names == [record["name"] for record in records for _ in range(3)]
    assert table.first.tolist() == [0, 11, 23] * len(records)
    assert [path.name for path in features.parent.iterdir()] == [features.name]


def test_the_nearest_clips_are_those_of_a_loop_and_are_drawn(features, tmp_path, capsys):
    table, query = read_features(features), "Up/v_Up_g01_c01.avi"
    out = tmp_path / "strips" / "near.png"
    found = search(Search(query, features, k=4, out=out))
    units = F.normalize(table.values, dim=1)
    middle = table.names.index(query) + 1
    best = {}
    for name, first, unit in zip(table.names, table.first.tolist(), units, strict=True):
        if name != query:
            best.setdefault(name, []).append((-(unit @ units[middle]).item(), first))
    expected = sorted((*min(clips), name) for name, clips in best.items())[:4]
    assert [(name, first) for name, first, _ in found] == [(name, first) for _, first, name in expected]
    assert out.stat().st_size > 1000 and capsys.readouterr().out.count("from frame") == 4
    again = search(Search(query, features, k=5, again=True, out=out))
    assert [value for *_, value in again] == sorted((value for *_, value in again), reverse=True)


def test_a_file_that_is_not_among_the_videos_is_a_query_too(features, tiny, tmp_path):
    copy = tmp_path / "another.avi"
    copy.write_bytes((tiny / "Up/v_Up_g01_c01.avi").read_bytes())
    (name, first, value), *_ = search(Search(str(copy), features, k=2, out=tmp_path / "near.png"))
    assert (name, first) == ("Up/v_Up_g01_c01.avi", 11) and value == pytest.approx(1, abs=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another.avi", "near.png"]
    with pytest.raises(ValueError, match="has frames 0 to 23, but frame 24 was asked for"):
        search(Search(str(copy), features, frame=24, k=2))


def test_what_cannot_be_found_or_read_is_said(features, run, tmp_path):
    with pytest.raises(ValueError, match="k is 18, but there are 17 videos to find"):
        search(Search("Up/v_Up_g01_c01.avi", features, k=18))
    with pytest.raises(FileNotFoundError, match=r"no\.avi is neither a file nor the name of a video"):
        search(Search("no.avi", features))
    short, whole = (
        Search(f"{folder}v_Up_g01_c01.avi", features, k=2, out=tmp_path / "x.png") for folder in ("", "Up/")
    )
    assert search(short) == search(whole)  # its folder may be left out
    two = Table(["a/x.avi", "b/x.avi"], np.zeros(2, int), torch.zeros(2, 1), {})
    with pytest.raises(ValueError, match=r"2 videos in .* are called x\.avi: say which, a/x\.avi\?"):
        whole_name(Search("x.avi", features), two)
    for junk in ("junk.h5", "junk.txt"):
        (tmp_path / junk).write_text("junk")
    with pytest.raises(ValueError, match=r"junk\.h5 is no HDF5 file"):
        read_features(tmp_path / "junk.h5")
    with pytest.raises(ValueError, match=r"junk\.txt is no video by its name"):
        search(Search(str(tmp_path / "junk.txt"), features))
    table = read_features(features)
    lost = Table(
        [*table.names, "gone.avi"], np.append(table.first, 0), table.values[[*range(len(table.names)), 0]], table.about
    )
    with pytest.raises(
        FileNotFoundError, match=r"1 of 19 videos that were embedded are not among .*, such as gone\.avi"
    ):
        by_name(lost)
    with pytest.raises(FileNotFoundError, match="videossl embed RUN --root VIDEOS --out"):
        read_features(tmp_path / "none.h5")
    with pytest.raises(ValueError, match=r"should end in .parquet or .h5"):
        Embed(run, tmp_path / "features.csv")


def test_features_that_are_no_numbers_are_refused_and_nothing_is_written(tiny, run, tmp_path, monkeypatch):
    monkeypatch.setattr("videossl.experiments.embed.load_trunk", broken(load_trunk(run)))
    with pytest.raises(ValueError, match=r"features of Down/v_Down_g01_c01\.avi are not finite"):
        embed(
            Embed(
                run, tmp_path / "f.h5", Videos(tiny, "video_folder", size=(32, 32)), views=VIEWS, workers=0, engine=CPU
            )
        )
    assert list(tmp_path.iterdir()) == []


def broken(trunk):
    with torch.no_grad():
        next(trunk.parameters()).fill_(float("nan"))
    return lambda path: trunk


def test_a_table_comes_back_as_it_was(tmp_path):
    table = Table(["a", "ü/b"], np.array([0, 7]), torch.tensor([[1.0, 2.0], [3.0, 4.5]]), {"trunk": "x", "split": 1})
    keep(table, tmp_path / "t.h5")
    back = read_features(tmp_path / "t.h5")
    assert (back.names, back.first.tolist(), back.about) == (table.names, [0, 7], table.about)
    assert torch.equal(back.values, table.values)
