import inspect
import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from videossl.datasets.comma2k19 import DEVICE_CAMERA, comma2k19, read_poses
from videossl.datasets.hmdb51 import hmdb51
from videossl.datasets.index import index_videos
from videossl.geometry import motion

REAL = "comma2k19/Example_1/b0c9d2329ad1606b_2018-08-02--08-34-47/40"
ROUTES = ("b0c9d2329ad1606b|2018-07-27--06-03-57", "b0c9d2329ad1606b_2018-08-02--08-34-47")


def curve(frames: int = 6) -> np.ndarray:
    """Poses of a camera that goes ahead and bends to the right, (frames, 4, 4)."""
    n = np.arange(frames)
    pose = np.tile(np.eye(4), (frames, 1, 1))
    pose[:, :3, :3] = Rotation.from_euler("yx", np.stack([0.05 * n, 0.01 * n], -1)).as_matrix()
    pose[:, :3, 3] = np.stack([0.025 * n**2, 0.01 * n, 1.2 * n], -1)
    return pose


def write_segment(root: Path, route: str, number: int) -> Path:
    """A segment in comma's layout, somewhere in California: frame n has grey 40 n."""
    segment = root / "Chunk_1" / route / str(number)
    (segment / "global_pose").mkdir(parents=True)
    start = np.eye(4)
    start[:3, :3] = Rotation.from_euler("ZYX", [0.3, -1.1, 2.0]).as_matrix()
    start[:3, 3] = -2712087.5, -4261670.1, 3881014.5
    pose = start @ curve() @ DEVICE_CAMERA.T
    quaternions = np.roll(Rotation.from_matrix(pose[:, :3, :3]).as_quat(), 1, axis=1)  # the real part first
    arrays = {"times": 46408 + 0.05 * np.arange(6), "positions": pose[:, :3, 3], "orientations": quaternions}
    for name, array in arrays.items():
        with open(segment / "global_pose" / f"frame_{name}", "wb") as file:
            np.save(file, array)
    with av.open(str(segment / "video.hevc"), "w", format="hevc") as container:
        stream = container.add_stream("libx265", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"x265-params": "log-level=none"}
        for n in range(6):
            image = np.full((48, 64, 3), 40 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return segment


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    for route, number in ((ROUTES[0], 10), (ROUTES[0], 9), (ROUTES[1], 3)):
        write_segment(root, route, number)
    return root


@pytest.fixture
def root(whole, tmp_path):
    """Three segments of two routes, all to train on; route 0's ninth is what tests break."""
    return shutil.copytree(whole, tmp_path / "root")


@pytest.fixture
def poses(root):
    return root / "Chunk_1" / ROUTES[0] / "9" / "global_pose"


def save(path: Path, change) -> None:
    array = change(np.load(path))
    with open(path, "wb") as file:
        np.save(file, array)


def test_it_is_called_as_other_data_sets_are():
    assert inspect.signature(comma2k19) == inspect.signature(hmdb51)


def test_known_poses_come_back_from_the_frame_of_the_earth(root):
    records = comma2k19(root, size=(24, 32))
    names = [f"{ROUTES[0].replace('|', '_')}/9", f"{ROUTES[0].replace('|', '_')}/10", f"{ROUTES[1]}/3"]
    assert [record["name"] for record in records] == names and records.complete
    assert [record["group"] for record in records] == [name.split("/")[0] for name in names]
    for record in records:
        assert np.abs(record["pose"] - curve()).max() < 1e-6 and record["pose"].dtype == np.float64
        assert np.allclose(record["time"], 0.05 * np.arange(6))
        frames = record["frames"][np.array([[5, 0], [2, 2]])]
        assert frames.shape == (2, 2, 3, 24, 32)
        assert np.abs(frames[..., 9, 9].float().mean(-1).numpy() - [[200, 0], [80, 80]]).max() < 4


def test_the_cameras_axes_are_right_down_forward():
    assert DEVICE_CAMERA[:3, :3].T.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]  # in forward, right, down


def test_the_real_camera_looks_where_it_goes_with_its_top_up(shared):
    pose, time = read_poses(shared / REAL)
    assert pose.shape == (1200, 4, 4) and time[0] == 0 and time[-1] == pytest.approx(59.949, abs=1e-3)
    turned = pose[:, :3, :3]
    assert np.abs(turned @ turned.swapaxes(1, 2) - np.eye(3)).max() < 1e-12 and np.allclose(np.linalg.det(turned), 1)
    assert np.allclose(pose[0], np.eye(4), atol=1e-8)
    velocity, place, quaternion = (
        np.load(shared / REAL / "global_pose" / f"frame_{name}") for name in ("velocities", "positions", "orientations")
    )
    first = Rotation.from_quat(np.roll(quaternion[0], -1)).as_matrix() @ DEVICE_CAMERA[:3, :3]
    going = velocity @ first
    going /= np.linalg.norm(going, axis=1, keepdims=True)
    assert np.einsum("ni,ni->n", turned[..., 2], going).min() > 0.99
    up = place @ first / np.linalg.norm(place, axis=1, keepdims=True)
    assert np.einsum("ni,ni->n", turned[..., 1], up).max() < -0.99  # down is down


def test_the_real_camera_is_as_fast_as_the_car_says_and_turns_as_it_is_steered(shared):
    pose, time = read_poses(shared / REAL)
    start = np.load(shared / REAL / "global_pose" / "frame_times")[0]

    def logged(name: str) -> np.ndarray:
        folder = shared / REAL / "processed_log" / "CAN" / name
        return np.interp(time[1:], np.load(folder / "t") - start, np.load(folder / "value").ravel())

    yaw, ahead = (motion(pose[:-1], pose[1:]) / np.diff(time)[:, None]).T
    speed = logged("speed")
    assert ahead.mean() == pytest.approx(speed.mean(), rel=0.02)
    assert np.corrcoef(ahead, speed)[0, 1] > 0.99
    smooth = np.convolve(yaw, np.ones(20) / 20, "same")
    assert np.corrcoef(smooth, logged("steering_angle") * speed)[0, 1] < -0.5  # the log's is positive to the left


def test_without_its_video_the_real_segment_is_no_record(shared):
    with pytest.raises(ValueError, match=r"_2018-08-02--08-34-47/40 unreadable: .*video.hevc is not there"):
        comma2k19(shared / "comma2k19")


BREAKS = {
    "a NaN": ("positions", lambda rows: np.where(np.arange(6)[:, None] == 3, np.nan, rows), "positions, row 4 has NaN"),
    "fewer positions": ("positions", lambda rows: rows[:5], "frame_positions has 5 rows, but frame_times 6"),
    "another shape": ("orientations", lambda rows: rows[:, :3], r"frame_orientations has shape \(6, 3\)"),
    "no rotation": ("orientations", lambda rows: rows * [[1], [1], [2], [1], [1], [1]], "frame_orientations, row 3"),
    "times out of order": ("times", lambda rows: rows[[0, 2, 1, 3, 4, 5]], "row 3 is not later than row 2"),
    "words": ("times", lambda rows: np.array(["a"] * 6), "frame_times is no NumPy array of numbers"),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_a_broken_segment_is_left_out_and_named_with_file_and_row(root, poses, broken):
    name, change, why = BREAKS[broken]
    save(poses / f"frame_{name}", change)
    records = comma2k19(root)
    assert len(records) == 2
    (found,) = records.missing.values()
    assert re.match(f"unreadable: .*{why}", found)


def test_a_segment_that_lacks_a_file_or_has_one_frame_is_left_out(root, poses):
    for name in ("times", "positions", "orientations"):
        save(poses / f"frame_{name}", lambda rows: rows[:1])
    assert "has one frame only" in comma2k19(root).missing[f"{ROUTES[0].replace('|', '_')}/9"]
    (poses / "frame_times").write_bytes(b"nothing")
    assert "frame_times is no NumPy array" in comma2k19(root).missing[f"{ROUTES[0].replace('|', '_')}/9"]
    (poses / "frame_times").unlink()
    assert "frame_times is not there" in comma2k19(root).missing[f"{ROUTES[0].replace('|', '_')}/9"]


def test_lists_and_scenes_name_routes_with_either_sign(root):
    (root / "train.txt").write_text(f"{ROUTES[0]}/9\n")
    (root / "test.txt").write_text(f"{ROUTES[0].replace('|', '_')}/10\n{ROUTES[1]}/3\n")
    (root / "scenes.txt").write_text(f"{ROUTES[0]} Road\n")
    assert [record["label"] for record in comma2k19(root)] == [0]
    assert [record.get("label") for record in comma2k19(root, train=False)] == [0, None]


def test_what_is_no_such_data_set_is_refused(root, tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="holds no segment, such as Chunk_1/ROUTE/0/global_pose"):
        comma2k19(tmp_path / "other")


@pytest.mark.parametrize("kind", ["cut", "empty", "text"])
def test_a_video_that_is_not_whole_is_named_before_anything_is_read(whole, tmp_path, kind):
    root = tmp_path / "broken"
    shutil.copytree(whole, root)
    video = next(root.glob("**/3/video.hevc"))
    content = {"cut": video.read_bytes()[: video.stat().st_size // 2], "empty": b"", "text": b"no video" * 99}[kind]
    video.write_bytes(content)
    records = comma2k19(root, split=1, train=any("3" in r["name"][-2:] for r in comma2k19(whole)))
    why = next(iter(records.missing.values()))
    said = {"cut": "no picture is whole", "empty": "is empty", "text": "cannot be"}[kind]
    assert "video.hevc" in why and said in why


def test_a_video_of_fewer_frames_than_poses_is_named(whole, tmp_path):
    root = tmp_path / "short"
    shutil.copytree(whole, root)
    other = next(root.glob("**/9/global_pose"))
    for path in other.iterdir():
        rows = np.load(path)
        with open(path, "wb") as file:
            np.save(file, np.concatenate([rows, rows[-1:] + 0.05 * (rows.ndim == 1)]))
    found = [why for train in (True, False) for why in comma2k19(root, split=5, train=train).missing.values()]
    assert len(found) == 1 and "9/video.hevc has 6 frames, but there are 7 poses" in found[0]


def test_an_index_tells_motion_and_what_is_damaged(whole, tmp_path):
    root = tmp_path / "indexed"
    shutil.copytree(whole, root)
    index_videos(root, progress=False, workers=1, decoder="pyav")
    records = comma2k19(root)
    assert all(record["motion"].shape == (5,) and record["motion"].min() > 1 for record in records)
    paths = [path for path in root.glob("**/video.hevc") if path.parent.name == Path(records[0]["name"]).name]
    for path in paths:
        path.write_bytes(path.read_bytes() + b"more")
    with (
        pytest.raises(ValueError, match="changed since it was indexed") if len(paths) == len(records) else nullcontext()
    ):
        assert all("changed since it was indexed" in why for why in comma2k19(root).missing.values())
