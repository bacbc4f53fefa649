from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from videossl.datasets.image_folder import image_folder
from videossl.robot.objects import OBJECT_SETS, split
from videossl.robot.things import Shown, SimulateObjects, Studio, photograph, simulate_objects

pytestmark = pytest.mark.skipif(
    find_spec("pybullet") is None, reason="no pybullet, which has wheels for CPython 3.9 to 3.11 alone"
)


def small(out: Path, **changes) -> SimulateObjects:
    return SimulateObjects(**{"out": out, "train": 1, "test": 1, "views": 2, "size": 24, "workers": 1, **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "objects"
    simulate_objects(small(folder))
    return folder


def test_folders_are_read_as_images_with_category_and_instance_and_tests_show_unseen_ones(made):
    train, test = (image_folder(made, train=train) for train in (True, False))
    assert train.classes == sorted(OBJECT_SETS["household"].categories) and len(train) == len(test) == 60
    household = OBJECT_SETS["household"]
    for records, unseen in ((train, False), (test, True)):
        shown = {(records.classes[r["label"]], r["instance"]) for r in records}
        assert len(shown) == 30 and shown <= set(split(household, unseen, 0))
        assert {r["group"] for r in records} == {f"{category} {number}" for category, number in shown}
        assert records[0]["frames"][np.array(0)].shape == (3, 24, 24)


def test_an_instance_has_its_own_look_and_all_else_is_drawn_anew():
    shown = [Shown("test", "mug", number, view, False) for number in (3, 4) for view in (0, 1)]
    studio = Studio(size=24, observe=())
    looks = []
    for one in shown:
        studio.instances = [(one.category, one.number)]
        studio.reset(seed=one.view)
        (thing,) = studio.things
        looks.append((studio.drawn[thing.body].colour, thing.material, thing.mass, studio.light, studio.aside.tolist()))
    studio.close()
    assert looks[0][:3] == looks[1][:3] != looks[2][:3] == looks[3][:3]
    assert looks[0][3:] != looks[1][3:]
    config = small(Path("nowhere"))
    pictures = photograph(config, shown)
    alone = photograph(config, shown[3:])
    assert np.array_equal(pictures[shown[3]], alone[shown[3]])  # whatever was shown before
    assert abs(pictures[shown[0]].astype(int) - pictures[shown[1]]).mean() > 8  # grey levels


def test_plain_pictures_share_one_table_and_show_the_same_things_as_they_lie():
    shown = [Shown("test", "ball", number, 0, False) for number in (3, 4)]
    varied, plain = (photograph(small(Path("nowhere"), plain=on), shown) for on in (False, True))
    (first, last), corner = [plain[one] for one in shown], (slice(0, 4), slice(0, 4))
    grey = [picture[corner].reshape(-1, 3).astype(int) for picture in (first, last)]
    assert all(np.ptp(pixels, axis=1).max() <= 2 for pixels in grey)  # red, green and blue alike
    assert any(np.ptp(varied[one][corner].reshape(-1, 3).astype(int), axis=1).max() > 2 for one in shown)
    assert not np.array_equal(first, last)


def test_it_goes_on_with_the_same_bytes_whoever_works(made, tmp_path):
    simulate_objects(small(tmp_path / "two", workers=2))
    files = sorted(made.rglob("*.*"))
    assert all((tmp_path / "two" / f.relative_to(made)).read_bytes() == f.read_bytes() for f in files)
    lost = tmp_path / "two" / "test/mug" / sorted((made / "test/mug").iterdir())[0].name
    content = lost.read_bytes()
    lost.unlink()
    simulate_objects(small(tmp_path / "two"))
    assert lost.read_bytes() == content


def test_random_things_are_each_a_category_of_their_own_in_other_views(tmp_path):
    simulate_objects(small(tmp_path / "blobs", objects="random_urdfs", train=3))
    train, test = (image_folder(tmp_path / "blobs", train=train) for train in (True, False))
    assert len(train.classes) == 3 and train.classes == test.classes and len(train) == len(test) == 6
    unseen = {f"blob{number:03}" for _, number in split(OBJECT_SETS["random_urdfs"], True, 0)}
    assert set(train.classes) <= unseen and "instance" not in train[0]
    pictures = [cv2.imread(str(path)).tobytes() for path in (tmp_path / "blobs").rglob("*.png")]
    assert len(set(pictures)) == 12


def test_wrong_numbers_and_other_folders_are_refused(made, tmp_path):
    for wrong in ({"train": 0}, {"views": 0}, {"size": 8}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            small(tmp_path, **wrong)
    with pytest.raises(ValueError, match="31 instances are asked for train, but there are 30"):
        small(tmp_path, train=31)
    with pytest.raises(ValueError, match="11 instances are asked for test, but there are 10"):
        small(tmp_path, test=11)
    with pytest.raises(ValueError, match=r"was made with views 2 \(now 3\)"):
        simulate_objects(small(made, views=3))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="choose a new or an empty folder"):
        simulate_objects(small(tmp_path))
