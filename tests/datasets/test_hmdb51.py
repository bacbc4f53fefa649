import shutil

import pytest

from videossl.datasets.hmdb51 import film as film_of
from videossl.datasets.hmdb51 import hmdb51, read_list
from videossl.datasets.index import index_videos


@pytest.fixture
def subset(shared, tmp_path_factory):
    """The two clips there are, and their index."""
    out = tmp_path_factory.getbasetemp() / "hmdb51.json"
    index_videos(shared / "hmdb51", out, workers=1, progress=False, decoder="pyav")
    return shared / "hmdb51", out


@pytest.fixture
def small(tmp_path, film, counting):
    """A data set in HMDB51's layout: two classes, names with odd signs."""
    root = tmp_path / "small"
    for kind in ("sit", "stand"):
        lines = []
        for n, flag in enumerate((1, 1, 2, 0)):
            name = f"A_(film)_#{n // 2}!_&_co_{kind}_u_nm_np1_fr_goo_{n}.avi"
            film(root / kind / name, counting[: 4 + n])
            lines.append(f"{name} {flag} ")
        (root / f"{kind}_test_split1.txt").write_text("\n".join(lines))
    index_videos(root, workers=1, progress=False, decoder="pyav")
    return root


@pytest.mark.parametrize("split", [1, 2, 3])
def test_official_splits_have_70_and_30_videos_of_each_class(shared, split, subset):
    paths = sorted((shared / "testTrainMulti_7030_splits").glob(f"*_test_split{split}.txt"))
    assert len(paths) == 51
    for path in paths:
        flags = [flag for _, flag in read_list(path)]
        assert (flags.count(1), flags.count(2)) == (70, 30)
    root, index = subset
    train = hmdb51(root, split, True, index=index)
    assert train.listed == 70 * 51 == 3570 and train.benchmark == "HMDB51" and len(train.classes) == 51
    assert train.summary().startswith(
        f"HMDB51 split {split} train: {len(train)} of 3570 videos ({3570 - len(train)} not"
    )
    if split == 2:  # both clips are for training
        assert [len(record["frames"]) for record in train] == [408, 74]
        with pytest.raises(ValueError, match="holds none of the 1530 videos listed"):
            hmdb51(root, split, False, index=index)
    else:
        test = hmdb51(root, split, False, index=index)
        assert test.listed == 30 * 51 == 1530 and len(train) == len(test) == 1


def test_the_group_is_the_film_and_official_lists_keep_films_of_a_class_apart(shared):
    assert film_of("April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "brush_hair") == "April_09"
    assert film_of("A_sit_in_sit_u_nm_np10_ba_med_2.avi", "sit") == "A_sit_in"
    assert film_of("own.avi", "sit") == "own"
    for path in (shared / "testTrainMulti_7030_splits").glob("*_test_split?.txt"):
        kind = path.name.split("_test_split")[0]
        films = {flag: {film_of(name, kind) for name, f in read_list(path) if f == flag} for flag in (1, 2)}
        assert not films[1] & films[2] and not any(f"_{kind}_" in f"{name}_" for name in films[1] if "_np1_" in name)


def test_the_flag_says_train_test_or_unused(small):
    train, test = hmdb51(small), hmdb51(small, train=False)
    assert [len(r["frames"]) for r in train] == [4, 5, 4, 5] and [len(r["frames"]) for r in test] == [6, 6]
    assert train.classes == ["sit", "stand"] and [r["label"] for r in train] == [0, 0, 1, 1]
    assert {r["group"] for r in train} == {"A_(film)_#0!_&_co"} and {r["group"] for r in test} == {"A_(film)_#1!_&_co"}
    assert train.name == "small split 1 train" and train.benchmark is None and train.complete
    assert train[0]["frames"][3].unique().tolist() == [24]


@pytest.mark.parametrize("layout", ["hmdb51", "hmdb51_org", "flat"])
def test_videos_are_found_in_each_layout(small, layout):
    for kind in ("sit", "stand"):
        if layout == "flat":
            for path in (small / kind).iterdir():
                path.rename(small / path.name)
        else:
            shutil.move(small / kind, small / layout / kind)
    (small / "index.json").unlink()
    index_videos(small, workers=1, progress=False, decoder="pyav")
    assert [len(r["frames"]) for r in hmdb51(small)] == [4, 5, 4, 5]


def test_lists_that_are_not_there_or_of_another_form_are_refused(small):
    with pytest.raises(FileNotFoundError, match=r"has no \*_test_split3.txt, but those of split 1"):
        hmdb51(small, split=3)
    (small / "sit_test_split1.txt").write_text("some words\n")
    with pytest.raises(ValueError, match="line 1 is 'some words', but should be"):
        hmdb51(small)
    (small / "sit_test_split1.txt").unlink()
    (small / "stand_test_split1.txt").unlink()
    with pytest.raises(FileNotFoundError, match="testTrainMulti_7030_splits"):
        hmdb51(small)
