import numpy as np
import PIL.Image
import pytest
import torch

from videossl.datasets.davis import MaskFolder, davis


@pytest.fixture
def small(tmp_path):
    """Two videos to train and one to validate, of 12 frames: frame n has value 10 n, mask n holds 1 up to column n."""
    root = tmp_path / "small"
    for name in ("bear", "boat", "dog"):
        places = [root / kind / "480p" / name for kind in ("JPEGImages", "Annotations")]
        for place in places:
            place.mkdir(parents=True)
        for n in range(12):
            PIL.Image.fromarray(np.full((8, 16, 3), 10 * n, np.uint8)).save(places[0] / f"{n:05}.jpg", quality=100)
            mask = np.zeros((8, 16), np.uint8)
            mask[:, : n + 1], mask[7, 15] = 1, 255
            image = PIL.Image.fromarray(mask)
            image.putpalette([value for n in range(256) for value in (n, 0, 255 - n)])
            image.save(places[1] / f"{n:05}.png")
    lists = root / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("bear\nboat\n")
    (lists / "val.txt").write_text("dog\n")
    return root


def test_frames_and_masks_are_read_by_number(small):
    train, val = davis(small), davis(small, train=False, size=(4, 6))
    assert [r["name"] for r in train] == ["bear", "boat"] and [r["group"] for r in val] == ["dog"]
    assert train.name == "small train" and val.name == "small val" and train.benchmark is None and val.complete
    frames, masks = val[0]["frames"], val[0]["masks"]
    assert len(frames) == len(masks) == 12 and frames[np.array([11, 2])].shape == (2, 3, 4, 6)
    assert abs(int(frames[np.array(11)][0, 0, 0]) - 110) < 3
    found = masks[np.array([[10, 0], [3, 3]])]
    assert found.shape == (2, 2, 1, 8, 16) and found.dtype == torch.uint8
    assert found[:, :, 0, 0].sum(-1).tolist() == [[11, 1], [4, 4]] and found[..., 7, 15].eq(0).all()  # 255 is nobody's
    assert train[0]["frames"][np.array(0)].shape == (3, 8, 16)


def test_videos_that_are_not_there_or_not_annotated_throughout_are_told(small):
    (small / "ImageSets" / "2017" / "train.txt").write_text("bear\nboat\ncamel\n")
    (small / "Annotations" / "480p" / "boat" / "00003.png").unlink()
    records = davis(small)
    assert [r["name"] for r in records] == ["bear"] and records.listed == 3
    assert records.missing == {"boat": "unreadable: has 12 frames, but 11 masks", "camel": "not there"}
    (small / "ImageSets" / "2017" / "train.txt").write_text("camel\n")
    with pytest.raises(ValueError, match=r"holds none of the 1 videos of .*train.txt \(camel not there\)"):
        davis(small)
    (small / "ImageSets" / "2017" / "train.txt").write_text("bear\nbear\n")
    with pytest.raises(ValueError, match="bear is listed twice"):
        davis(small)


def test_other_arguments_and_folders_are_refused(small):
    with pytest.raises(ValueError, match="davis has no split, but 2 was given"):
        davis(small, split=2)
    with pytest.raises(ValueError, match="davis has no index"):
        davis(small, index="index.json")
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        davis(small / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"train.txt is not there: it should name the videos"):
        davis(small, lists=small)


def test_masks_that_are_no_numbers_or_no_images_are_refused(small):
    place = small / "Annotations" / "480p" / "dog"
    masks = MaskFolder(str(place), 12)
    PIL.Image.new("RGB", (16, 8)).save(place / "00004.png")
    with pytest.raises(ValueError, match=r"dog holds 00004\.png, whose pixels are RGB, but masks are numbers"):
        masks[np.array(4)]
    (place / "00005.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"holds 00005\.png, which cannot be read as an image"):
        masks[np.array(5)]
    PIL.Image.new("P", (16, 9)).save(place / "00006.png")
    with pytest.raises(ValueError, match="has frames of 16x8, but frame 6 has 16x9"):
        masks[np.array([0, 6])]


def test_only_the_official_lists_bear_the_benchmarks_name(small):
    names = (
        "bike-packing blackswan bmx-trees breakdance camel car-roundabout car-shadow cows dance-twirl dog dogs-jump "
        "drift-chicane drift-straight goat gold-fish horsejump-high india judo kite-surf lab-coat libby loading "
        "mbike-trick motocross-jump paragliding-launch parkour pigs scooter-black shooting soapbox"
    )
    path = small / "ImageSets" / "2017" / "val.txt"
    path.write_text(names.replace(" ", "\n"))
    records = davis(small, train=False)
    assert records.name == "DAVIS-2017 val" and records.listed == 30 and len(records.missing) == 29
    path.write_text(names.replace(" ", "\n").removeprefix("bike-packing\n"))
    assert davis(small, train=False).benchmark is None
