"""Videos made on the spot."""

import importlib
import multiprocessing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from videossl.datasets import jobs


@pytest.fixture
def forked(monkeypatch):
    """Jobs are done in forks of this process, which know what a test has replaced here."""
    importlib.import_module(jobs.PRELOADED)  # once for all of them
    monkeypatch.setattr(jobs, "CONTEXT", multiprocessing.get_context("fork"))


@pytest.fixture(scope="session")
def film():
    """A function that writes images (T, H, W, 3) uint8 as a video: lossless, or MPEG-4 with B-frames."""

    def write(path: Path, images: np.ndarray, lossless: bool = True) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1" if lossless else "mpeg4", rate=Fraction(25))
            stream.height, stream.width = images.shape[1:3]
            stream.pix_fmt = "bgr0" if lossless else "yuv420p"
            if lossless:
                stream.options = {"g": "1"}  # each frame decodes by itself
            else:
                stream.bit_rate = 4_000_000
                stream.options = {"bf": "2", "g": "7"}
            for image in images:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="session")
def counting() -> np.ndarray:
    """Images of a counting video: (30, 48, 64, 3), frame i has grey 8 i."""
    return np.broadcast_to((8 * np.arange(30, dtype=np.uint8))[:, None, None, None], (30, 48, 64, 3))
