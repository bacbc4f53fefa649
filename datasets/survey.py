"""What a video file or a folder of frames holds, found by decoding all of it once."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from zlib import crc32

import av
import numpy as np
from numba import njit

from videossl.datasets.decoders import PyAV, luma, missing, open_video, planes_of, reason, refuse_others
from videossl.datasets.frames import image_names, read_image
from videossl.datasets.jobs import sign_of_life
from videossl.datasets.packed import SUFFIX, Packed
from videossl.datasets.scaling import Picture, mix, transpose, weights

LOW = (30, 40)  # pixels, height and width: the resolution at which motion is measured and frames are told apart
TOGETHER = 32  # pictures whose motion is measured at once
ROWS = 2  # of a picture that are looked at, at least, for each row of the low resolution
TRIED = 2  # frames that are compared after a jump
# Codecs whose decoder says nothing of damage, and leaves parts of a picture as memory was; and another that knows them.
SECOND = {"vp8": "libvpx"}
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
        codec: as FFmpeg names it; "images" for a folder; "packed" for a packed file, of which rate, declared, motion and
            the warning are those of the original.
        declared: how many frames the container says it holds, None where it does not say.
        keyframes: numbers of the frames that decode without an earlier one.
        jumps: for those that can be jumped to, [number, time in the stream's units]: no frame before them is shown
            later, each jump leads to where that frame was met, and some were tried and gave the same frames as decoding
            from the start.
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
            (_survey_packed if str(path).lower().endswith(SUFFIX) else _survey_file)(str(path), found)
    except av.FFmpegError as e:
        of = f" of {found['declared']} declared" if found["declared"] else ""
        found["error"] = f"decoding fails after {found['frames']}{of} frames ({reason(e)})"
    except OSError as e:
        found["error"] = f"cannot be opened ({e.strerror})"
    except (ValueError, MemoryError) as e:
        found["error"] = str(e) or "asks for more memory than there is"
    return found


def _survey_file(path: str, found: dict):
    file, profile, places = PyAV(path, ()), Motion(found["motion"]), {}
    try:
        container, stream = file.container, file.stream
        found["codec"] = stream.codec_context.codec.canonical_name
        found["rate"] = round(float(stream.average_rate), 3) if stream.average_rate else None
        found["declared"] = stream.frames or None
        lasts = container.duration / av.time_base if container.duration else None  # seconds
        times, odd, shape, damaged, unit = [], [], None, 0, stream.time_base
        second = SECOND.get(found["codec"])
        sums = [] if second in av.codecs_available else None
        for frame in whole(file, places):
            grey = luma(frame)
            if grey is None:
                grey = grey_of(file.picture(frame, whole=False))
            if shape is None:
                found["height"], found["width"] = grey.shape
            elif (frame.height, frame.width) != shape:
                odd.append(f"changes size at frame {found['frames']}, to {frame.width}x{frame.height}")
            shape = frame.height, frame.width
            if frame.key_frame:
                found["keyframes"].append(found["frames"])
            profile.add(grey)
            if sums is not None:
                sums.append(checksum(frame))
            times.append(frame.pts)
            damaged += frame.is_corrupt
            found["frames"] += 1
        profile.finish()
        if not damaged:
            found["jumps"] = safe_jumps(file, found["keyframes"], times, profile.prints, places)
    finally:
        profile.finish()
        file.close()
    if not found["frames"]:
        raise ValueError(f"holds a video stream ({found['codec']}), but no frame of it can be decoded")
    if sums and (first := doubtful(path, sums, second)) is not None:
        found["frames"] = first
        found["keyframes"] = [n for n in found["keyframes"] if n < first]
        found["motion"] = found["motion"][: max(0, first - 1)]
        found["jumps"] = [jump for jump in found["jumps"] if jump[0] < first]
        raise ValueError(f"is damaged: from frame {first} on two decoders show other pictures")
    if found["declared"]:
        # One short is usual: AVIs with packed B-frames, as in HMDB51, declare one that holds no picture.
        if found["frames"] < found["declared"] - 1:
            odd.append(f"ends after {found['frames']} of {found['declared']} declared frames")
    elif lasts and None not in (times[0], times[-1]) and found["frames"] > 1:
        seconds = float((times[-1] - times[0]) * unit)
        shown = seconds * found["frames"] / (found["frames"] - 1)  # the last frame's too
        if shown < 0.9 * lasts:
            odd.append(f"ends after {shown:.1f} of {lasts:.1f} seconds")
    if damaged:
        odd.append(f"has {damaged} damaged frame{'s' * (damaged > 1)}")
    found["warning"] = "; ".join(odd) or None


def _survey_packed(path: str, found: dict):
    found["codec"] = "packed"
    if why := missing("packed"):
        raise ValueError(f"is a packed video, but what reads these is not there ({why})")
    file = Packed(path)
    try:
        whole = file.described()
        found |= whole | {"frames": 0, "keyframes": [], "motion": []}
        for number in file.verified():
            sign_of_life()
            found |= {"frames": number + 1, "motion": whole["motion"][:number]}
        found["keyframes"] = whole["keyframes"]
    finally:
        file.close()


def _survey_images(folder: str, found: dict):
    names = image_names(folder, os.stat(folder).st_mtime_ns)
    profile, odd, shape = Motion(found["motion"]), [], None
    found["codec"] = "images"
    for name in names:
        sign_of_life()
        planes = read_image(os.path.join(folder, name))
        if shape is None:
            found["height"], found["width"] = planes.shape[1:]
        elif planes.shape != shape:
            odd.append(f"changes size at {name}, to {planes.shape[2]}x{planes.shape[1]}")
        shape = planes.shape
        profile.add(grey_of(Picture(tuple(planes))))
        profile.finish()  # at once, so that an image that cannot be read finds all before it told
        found["frames"] += 1
    found["warning"] = "; ".join([*odd, *_odd_numbers(names)]) or None


def _odd_numbers(names: list[str]) -> Iterator[str]:
    """What is odd about the numbers at the end of images' names, if anything."""
    parts = [re.fullmatch(r"(.*?)(\d+)\.\w+", name, re.DOTALL) for name in names]
    numbers = [int(part[2]) for part in parts]
    if len({part[1] for part in parts}) > 1 or len(set(numbers)) < len(numbers):
        yield "holds several series of numbers (give each a folder of its own)"
    first, last = min(numbers), max(numbers)
    lost = last - first + 1 - len(set(numbers))
    if lost:
        yield f"lacks {lost} of the numbers from {names[numbers.index(first)]} to {names[numbers.index(last)]}"


class Motion:
    """Brightness of successive pictures at a low resolution: how much it changes, and prints by which they are known."""

    def __init__(self, profile: list[float]):
        self.profile, self.prints, self.before = profile, [], None
        self.shape, self.rows, self.count = None, np.empty(0), 0  # of pictures that are looked at together

    def add(self, grey: np.ndarray) -> None:
        """Take in the brightness (h, w) uint8 of the next picture."""
        if grey.shape != self.shape:
            self.finish()
            self.shape, self.rows = grey.shape, np.empty((TOGETHER, LOW[0], grey.shape[1]), np.uint8)
        some = grey[:: max(1, len(grey) // (ROWS * LOW[0]))]
        mix(some, *weights(len(some), LOW[0]), self.rows[self.count])
        self.count += 1
        if self.count == TOGETHER:
            self.finish()

    def finish(self) -> None:
        """Append how much changed, in grey levels, and the pictures' prints, up to the last one."""
        if not self.count:
            return
        columns = transpose(self.rows[: self.count].reshape(self.count * LOW[0], -1))
        small = np.empty((LOW[1], self.count, LOW[0]), np.uint8)
        mix(columns, *weights(len(columns), LOW[1]), small.reshape(LOW[1], -1))
        changes, prints = compare(small if self.before is None else np.concatenate([self.before, small], 1))
        new = slice(None if self.before is None else 1, None)
        self.profile += [round(change, 2) for change in changes[1:].tolist()]
        self.prints += prints[new].tolist()
        self.before, self.count = small[:, -1:], 0


@njit(cache=True)
def compare(small):
    """For each of n pictures (40, n, 30) the mean absolute difference from the one before, and a print of its own."""
    changes, prints = np.zeros(small.shape[1]), np.zeros(small.shape[1], np.uint32)
    for n in range(small.shape[1]):
        total, known = 0, np.uint32(0)
        for x in range(small.shape[0]):
            for y in range(small.shape[2]):
                total += abs(np.int32(small[x, n, y]) - np.int32(small[x, max(n - 1, 0), y]))
                known = np.uint32(np.uint32(31) * known + small[x, n, y])
        changes[n], prints[n] = total / (small.shape[0] * small.shape[2]), known
    return changes, prints


def grey_of(picture: Picture) -> np.ndarray:
    """A picture's brightness (h, w) uint8: as stored in video, or the weighted mean of its colours."""
    if picture.colours is not None:
        return picture.planes[0]
    red, green, blue = (plane.astype(np.uint16) for plane in picture.planes)
    return ((77 * red + 150 * green + 29 * blue + 128) >> 8).astype(np.uint8)  # ITU-R BT.601, in 256ths


def whole(file: PyAV, places: dict) -> Iterator[av.VideoFrame]:
    """All frames; and of the packets that can be jumped to, where in the file -> (time, bytes)."""
    for packet in file.container.demux(file.stream):
        sign_of_life()
        if packet.is_keyframe:
            places[packet.pos] = packet.pts, packet.size
        yield from packet.decode()


def checksum(frame: av.VideoFrame) -> int:
    """Of all of a frame's planes."""
    total = 0
    for plane in planes_of(frame):
        total = crc32(np.ascontiguousarray(plane), total)
    return total


def doubtful(path: str, sums: Sequence[int], decoder: str) -> int | None:
    """Number of the first frame that another of FFmpeg's decoders shows otherwise, if any.

    Args:
        path: the file.
        sums: checksums of all its frames.
        decoder: its name; both give the same bits for a file that keeps to the standard.
    """
    file, second, n = PyAV(path, ()), av.CodecContext.create(decoder, "r"), 0
    second.thread_count = 1
    try:
        for packet in file.container.demux(file.stream):
            sign_of_life()
            for frame in second.decode(packet):
                if n == len(sums) or checksum(frame) != sums[n]:
                    return n
                n += 1
    except av.FFmpegError:
        return n
    finally:
        file.close()
    return n if n < len(sums) else None


def safe_jumps(
    file: PyAV, keyframes: Sequence[int], times: Sequence[int | None], prints: Sequence[int], places: dict
) -> list:
    """Key frames to jump to; none where a jump leads elsewhere, or one of those that were tried gave other frames.

    Args:
        file: decoded to its end.
        keyframes: numbers of the key frames.
        times: of all frames, in the stream's units; None where unknown.
        prints: of all frames (see `Motion`).
        places: of all packets that can be jumped to (see `whole`).
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
    try:
        if jumps and not lands(file.path, [time for _, time in jumps], places):
            return []
        for number, _ in jumps[-1:] + jumps[len(jumps) // 2 : -1][:1]:
            wanted = range(number, min(number + TRIED, len(prints)))
            file.keys, file.next = jumps, len(prints)  # behind all of them, so that it is jumped to
            again = Motion([])
            for picture in file.read(wanted, whole=False):
                again.add(grey_of(picture))
            again.finish()
            if again.prints != list(prints[number : number + TRIED]) or not file.keys:  # a jump that missed has no keys
                return []
    except (ValueError, av.FFmpegError):
        return []
    return jumps


def lands(path: str, times: Sequence[int], places: dict) -> bool:
    """Whether jumps lead to packets that were met on the way from the start: the list of them in a file may be wrong.

    The file is opened anew, for what was read before is known without that list.
    """
    container, stream = open_video(path)
    try:
        for time in times:
            sign_of_life()
            container.seek(time, stream=stream)
            packet = next(container.demux(stream), None)
            if packet is None or places.get(packet.pos) != (packet.pts, packet.size):
                return False
        return True
    finally:
        container.close()
