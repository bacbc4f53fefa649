"""What a video file or a folder of frames holds, found by decoding all of it once."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import av
import numpy as np

from videossl.datasets.decoders import PyAV, reason, refuse_others
from videossl.datasets.frames import image_names, read_image
from videossl.datasets.scaling import Picture, scaled

LOW = (30, 40)  # pixels, height and width: the resolution at which motion is measured and frames are told apart
JUMPS = 4  # key frames of a file that are jumped to for a try
EMPTY = {
    **{"frames": 0, "height": None, "width": None, "rate": None, "codec": None, "declared": None},
    **{"keyframes": [], "jumps": [], "motion": [], "warning": None, "error": None},
}


def survey(path: str | Path) -> dict:
    """Decode a file, or a folder of numbered images, once from start to end, for what the index keeps of it.

    Returns a dict:
        frames: how many were decoded. With an error, the frames before it, which can be read.
        height, width: of the first frame, upright, in pixels.
        rate: nominal, frames a second; None for a folder.
        codec: as FFmpeg names it; "images" for a folder.
        declared: how many frames the container says it holds, None where it does not say.
        keyframes: numbers of the frames that decode without an earlier one.
        jumps: for those that can be jumped to, [number, time in the stream's units]: no frame before them is shown
            later, and a jump to some of them was tried and gave the same frames as decoding from the start.
        motion: for each two successive frames the mean absolute difference of their brightness, in grey levels 0 to 255
            at 30x40 pixels, two decimals: `frames - 1` numbers.
        warning: what is odd though all that is there was decoded (cut short, damaged pictures), or None.
        error: why the file cannot be read to its end as a video, or None.
    """
    found = {name: list(value) if isinstance(value, list) else value for name, value in EMPTY.items()}
    try:
        if os.path.isdir(path) and image_names(str(path), os.stat(path).st_mtime_ns):
            _survey_images(str(path), found)
        else:
            refuse_others(path, os.stat(path))
            _survey_file(str(path), found)
    except av.FFmpegError as e:
        of = f" of {found['declared']} declared" if found["declared"] else ""
        found["error"] = f"decoding fails after {found['frames']}{of} frames ({reason(e)})"
    except OSError as e:
        found["error"] = f"cannot be opened ({e.strerror})"
    except (ValueError, MemoryError) as e:
        found["error"] = str(e) or "asks for more memory than there is"
    return found


def _survey_file(path: str, found: dict):
    file = PyAV(path, ())
    try:
        container, stream = file.container, file.stream
        found["codec"] = stream.codec_context.codec.canonical_name
        found["rate"] = round(float(stream.average_rate), 3) if stream.average_rate else None
        found["declared"] = stream.frames or None
        lasts = container.duration / av.time_base if container.duration else None  # seconds
        profile, times, seconds, odd, shape, damaged = Motion(found["motion"]), [], [], [], None, 0
        for frame in file.frames:
            picture = file.picture(frame, whole=False)
            if shape is None:
                found["height"], found["width"] = picture.planes[0].shape
            elif (frame.height, frame.width) != shape:
                odd.append(f"changes size at frame {found['frames']}, to {frame.width}x{frame.height}")
            shape = frame.height, frame.width
            if frame.key_frame:
                found["keyframes"].append(found["frames"])
            profile.add(picture)
            times.append(frame.pts)
            seconds = [seconds[0] if seconds else frame.time, frame.time]
            damaged += frame.is_corrupt
            found["frames"] += 1
    finally:
        file.close()
    if not found["frames"]:
        raise ValueError(f"holds a video stream ({found['codec']}), but no frame of it can be decoded")
    if found["declared"]:
        # One short is usual: AVIs with packed B-frames, as in HMDB51, declare one that holds no picture.
        if found["frames"] < found["declared"] - 1:
            odd.append(f"ends after {found['frames']} of {found['declared']} declared frames")
    elif lasts and None not in seconds and found["frames"] > 1:
        shown = (seconds[1] - seconds[0]) * found["frames"] / (found["frames"] - 1)  # the last frame's too
        if shown < 0.9 * lasts:
            odd.append(f"ends after {shown:.1f} of {lasts:.1f} seconds")
    if damaged:
        odd.append(f"has {damaged} damaged frame{'s' * (damaged > 1)}")
    found["warning"] = "; ".join(odd) or None
    found["jumps"] = [] if damaged else safe_jumps(path, found["keyframes"], times, profile.prints)


def _survey_images(folder: str, found: dict):
    names = image_names(folder, os.stat(folder).st_mtime_ns)
    profile, odd, shape = Motion(found["motion"]), [], None
    found["codec"] = "images"
    for name in names:
        planes = read_image(os.path.join(folder, name))
        if shape is None:
            found["height"], found["width"] = planes.shape[1:]
        elif planes.shape != shape:
            odd.append(f"changes size at {name}, to {planes.shape[2]}x{planes.shape[1]}")
        shape = planes.shape
        profile.add(Picture(tuple(planes)))
        found["frames"] += 1
    numbers = [int(re.search(r"(\d+)\.\w+$", name)[1]) for name in names]
    lost = numbers[-1] - numbers[0] + 1 - len(numbers)
    if lost:
        odd.append(f"lacks {lost} of the numbers from {names[0]} to {names[-1]}")
    found["warning"] = "; ".join(odd) or None


class Motion:
    """Brightness of successive pictures at a low resolution: how much it changes, and prints by which they are known."""

    def __init__(self, profile: list[float]):
        self.profile, self.prints, self.before = profile, [], None

    def add(self, picture: Picture) -> None:
        """Append how much changed, in grey levels, and the picture's print."""
        grey = brightness(picture)
        if self.before is not None:
            self.profile.append(round(float(np.abs(grey - self.before).mean()), 2))
        self.before = grey
        self.prints.append(crc32(grey))


def brightness(picture: Picture) -> np.ndarray:
    """Of a picture at the low resolution, (30, 40) int16: as stored in video, as the colours' weighted mean otherwise."""
    if picture.colours is not None:
        return scaled(picture.planes[0][None], LOW)[0].astype(np.int16)
    red, green, blue = scaled(np.stack(picture.planes), LOW).astype(int)
    return ((77 * red + 150 * green + 29 * blue) >> 8).astype(np.int16)  # as BT.601 has it


def safe_jumps(path: str, keyframes: Sequence[int], times: Sequence[int | None], prints: Sequence[int]) -> list:
    """Key frames to jump to, after a try at some of them; none where one of these gave other frames.

    Args:
        keyframes: numbers of the key frames.
        times: of all frames, in the stream's units; None where unknown.
        prints: of all frames (see `Motion`).
    """
    if None in times or len(keyframes) < 2:
        return []
    shown = np.array(times)
    latest = np.maximum.accumulate(shown)  # up to each frame
    soonest = np.minimum.accumulate(shown[::-1])[::-1]  # from each frame on
    last = len(shown) - 1
    jumps = [
        [n, int(shown[n])]
        for n in keyframes
        if n and latest[n - 1] < shown[n] and (n == last or shown[n] < soonest[n + 1])
    ]
    tried = jumps[-1:] + jumps[:: max(1, len(jumps) // (JUMPS - 1))][: JUMPS - 1] if jumps else []
    if not tried:
        return []
    file = PyAV(path, jumps)
    try:
        for number, _ in tried:
            wanted = range(number, min(number + 3, len(prints)))
            file.next = len(prints)  # behind all of them, so that each is jumped to
            for n, picture in zip(wanted, file.read(wanted, whole=False), strict=True):
                if crc32(brightness(picture)) != prints[n]:
                    return []
        return jumps if file.keys else []  # a jump that missed leaves it without
    except (ValueError, av.FFmpegError):
        return []
    finally:
        file.close()
