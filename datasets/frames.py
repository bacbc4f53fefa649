"""The frames of a video file, by number. PyAV, which is FFmpeg's libraries, is touched here alone.

Frame n is the n-th frame that decoding the file from its start yields, in the order of presentation: of the first video
stream that is no cover picture, turned upright as its rotation flag says. `survey`, which counts the frames, and
`VideoFile`, which reads them, decode alike, so their numbers agree. Both use one thread: data workers are the
parallelism.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

av.logging.set_level(av.logging.PANIC)  # what libav has to say of a damaged file is said once, in an exception

LOW = (30, 40)  # pixels, height and width: the resolution at which motion is measured


@dataclass(frozen=True)
class VideoFile:
    """Frames of a file: `len(video)`, and `video[index]` for an integer array of any shape, in any order, with repeats.

    Holds no open decoder: whoever reads opens the file, so it travels to data workers. Decoding goes from the start to
    the last frame asked for, each frame once; only frames asked for are converted to RGB.

    `video[index]` is a uint8 tensor (*index.shape, 3, H, W).

    Raises:
        ValueError: a frame outside 0 to `frames - 1` is asked for; the file is damaged or is not what was indexed.
        FileNotFoundError: the file is gone.
    """

    path: str | Path
    frames: int  # as counted by `survey`
    size: tuple[int, int] | None = None  # height and width in pixels to scale to; None: as filmed

    def __post_init__(self):
        if self.frames < 1:
            raise ValueError(f"{self.path} has {self.frames} frames: a video has one at least")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ValueError(f"size is {self.size}, but should be (height, width) in pixels, or None")

    def __len__(self):
        return self.frames

    def __getitem__(self, index):
        import torch  # here, so that indexing, which needs none of it, starts quickly

        index = np.asarray(index)
        if index.dtype.kind not in "iu" and index.size:
            raise ValueError(f"frames are asked for by number, in an array of integers, not {index.dtype}")
        for n in (index.min(), index.max()) if index.size else ():
            if not 0 <= n < self.frames:
                raise ValueError(f"{self.path} has frames 0 to {self.frames - 1}, but {n} was asked for")
        wanted, place = np.unique(index, return_inverse=True)  # ascending, each once
        images = self._read(wanted if index.size else [0])
        if not np.array_equal(place.ravel(), np.arange(len(images))):
            images = images[place.ravel().astype(int)]
        return torch.from_numpy(images).view(*index.shape, *images.shape[1:])

    def _read(self, wanted) -> np.ndarray:
        """Frames of these ascending numbers: (N, 3, H, W) uint8."""
        images, at, scaler = None, 0, VideoReformatter()
        try:
            with opened(self.path) as (container, stream):
                for n, frame in enumerate(container.decode(stream)):
                    if n != wanted[at]:
                        continue
                    image = rgb(frame, self.size, scaler)  # (H, W, 3)
                    if images is None:
                        images = np.empty((len(wanted), 3, *image.shape[:2]), np.uint8)
                    if image.shape[:2] != images.shape[2:]:
                        raise ValueError(
                            f"has frames of {images.shape[3]}x{images.shape[2]}, but frame {n} has "
                            f"{image.shape[1]}x{image.shape[0]}: give `size`, to which all are scaled"
                        )
                    images[at] = image.transpose(2, 0, 1)
                    at += 1
                    if at == len(wanted):
                        return images
        except av.FFmpegError as e:
            raise ValueError(f"{self.path} cannot be decoded up to frame {wanted[at]} ({reason(e)})") from e
        except ValueError as e:
            raise ValueError(f"{self.path} {e}") from e
        raise ValueError(
            f"{self.path} ended before frame {wanted[at]}, but had {self.frames} frames when it was indexed: "
            "run `videossl index` on its folder again"
        )


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


def survey(path: str | Path) -> dict:
    """Decode a file once from start to end, for what the index keeps of it.

    Returns a dict:
        frames: how many were decoded.
        height, width: of the first frame, upright, in pixels.
        rate: nominal, frames a second.
        codec: as FFmpeg names it.
        declared: how many frames the container says it holds, None where it does not say.
        keyframes: numbers of the frames that decode without an earlier one.
        motion: for each two successive frames the mean absolute difference of their pixels, in grey levels 0 to 255 at
            30x40 pixels, two decimals: `frames - 1` numbers.
        warning: what is odd though all that is there was decoded (cut short, damaged pictures), or None.
        error: why the file cannot be read to its end as a video, or None.
    """
    found = {"frames": 0, "height": None, "width": None, "rate": None, "codec": None, "declared": None}
    found |= {"keyframes": [], "motion": [], "warning": None, "error": None}
    scaler, before, damaged, start, end, shape = VideoReformatter(), None, 0, None, None, None
    try:
        with opened(path) as (container, stream):
            found["codec"] = stream.codec_context.codec.canonical_name
            found["rate"] = round(float(stream.average_rate), 3) if stream.average_rate else None
            found["declared"] = stream.frames or None
            lasts = container.duration / av.time_base if container.duration else None  # seconds
            odd = []
            for frame in container.decode(stream):
                if shape is None:
                    shape = frame.height, frame.width
                    found["height"], found["width"] = shape[::-1] if quarters(frame) % 2 else shape
                    start = frame.time
                elif (frame.height, frame.width) != shape:
                    odd.append(f"changes size at frame {found['frames']}, to {frame.width}x{frame.height}")
                    shape = frame.height, frame.width
                if frame.key_frame:
                    found["keyframes"].append(found["frames"])
                grey = scaler.reformat(frame, LOW[1], LOW[0], "gray", interpolation="AREA", threads=1).to_ndarray()
                grey = grey.astype(np.int16)
                if before is not None:
                    found["motion"].append(round(float(np.abs(grey - before).mean()), 2))
                before, end = grey, frame.time
                damaged += frame.is_corrupt
                found["frames"] += 1
            if not found["frames"]:
                raise ValueError(f"holds a video stream ({found['codec']}), but no frame of it can be decoded")
            if found["declared"]:
                # One short is usual: AVIs with packed B-frames, as in HMDB51, declare one that holds no picture.
                if found["frames"] < found["declared"] - 1:
                    odd.append(f"ends after {found['frames']} of {found['declared']} declared frames")
            elif lasts and start is not None and end is not None and found["frames"] > 1:
                shown = (end - start) * found["frames"] / (found["frames"] - 1)  # seconds, the last frame's too
                if shown < 0.9 * lasts:
                    odd.append(f"ends after {shown:.1f} of {lasts:.1f} seconds")
            if damaged:
                odd.append(f"has {damaged} damaged frame{'s' * (damaged > 1)}")
            found["warning"] = "; ".join(odd) or None
    except av.FFmpegError as e:
        of = f" of {found['declared']} declared" if found["declared"] else ""
        found["error"] = f"decoding fails after {found['frames']}{of} frames ({reason(e)})"
    except OSError as e:
        found["error"] = f"cannot be opened ({e.strerror})"
    except ValueError as e:
        found["error"] = str(e)
    return found


@contextmanager
def opened(path: str | Path) -> Iterator[tuple]:
    """A file's container and the stream to decode. A ValueError says what the file is instead, without naming it."""
    info = os.stat(path)
    if stat.S_ISDIR(info.st_mode):
        raise ValueError("is a folder, not a video file")
    if not stat.S_ISREG(info.st_mode):
        raise ValueError("is a device or pipe, not a video file")
    if not info.st_size:
        raise ValueError("is empty (0 bytes)")
    if not os.access(path, os.R_OK):
        raise ValueError("may not be read (permission denied)")
    try:
        # "file:", or a colon in the name would pass for a protocol. Bytes in the metadata that are no UTF-8 are common.
        container = av.open(f"file:{path}", metadata_errors="replace", options={"protocol_whitelist": "file"})
    except av.FFmpegError as e:
        raise ValueError(f"is not a video that can be opened: cut short, damaged or not one ({reason(e)})") from e
    with container:
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
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        yield container, stream


def rgb(frame: av.VideoFrame, size: tuple[int, int] | None, scaler: VideoReformatter) -> np.ndarray:
    """A decoded frame, upright: (H, W, 3) uint8, scaled to `size` (height, width) if given.

    swscale's bilinear filter converts and scales in one pass. It widens as it shrinks, so that fine texture does not
    alias as with cv2.INTER_LINEAR, and takes about half the time of cv2.INTER_AREA after a conversion at full size.
    """
    turns = quarters(frame)
    height, width = size or (None, None)  # None: as it is
    if turns % 2:
        height, width = width, height
    image = scaler.reformat(frame, width, height, "rgb24", interpolation="BILINEAR", threads=1).to_ndarray()
    return np.rot90(image, turns)


def quarters(frame: av.VideoFrame) -> int:
    """Quarter turns, anticlockwise, that show the frame upright, from the container's rotation flag: 0 to 3."""
    return round(frame.rotation / 90) % 4


def reason(error: av.FFmpegError) -> str:
    """What libav says of an error, with its last line on it where there is one."""
    return error.strerror + (f": {error.log[2].strip()}" if error.log else "")
