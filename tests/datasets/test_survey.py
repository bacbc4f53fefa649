import shutil

import av
import cv2
import numpy as np
import pytest

from videossl.datasets.frames import VideoFile
from videossl.datasets.survey import survey


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
