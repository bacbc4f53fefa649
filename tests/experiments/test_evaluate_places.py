"""Detection, segmentation and depth, from a folder in VOC's layout to a table."""

import dataclasses

import numpy as np
import PIL.Image
import pytest

from videossl.evaluation.depth import Depth
from videossl.evaluation.detection import Detection
from videossl.evaluation.segmentation import Segmentation
from videossl.experiments.data import Videos
from videossl.experiments.devices import Devices
from videossl.experiments.evaluate import Evaluate, score
from videossl.experiments.pretrain import Pretrain, pretrain
from videossl.experiments.results import print_table, read_results
from videossl.methods.rotation import Rotation
from videossl.models.small import Small

XML = """<annotation><size><width>32</width><height>32</height></size><object><name>{}</name><difficult>0</difficult>
<bndbox><xmin>{}</xmin><ymin>9</ymin><xmax>{}</xmax><ymax>24</ymax></bndbox></object></annotation>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six pictures to train and four to test: a light square, a cat or a dog, before a dark wall."""
    root = tmp_path_factory.mktemp("pictures") / "squares"
    for kind in ("JPEGImages", "Annotations", "SegmentationClass", "Depth", "ImageSets/Main"):
        (root / kind).mkdir(parents=True)
    for n in range(10):
        name, left, thing = f"{n:06}", 2 + n, ("cat", "dog")[n % 2]
        mask = np.zeros((32, 32), np.uint8)
        mask[8:24, left : left + 16] = 1 + n % 2
        pictures = {
            f"JPEGImages/{name}.jpg": 50 + 80 * mask,
            f"SegmentationClass/{name}.png": mask,
            f"Depth/{name}.png": np.where(mask > 0, 900, 1500).astype(np.uint16),
        }
        for path, values in pictures.items():
            PIL.Image.fromarray(values).save(root / path)
        (root / "Annotations" / f"{name}.xml").write_text(XML.format(thing, left + 1, left + 16))
    lists = {"trainval": range(6), "test": range(6, 10)}
    for part, numbers in lists.items():
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{n:06}\n" for n in numbers))
        for thing in ("cat", "dog"):
            (root / "ImageSets" / "Main" / f"{thing}_{part}.txt").write_text("")
    return root


@pytest.fixture(scope="module")
def config(folder, tmp_path_factory) -> Evaluate:
    data = Videos(folder, "voc", size=(32, 32))
    out = tmp_path_factory.mktemp("runs") / "learned"
    trunk, engine = Small(length=1, width=4, size=32), Devices(accelerator="cpu")
    run = pretrain(
        Pretrain(data, out, method=Rotation(), trunk=trunk, steps=2, batch=4, log=2, save=2, workers=0, engine=engine)
    )
    return Evaluate(
        (str(run), "random"),
        data,
        out=out / "evaluation",
        workers=0,
        detection=Detection(steps=2, batch=2, width=8, regions=16),
        segmentation=Segmentation(steps=2, batch=4, width=8),
        depth=Depth(steps=2, batch=4, width=8),
        engine=engine,
    )


def test_all_three_are_asked_of_a_folder_that_has_boxes_masks_and_depth(config, capsys):
    results = score(config)
    assert [r["asked"]["name"] for r in results] == 2 * ["detection", "segmentation", "depth"]
    assert len(read_results(config.out)) == 6
    for result in results:
        assert result["dataset"]["title"] == "squares" and result["dataset"]["complete"]
        assert all(np.isfinite(value) for value in result["metrics"].values())
    print_table(results)
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("AP50 11-point", "mIoU", "abs rel")) and "IoU dog" in results[1]["metrics"]
    assert score(config) == results  # read from the disk


def test_a_folder_without_masks_is_told_so(config, folder, tmp_path):
    for kind in ("JPEGImages", "Annotations", "ImageSets"):
        (tmp_path / kind).symlink_to(folder / kind)
    data = Videos(tmp_path, "voc", size=(32, 32))
    plan = dataclasses.replace(config, data=data, out=tmp_path / "out", protocols=("segmentation",))
    with pytest.raises(ValueError, match='Segmentation needs "segmentation" of each video, but 000000 has none'):
        score(plan)
    with pytest.raises(ValueError, match='Depth needs "depth" of each video, but 000000 has none'):
        score(dataclasses.replace(plan, protocols=("depth",)))
    results = score(dataclasses.replace(plan, trunks=plan.trunks[:1], protocols=()))
    assert [r["asked"]["name"] for r in results] == ["detection"]
