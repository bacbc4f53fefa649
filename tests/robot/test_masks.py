from importlib.util import find_spec

import numpy as np
import PIL.Image
import pytest

from videossl.datasets.davis import davis
from videossl.evaluation.features import Encoder
from videossl.evaluation.propagation import Propagation
from videossl.models.small import Small
from videossl.robot import masks as simulated
from videossl.robot.actions import Stage
from videossl.robot.masks import SimulateMasks, film, palette, simulate_masks

pytestmark = pytest.mark.skipif(
    find_spec("pybullet") is None, reason="no pybullet, which has wheels for CPython 3.9 to 3.11 alone"
)


def small(out, **changes) -> SimulateMasks:
    return SimulateMasks(**{"out": out, "train": 2, "val": 2, "frames": 4, "size": 48, "workers": 1, **changes})


def contents(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated") / "masks"
    simulate_masks(small(folder))
    return folder


def test_it_is_read_as_davis_and_masks_are_the_films(made):
    train, val = davis(made), davis(made, train=False)
    assert (
        [r["name"] for r in train] == ["backflip-000", "cartwheel-001"] and train.complete and train.benchmark is None
    )
    assert [r["name"] for r in val] == ["crawl-002", "dancea-003"]
    for number, record in enumerate([*train, *val]):
        video, masks = film(small(made), number)
        frames = np.arange(4)
        assert np.array_equal(record["masks"][frames][:, 0].numpy(), masks) and masks[0].max() >= 1
        luma = np.array([0.299, 0.587, 0.114])  # which JPEG keeps best
        shown = record["frames"][frames].permute(0, 2, 3, 1).numpy() @ luma
        assert np.abs(shown - video @ luma).mean() < 4


def test_masks_tell_the_actor_and_each_thing_that_moves_about():
    stage = Stage(small(None).staged(), 3)
    video, masks = stage.film_with_masks("Walk", 1)
    again = stage.film_with_masks("Walk", 1)  # bodies are numbered anew by the renderer
    assert np.array_equal(again[0], video) and np.array_equal(again[1], masks)
    assert np.array_equal(stage.film("Walk", 1), video)
    assert masks.max() >= 2 and (masks == 1).any((1, 2)).all()
    colours = {
        label: video[masks == label].std(0).mean() for label in range(2, masks.max() + 1) if (masks == label).sum() > 20
    }
    assert colours and all(spread < 40 for spread in colours.values())  # each is of one colour, shaded


def test_things_are_numbered_by_what_the_first_frame_shows_enough_of(monkeypatch):
    masks = np.zeros((3, 48, 48), np.uint8)
    masks[0, :10, :10], masks[0, 20, 20], masks[0, 30:40] = 1, 2, 4
    masks[1:, 5:9, 5:9], masks[1:, 20:30, 20:30], masks[1:, 30:] = 1, 2, 3
    monkeypatch.setattr(simulated.Stage, "film_with_masks", lambda self, action, clip: (None, masks))
    found = film(small(None), 0)[1]
    assert np.array_equal(np.unique(found[0]), [0, 1, 2]) and (found[0, 30:40] == 2).all() and found[0, 20, 20] == 0
    assert (found[1] == 1).sum() == 16 and (found[1] > 1).sum() == 0


def test_the_same_bytes_for_any_workers_and_after_an_interruption(made, tmp_path):
    simulate_masks(small(tmp_path / "two", workers=2))
    assert contents(tmp_path / "two") == contents(made)
    frames = tmp_path / "two" / "JPEGImages" / "480p" / "crawl-002"
    frames.rename(frames.with_name("crawl-002.part"))  # stopped before it was whole
    (tmp_path / "two" / "ImageSets" / "2017" / "val.txt").unlink()
    simulate_masks(small(tmp_path / "two"))
    assert contents(tmp_path / "two") == contents(made)
    with pytest.raises(ValueError, match="was made with"):
        simulate_masks(small(tmp_path / "two", seed=1))


def test_the_palette_is_davis(made):
    assert palette()[:18] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 128, 0, 128]
    assert palette()[3 * 8 : 3 * 9] == [64, 0, 0] and len(palette()) == 768
    with PIL.Image.open(made / "Annotations" / "480p" / "crawl-002" / "00000.png") as image:
        assert image.mode == "P" and image.getpalette()[:6] == [0, 0, 0, 128, 0, 0]


def test_labels_are_propagated_on_it(made):
    trunk = Small(length=1, width=8, size=48).build()
    scores = Propagation(stage=0).score(Encoder(trunk, progress=False), [], davis(made, train=False, size=(48, 48)))
    assert scores.evaluated == 2 and 0 < scores.metrics["J&F"] < 1 and 0 < scores.metrics["chance J&F"] < 1


def test_what_cannot_be_made_is_refused(tmp_path):
    with pytest.raises(ValueError, match="3 frames or more"):
        small(tmp_path, frames=2)
    with pytest.raises(ValueError, match="the videos need an even one"):
        small(tmp_path, size=47)
