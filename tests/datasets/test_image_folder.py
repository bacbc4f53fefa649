import inspect
import pickle
import time

import numpy as np
import PIL.Image
import pytest
import torch

from videossl.datasets.hmdb51 import hmdb51
from videossl.datasets.image_folder import ImageFile, image_folder, unreadable


@pytest.fixture
def picture():
    """A function that writes a grey image, (h, w) = (12, 16) by default; lossless as PNG."""

    def write(path, grey: int = 100, size: tuple[int, int] = (12, 16)):
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(grey)
        PIL.Image.fromarray(np.uint8(grey + rng.integers(0, 3, (*size, 3)))).save(path)
        return path

    return write


def test_it_is_called_like_the_data_sets_of_videos():
    assert inspect.signature(image_folder) == inspect.signature(hmdb51)


def test_an_image_is_a_video_of_one_frame(picture, tmp_path):
    path = picture(tmp_path / "a.png", 40)
    frames = ImageFile(path)
    pixels = torch.from_numpy(np.asarray(PIL.Image.open(path)).transpose(2, 0, 1).copy())
    assert len(frames) == 1 and torch.equal(frames[np.array(0)], pixels)
    assert frames[np.zeros((2, 3), int)].shape == (2, 3, 3, 12, 16) and frames[[]].shape == (0, 3, 12, 16)
    assert torch.equal(frames[[0, 0]][1], pixels)
    assert torch.equal(pickle.loads(pickle.dumps(frames))[[0]], frames[[0]])
    small = ImageFile(path, (4, 5))[[0]]
    assert small.shape == (1, 3, 4, 5) and abs(small.float().mean() - pixels.float().mean()) < 1
    with pytest.raises(ValueError, match=r"a.png has frames 0 to 0, but 1 was asked for"):
        frames[[1]]
    path.unlink()
    with pytest.raises(FileNotFoundError, match="is not there any more"):
        frames[[0]]


def test_folders_are_classes_at_any_depth_and_there_is_one_list(picture, tmp_path):
    for n, name in enumerate(["kitchen/b.jpg", "kitchen/old/a.PNG", "abbey/v_g03_c01.png", ".trash/x.png"]):
        picture(tmp_path / name, n)
    (tmp_path / "abbey" / "notes.txt").write_text("no image")
    records = image_folder(tmp_path, size=(6, 8))
    assert records.classes == ["abbey", "kitchen"] and records.complete and records.name == tmp_path.name
    assert [(r["name"], r["label"], r["group"]) for r in records] == [
        ("abbey/v_g03_c01.png", 0, "g03"),
        ("kitchen/b.jpg", 1, "kitchen/b.jpg"),
        ("kitchen/old/a.PNG", 1, "kitchen/old/a.PNG"),
    ]
    assert records[2]["frames"][np.array(0)].shape == (3, 6, 8)
    with pytest.raises(ValueError, match="has no test images: sort them into"):
        image_folder(tmp_path, train=False)


def test_images_without_folders_have_no_labels(picture, tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "kitchen" / "b.png")
    records = image_folder(tmp_path)
    assert records.classes == [] and all("label" not in r for r in records) and len(records) == 2


def test_train_and_test_folders_are_the_lists_and_share_their_classes(picture, tmp_path):
    for name in ("train/kitchen/a.png", "train/abbey/a.png", "test/kitchen/a.png", "test/zoo/a.png"):
        picture(tmp_path / name)
    train, test = image_folder(tmp_path), image_folder(tmp_path, train=False)
    assert train.classes == test.classes == ["abbey", "kitchen", "zoo"]
    assert [(r["name"], r["label"]) for r in train] == [("train/abbey/a.png", 0), ("train/kitchen/a.png", 1)]
    assert [(r["name"], r["label"]) for r in test] == [("test/kitchen/a.png", 1), ("test/zoo/a.png", 2)]
    assert (train.part, test.part, test.split) == ("train", "test", None)


def test_names_tell_which_thing_of_its_class_is_shown_and_views_of_one_stay_together(picture, tmp_path):
    uw = ["food_bag/food_bag_2/food_bag_2_1_40_crop.png", "food_bag/food_bag_2/food_bag_2_4_1_crop.png"]
    for n, name in enumerate([*uw, "apple/apple_1/apple_1_1_1_crop.png"]):
        picture(tmp_path / "uw" / name, n)
    picture(tmp_path / "uw" / uw[0].replace("_crop", "_depthcrop")), picture(tmp_path / "uw" / "apple/a_maskcrop.png")
    records = image_folder(tmp_path / "uw")
    assert [(r["label"], r["instance"], r["group"]) for r in records] == [
        (0, 1, "apple 1"),
        (1, 2, "food_bag 2"),
        (1, 2, "food_bag 2"),
    ]
    for name in ("001.ak47/001_0001.jpg", "001.ak47/001_0002.jpg", "002.american-flag/002_0001.jpg"):
        picture(tmp_path / "caltech" / name)
    records = image_folder(tmp_path / "caltech")
    assert records.classes == ["001.ak47", "002.american-flag"] and not any("instance" in r for r in records)
    assert len({r["group"] for r in records}) == 3
    picture(tmp_path / "uw" / "apple" / "other.png")  # one is not told of: none is
    assert not any("instance" in r for r in image_folder(tmp_path / "uw"))


def test_what_is_no_whole_image_is_told_and_never_swapped(picture, tmp_path):
    whole = picture(tmp_path / "a" / "whole.jpg", size=(60, 80)).read_bytes()
    png = picture(tmp_path / "a" / "whole.png", size=(60, 80)).read_bytes()
    (tmp_path / "a" / "empty.jpg").write_bytes(b"")
    (tmp_path / "a" / "text.png").write_text("no image")
    (tmp_path / "a" / "cut.jpg").write_bytes(whole[: len(whole) * 9 // 10])
    (tmp_path / "a" / "cut.png").write_bytes(png[: len(png) // 2])
    (tmp_path / "a" / "padded.jpg").write_bytes(whole + bytes(2000))  # decodes, though it ends in something else
    records = image_folder(tmp_path)
    assert [r["name"] for r in records] == ["a/padded.jpg", "a/whole.jpg", "a/whole.png"] and records.listed == 7
    assert set(records.missing) == {"a/empty.jpg", "a/text.png", "a/cut.jpg", "a/cut.png"}
    assert all(why.startswith("unreadable: ") for why in records.missing.values())
    assert records.missing["a/empty.jpg"] == "unreadable: is empty (0 bytes)"
    assert records.missing["a/text.png"] == "unreadable: is no image"
    assert "truncated" in records.missing["a/cut.jpg"]
    assert "3 of 7 videos (0 not there, 4 unreadable: " in records.summary()
    for record in records:
        assert record["frames"][[0]].shape == (1, 3, 60, 80)


def test_damage_that_shows_only_in_decoding_raises_when_read(picture, tmp_path):
    path = picture(tmp_path / "a.png", size=(60, 80))
    data = bytearray(path.read_bytes())
    data[60:-20] = bytes(len(data) - 80)
    path.write_bytes(bytes(data))
    assert unreadable(path) is None
    with pytest.raises(ValueError, match=r"a.png"):
        image_folder(tmp_path)[0]["frames"][[0]]


def test_looking_at_a_thousand_images_takes_a_second(picture, tmp_path):
    data = picture(tmp_path / "a" / "0.jpg", size=(400, 600)).read_bytes()
    for n in range(1, 1000):
        (tmp_path / "a" / f"{n}.jpg").write_bytes(data)
    begin = time.perf_counter()
    assert len(image_folder(tmp_path)) == 1000
    assert time.perf_counter() - begin < 5  # decoding takes as long for them


def test_bad_input_says_what_to_do(picture, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        image_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds none of the 0 images wanted: give a folder with JPEG or PNG"):
        image_folder(tmp_path)
    picture(tmp_path / "a.png")
    for wrong in ({"split": 2}, {"lists": tmp_path}, {"index": tmp_path / "index.json"}):
        with pytest.raises(ValueError, match=f"has no {next(iter(wrong))}, but .* was given: leave it out"):
            image_folder(tmp_path, **wrong)


def test_what_has_a_caption_and_is_not_there_is_told_and_changes_no_class(picture, tmp_path):
    for number, name in enumerate(("train/a/x.png", "train/b/y.png", "test/a/z.png")):
        picture(tmp_path / name, 40 + number)
    rows = "train/a/x.png,a cup\ntrain/lost.png,a shoe\ntest/a/z.png,a plate\ntrain/a/film.webp,a dog\n"
    (tmp_path / "train/a/film.webp").touch()
    (tmp_path / "metadata.csv").write_text(f"file_name,text\n{rows}")
    records = image_folder(tmp_path)
    assert [(r["name"], r["label"], r.get("caption")) for r in records] == [
        ("train/a/x.png", 0, "a cup"),
        ("train/b/y.png", 1, None),
    ]
    assert records.missing == {
        "train/lost.png": "not there",
        "train/a/film.webp": "unreadable: it has a caption, and is no JPEG or PNG picture",
    }
    assert records.classes == ["a", "b"]
    assert records.summary().endswith(", 1 with a caption")
    assert [r["caption"] for r in image_folder(tmp_path, train=False)] == ["a plate"]
