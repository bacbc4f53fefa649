import numpy as np
import PIL.Image
import pytest
import torch

from videossl.datasets import voc as module
from videossl.datasets.voc import ClassFile, DepthFile, nearest, voc

OBJECT = """<object><name>{}</name><pose>Left</pose><truncated>1</truncated><occluded>1</occluded>
<difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>"""
NAMES = {"trainval": ["000005", "000007"], "test": ["000001"]}


def annotate(place, name: str, *things: tuple) -> None:
    size = "<size><width>16</width><height>8</height><depth>3</depth></size>"
    things = "".join(OBJECT.format(*thing) for thing in things)
    (place / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{things}</annotation>")


@pytest.fixture
def small(tmp_path):
    """Two pictures to train and one to test, of 16 by 8 pixels, in VOC's own folders; the last has no mask."""
    place = tmp_path / "small" / "VOCdevkit" / "VOC2007"
    for kind in ("JPEGImages", "Annotations", "SegmentationClass", "Depth", "ImageSets/Main"):
        (place / kind).mkdir(parents=True)
    for part, names in NAMES.items():
        (place / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            PIL.Image.new("RGB", (16, 8), (10 * int(name[-1]),) * 3).save(place / "JPEGImages" / f"{name}.jpg")
            annotate(place, name, ("dog", 0, 1, 1, 16, 8), ("person", 1, 5, 3, 8, 4))
    for name in NAMES["trainval"]:
        mask = np.zeros((8, 16), np.uint8)
        mask[2:4, 4:8], mask[7] = 15, 255
        image = PIL.Image.fromarray(mask)
        image.putpalette([value for n in range(256) for value in (n, 0, 255 - n)])
        image.save(place / "SegmentationClass" / f"{name}.png")
        depth = np.full((8, 16), 1500, np.uint16)
        depth[0], depth[1] = 0, 40_000
        PIL.Image.fromarray(depth).save(place / "Depth" / f"{name}.png")
    return tmp_path / "small"


def test_pictures_have_boxes_and_flags_masks_and_depth(small):
    train, test = voc(small), voc(small, train=False, size=(4, 6))
    assert [r["name"] for r in train] == NAMES["trainval"] and [r["group"] for r in test] == ["000001"]
    assert train.name == "small trainval" and train.benchmark is None and train.complete
    assert len(train.classes) == 20 and train.classes[11] == "dog" and train.classes[14] == "person"
    record = train[1]
    assert record["things"].tolist() == [11, 14] and record["difficult"].tolist() == [False, True]
    # The first is all of the picture; the second, columns 5 to 8 and rows 3 to 4, counted from 1.
    assert record["boxes"].tolist() == [[0, 0, 1, 1], [4 / 16, 2 / 8, 8 / 16, 4 / 8]]
    assert record["frames"][np.array(0)].shape == (3, 8, 16) and int(record["frames"][np.array(0)].max()) == 70
    mask = record["segmentation"][np.array([0])]
    assert mask.shape == (1, 1, 8, 16) and mask.dtype == torch.uint8
    assert (mask == 15).sum() == 8 and (mask[0, 0, 2:4, 4:8] == 15).all() and (mask == 255).sum() == 16
    assert "segmentation" not in test[0] and "depth" not in test[0]
    assert test[0]["frames"][np.array(0)].shape == (3, 4, 6)


def test_depth_is_in_metres_and_scaled_without_mixing(small):
    depth = voc(small)[0]["depth"]
    assert len(depth) == 1 and depth[np.array([0])].shape == (1, 8, 16) and depth[np.array(0)].dtype == torch.float32
    assert depth[np.array(0)][:3, 0].tolist() == [0, 40, 1.5]
    assert np.asarray(depth).shape == (1, 8, 16)  # as other records have it
    scaled = voc(small, size=(4, 4))[0]["depth"]
    assert set(scaled[np.array(0)].unique().tolist()) <= {0, 40, 1.5} and np.asarray(scaled).shape == (1, 4, 4)
    values = np.arange(12).reshape(3, 4)
    assert np.array_equal(nearest(values, (3, 4)), values)
    assert np.array_equal(nearest(values, (6, 8)), values.repeat(2, 0).repeat(2, 1))
    assert nearest(values, (1, 2)).tolist() == [[5, 7]]


def test_the_folder_may_be_any_of_the_three_and_lists_name_the_classes(small):
    place = small / "VOCdevkit" / "VOC2007"
    assert [len(voc(root)) for root in (small, small / "VOCdevkit", place)] == [2, 2, 2]
    for name in ("person", "dog"):
        (place / "ImageSets" / "Main" / f"{name}_trainval.txt").write_text("000005  1\n000007 -1\n")
    assert voc(small).classes == ["dog", "person"] and voc(small)[0]["things"].tolist() == [0, 1]
    (place / "ImageSets" / "Main" / "person_trainval.txt").unlink()
    with pytest.raises(ValueError, match=r"000005.xml names a person, but the classes are dog"):
        voc(small)


def test_pictures_that_are_not_there_or_not_readable_are_told_and_an_annotation_may_be_missing(small):
    place = small / "VOCdevkit" / "VOC2007"
    (place / "ImageSets" / "Main" / "trainval.txt").write_text("000005\n000007\n000009\n000012\n")
    (place / "Annotations" / "000005.xml").write_text("<annotation>")
    (place / "Annotations" / "000007.xml").unlink()
    records = voc(small)
    assert [r["name"] for r in records] == ["000007"] and "boxes" not in records[0] and records.listed == 4
    assert records.missing["000009"] == "not there" and "is no XML" in records.missing["000005"]
    (place / "ImageSets" / "Main" / "trainval.txt").write_text("000009\n")
    with pytest.raises(ValueError, match="holds none of the 1 images wanted"):
        voc(small)
    annotate(place, "000001")
    assert voc(small, train=False)[0]["boxes"].shape == (0, 4)
    annotate(place, "000001", ("cat", 0, 9, 3, 8, 4))
    with pytest.raises(ValueError, match=r"000001.xml has a cat whose box ends before it begins: 9.0 to 8.0"):
        voc(small, train=False)


def test_other_arguments_and_folders_are_refused(small, tmp_path):
    with pytest.raises(ValueError, match="voc has no split, but 2 was given"):
        voc(small, split=2)
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        voc(small / "nowhere")
    with pytest.raises(FileNotFoundError, match="has no JPEGImages"):
        voc(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"trainval.txt is not there: it should name the pictures"):
        voc(small, lists=small)


def test_masks_and_depth_that_are_no_numbers_are_refused(tmp_path):
    path = tmp_path / "mask.png"
    PIL.Image.new("RGB", (4, 4)).save(path)
    for kind, modes in ((ClassFile, "P or L"), (DepthFile, "I;16 or I")):
        with pytest.raises(ValueError, match=f"mask.png has pixels of mode RGB, but numbers are needed: {modes}"):
            kind(str(path))[np.array(0)]
    path.write_bytes(b"none")
    with pytest.raises(ValueError, match="cannot be read as an image"):
        ClassFile(str(path))[np.array(0)]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        DepthFile(str(path))[np.array(0)]


def test_only_official_lists_bear_the_benchmarks_name(small, monkeypatch):
    assert voc(small).benchmark is None and [len(known) for known in module.OFFICIAL.values()] == [2, 2]
    digest = module.hashlib.sha256(b"000005\n000007").hexdigest()
    monkeypatch.setitem(module.OFFICIAL, "trainval", {digest: "VOC2007"})
    assert voc(small).name == "VOC2007 trainval" and voc(small).benchmark == "VOC2007"
    assert voc(small, train=False).benchmark is None
