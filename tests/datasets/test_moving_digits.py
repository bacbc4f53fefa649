import gzip
import pickle
from itertools import pairwise

import numpy as np
import pytest

from videossl.datasets import moving_digits as module
from videossl.datasets.moving_digits import FRAMES, STEP, MovingDigits, bounce, digit_pictures, glide, moving_digits

FEW = {True: 200, False: 60}  # videos: measuring the motion of all takes seconds


@pytest.fixture(scope="module", autouse=True)
def few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "VIDEOS", FEW)
        yield


@pytest.fixture(scope="module")
def two():
    return moving_digits(split=2)


def whole(record: dict) -> np.ndarray:
    """All frames, one channel: (frames, H, W) uint8."""
    return record["frames"][np.arange(len(record["frames"]))][:, 0].numpy()


def test_frames_are_grey_and_drawn_for_an_index_of_any_shape(two):
    frames = two[0]["frames"]
    assert len(frames) == FRAMES
    picked = frames[np.array([[3, 0], [99, 3]])]
    assert picked.shape == (2, 2, 3, 64, 64) and picked.dtype.is_floating_point is False
    assert (picked == picked[:, :, :1]).all()
    assert (picked[0, 0] == frames[np.array(3)]).all() and (picked[1, 1] == frames[np.array(3)]).all()
    assert (pickle.loads(pickle.dumps(frames))[np.arange(5)] == frames[np.arange(5)]).all()


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (55, 73)])
def test_every_frame_shows_whole_digits_inside_the_canvas(size):
    solid = np.full((1, 9, 9), 200, np.uint8)
    for seed in range(50):
        frames = MovingDigits(solid, glide(np.random.default_rng(seed), 1), size)
        drawn = frames.draw(np.arange(FRAMES))
        assert drawn.shape == (FRAMES, *size)
        assert ((drawn == 200).sum((1, 2)) == 81).all()  # none is cut by a wall


def test_no_digit_moves_faster_than_the_release_lets_it(two):
    room = 64 - 28
    for record in two[:50]:
        corners = (record["frames"].places * room).astype(int)
        assert corners.min() >= 0 and corners.max() <= room
        steps = np.linalg.norm(np.diff(corners, axis=0), axis=-1)
        assert steps.max() <= STEP * room + 2**0.5  # both coordinates are rounded down: a pixel each
        assert np.abs(np.diff(corners, axis=0)).max() <= STEP * room + 1


def test_a_wall_stops_a_digit_and_turns_it_round():
    np.testing.assert_allclose(bounce(0.75, 0.1)[:5], [0.85, 0.95, 1.0, 0.9, 0.8])
    np.testing.assert_allclose(bounce(0.12, -0.1)[:4], [0.02, 0.0, 0.1, 0.2])


def test_digits_start_anywhere_in_any_direction_at_one_speed():
    places = np.stack([glide(np.random.default_rng(seed), 1)[:, 0] for seed in range(1000)])  # (1000, frames, 2)
    first = places[:, 0]
    assert np.abs(first.mean(0) - 0.5).max() < 0.04 and first.min() < 0.02 and first.max() > 0.98
    steps = np.diff(places[:, :2], axis=1)[:, 0]
    free = ((places[:, :2] > 0) & (places[:, :2] < 1)).all((1, 2))
    np.testing.assert_allclose(np.linalg.norm(steps[free], axis=-1), STEP, rtol=1e-4)
    angles = np.histogram(np.arctan2(*steps[free].T), 8, (-np.pi, np.pi))[0]
    assert angles.min() > 0.6 * free.sum() / 8


def test_where_digits_meet_the_brighter_pixel_is_seen():
    pictures = np.stack([np.full((4, 4), 100, np.uint8), np.full((4, 4), 200, np.uint8)])
    places = np.zeros((1, 2, 2), np.float32)
    places[0, 1] = [0, 2 / 12]  # two pixels to the right
    drawn = MovingDigits(pictures, places, (16, 16)).draw(np.array([0]))[0]
    assert drawn[0, :6].tolist() == [100, 100, 200, 200, 200, 200] and drawn.sum() == 4 * (2 * 100 + 4 * 200)


@pytest.mark.parametrize("split", [1, 2, 3])
def test_the_split_says_how_many_digits_a_video_shows(split):
    records = moving_digits(split=split, train=False)
    assert {record["frames"].pictures.shape for record in records} == {(split, 28, 28)}
    assert all(("label" in record) == (split == 1) for record in records)
    assert records.classes == ([str(digit) for digit in range(10)] if split == 1 else [])
    assert f"split {split} test" in records.name and records.complete
    assert all(whole(record).max((1, 2)).min() > 100 for record in records)  # no frame is empty


def test_one_digit_videos_are_labelled_with_their_digit():
    digits, labels = digit_pictures(None, train=True)
    known = {moving.tobytes(): label for moving, label in zip(digits, labels, strict=True)}
    assert len(known) == len(digits)
    records = moving_digits(split=1, size=(18, 18))  # digits of 8 pixels, as scikit-learn's are
    assert all(known[record["frames"].pictures[0].tobytes()] == record["label"] for record in records)
    counts = np.bincount([record["label"] for record in records])
    expected = np.bincount(labels) / len(labels) * len(records)
    assert (np.abs(counts - expected) < 4 * expected**0.5).all()


def test_no_picture_is_in_both_parts_nor_in_two_groups():
    owners = {}
    for train in (True, False):
        for record in moving_digits(split=3, train=train):
            for picture in record["frames"].pictures:
                owners.setdefault(picture.tobytes(), set()).add(record["group"])
    assert len(owners) > 400 and all(len(groups) == 1 for groups in owners.values())
    assert len({next(iter(groups)) for groups in owners.values()}) == 40


def test_the_same_videos_come_again_and_no_two_are_the_same(two):
    again = moving_digits(split=2)
    assert [r["name"] for r in two] == [r["name"] for r in again]
    assert all((whole(a) == whole(b)).all() for a, b in zip(two[:20], again[:20], strict=True))
    assert len({r["frames"].places.tobytes() for r in (*two, *moving_digits(split=2, train=False))}) == sum(
        FEW.values()
    )


def test_motion_is_the_mean_change_between_frames(two):
    record = two[0]
    assert record["motion"].shape == (FRAMES - 1,) and record["motion"].dtype == np.float32
    small = moving_digits(split=2, size=(32, 32))[0]
    drawn = whole(small).astype(float)
    expected = [np.abs(b - a).mean() for a, b in pairwise(drawn)]
    np.testing.assert_allclose(small["motion"], expected, rtol=1e-5)
    np.testing.assert_array_equal(record["motion"], small["motion"])  # whatever the size


def idx(array: np.ndarray) -> bytes:
    head = bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def files(tmp_path):
    """A folder with made digits in MNIST's format: `t10k` plain, or both parts with `train` packed."""
    rng = np.random.default_rng(0)

    def make(*parts):
        for part in parts:
            for name, array in (
                ("images-idx3", rng.integers(256, size=(200, 28, 28))),
                ("labels-idx1", np.arange(200) % 10),
            ):
                path = tmp_path / f"{part}-{name}-ubyte"
                if part == "train":
                    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(idx(array)))
                else:
                    path.write_bytes(idx(array))
        return tmp_path

    return make


def test_of_one_part_of_mnist_a_fifth_tests(files):
    root = files("t10k")
    (train, labels), (test, _) = digit_pictures(root, True), digit_pictures(root, False)
    assert (len(train), len(test)) == (160, 40) and labels[:5].tolist() == [0, 1, 2, 3, 5]
    assert not {p.tobytes() for p in train} & {p.tobytes() for p in test}


def test_of_both_parts_each_is_itself(files):
    root = files("train", "t10k")
    assert [len(digit_pictures(root, train)[0]) for train in (True, False)] == [200, 200]
    assert not np.array_equal(digit_pictures(root, True)[0], digit_pictures(root, False)[0])
    assert moving_digits(root, split=1)[0]["frames"].pictures.shape == (1, 28, 28)


def test_mnists_own_files_are_read(shared):
    train, test = (moving_digits(shared / "mnist", split=1, train=part) for part in (True, False))
    assert train.series == "moving digits (mnist)" and len(train) == FEW[True] and len(test) == FEW[False]
    pools = [digit_pictures(shared / "mnist", part)[1] for part in (True, False)]
    assert [len(pool) for pool in pools] == [8000, 2000]
    assert [int((np.concatenate(pools) == digit).sum()) for digit in (0, 1, 5)] == [980, 1135, 892]  # of the test part


def test_what_cannot_be_made_is_refused_in_words(tmp_path):
    for arguments, reason in [
        ({"split": 4}, "1, 2 or 3"),
        ({"size": (64, 12)}, "16 pixels a side"),
        ({"lists": "lists"}, "leave them out"),
        ({"index": "index.json"}, "leave them out"),
    ]:
        with pytest.raises(ValueError, match=reason):
            moving_digits(**arguments)
    with pytest.raises(FileNotFoundError, match="leave root out for scikit-learn's digits"):
        moving_digits(tmp_path)


def test_damaged_files_are_named(files):
    root = files("train", "t10k")
    packed = root / "train-images-idx3-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz is damaged"):
        moving_digits(root)
    packed.unlink()
    plain, labels = root / "t10k-images-idx3-ubyte", root / "t10k-labels-idx1-ubyte"
    content = plain.read_bytes()
    for bad, reason in [
        (content[:-1], "should hold 156800 bytes"),
        (b"GIF8" + content[4:], "no IDX file"),
        (idx(np.zeros((199, 28, 28))), "holds 199 digits and .* 200 labels"),
    ]:
        plain.write_bytes(bad)
        with pytest.raises(ValueError, match=reason):
            moving_digits(root)
    plain.write_bytes(idx(np.zeros((20, 28, 28))))
    labels.write_bytes(idx(np.zeros(20)))
    with pytest.raises(ValueError, match="100 at least"):
        moving_digits(root)
