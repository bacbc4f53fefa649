"""Video files opened by four libraries, behind one interface. They are touched here and in `survey` alone.

Frame n is the n-th frame that decoding the file from its start yields, in the order of presentation: of the first video
stream that is no cover picture, turned upright as its rotation flag says. PyAV, which is FFmpeg's libraries, is the
measure: it is always there, `survey` counts with it, and another decoder reads a file only after `agrees` has found that
it gives the same frames under the same numbers. All use one thread: data workers are the parallelism. Packed files are
read through the same interface (see `packed`), by nobody else.

With PyAV most of the time goes into decoding, with the others into what they do beside it: they convert whole pictures to
RGB before these can be scaled (`videossl bench loader` measures it).
"""

import importlib
import os
import re
import stat
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Literal, Protocol

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from videossl.datasets.jobs import sign_of_life
from videossl.datasets.packed import Packed
from videossl.datasets.scaling import AT_ONCE, Picture, split, yuv_to_rgb

av.logging.set_level(av.logging.PANIC)  # what libav has to say of a damaged file is said once, in an exception

Name = Literal["pyav", "opencv", "torchcodec", "decord", "packed"]  # the last for files of `videossl pack` alone
KEPT = 4  # files that a process keeps open
NEAR = 4  # frames that are rather decoded than jumped over: a jump costs about as much


class Decoder(Protocol):
    """An open file. Constructed from a path and the key frames that can be jumped to, as `survey` gives them."""

    def read(self, wanted: Sequence[int], whole: bool) -> Iterator[Picture]:
        """Pictures of these ascending numbers, each to be used before the next is asked for.

        Args:
            wanted: numbers of frames, each once.
            whole: they are not going to be scaled, so all planes have the picture's size.

        Raises:
            ValueError: the file is damaged or ends before; the message goes on after the file's name.
        """

    def close(self) -> None:
        """Free what it holds."""


class PyAV:
    """FFmpeg's libraries: jumps to key frames that were found safe, and leaves scaling to us, before the conversion."""

    def __init__(self, path: str, keys: Sequence[tuple[int, int]]):
        self.path, self.keys = path, keys
        self.reformatter = VideoReformatter()
        self._open()

    def _open(self):
        self.container, self.stream = open_video(self.path)
        self.frames, self.next = self.container.decode(self.stream), 0  # the number of the frame that comes next

    def read(self, wanted, whole):
        number = wanted[0]
        try:
            for number in wanted:
                self._approach(number)
                while self.next <= number:
                    frame = next(self.frames, None)
                    if frame is None:
                        raise ValueError(f"ends before frame {number}")
                    self.next += 1
                    sign_of_life()
                yield self.picture(frame, whole)
        except av.FFmpegError as e:
            raise ValueError(f"cannot be decoded up to frame {number} ({reason(e)})") from e

    def _approach(self, wanted: int):
        """Go where decoding on leads to this frame soonest."""
        if 0 <= wanted - self.next < NEAR:
            return
        behind = wanted < self.next
        last = bisect_right(self.keys, wanted, key=itemgetter(0)) - 1
        if last >= 0 and (behind or self.keys[last][0] - self.next >= NEAR):
            number, time = self.keys[last]
            self.container.seek(time, stream=self.stream)
            self.frames = self.container.decode(self.stream)
            # Pictures shown before the key frame may come first, in part without those they build on.
            frame = next((frame for frame in self.frames if frame.pts is None or frame.pts >= time), None)
            if frame is not None and frame.pts == time:
                self.frames, self.next = chain([frame], self.frames), number
                return
            self.keys, behind = (), True  # not where `survey` found it: from the start then
        if behind:
            self.container.close()
            self._open()

    def picture(self, frame: av.VideoFrame, whole: bool) -> Picture:
        """A frame as its planes lie in memory, upright."""
        if whole:
            planes, colours = self.reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray(), None
            planes = planes.transpose(2, 0, 1)
        elif (colours := colours_of(frame)) is not None:
            planes = planes_of(frame)
        else:
            # Not to gbrp: at some widths FFmpeg leaves the last columns of its planes unwritten.
            planes = split(self.reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray())
        if turns := quarters(frame):
            planes = [np.ascontiguousarray(np.rot90(plane, turns)) for plane in planes]
        return Picture(tuple(planes), colours)

    def close(self):
        self.container.close()


class OpenCV:
    """OpenCV's VideoCapture: decodes from where it is, or from the start, since its jumps miss."""

    def __init__(self, path: str, keys: Sequence[tuple[int, int]] = ()):
        self.path = path
        self._open()

    def _open(self):
        import cv2

        self.capture = cv2.VideoCapture(self.path, cv2.CAP_FFMPEG, (cv2.CAP_PROP_N_THREADS, 1))
        if not self.capture.isOpened():
            raise ValueError("cannot be opened by OpenCV")
        self.next = 0

    def read(self, wanted, whole):
        if wanted[0] < self.next:
            self.close()
            self._open()
        for number in wanted:
            while self.next <= number:
                if not self.capture.grab():
                    raise ValueError(f"ends before frame {number}")
                self.next += 1
                sign_of_life()
            there, image = self.capture.retrieve()
            if not there:
                raise ValueError(f"cannot be decoded up to frame {number}")
            yield Picture(split(image)[::-1])

    def close(self):
        self.capture.release()


class TorchCodec:
    """PyTorch's own decoder; needs FFmpeg's libraries on the system."""

    def __init__(self, path: str, keys: Sequence[tuple[int, int]] = ()):
        from torchcodec.decoders import VideoDecoder

        try:
            self.decoder = VideoDecoder(path, num_ffmpeg_threads=1)
        except (RuntimeError, ValueError) as e:
            raise ValueError(f"cannot be opened by torchcodec ({first_line(e)})") from e

    def read(self, wanted, whole):
        try:
            for part in batched(wanted):
                for planes in self.decoder.get_frames_at(part).data.numpy():
                    yield Picture(tuple(planes))
        except (RuntimeError, IndexError) as e:
            raise ValueError(f"cannot be decoded by torchcodec ({first_line(e)})") from e

    def close(self):
        del self.decoder


class Decord:
    """decord, which many projects load with; no longer developed, and built for x86-64 alone."""

    def __init__(self, path: str, keys: Sequence[tuple[int, int]] = ()):
        import decord

        decord.logging.set_level(decord.logging.FATAL)
        try:
            self.reader = decord.VideoReader(path, num_threads=1)
        except (decord.DECORDError, RuntimeError) as e:
            raise ValueError(f"cannot be opened by decord ({first_line(e)})") from e
        self.error = decord.DECORDError

    def read(self, wanted, whole):
        try:
            for part in batched(wanted):
                for image in self.reader.get_batch(part).asnumpy():  # (H, W, 3)
                    yield Picture(split(image))
        except (self.error, IndexError) as e:
            raise ValueError(f"cannot be decoded by decord ({first_line(e)})") from e

    def close(self):
        del self.reader


DECODERS = {"pyav": PyAV, "opencv": OpenCV, "torchcodec": TorchCodec, "decord": Decord}
PACKAGES = {  # what they import
    **{"pyav": "av", "opencv": "cv2", "torchcodec": "torchcodec.decoders", "decord": "decord"},
    **{"packed": "lz4.block"},
}


@cache
def missing(name: Name) -> str | None:
    """Why a decoder cannot be had here, in a line; None where it can."""
    try:
        importlib.import_module(PACKAGES[name])
    except (ImportError, OSError, RuntimeError) as e:  # torchcodec raises the last where it finds no FFmpeg
        return first_line(e)
    return None


def version(name: Name) -> str:
    """Which release of a decoder is there."""
    return importlib.import_module(PACKAGES[name].partition(".")[0]).__version__


class _Kept(threading.local):
    """Files this thread has open, the one used last at the end; a forked process begins with none."""

    def __init__(self):
        self.files: OrderedDict[tuple, Decoder] = OrderedDict()
        self.parents: list[OrderedDict] = []

    def forget(self):
        """Leave them to the parent, neither closed nor freed: decord would wait for threads that are not here."""
        self.parents.append(self.files)
        self.files = OrderedDict()


_kept = _Kept()
os.register_at_fork(after_in_child=_kept.forget)


@contextmanager
def reading(name: Name, path: str, keys: Sequence[tuple[int, int]], stamp: tuple[int, int] | None) -> Iterator[Decoder]:
    """A file's decoder, opened or still open from before; closed where what is done with it fails.

    Raises:
        ValueError: the file is not, or no longer, what was indexed, with a message that goes on after its name; or the
            decoder is not there.
        FileNotFoundError: the file is gone.
    """
    info = os.stat(path)
    now = info.st_size, info.st_mtime_ns
    if stamp is not None and now != tuple(stamp):
        raise ValueError("changed since it was indexed: run `videossl index` on its folder again")
    known = name, path, now, tuple(keys)
    file = _kept.files.pop(known, None)
    if file is None:
        if why := missing(name):
            raise ValueError(f"is to be read with {name}, which is not there ({why}): index its folder again")
        refuse_others(path, info)
        file = (Packed if name == "packed" else DECODERS[name])(path, keys)
    try:
        yield file
    except BaseException:
        file.close()
        raise
    _kept.files[known] = file
    while len(_kept.files) > KEPT:
        _kept.files.popitem(last=False)[1].close()


def refuse_others(path: str | Path, info: os.stat_result) -> None:
    """Raise a ValueError that says what is there instead of a file that can be read, without naming it."""
    if stat.S_ISDIR(info.st_mode):
        raise ValueError("is a folder, not a video file")
    if not stat.S_ISREG(info.st_mode):
        raise ValueError("is a device or pipe, not a video file")
    if not info.st_size:
        raise ValueError("is empty (0 bytes)")
    if not os.access(path, os.R_OK):
        raise ValueError("may not be read (permission denied)")


def packets(video: Path) -> int:
    """How many pictures a file holds, by its packets; the first one is decoded, the others are not.

    Raises:
        ValueError: it is no video, or its first picture is damaged.
    """
    try:
        container, stream = open_video(str(video))
        with container:
            next(container.decode(stream))
        container, stream = open_video(str(video))
        with container:
            return sum(packet.size > 0 for packet in container.demux(stream))
    except (av.FFmpegError, StopIteration, ValueError) as e:
        why = (
            "is empty (0 bytes)"
            if video.stat().st_size == 0
            else f"cannot be decoded ({str(e) or 'no picture is whole'})"
        )
        raise ValueError(f"{video} {why}") from e


def open_video(path: str | Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    """A file's container and the stream to decode. A ValueError says what the file is instead, without naming it."""
    try:
        # "file:", or a colon in the name would pass for a protocol. Bytes in the metadata that are no UTF-8 are common.
        container = av.open(f"file:{path}", metadata_errors="replace", options={"protocol_whitelist": "file"})
    except av.FFmpegError as e:
        raise ValueError(f"is not a video that can be opened: cut short, damaged or not one ({reason(e)})") from e
    try:
        kind = container.format.name
        if kind in ("concat", "hls", "dash") or kind.endswith("_pipe"):  # FFmpeg would play the files that a list names
            raise ValueError(f"is {'an image' if kind.endswith('_pipe') else 'a play list'} ({kind}), not a video file")
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            others = sorted({s.type for s in container.streams} - {"video"})
            raise ValueError(f"holds no video stream ({'only ' + ', '.join(others) if others else 'nor any other'})")
        stream = streams[0]
        if stream.codec_context is None:
            raise ValueError("holds a video stream for which FFmpeg has no decoder")
    except ValueError:
        container.close()
        raise
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    return container, stream


def write_video(path: Path, video: np.ndarray, rate: int) -> None:
    """Write `video` (T, H, W, 3) uint8 as UCF101's are, MPEG-4 in AVI: the same bytes each time, all or nothing."""
    part = path.with_name(path.name + ".part")
    try:
        with av.open(part, "w", format="avi", options={"fflags": "+bitexact"}) as container:
            # qmin, qmax: the finest quantisers, so that no quality is lost to see; g: frames from one key frame on
            options = {"flags": "+bitexact", "qmin": "2", "qmax": "3", "g": "12"}
            stream = container.add_stream("mpeg4", rate=rate, options=options)
            stream.height, stream.width = video.shape[1:3]
            stream.pix_fmt, stream.codec_tag, stream.thread_count = "yuv420p", "XVID", 1
            for frame in video:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
            container.mux(stream.encode())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def planes_of(frame: av.VideoFrame) -> list[np.ndarray]:
    """The planes of a frame of 8 bits, each (h, w), without a copy."""
    return [np.ndarray((p.height, p.width), np.uint8, p, strides=(p.line_size, 1)) for p in frame.planes]


def luma(frame: av.VideoFrame) -> np.ndarray | None:
    """A frame's brightness (h, w), upright, where it is a plane of its own of 8 bits."""
    if colours_of(frame) is None:
        return None
    plane = frame.planes[0]
    grey = np.ndarray((plane.height, plane.width), np.uint8, plane, strides=(plane.line_size, 1))
    return np.rot90(grey, turns) if (turns := quarters(frame)) else grey


def colours_of(frame: av.VideoFrame) -> tuple[int, ...] | None:
    """How the planes of a frame become RGB, by its tags; None where they are not Y, U, V of 8 bits.

    Without a tag it is BT.601, as FFmpeg and players have it.
    """
    if (kind := frame.format.name) not in PLANAR:
        return None
    standard = STANDARDS.get(int(frame.colorspace))
    return standard and yuv_to_rgb(standard, kind in FULL or int(frame.color_range) == 2)


FULL = {"yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p", "yuvj411p"}
PLANAR = FULL | {"yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p"}
STANDARDS = {1: "709", 2: "601", 5: "601", 6: "601", 9: "2020"}  # AVColorSpace: 2 is none given


def quarters(frame: av.VideoFrame) -> int:
    """Quarter turns, anticlockwise, that show the frame upright, from the container's rotation flag: 0 to 3."""
    return round(frame.rotation / 90) % 4


def batched(wanted: Sequence[int]) -> Iterator[list[int]]:
    """So many at once that memory stays small."""
    for n in range(0, len(wanted), AT_ONCE):
        yield [int(number) for number in wanted[n : n + AT_ONCE]]


def reason(error: av.FFmpegError) -> str:
    """What libav says of an error, with its last line on it where there is one."""
    return error.strerror + (f": {error.log[2].strip()}" if error.log else "")


def first_line(error: Exception) -> str:
    """Of an error whose text may begin with where in another language it was raised, and go on with a traceback of it."""
    return PLACE.sub("", (str(error).strip().splitlines() or [type(error).__name__])[0])


PLACE = re.compile(r"\[[\d:]+\] \S+:\d+: ")  # such as decord's "[12:30:01] /src/video/video_reader.cc:151: "
