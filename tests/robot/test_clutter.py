from importlib.util import find_spec

import numpy as np
import PIL.Image
import pytest
import torchvision

from videossl.datasets.voc import voc
from videossl.robot.clutter import PLACE, VOID, SimulateClutter, aimed, photograph, seen, simulate_clutter
from videossl.robot.objects import OBJECT_SETS

pytestmark = pytest.mark.skipif(
    find_spec("pybullet") is None, reason="no pybullet, which has wheels for CPython 3.9 to 3.11 alone"
)


def small(out, **changes) -> SimulateClutter:
    return SimulateClutter(**{"out": out, "train": 4, "test": 3, "size": 64, "workers": 1, **changes})


def contents(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated") / "clutter"
    simulate_clutter(small(folder))
    return folder


def test_it_is_read_as_voc_and_boxes_hold_the_masks(made):
    train, test = voc(made), voc(made, train=False)
    assert [len(train), len(test)] == [4, 3] and train.complete and train.benchmark is None
    assert train.classes == test.classes == sorted(OBJECT_SETS["household"].categories)
    for number, record in enumerate([*train, *test], 1):
        scene = photograph(small(None), number)
        assert np.array_equal(record["segmentation"][np.array(0)][0].numpy(), scene.classes)
        assert np.allclose(np.asarray(record["depth"])[0], scene.depth / 1000)
        assert 1 <= len(record["things"]) <= 5 and (record["boxes"] >= 0).all() and (record["boxes"] <= 1).all()
        for n, (box, thing) in enumerate(zip(record["boxes"] * 64, record["things"], strict=True), 1):
            rows, columns = np.nonzero(scene.objects == n)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert (scene.classes[rows, columns] == 1 + thing).all()
        shown = record["frames"][np.array(0)].permute(1, 2, 0).numpy().astype(int)
        assert np.abs(shown - scene.picture).mean() < 6


def test_torchvision_reads_it(made):
    for part, count in (("trainval", 4), ("test", 3)):
        boxes = torchvision.datasets.VOCDetection(str(made), "2007", part)
        masks = torchvision.datasets.VOCSegmentation(str(made), "2007", part)
        assert len(boxes) == len(masks) == count
        picture, told = boxes[0]
        assert picture.size == masks[0][1].size == (64, 64) and told["annotation"]["object"][0]["bndbox"]["xmin"]


def test_depth_is_known_where_something_is_and_things_have_a_void_around_them():
    scene = photograph(small(None), 1)
    known = scene.depth > 0
    assert scene.depth[known].min() > 400 and scene.depth[known].max() < 2500 and known.mean() > 0.8
    assert all(np.array_equal(scene.classes == n, scene.objects == n) for n in (0, VOID))
    things = (scene.objects > 0) & (scene.objects < VOID)
    for moved in (np.roll(things, 1, 0), np.roll(things, -1, 1)):
        assert (scene.objects[moved] > 0).all()
    assert 0 < (scene.objects == VOID).sum() < things.sum()


def test_flags_tell_what_is_cut_off_and_what_is_hidden():
    alone = np.zeros((20, 20), bool)
    alone[4:14, 5:15] = True
    assert seen("mug", alone, alone) == ("mug", (6, 5, 15, 14), False, False, False)
    half, bit = alone.copy(), alone.copy()
    half[:, 10:], bit[:, 7:] = False, False
    assert seen("mug", half, alone) == ("mug", (6, 5, 10, 14), False, True, False)
    assert seen("mug", bit, alone) == ("mug", (6, 5, 7, 14), False, True, True)
    alone[4:14, 15:] = True
    assert seen("mug", alone, alone)[1:3] == ((6, 5, 20, 14), True)


def test_tests_show_unseen_instances_of_the_categories_asked_for(made, tmp_path):
    config = small(tmp_path / "two", categories=("mug", "book"), train=2, test=2)
    simulate_clutter(config)
    train = voc(config.out)
    assert train.classes == ["book", "mug"]
    masks = np.stack([r["segmentation"][np.array(0)].numpy() for r in [*train, *voc(config.out, train=False)]])
    assert set(np.unique(masks)) <= {0, 1, 2, 255} and {1, 2} & set(np.unique(masks))
    lists = {p.name: p.read_text() for p in (config.out / PLACE / "ImageSets" / "Main").iterdir()}
    assert set(lists) == {f"{c}{part}.txt" for c in ("", "book_", "mug_") for part in ("trainval", "test")}
    for number, record in enumerate(train):
        for label, name in enumerate(train.classes):
            mine = record["difficult"][record["things"] == label]
            flag = int(lists[f"{name}_trainval.txt"].splitlines()[number].split()[1])
            assert flag == (-1 if len(mine) == 0 else 0 if mine.all() else 1)


def test_the_same_bytes_for_any_workers_and_after_an_interruption(made, tmp_path):
    simulate_clutter(small(tmp_path / "two", workers=2))
    assert contents(tmp_path / "two") == contents(made)
    (tmp_path / "two" / PLACE / "JPEGImages" / "000003.jpg").unlink()
    (tmp_path / "two" / PLACE / "ImageSets" / "Main" / "test.txt").unlink()
    simulate_clutter(small(tmp_path / "two"))
    assert contents(tmp_path / "two") == contents(made)
    with pytest.raises(ValueError, match=r"was made with seed 0 \(now 1\)"):
        simulate_clutter(small(tmp_path / "two", seed=1))


def test_masks_have_vocs_palette_and_cameras_look_down(made):
    with PIL.Image.open(made / PLACE / "SegmentationClass" / "000001.png") as image:
        assert image.mode == "P" and image.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
        assert image.getpalette()[-3:] == [224, 224, 192]  # VOC's void
    for seed in range(20):
        eye = aimed(np.random.default_rng(seed), 64).pose[:3, 3]
        assert eye[2] > 0.3 and 0.5 < np.linalg.norm(eye) < 0.95


def test_what_cannot_be_made_is_refused(tmp_path):
    for wrong in ({"train": 0}, {"test": 0}, {"size": 16}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            small(tmp_path, **wrong)
    with pytest.raises(ValueError, match="there is no category 'cow'; there are: "):
        small(tmp_path, categories=("mug", "cow"))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="choose a new or an empty folder"):
        simulate_clutter(small(tmp_path))
