import faulthandler
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from zlib import crc32

import cv2
import numpy as np
import pytest
import torch

import videossl.datasets.pack as pack_module
from videossl.datasets import decoders
from videossl.datasets.decoders import PyAV
from videossl.datasets.frames import VideoFile
from videossl.datasets.hmdb51 import hmdb51
from videossl.datasets.index import index_videos, packed_from, read_index
from videossl.datasets.pack import pack
from videossl.datasets.packed import COLOURS, MAGIC, NOTED, Packed, in_rgb, packed_size, write_packed
from videossl.datasets.scaling import Picture, scaled
from videossl.datasets.survey import survey
from videossl.datasets.ucf101 import ucf101
from videossl.datasets.video_folder import video_folder

NOTES = {"rate": 25.0, "declared": None, "warning": None}
SHORT = 32  # pixels, where nothing depends on it


def moving(frames: int, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """Coloured blocks that slide under noise, and a cut to others halfway: (frames, height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(40, 200, (2, height // 8 + 2, width // 8 + frames, 1)) + rng.integers(-9, 10, (3,))
    scenes = blocks.repeat(8, 1).repeat(8, 2)
    video = np.stack([scenes[int(n >= frames // 2)][:height, n : n + width] for n in range(frames)])
    return (video + rng.integers(-3, 4, video.shape)).clip(0, 255).astype(np.uint8)


def packed(source: Path, out: Path, short: int = SHORT, step: int = 4) -> Path:
    """Pack one file, without a folder or an index."""
    entry = survey(source)
    size = packed_size(entry["height"], entry["width"], short)
    file = PyAV(str(source), ())
    with open(out, "wb") as target:
        pictures = file.read(range(entry["frames"]), whole=False)
        origin = {"name": source.name, "bytes": 1, "modified": 2}
        notes = {key: entry[key] for key in NOTED}
        write_packed(target, pictures, origin, entry["frames"], size, short, step, notes)
    file.close()
    return out


def planes_of(path: Path, wanted: list[int] | range | None = None) -> list[list[np.ndarray]]:
    file = Packed(path)
    wanted = range(file.header.frames) if wanted is None else wanted
    found = [[plane.copy() for plane in picture.planes] for picture in file.read(wanted, whole=False)]
    file.close()
    return found


def distance(source: Path, path: Path) -> int:
    """How far the packed planes are from the original's, scaled: the most of all grey levels."""
    file, most = PyAV(str(source), ()), 0
    own = planes_of(path)
    for picture, planes in zip(file.read(range(len(own)), whole=False), own, strict=True):
        whole = planes[0].shape
        for n, (plane, kept) in enumerate(zip(picture.planes, planes, strict=True)):
            over = (whole[0] / 2, whole[1] / 2) if n and picture.colours else whole
            most = max(most, np.abs(scaled(plane[None], kept.shape, over)[0].astype(int) - kept).max())
    file.close()
    return int(most)


@pytest.fixture
def sliding(tmp_path, film) -> Path:
    """20 frames of MPEG-4, 48x64, with a cut before frame 10."""
    return film(tmp_path / "sliding.avi", moving(20), lossless=False)


@pytest.fixture
def folder(tmp_path, film) -> Path:
    """Videos in UCF101's and HMDB51's layout, of every kind that is packed or cannot be; indexed.

    A file and a folder of images that are fine, a file cut short, an empty file, and a class with no readable video.
    """
    root = tmp_path / "videos"
    for n, name in enumerate(("A/v_A_g01_c01.avi", "A/v_A_g02_c01.avi", "B/v_B_g01_c01.avi", "B/v_B_g02_c01.mkv")):
        film(root / name, moving(18 + n, seed=n), lossless=n % 2 == 0)
    images = root / "B" / "v_B_g03_c01"
    images.mkdir()
    for n, image in enumerate(moving(11, seed=9)):
        cv2.imwrite(str(images / f"i_{n + 1:04}.png"), image)
    whole = film(root / "A" / "v_A_g03_c01.avi", moving(30, seed=7), lossless=False).read_bytes()
    (root / "A" / "v_A_g03_c01.avi").write_bytes(whole[: len(whole) * 2 // 3])
    (root / "A" / "v_A_g04_c01.avi").write_bytes(b"")
    (root / "C").mkdir()
    (root / "C" / "v_C_g01_c01.avi").write_text("no video")
    names = sorted(path.relative_to(root).as_posix() for path in root.glob("*/*"))
    names = [name if "." in name else f"{name}.avi" for name in names] + ["A/v_A_g05_c01.avi"]  # the last is nowhere
    (root / "classInd.txt").write_text("1 A\n2 B\n3 C\n")
    (root / "trainlist01.txt").write_text("".join(f"{name}\n" for name in names))
    (root / "testlist01.txt").write_text("A/v_A_g01_c01.avi\n")
    lists = root / "testTrainMulti_7030_splits"
    lists.mkdir()
    for kind in "ABC":
        lines = (f"{name.split('/')[1]} 1\n" for name in names if name.startswith(kind))
        (lists / f"{kind}_test_split1.txt").write_text("".join(lines))
    index_videos(root, workers=1, progress=False, decoder="pyav")
    return root


def make(root: Path, out: Path, **options) -> dict:
    return pack(root, out, **{"short": SHORT, "workers": 1, "progress": False, **options})


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_step_of_one_gives_back_the_scaled_planes_exactly(tmp_path, sliding):
    assert distance(sliding, packed(sliding, tmp_path / "a.vpk", step=1)) == 0


@pytest.mark.parametrize("step", [2, 3, 4, 16])
def test_other_steps_are_off_by_less_than_the_step_and_take_less_room(tmp_path, sliding, step):
    exact = packed(sliding, tmp_path / "exact.vpk", step=1)
    path = packed(sliding, tmp_path / "a.vpk", step=step)
    assert 0 < distance(sliding, path) <= step - 1
    assert path.stat().st_size < exact.stat().st_size


@pytest.mark.parametrize(("step", "shown"), [(1, [101, 102, 101, 102, 103, 107]), (4, [100, 100, 100, 100, 100, 108])])
def test_noise_below_the_step_does_not_make_a_still_picture_flicker(tmp_path, step, shown):
    pictures = [Picture((np.full((2, 2), value, np.uint8),) * 3) for value in (101, 102, 101, 102, 103, 107)]
    with open(tmp_path / "a.vpk", "wb") as file:
        write_packed(file, pictures, {}, 6, (2, 2), 2, step, NOTES | {"motion": [0] * 5})
    assert [int(planes[0][0, 0]) for planes in planes_of(tmp_path / "a.vpk")] == shown


@pytest.mark.parametrize("lossless", [False, True], ids=["Y, U, V", "R, G, B"])
def test_any_frames_in_any_order_and_shape_equal_those_of_a_full_read(tmp_path, film, lossless):
    path = packed(film(tmp_path / "a.avi", moving(45), lossless), tmp_path / "a.avi.vpk")
    whole = planes_of(path)
    rng = np.random.default_rng(0)
    for size in (None, (32, 43), (20, 30)):
        video = VideoFile(path, 45, size, "packed")
        everything = video[np.arange(45)]
        assert everything.shape == (45, 3, *(size or (32, 43)))
        for index in (
            [[3, 44, 0], [7, 3, 3]],
            np.arange(45)[::-1],
            [5],
            44,
            8,
            [8, 9],
            [9, 40],
            [10, 41],
            range(16, 45),
        ):
            assert torch.equal(video[np.asarray(index)], everything[np.array(index)])
        for _ in range(50):
            index = rng.integers(45, size=rng.integers(1, 6))
            assert torch.equal(video[index], everything[index])
    file = Packed(path)
    for _ in range(100):
        wanted = sorted(rng.choice(45, rng.integers(1, 45), replace=False).tolist())
        for n, picture in zip(wanted, file.read(wanted, whole=False), strict=True):
            assert all(map(np.array_equal, picture.planes, whole[n]))
    file.close()


def test_only_the_bytes_of_the_groups_asked_for_are_read(tmp_path, film, monkeypatch):
    path = packed(film(tmp_path / "a.avi", moving(200, 32, 32)), tmp_path / "a.vpk")
    file, read = Packed(path), []
    monkeypatch.setattr(os, "pread", lambda f, n, at, pread=os.pread: read.append((at, n)) or pread(f, n, at))
    places = file.places.tolist()
    for wanted, spans in (
        ([20, 22], [(16, 23)]),
        ([23, 30], [(23, 31)]),  # goes on where it was
        ([3], [(0, 4)]),
        ([50, 51, 190], [(48, 52), (184, 191)]),
        ([63, 64, 72], [(56, 65), (72, 73)]),
        (range(200), [(0, 129), (129, 200)]),
    ):
        read.clear()
        for _ in file.read(wanted, whole=False):
            pass
        assert read == [(places[a], places[b] - places[a]) for a, b in spans]
    file.close()


def test_whole_pictures_are_rgb_and_as_those_scaled_to_the_same_size(tmp_path, sliding):
    path = packed(sliding, tmp_path / "a.vpk")
    file = Packed(path)
    for picture in file.read(range(20), whole=True):
        assert picture.colours is None and {plane.shape for plane in picture.planes} == {(32, 43)}
    file.close()
    plain, same = VideoFile(path, 20, None, "packed"), VideoFile(path, 20, (32, 43), "packed")
    assert torch.equal(plain[np.arange(20)], same[np.arange(20)])


def test_pixels_are_near_those_of_the_original_at_the_same_size(shared, tmp_path):
    path = shared / "UCF-101" / "YoYo" / "v_YoYo_g01_c01.avi"
    clip = 20 + 2 * np.arange(16)
    own = VideoFile(path, survey(path)["frames"], (112, 149))[clip].numpy().astype(int)
    for step, mean in ((1, 0.8), (3, 1.8), (4, 2.4)):  # in grey levels
        file = packed(path, tmp_path / "a.vpk", 112, step)
        kept = VideoFile(file, survey(file)["frames"], (112, 149), "packed")[clip].numpy()
        assert np.abs(own - kept).mean() < mean, step


@pytest.mark.parametrize(
    ("height", "width", "short", "size"),
    [
        (240, 320, 112, (112, 149)),  # 149.3
        (240, 320, 128, (128, 171)),
        (320, 240, 128, (171, 128)),
        (256, 341, 256, (256, 341)),
        (1080, 1920, 256, (256, 455)),
        (50, 51, 128, (50, 51)),
        (1, 9, 128, (1, 9)),
    ],
)
def test_the_shorter_side_is_as_asked_for_and_never_more_than_it_was(height, width, short, size):
    assert packed_size(height, width, short) == size


@pytest.mark.parametrize(("height", "width"), [(35, 51), (48, 64), (16, 16), (31, 200), (7, 5)])
@pytest.mark.parametrize("frames", [1, 2, 8, 9])
def test_videos_of_odd_sizes_and_few_frames_are_packed(tmp_path, film, height, width, frames):
    source = film(tmp_path / "a.avi", moving(frames, height, width))
    path = packed(source, tmp_path / "a.vpk", step=1)
    assert distance(source, path) == 0
    found = survey(path)
    assert (found["error"], found["frames"], len(found["motion"])) == (None, frames, frames - 1)
    assert (found["height"], found["width"]) == packed_size(height, width, SHORT)
    index = np.arange(frames)
    assert torch.equal(
        VideoFile(path, frames, None, "packed")[index],
        VideoFile(path, frames, (found["height"], found["width"]), "packed")[index],
    )


FORMATS = (
    *("av1_video.mkv", "bikes.mp4", "demo.mp4", "flipping_a_pancake.mkv", "h265_10bits.mp4", "nasa_13013.mp4"),
    *("part_0.mp4", "smth-smth-1.webm", "unordered.mov", "video2.avi", "video2.webm", "video_0.mov", "video_90.mov"),
    *("video_large.webm", "video_large_mpeg4.mp4"),
)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_packed_with_all_frames_upright_and_in_its_colours(shared, tmp_path, name):
    source = shared / "video_formats" / name
    path = packed(source, tmp_path / "a.vpk", 64)
    assert distance(source, path) <= 3
    found, origin = survey(path), survey(source)
    assert found["error"] is None
    assert all(found[key] == origin[key] for key in ("frames", *NOTED))
    assert (found["height"] < found["width"]) == (origin["height"] < origin["width"])
    size, index = (found["height"], found["width"]), [0, origin["frames"] // 2, origin["frames"] - 1]
    own = VideoFile(source, origin["frames"], size)[index].int()
    kept = VideoFile(path, origin["frames"], size, "packed")[index].int()
    sharp = name == "av1_video.mkv"  # a test picture of full colours, which are kept at half the height and width
    assert (own - kept).abs().float().mean() < (9 if sharp else 4)


def test_colours_are_kept_as_the_original_has_them_tagged(tmp_path):
    planes = tuple(np.full((8, 8), value, np.uint8) for value in (100, 90, 160))
    for colours in (*COLOURS, None):
        with open(tmp_path / "a.vpk", "wb") as file:
            write_packed(file, [Picture(planes, colours)], {}, 1, (8, 8), 8, 1, NOTES | {"motion": []})
        packed = Packed(tmp_path / "a.vpk")
        (picture,) = packed.read([0], whole=False)
        assert picture.colours == colours
        expected = [int(plane[0, 0]) for plane in in_rgb(Picture(planes, colours)).planes]
        (whole,) = packed.read([0], whole=True)
        assert [int(plane[0, 0]) for plane in whole.planes] == expected
        packed.close()


def reads(path: Path) -> str | None:
    """Read all frames; what is wrong, if anything."""
    try:
        planes_of(path)
        return None
    except ValueError as e:
        return str(e)


@pytest.mark.parametrize("tenth", range(10))
def test_a_packed_file_cut_at_any_tenth_is_refused(tmp_path, sliding, tenth):
    data = packed(sliding, tmp_path / "a.vpk").read_bytes()
    path = tmp_path / "cut.vpk"
    path.write_bytes(data[: len(data) * tenth // 10])
    why = survey(path)["error"]
    if tenth == 0:
        assert why == "is empty (0 bytes)"
    else:
        assert why.startswith("is cut short")
        with pytest.raises(ValueError, match=r"cut.vpk is cut short"):
            VideoFile(path, 20, None, "packed")[3]
    path.write_bytes(data + b"more")
    assert "bytes instead of" in reads(path)


def test_a_flipped_bit_before_the_frames_is_noticed_when_the_file_is_opened(tmp_path, sliding):
    data = bytearray(packed(sliding, tmp_path / "a.vpk").read_bytes())
    (length,) = struct.unpack_from("<I", data, len(MAGIC))
    path = tmp_path / "b.vpk"
    for at in range(length):
        data[at] ^= 1 << at % 8
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"^(is|was) (damaged|cut short|no packed video|of version)"):
            Packed(path)
        data[at] ^= 1 << at % 8


def test_a_flipped_bit_in_the_frames_or_notes_is_an_error_when_read_or_found_by_its_sum(tmp_path, sliding):
    data = bytearray(packed(sliding, tmp_path / "a.vpk").read_bytes())
    (length,) = struct.unpack_from("<I", data, len(MAGIC))
    rng = np.random.default_rng(0)
    path, unnoticed = tmp_path / "b.vpk", 0
    for at in rng.integers(length, len(data), 300):
        bit = 1 << int(rng.integers(8))
        data[at] ^= bit
        path.write_bytes(data)
        why = reads(path)
        assert why is None or re.fullmatch(r"is damaged at frame \d+", why)
        unnoticed += why is None
        found = survey(path)
        assert re.match(r"is damaged (in frames \d+ to \d+|in its notes)", found["error"])
        assert found["frames"] % 8 == 0 and len(found["motion"]) == max(0, found["frames"] - 1)
        data[at] ^= bit
    assert 0 < unnoticed < 300


def test_a_file_made_to_deceive_is_refused_and_takes_no_memory(tmp_path, sliding):
    data = packed(sliding, tmp_path / "a.vpk").read_bytes()
    length, written = struct.unpack_from("<II", data, len(MAGIC))
    header = json.loads(data[16 : 16 + written])

    def write(header: object, tables: bytes = data[16 + written : length - 4], frames: bytes = data[length:]) -> Path:
        text = json.dumps(header).encode() if not isinstance(header, bytes) else header
        head = MAGIC + struct.pack("<II", 16 + len(text) + len(tables) + 4, len(text)) + text + tables
        (tmp_path / "b.vpk").write_bytes(head + struct.pack("<I", crc32(head)) + frames)
        return tmp_path / "b.vpk"

    assert reads(write(header)) is None
    wrong = [{}, [], 3, None, b"", b"\xff", b"[" * 100_000, header | {"more": 1}]
    wrong += [header | {"height": value} for value in (0, -2, 2.5, "32", None, 2**40, 10**400, [2], True)]
    wrong += [header | {"width": 2**31}, header | {"height": 2**20, "width": 2**20}]
    wrong += [header | {"frames": value} for value in (0, 19, 21, 2**40, -1)]
    wrong += [header | {"gop": value} for value in (0, 1, 2**70)] + [header | {"step": value} for value in (0, 17, "4")]
    wrong += [header | {"colours": value} for value in (["2021", False], "601", 3, [[], []], ["601"], {"a": 1})]
    wrong += [header | {"source": 3}]
    for made in wrong:
        with pytest.raises(ValueError, match=r"^is (damaged|cut short)"):
            Packed(write(made))
    for made in (
        header | {"height": 64, "width": 43},
        header | {"height": 7},
        header | {"colours": None},
    ):  # of another number of pixels
        assert reads(write(made)).startswith("is damaged at frame 0")
    sizes = np.frombuffer(data, "<u4", 21, 16 + written).copy()
    rest = data[16 + written + 4 * 21 : length - 4]
    for n, size in ((0, 0), (3, 2**32 - 1), (5, 1)):
        other = sizes.copy()
        other[n] = size
        with pytest.raises(ValueError, match=r"^is (damaged|cut short)"):
            Packed(write(header, other.tobytes() + rest))
    swapped = sizes.copy()  # a byte more for one frame, and less for the next
    swapped[2:4] += np.array([1, -1]).astype(np.uint32)
    assert reads(write(header, swapped.tobytes() + rest)).startswith("is damaged at frame 2")
    first = bytearray(data[length:])
    first[0] = ord("P")  # a group that builds on the one before
    assert reads(write(header, frames=bytes(first))) == "is damaged at frame 0"


@pytest.mark.parametrize("notes", [b"[]", b"{}", b"\xff", b'{"rate": 1, "declared": 1, "warning": 1, "motion": [1]}'])
def test_notes_of_another_form_are_refused(tmp_path, notes):
    picture = Picture((np.zeros((2, 2), np.uint8),) * 3)
    with open(tmp_path / "a.vpk", "wb") as file:
        write_packed(file, [picture], {}, 1, (2, 2), 2, 1, NOTES | {"motion": []})
    file = Packed(tmp_path / "a.vpk")
    assert file.described()["motion"] == []
    file._verify = lambda *_: notes
    with pytest.raises(ValueError, match="is damaged in its notes"):
        file.described()
    file.close()


def test_other_files_versions_and_frames_that_are_not_there_are_refused(tmp_path, sliding, shared):
    path = packed(sliding, tmp_path / "a.vpk")
    with pytest.raises(ValueError, match=r"a.vpk ends before frame 25$"):
        VideoFile(path, 30, None, "packed")[[3, 25]]
    other = tmp_path / "b.vpk"
    for data, why in (
        (sliding.read_bytes(), "is no packed video"),
        (b"no", "is no packed video"),
        (MAGIC[:-1] + b"\x02" + path.read_bytes()[8:], "is of version 2: pack it again"),
        (MAGIC, "is cut short"),
    ):
        other.write_bytes(data)
        assert survey(other)["error"] == why
        with pytest.raises(ValueError, match=rf"b.vpk {why}"):
            VideoFile(other, 20, None, "packed")[0]
    other.unlink()
    with pytest.raises(FileNotFoundError, match=r"b.vpk"):
        VideoFile(other, 20, None, "packed")[0]


def test_where_lz4_is_not_there_it_is_said_and_nothing_is_made(folder, tmp_path, sliding, monkeypatch):
    path = packed(sliding, tmp_path / "a.vpk")
    decoders.missing.cache_clear()
    monkeypatch.setitem(sys.modules, "lz4.block", None)
    try:
        assert "lz4.block" in decoders.missing("packed")
        with pytest.raises(ValueError, match=r"a.vpk is to be read with packed, which is not there \(.*lz4"):
            VideoFile(path, 20, None, "packed")[0]
        assert "what reads these is not there" in survey(path)["error"]
        with pytest.raises(ValueError, match=r"packing needs lz4"):
            make(folder, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    finally:
        decoders.missing.cache_clear()


def test_files_stay_open_few_and_those_forgotten_are_closed(tmp_path, sliding):
    before = len(os.listdir("/proc/self/fd"))
    decoders._kept.files.clear()
    for n in range(10):
        path = packed(sliding, tmp_path / f"{n}.vpk")
        VideoFile(path, 20, None, "packed")[0]
    assert len(os.listdir("/proc/self/fd")) <= before + decoders.KEPT
    for n in range(20):
        (tmp_path / "bad.vpk").write_bytes(path.read_bytes()[: 100 * n])
        with pytest.raises(ValueError, match=r"bad.vpk"):
            VideoFile(tmp_path / "bad.vpk", 20, None, "packed")[0]
    while decoders._kept.files:
        decoders._kept.files.popitem()[1].close()
    assert len(os.listdir("/proc/self/fd")) <= before


def described(records) -> list[tuple]:
    keys = ("name", "label", "group")
    return [(*(r.get(key) for key in keys), len(r["frames"]), r["motion"].tolist()) for r in records]


@pytest.mark.parametrize("read", [ucf101, hmdb51, video_folder])
def test_records_of_a_packed_folder_are_those_of_the_originals(folder, tmp_path, read):
    out = tmp_path / "packed"
    make(folder, out)
    own, kept = read(folder, size=(32, 43)), read(out, size=(32, 43))
    assert described(own) == described(kept) and len(own) == 6
    assert own.classes == kept.classes == ["A", "B", "C"] and own.listed == kept.listed
    assert own.missing == kept.missing
    assert sorted(own.missing.values())[-2] == "unreadable: is empty (0 bytes)"
    assert own.damaged == kept.damaged and len(kept.damaged) == 1
    for one, two in zip(own, kept, strict=True):
        assert two["frames"].decoder == "packed"
        index = np.arange(len(one["frames"]))
        assert (one["frames"][index].int() - two["frames"][index].int()).abs().float().mean() < 4


def test_the_lists_that_name_the_videos_are_copied_from_beside_them_too(folder, tmp_path):
    (folder / "testTrainMulti_7030_splits").rename(tmp_path / "testTrainMulti_7030_splits")
    (tmp_path / "ucfTrainTestlist").mkdir()
    (tmp_path / "ucfTrainTestlist" / "testlist01.txt").write_text("Other/v_Other_g01_c01.avi\n")
    out = tmp_path / "out" / "packed"
    make(folder, out)
    assert described(hmdb51(out)) == described(hmdb51(folder))
    there = {path.relative_to(out).as_posix() for path in out.rglob("*.txt")}
    assert there == {"classInd.txt", "trainlist01.txt", "testlist01.txt"} | {
        f"testTrainMulti_7030_splits/{kind}_test_split1.txt" for kind in "ABC"
    }


def test_the_index_says_what_was_packed_and_keeps_it_when_the_folder_is_indexed_again(folder, tmp_path):
    out = tmp_path / "packed"
    found = make(folder, out, step=3)
    videos, note = read_index(out), packed_from(out)
    assert note == found["note"]
    size = sum(path.stat().st_size for path in out.rglob("*.vpk"))
    own = sum(path.stat().st_size for path in folder.rglob("*.*") if path.suffix in (".avi", ".mkv", ".png"))
    own -= len("no video")
    assert note == {
        **{"from": str(folder.resolve()), "short": SHORT, "step": 3, "gop": 8},
        **{"videos": 6, "bytes": size, "bytes of the originals": own},
    }
    assert packed_from(folder) is None and packed_from(tmp_path) is None
    assert {name for name, entry in videos.items() if entry.get("packed") is False} == set(found["unreadable"])
    entry = videos["A/v_A_g01_c01.avi.vpk"]
    origin = read_index(folder)["A/v_A_g01_c01.avi"]
    assert (entry["codec"], entry["decoder"], entry["jumps"], entry["height"]) == ("packed", "packed", [], SHORT)
    assert all(entry[key] == origin[key] for key in ("frames", "rate", "motion", "declared", "warning", "error"))
    again = index_videos(out, workers=1, progress=False)
    assert (again["decoded"], again["kept"]) == (0, 6) and again["unreadable"] == found["unreadable"]
    assert read_index(out) == videos and packed_from(out) == note
    for path in out.rglob("*.vpk"):
        os.utime(path, (1, 1))  # as if copied without its time: all are looked at again
    with pytest.raises(ValueError, match=r"holds packed videos .* alone, which are read in one way, not with opencv"):
        index_videos(out, workers=1, progress=False, decoder="opencv")
    again = index_videos(out, workers=1, progress=False)
    assert again["decoded"] == 6 and packed_from(out) == note and again["kinds"] == {}
    modified = {"modified": 10**9}
    fresh = {name: entry | modified if name.endswith(".vpk") else entry for name, entry in videos.items()}
    assert read_index(out) == fresh
    (out / "index.json").unlink()
    index_videos(out, workers=1, progress=False)
    assert read_index(out) == {name: entry for name, entry in fresh.items() if name.endswith(".vpk")}
    assert described(video_folder(out)) == [
        (n, label - (label > 1), *_) for n, label, *_ in described(video_folder(folder))
    ]


def test_a_packed_file_damaged_later_is_unreadable_by_name_when_indexed_again(folder, tmp_path):
    out = tmp_path / "packed"
    make(folder, out)
    path = out / "A" / "v_A_g01_c01.avi.vpk"
    whole = path.read_bytes()
    data = bytearray(whole)
    data[-len(data) // 3] ^= 4
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"changed since they were indexed: A/v_A_g01_c01.avi.vpk"):
        ucf101(out)
    again = index_videos(out, workers=1, progress=False)
    assert "is damaged in frames" in again["unreadable"]["A/v_A_g01_c01.avi.vpk"]
    records = ucf101(out)
    assert records.missing["A/v_A_g01_c01"].startswith("unreadable: is damaged in frames") and len(records) == 5
    make(folder, out)  # makes it good
    assert len(ucf101(out)) == 6 and path.read_bytes() == whole


def test_one_worker_and_two_write_the_same_bytes(folder, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    make(folder, one)
    make(folder, two, workers=2)
    assert contents(one) == contents(two)
    assert sum(name.endswith(".vpk") for name in contents(one)) == 6


def test_a_second_run_packs_only_what_is_new_or_changed(folder, tmp_path, film):
    out = tmp_path / "packed"
    first = make(folder, out)
    before = contents(out)
    second = make(folder, out)
    assert [found[key] for found in (first, second) for key in ("packed", "kept")] == [6, 0, 0, 6]
    assert contents(out) == before
    film(folder / "A" / "v_A_g04_c01.avi", moving(10))  # was empty
    film(folder / "A" / "v_A_g01_c01.avi", moving(12))
    (folder / "B" / "v_B_g01_c01.avi").unlink()
    index_videos(folder, workers=1, progress=False, decoder="pyav")
    found = make(folder, out)
    assert (found["packed"], found["kept"]) == (2, 4)
    after = contents(out)
    assert after.keys() - before.keys() == {"A/v_A_g04_c01.avi.vpk"}
    assert before.keys() - after.keys() == {"B/v_B_g01_c01.avi.vpk"}
    assert described(ucf101(out)) == described(ucf101(folder))


def test_a_folder_that_was_packed_otherwise_is_refused_and_left_as_it_is(folder, tmp_path):
    out = tmp_path / "packed"
    make(folder, out)
    before = contents(out)
    for options in ({"step": 1}, {"short": 16}):
        with pytest.raises(
            ValueError, match=r"packed with short 32 and step 4, but short .* give those again, or a new"
        ):
            make(folder, out, **options)
    assert contents(out) == before


KILLED = """
import multiprocessing, os, signal, time
import videossl.datasets.pack as module
from videossl.datasets import jobs

def write(file, *rest):
    done.append(1)
    if len(done) == 4:
        file.write(b"half of it")
        file.flush()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    original(file, *rest)

done, original, module.write_packed = [], module.write_packed, write
jobs.CONTEXT = multiprocessing.get_context("fork")
module.pack({root!r}, {out!r}, 32, workers=1)
"""


def test_a_run_killed_in_the_middle_goes_on_and_ends_with_the_same_bytes(folder, tmp_path):
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    code = KILLED.format(root=str(folder), out=str(out))
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert len(list(out.rglob("*.vpk"))) == 3 and len(list(out.glob(".*.part"))) == 1
    on = f"Run `videossl pack {folder} --out {out} --short 32 --step 4` again"
    with pytest.raises(ValueError, match=rf"unfinished: 8 of 8 .* {on}"):
        read_index(out)
    with pytest.raises(ValueError, match=rf"not packed to its end, .* {on}"):
        index_videos(out, workers=1, progress=False)  # it would pass for all there is
    lock = os.open(out, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # which the fork has until it notices that its parent is gone
    os.close(lock)
    found = make(folder, out)
    assert (found["kept"], found["packed"]) == (3, 3)
    make(folder, fresh)
    assert contents(out) == contents(fresh) and not list(out.glob(".*.part"))


def test_a_second_run_that_is_stopped_does_not_pass_for_the_whole(folder, tmp_path, film, monkeypatch):
    out = tmp_path / "out"
    make(folder, out)
    film(folder / "A" / "v_A_g04_c01.avi", moving(10))  # was empty
    index_videos(folder, workers=1, progress=False, decoder="pyav")

    def stopped(*job, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(pack_module, "in_processes", stopped)
    with pytest.raises(KeyboardInterrupt):
        make(folder, out)
    with pytest.raises(ValueError, match=r"unfinished.*videossl pack"):
        read_index(out)
    monkeypatch.undo()
    assert make(folder, out)["packed"] == 1 and "A/v_A_g04_c01.avi.vpk" in read_index(out)


def test_a_video_that_makes_the_decoder_crash_or_hang_is_unreadable(folder, tmp_path, forked, monkeypatch):
    def reads(source, entry):
        if source.endswith("v_A_g01_c01.avi"):
            faulthandler.disable()  # which would show where
            os.abort()
        if source.endswith("v_A_g02_c01.avi"):
            time.sleep(600)
        yield from pictures(source, entry)

    pictures = pack_module._pictures
    monkeypatch.setattr(pack_module, "_pictures", reads)
    found = make(folder, tmp_path / "out", workers=2, limit=2.0)
    assert found["packed"] == 4 and not list((tmp_path / "out").glob(".*.part"))
    assert found["unreadable"]["A/v_A_g01_c01.avi"] == "makes the decoder crash (killed by SIGABRT)"
    assert found["unreadable"]["A/v_A_g02_c01.avi"] == "makes the decoder hang (no sign of life for 2 seconds)"
    records = ucf101(tmp_path / "out")
    assert records.missing["A/v_A_g01_c01"] == "unreadable: makes the decoder crash (killed by SIGABRT)"


def test_a_folder_that_is_not_for_packing_is_refused_and_left_alone(folder, tmp_path, film):
    for wrong in (folder, folder / "packed", folder / ".." / folder.name):
        with pytest.raises(ValueError, match=r"lies in .*videos, whose videos are to be packed"):
            make(folder, wrong)
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="is a file"):
        make(folder, tmp_path / "file")
    full = tmp_path / "full"
    full.mkdir()
    for name, text in (("notes.txt", "x"), ("index.json", "x"), ("index.json", "{}"), ("index.json", '{"mine": 1}')):
        (full / name).write_text(text)
        with pytest.raises(ValueError, match=r"full is not empty, and has no index that says what it was packed from"):
            make(folder, full)
        assert (full / name).read_text() == text
        (full / name).unlink()
    with pytest.raises(ValueError, match="is not empty"):
        make(folder, tmp_path)  # which the videos are in
    make(folder, tmp_path / "packed")
    film(tmp_path / "other" / "a.avi", moving(3))
    index_videos(tmp_path / "other", workers=1, progress=False)
    with pytest.raises(ValueError, match=r"packed from .*videos, not from .*other: give a new folder"):
        make(tmp_path / "other", tmp_path / "packed")
    with pytest.raises(ValueError, match=r"packed holds packed videos \(A/v_A_g01_c01.avi.vpk\)"):
        make(tmp_path / "packed", tmp_path / "twice")
    lock = os.open(tmp_path / "packed", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match="is being packed into by another process"):
        make(folder, tmp_path / "packed")
    os.close(lock)
    make(folder, tmp_path / "packed")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"short": 0}, "short is 0, but should be a number of pixels, from 1"),
        ({"step": 0}, "step is 0, but should be .* from 1 to 16"),
        ({"step": 17}, "step is 17"),
        ({"workers": 0}, "workers is 0"),
        ({"limit": 0}, "limit is 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(folder, tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        make(folder, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_videos_that_are_not_as_they_were_indexed_are_named(folder, tmp_path, film, forked, monkeypatch):
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match="`videossl index"):
        make(folder, out, index=tmp_path / "i.json")
    film(folder / "A" / "new.avi", moving(3))
    with pytest.raises(
        ValueError, match=r"1 of the videos .* are not in the index yet: A/new.avi. Run `videossl index"
    ):
        make(folder, out)
    (folder / "A" / "new.avi").unlink()
    path = folder / "B" / "v_B_g01_c01.avi"
    times = path.stat().st_mtime_ns
    os.utime(path, (1, 1))
    with pytest.raises(ValueError, match=r"changed since they were indexed: B/v_B_g01_c01.avi. Run `videossl index"):
        make(folder, out)
    os.utime(path, ns=(times, times))
    assert not out.exists()

    def changes(source, entry):
        if source == str(path):
            os.utime(path, (1, 1))
        yield from pictures(source, entry)

    pictures = pack_module._pictures
    monkeypatch.setattr(pack_module, "_pictures", changes)
    with pytest.raises(ValueError, match=r"v_B_g01_c01.avi changed while it was packed: run `videossl index`"):
        make(folder, out)
    assert not (out / "B" / "v_B_g01_c01.avi.vpk").exists() and not list(out.glob(".*.part"))


def test_a_full_disk_is_said_in_a_line_and_what_is_whole_stays(folder, tmp_path, forked, monkeypatch):
    out, written = tmp_path / "out", []

    def fails(file, *rest):
        if len(written) == 2:
            file.write(b"x" * 1000)
            raise OSError(28, "No space left on device")
        written.append(1)
        return write_packed(file, *rest)

    monkeypatch.setattr(pack_module, "write_packed", fails)
    with pytest.raises(OSError, match=r"out cannot be written \(No space left on device\): 2 of 6 videos are packed"):
        make(folder, out)
    assert len(list(out.rglob("*.vpk"))) == 2 and not list(out.glob(".*.part"))
    monkeypatch.undo()
    assert make(folder, out)["kept"] == 2 and len(ucf101(out)) == 6


def test_a_video_that_cannot_be_packed_is_counted_as_unreadable(folder, tmp_path, forked, monkeypatch):
    def fails(source, entry):
        for n, picture in enumerate(pictures(source, entry)):
            if n == 9 and source.endswith("v_A_g02_c01.avi"):
                raise ValueError("cannot be decoded up to frame 9")
            yield picture

    pictures = pack_module._pictures
    monkeypatch.setattr(pack_module, "_pictures", fails)
    found = make(folder, tmp_path / "out")
    assert found["unreadable"]["A/v_A_g02_c01.avi"] == "cannot be decoded up to frame 9" and found["packed"] == 5
    records = ucf101(tmp_path / "out")
    assert records.missing["A/v_A_g02_c01"] == "unreadable: cannot be decoded up to frame 9"
    assert records.listed == ucf101(folder).listed
    monkeypatch.setattr(pack_module, "_pictures", lambda source, entry: PyAV(__file__, ()))
    with pytest.raises(ValueError, match=r"no video that could be packed. Of 8 unreadable"):
        make(folder, tmp_path / "none")


def test_a_video_whose_colours_change_is_packed_in_rgb(folder, tmp_path, forked, monkeypatch):
    def changes(source, entry):
        for n, picture in enumerate(pictures(source, entry)):
            yield picture if n < 5 else in_rgb(picture)

    pictures = pack_module._pictures
    monkeypatch.setattr(pack_module, "_pictures", changes)
    make(folder, tmp_path / "out")
    for one, two in zip(ucf101(folder, size=(32, 43)), ucf101(tmp_path / "out", size=(32, 43)), strict=True):
        index = np.arange(len(one["frames"]))
        assert (one["frames"][index].int() - two["frames"][index].int()).abs().float().mean() < 4


def test_a_folder_packed_by_the_same_seed_gives_the_same_examples(folder, tmp_path):
    from videossl.training.draws import Draws

    def sample(record, rng):
        weights = record["motion"] + 1e-3
        return {"frame": rng.choice(len(weights), p=weights / weights.sum()), "name": record["name"]}

    make(folder, tmp_path / "out")
    own, kept = (Draws(ucf101(root), sample, seed=3) for root in (folder, tmp_path / "out"))
    for n in range(30):
        assert own[n]["frame"] == kept[n]["frame"] and own[n]["name"] == kept[n]["name"]
