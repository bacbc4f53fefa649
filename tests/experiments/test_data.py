import numpy as np
import PIL.Image
import pytest
import torch

from videossl.datasets.davis import davis
from videossl.datasets.image_folder import PART, digest, image_folder
from videossl.datasets.records import Records
from videossl.datasets.voc import voc
from videossl.experiments.data import content, fingerprint
from videossl.experiments.evaluate import Subject, doubts, refuse_leak


def picture(path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path):
    """Two folders of pictures of two classes; every class has a 001.png and a 002.png, and all differ."""
    for n, root in enumerate(("one", "other")):
        for m, place in enumerate(("train/cup", "train/pan", "test/cup", "test/pan")):
            for k in (1, 2):
                picture(tmp_path / root / place / f"{k:03}.png", 100 * n + 10 * m + k)
    return tmp_path / "one", tmp_path / "other"


def subject(records: list[dict]) -> Subject:
    return Subject("learned", "pretrained", None, None, {}, frozenset(content(record) for record in records))


def test_pictures_are_told_by_their_bytes_and_not_by_their_names(folders):
    one, other = (image_folder(root) for root in folders)
    assert [r["name"] for r in one] == [r["name"] for r in other] and len({content(r) for r in [*one, *other]}) == 8
    assert fingerprint(one) != fingerprint(other)
    test = image_folder(folders[1], train=False)
    refuse_leak(subject(one), other, test)  # the same names, none of the same pictures
    assert doubts(other, test) == []
    (folders[1] / "test" / "pan" / "003.png").write_bytes((folders[0] / "train" / "cup" / "002.png").read_bytes())
    test = image_folder(folders[1], train=False)
    with pytest.raises(ValueError, match=r"1 of the 5 videos of other test were pretrained on .* test/pan/003.png"):
        refuse_leak(subject(one), other, test)


def test_pictures_of_voc_have_names_of_their_own_however_alike_the_numbers(tmp_path):
    made = []
    for n, root in enumerate(("one", "other")):
        picture(tmp_path / root / "JPEGImages" / "000001.jpg", n)
        lists = tmp_path / root / "ImageSets" / "Main"
        lists.mkdir(parents=True)
        (lists / "trainval.txt").write_text("000001\n")
        made += voc(tmp_path / root)
    assert made[0]["name"] == made[1]["name"] and content(made[0]) != content(made[1])


def test_videos_of_davis_are_told_by_their_middle_frame(tmp_path):
    for name, seed in (("bear", 0), ("dog", 1), ("copy", 0)):
        for kind in ("JPEGImages", "Annotations"):
            for n in range(3):
                picture(tmp_path / kind / "480p" / name / f"{n:05}.png", 10 * seed + n)
    (tmp_path / "ImageSets" / "2017").mkdir(parents=True)
    (tmp_path / "ImageSets" / "2017" / "train.txt").write_text("bear\ndog\ncopy\n")
    bear, dog, copy = davis(tmp_path)
    assert content(bear) == content(copy) != content(dog)


@pytest.mark.parametrize("place", [0, 2 * PART + 7, 5 * PART - 1])
def test_large_files_are_looked_at_in_three_places(tmp_path, place):
    whole = bytearray(5 * PART)
    (tmp_path / "a").write_bytes(whole)
    (tmp_path / "b").write_bytes(whole)
    whole[place] = 1
    (tmp_path / "c").write_bytes(whole)
    (tmp_path / "longer").write_bytes(bytes(5 * PART + 1))
    a, b, c, longer = (digest(tmp_path / name) for name in ("a", "b", "c", "longer"))
    assert a == b and len({a, c, longer}) == 3


def made(part: str, labels: list[int], groups: list[str], benchmark: str | None = None) -> Records:
    """Videos that move, each its own way: that of the same number is the same in both lists."""
    records = [
        {
            "frames": torch.zeros(4, 3, 2, 2, dtype=torch.uint8),
            "name": f"{part} {group} {n}",
            "label": label,
            "group": group,
            "motion": np.array([n + (part == "test") / 2, 1, 2], np.float32),
        }
        for n, (label, group) in enumerate(zip(labels, groups, strict=True))
    ]
    return Records(records, "made", None, part, ["cup", "pan", "pot"], benchmark)


def test_lists_that_share_a_video_are_refused_unless_the_benchmark_made_them():
    train, test = made("train", [0, 1, 2], ["a", "b", "c"]), made("test", [0, 1], ["d", "e"])
    refuse_leak(subject([]), train, test)
    test[1]["motion"] = train[2]["motion"]
    with pytest.raises(
        ValueError,
        match=r"1 of the 2 videos of made test are in the training list, too, such as test e 1 \(there it is",
    ):
        refuse_leak(subject([]), train, test)
    train.benchmark = test.benchmark = "MADE"
    refuse_leak(subject(train), train, test)
    assert doubts(train, test) == ["note: 1 test videos are in the training list, too, such as test e 1"]
    with pytest.raises(
        ValueError, match="1 of the 2 videos of made test were pretrained on by learned, such as test d 0"
    ):
        refuse_leak(subject([*train, test[0]]), train, test)


def test_groups_in_both_lists_and_classes_that_training_lacks_are_told_in_a_line_each():
    train, test = made("train", [0, 1, 1], ["a", "b", "c"]), made("test", [0, 2, 2, 1, 1], ["d", "b", "c", "b", "c"])
    shared, lost = doubts(train, test)  # a film may show one class in training and another in tests
    assert shared.startswith("note: 2 of 5 test videos are of groups that training shows, such as b: what was filmed")
    assert lost == "note: no training video is of pot, but 2 of 5 test videos are: no answer about these can be right"
    assert doubts(train, made("test", [0, 1], ["d", "e"])) == []
