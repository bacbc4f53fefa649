import multiprocessing
import os
import pickle

import av
import cv2
import numpy as np
import pytest
import torch

from videossl.datasets import decoders
from videossl.datasets.choice import video_file
from videossl.datasets.decoders import open_video
from videossl.datasets.frames import FrameFolder, VideoFile
from videossl.datasets.index import index_videos
from videossl.datasets.survey import survey
from videossl.datasets.ucf101 import ucf101

# Frames that a full decode gives, from the README of the folder; corrupted.mp4 cannot be read to its end.
COUNTS = {
    "av1_video.mkv": 125,
    "bikes.mp4": 250,
    "demo.mp4": 280,
    "flipping_a_pancake.mkv": 310,
    "h265_10bits.mp4": 30,
    "long_ceiling_20200627_185209.mp4": 2301,
    "nasa_13013.mp4": 325,
    "part_0.mp4": 32,
    "smth-smth-1.webm": 47,
    "unordered.mov": 4,
    "video2.avi": 120,
    "video2.webm": 120,
    "video_0.mov": 3,
    "video_90.mov": 3,
    "video_large.webm": 116,
    "video_large_mpeg4.mp4": 145,
}


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_any_frames_in_any_order_and_shape_are_the_ones_asked_for(tmp_path, film, counting, suffix):
    video = VideoFile(film(tmp_path / f"count{suffix}", counting), 30)
    assert len(video) == 30
    for index in (
        np.array([[3, 29, 0], [7, 3, 3]]),
        np.arange(30)[::-1],
        [5],
        torch.tensor([[[2]], [[1]]]),
        np.uint8([12, 4]),
        17,
        np.zeros((2, 0), int),
    ):
        images, asked = video[index], np.asarray(index)
        assert images.dtype == torch.uint8 and images.shape == (*asked.shape, 3, 48, 64)
        expected = torch.as_tensor(8 * asked.astype(int))[..., None, None, None].expand(images.shape)
        assert torch.equal(images.long(), expected)


def test_frames_of_a_video_with_b_frames_are_in_the_order_of_presentation(tmp_path, film, counting):
    video = VideoFile(film(tmp_path / "count.mp4", counting, lossless=False), 30)
    index = np.random.default_rng(0).permutation(30)
    assert np.array_equal((video[index].float().mean((1, 2, 3)) / 8).round().int(), index)


@pytest.mark.parametrize("name", COUNTS)
def test_frames_of_every_format_are_those_of_a_full_sequential_decode(shared, name):
    path = shared / "video_formats" / name
    index = np.random.default_rng(0).permutation(COUNTS[name])[:6]
    index[0] = COUNTS[name] - 1
    expected, total = {}, 0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if total in index:
                expected[total] = frame.to_ndarray(format="rgb24")
            total += 1
    assert total == COUNTS[name]
    for n, image in zip(index, VideoFile(path, total)[index], strict=True):
        upright = np.rot90(expected[n], -1) if name == "video_90.mov" else expected[n]
        assert np.array_equal(image.permute(1, 2, 0), upright)


def test_a_rotated_video_is_upright_as_players_show_it(shared):
    path = shared / "video_formats" / "video_90.mov"
    shown = cv2.VideoCapture(str(path)).read()[1][..., ::-1].astype(int)
    found = survey(path)
    assert (found["height"], found["width"]) == shown.shape[:2] == (568, 320)
    image = VideoFile(path, 3)[0].permute(1, 2, 0).numpy()
    assert np.abs(image - shown).mean() < 2  # two converters round differently
    small = VideoFile(path, 3, (142, 80))[0].permute(1, 2, 0).numpy()
    area = cv2.resize(shown.astype(np.uint8), (80, 142), interpolation=cv2.INTER_AREA)
    assert small.shape == area.shape and np.abs(small.astype(int) - area).mean() < 4


def test_scaling_gives_the_size_asked_for_and_the_mean_of_fine_texture(tmp_path, film):
    stripes = np.zeros((2, 240, 320, 3), np.uint8)
    stripes[:, :, ::2] = 255  # one pixel wide: sampling points would see all black or all white
    path = film(tmp_path / "stripes.avi", stripes)
    images = VideoFile(path, 2, (60, 80))[[0, 1]]
    assert images.shape == (2, 3, 60, 80)
    assert (images.float() - 127.5).abs().max() < 40


def test_a_frame_that_is_not_there_is_refused_with_the_range(tmp_path, film, counting):
    video = VideoFile(film(tmp_path / "clip.avi", counting), 30)
    for index in (30, [0, 30], [[0], [30]]):
        with pytest.raises(ValueError, match=r"clip.avi has frames 0 to 29, but 30 was asked for"):
            video[index]
    with pytest.raises(ValueError, match=r"has frames 0 to 29, but -1 was asked for"):
        video[[-1]]
    for index in ([0.5], np.array([True]), slice(3)):
        with pytest.raises(ValueError, match="array of integers"):
            video[index]


def test_a_size_or_count_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="0 frames"):
        VideoFile("x.avi", 0)
    with pytest.raises(ValueError, match=r"\(height, width\)"):
        VideoFile("x.avi", 5, (0, 10))


def test_a_file_that_went_or_changed_says_so_and_gives_no_other_frames(tmp_path, film, counting, shared):
    path = film(tmp_path / "clip.avi", counting[:10])
    with pytest.raises(ValueError, match=r"clip.avi ends before frame 12$"):
        VideoFile(path, 30)[[3, 12, 14]]
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"clip.avi is empty"):
        VideoFile(path, 30)[0]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"clip.avi"):
        VideoFile(path, 30)[0]
    damaged = VideoFile(shared / "video_formats" / "corrupted.mp4", 49)
    assert damaged[[5]].shape == (1, 3, 720, 1280)
    with pytest.raises(ValueError, match=r"corrupted.mp4 cannot be decoded up to frame 40"):
        damaged[[5, 40]]


def test_a_video_file_can_be_pickled_and_reads_the_same(tmp_path, film, counting):
    video = VideoFile(film(tmp_path / "clip.avi", counting), 30, (24, 32))
    before = video[[4, 2]]
    copy = pickle.loads(pickle.dumps(video))
    assert copy == video and torch.equal(copy[[4, 2]], before)
    assert len(pickle.dumps(video)) < 1000


def index_of(path):
    return survey(path) | {"bytes": path.stat().st_size, "modified": path.stat().st_mtime_ns, "decoder": "pyav"}


@pytest.mark.parametrize("name", COUNTS)
def test_a_jump_to_a_key_frame_leads_to_the_frames_of_a_sequential_decode(shared, name):
    path = shared / "video_formats" / name
    entry = index_of(path)
    video, plain = video_file(path, entry, (30, 40)), VideoFile(path, COUNTS[name], (30, 40))
    rng = np.random.default_rng(0)
    whole = plain[np.arange(COUNTS[name])]
    for start in rng.integers(COUNTS[name], size=8):
        index = np.minimum(start + np.arange(4), COUNTS[name] - 1)
        assert torch.equal(video[index], whole[index])
    far = rng.integers(COUNTS[name], size=5)
    assert torch.equal(video[far], whole[far])


def test_a_clip_in_the_middle_is_decoded_from_its_key_frame(shared, monkeypatch):
    path = shared / "video_formats" / "long_ceiling_20200627_185209.mp4"
    entry = index_of(path)
    assert entry["jumps"][:2] == [[60, 60000], [120, 120000]]
    decoded = []
    opened = []
    monkeypatch.setattr(decoders, "open_video", lambda p: opened.append(p) or open_video(p))

    class Counted:
        def __init__(self, frames):
            self.frames = frames

        def __iter__(self):
            return self

        def __next__(self):
            decoded.append(1)
            return next(self.frames)

    approach = decoders.PyAV._approach

    def counted(self, wanted):
        approach(self, wanted)
        if not isinstance(self.frames, Counted):
            self.frames = Counted(self.frames)

    monkeypatch.setattr(decoders.PyAV, "_approach", counted)
    video_file(path, entry, (30, 40))[[2000, 2010]]
    assert sum(decoded) <= 60 + 11 and len(opened) == 1
    decoded.clear()
    video_file(path, entry, (30, 40))[[2011, 2020]]  # goes on where it was, in the open file
    assert sum(decoded) == 10 and len(opened) == 1


def test_key_frames_that_are_not_where_the_index_says_are_not_trusted(shared):
    path = shared / "video_formats" / "bikes.mp4"
    plain = VideoFile(path, 250, (30, 40))
    wrong = VideoFile(path, 250, (30, 40), keys=((30, 15361), (76, 99_000_000)))
    for index in ([200, 240], [35, 36], [0, 80, 90]):
        assert torch.equal(wrong[index], plain[index])


@pytest.mark.parametrize("decoder", sorted(set(decoders.DECODERS) - {"pyav"}))
@pytest.mark.parametrize(
    "name", ["video2.avi", "bikes.mp4", "video_90.mov", "flipping_a_pancake.mkv", "smth-smth-1.webm"]
)
def test_every_decoder_gives_the_same_frames_under_the_same_numbers(shared, decoder, name):
    if why := decoders.missing(decoder):
        pytest.skip(f"{decoder} is not there: {why}")
    path = shared / "video_formats" / name
    frames = COUNTS[name]
    rng = np.random.default_rng(1)
    for index in (np.arange(frames), rng.integers(frames, size=(2, 3)), np.array(frames - 1)):
        own, other = (VideoFile(path, frames, (60, 80), d)[index].int() for d in ("pyav", decoder))
        assert own.shape == other.shape and (own - other).abs().float().mean() < 3
    assert VideoFile(path, frames, None, decoder)[[0]].shape == VideoFile(path, frames)[[0]].shape


def test_a_decoder_that_is_not_there_is_named(shared, monkeypatch):
    monkeypatch.setattr(decoders, "missing", lambda name: "no FFmpeg")
    with pytest.raises(ValueError, match=r"video2.avi is to be read with decord, which is not there \(no FFmpeg\)"):
        VideoFile(shared / "video_formats" / "video2.avi", 120, None, "decord")[0]


def test_a_file_that_is_replaced_while_it_is_open_is_noticed(tmp_path, film, counting):
    path = film(tmp_path / "a.avi", counting)
    video = video_file(path, index_of(path), None)
    assert video[3].float().mean() == 24
    film(path, counting[::-1])
    with pytest.raises(ValueError, match=r"a.avi changed since it was indexed: run `videossl index`"):
        video[3]
    assert VideoFile(path, 30)[3].float().mean() == 8 * 26  # opened anew, though another file of that name was open


@pytest.mark.parametrize("decoder", decoders.DECODERS)
def test_a_process_forked_while_files_are_open_reads_and_ends(shared, decoder):
    if why := decoders.missing(decoder):
        pytest.skip(f"{decoder} is not there: {why}")
    video = VideoFile(shared / "video_formats" / "video2.avi", 120, (30, 40), decoder)
    expected = video[[3, 50]]
    process = multiprocessing.get_context("fork").Process(
        target=lambda: os._exit(not torch.equal(video[[3, 50]], expected))
    )
    process.start()
    process.join(60)
    try:
        assert process.exitcode == 0
    finally:
        process.kill()


def test_few_files_stay_open_and_a_forked_process_opens_its_own(tmp_path, film, counting):
    videos = [VideoFile(film(tmp_path / f"{n}.avi", counting), 30) for n in range(decoders.KEPT + 3)]
    for video in videos:
        video[[2, 5]]
    assert len(decoders._kept.files) == decoders.KEPT
    assert videos[-1][[7]].float().mean() == 56
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        values = [int(videos[-1][n].float().mean()) for n in (20, 3)] + [len(decoders._kept.files)]
        os.write(writer, repr(values).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == b"[160, 24, 1]"
    assert videos[-1][[8]].float().mean() == 64


@pytest.mark.parametrize("size", [None, (30, 40)])
def test_a_folder_of_numbered_images_is_a_video(tmp_path, counting, size):
    for n in range(12):  # without leading zeros
        cv2.imwrite(str(tmp_path / f"i_{n + 1}.png"), counting[n])
    (tmp_path / "notes.txt").write_text("x")
    video = FrameFolder(tmp_path, 12, size)
    images = video[[[11, 0], [9, 1]]]
    assert images.shape == (2, 2, 3, *(size or (48, 64)))
    assert images.float().mean((2, 3, 4)).tolist() == [[88, 0], [72, 8]]
    with pytest.raises(ValueError, match="frames 0 to 11, but 12 was asked for"):
        video[12]
    (tmp_path / "i_5.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"holds i_5.png, which cannot be read"):
        video[4]
    (tmp_path / "i_5.png").unlink()
    with pytest.raises(ValueError, match="held 12 images when it was indexed, but 11 now"):
        video[4]


def test_raw_frames_of_ucf101_are_read_as_its_videos_are(shared, tmp_path):
    root = shared / "ucf101_rawframes"
    index_videos(root, tmp_path / "i.json", workers=1, progress=False)
    records = ucf101(root, 1, True, (64, 85), shared / "ucfTrainTestlist", tmp_path / "i.json")
    names = [record["name"] for record in records]
    assert len(records) == 12 and names[0] == "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02"
    clip = records[0]["frames"][[[0, 24]]]
    assert clip.shape == (1, 2, 3, 64, 85) and len(records[0]["motion"]) == 24
    image = cv2.imread(str(root / names[0] / "i_0025.jpg"))[..., ::-1]
    area = cv2.resize(image, (85, 64), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
    assert np.abs(clip[0, 1].numpy().astype(int) - area).max() <= 3
