import shutil
from importlib.util import find_spec
from pathlib import Path

import cv2
import joblib
import numpy as np
import pytest

from videossl.robot import outputs, scenes
from videossl.robot.scenes import SCENES, SimulateScenes, show_scene, simulate_scenes

pytestmark = pytest.mark.skipif(
    find_spec("pybullet") is None, reason="no pybullet, which has wheels for CPython 3.9 to 3.11 alone"
)
FEW = ("alley", "bridge", "park")


def small(out, **changes) -> SimulateScenes:
    return SimulateScenes(**{"out": out, "train": 1, "test": 1, "size": (24, 32), "workers": 1, **changes})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.fixture
def few(monkeypatch):
    """Three categories, to be quick; this process's, so for one worker."""
    kept = {name: SCENES[name] for name in FEW}
    monkeypatch.setattr(scenes, "SCENES", kept)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "scenes"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "SCENES", {name: SCENES[name] for name in FEW})
        simulate_scenes(small(folder))
    return folder


def test_the_layout_is_that_of_sun397(made):
    assert lines(made / "ClassName.txt") == ["/a/alley", "/b/bridge", "/p/park"]
    train, test = lines(made / "Training_01.txt"), lines(made / "Testing_01.txt")
    assert not set(train) & set(test)
    files = {"/" + str(p.relative_to(made)) for p in made.rglob("*.jpg")}
    assert files == set(train) | set(test) and len(files) == 6
    for names in (train, test):
        assert [name.rsplit("/", 1)[0] for name in names] == lines(made / "ClassName.txt")
        for name in names:
            assert name.rsplit("/", 1)[1].startswith("sun_") and len(Path(name).stem) == 19
            assert cv2.imread(str(made / name[1:])).shape == (24, 32, 3)


def test_it_goes_on_with_the_same_bytes(made, few, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(made, out)
    kept, *_, lost = sorted(out.rglob("*.jpg"))
    lost.with_name(lost.name + ".part").write_bytes(b"half a picture")  # what is left when killed
    lost.unlink()
    (out / "Testing_01.txt").unlink()
    before = kept.stat().st_mtime_ns
    simulate_scenes(small(out))
    assert contents(out) == contents(made)
    assert kept.stat().st_mtime_ns == before


def test_pictures_depend_on_neither_workers_nor_other_categories(made, tmp_path):
    config = small(tmp_path, workers=2)
    for name in FEW:
        (tmp_path / name[0] / name).mkdir(parents=True)
    jobs = [joblib.delayed(scenes._show)(config, name, picture) for name in FEW for picture in (0, 1)]
    outputs.run_jobs(jobs, len(jobs), 0, 2, "pictures")  # in processes that know all categories
    assert contents(tmp_path) == {name: file for name, file in contents(made).items() if name.endswith(".jpg")}


@pytest.mark.parametrize("scene", SCENES)
def test_every_category_is_shown_with_texture(scene):
    image = show_scene(small("nowhere", size=(32, 48)), scene, 0)
    assert image.shape == (32, 48, 3) and image.dtype == np.uint8
    grey = image.mean(-1)
    assert grey.std() > 8 and abs(np.diff(grey, axis=1)).mean() > 1.5  # grey levels


def test_every_picture_has_a_world_of_its_own():
    pictures = [show_scene(small("nowhere", seed=seed), "park", n) for seed, n in ((0, 0), (0, 1), (1, 0))]
    for a in range(3):
        for b in range(a):
            assert abs(pictures[a].astype(int) - pictures[b]).mean() > 8


def test_another_config_or_folder_is_left_alone(made, few, tmp_path):
    with pytest.raises(ValueError, match=r"was made with test 1 \(now 2\): ask for the same"):
        simulate_scenes(small(made, test=2))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="choose a new or an empty folder"):
        simulate_scenes(small(tmp_path))
    with pytest.raises(FileExistsError, match="is a file"):
        simulate_scenes(small(tmp_path / "notes.txt"))


@pytest.mark.parametrize("wrong", [{"train": 0}, {"test": 0}, {"size": (8, 40)}, {"seed": -1}])
def test_wrong_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        small(tmp_path, **wrong)


def test_our_own_reader_gives_the_categories(made):
    from videossl.datasets.sun397 import sun397

    train, test = (sun397(made, train=train) for train in (True, False))
    assert [record["label"] for record in train] == [record["label"] for record in test] == [0, 1, 2]
    assert train[0]["frames"][np.arange(1)].shape == (1, 3, 24, 32)
