import pickle
import shutil

import av
import cv2
import numpy as np
import pytest
import torch

from videossl.datasets.frames import VideoFile, survey

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
        assert images.dtype == torch.uint8 and images.shape == (*asked.shape, 3, 48, 64) and images.is_contiguous()
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
    with pytest.raises(ValueError, match=r"clip.avi ended before frame 12, but had 30 frames when it was indexed"):
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


def test_motion_is_the_mean_difference_of_grey_levels(tmp_path, film, counting):
    found = survey(film(tmp_path / "count.avi", counting))
    assert found["frames"] == 30 and found["declared"] == 30 and (found["height"], found["width"]) == (48, 64)
    assert found["codec"] == "ffv1" and found["rate"] == 25 and found["error"] is found["warning"] is None
    assert found["motion"] == pytest.approx([8] * 29, abs=0.5)
    for frames in (1, 2, 3, 30):  # Matroska declares no count, only how long it lasts
        short = survey(film(tmp_path / "short.mkv", counting[:frames]))
        assert (short["frames"], short["declared"], short["warning"]) == (frames, None, None)
    still = survey(film(tmp_path / "still.avi", counting[[5] * 10]))
    assert still["motion"] == [0] * 9


def test_motion_of_a_moving_square_is_what_a_brute_force_count_gives(tmp_path, film):
    images = np.zeros((6, 120, 160, 3), np.uint8)
    for t in range(6):
        images[t, 40:60, 20 * t : 20 * t + 20] = 200
    found = survey(film(tmp_path / "square.avi", images))
    cells = images[..., 0].reshape(6, 30, 4, 40, 4).mean((2, 4))  # a cell of 4x4 pixels for each of 30x40
    expected = np.abs(np.diff(cells, axis=0)).mean((1, 2))  # 2 squares of 400 pixels in 19200: 200 * 800 / 19200
    assert expected == pytest.approx([8.33] * 5, abs=0.01)
    assert found["motion"] == pytest.approx(expected, abs=0.2)


def test_key_frames_are_those_that_decode_by_themselves(tmp_path, film, counting):
    found = survey(film(tmp_path / "count.mp4", counting, lossless=False))
    assert found["keyframes"][0] == 0 and 30 / 7 <= len(found["keyframes"]) < 30
    assert survey(film(tmp_path / "count.avi", counting))["keyframes"] == list(range(30))  # lossless: each alone


def test_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=8000)
        cover = container.add_stream("mjpeg")
        cover.height, cover.width, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic.value
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux(audio.encode(silence))
        container.mux(audio.encode())
    assert survey(path)["error"] == "holds no video stream (only audio)"


def test_a_play_list_or_picture_named_as_a_video_does_not_become_another_video(tmp_path, shared):
    shutil.copy(shared / "video_formats" / "video2.avi", tmp_path / "real.avi")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile real.avi\n")
    assert survey(tmp_path / "list.mp4")["error"] == "is a play list (concat), not a video file"
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((20, 20, 3), np.uint8))
    (tmp_path / "image.png").rename(tmp_path / "image.mp4")
    assert survey(tmp_path / "image.mp4")["error"] == "is an image (png_pipe), not a video file"
    with pytest.raises(ValueError, match=r"list.mp4 is a play list"):
        VideoFile(tmp_path / "list.mp4", 120)[0]
