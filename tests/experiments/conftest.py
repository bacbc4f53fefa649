"""A folder of tiny simulated-looking videos in UCF101's layout, indexed."""

from pathlib import Path

import numpy as np
import pytest

from videossl.datasets.decoders import write_video
from videossl.datasets.index import index_videos


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """Three classes, six groups, a clip each: a bar that moves down, up or across, over a texture of its group.

    Groups 1 and 2 are the test list of split 1.
    """
    root = tmp_path_factory.mktemp("tiny")
    classes = ["Down", "Right", "Up"]
    lists = {"train": [], "test": []}
    for label, name in enumerate(classes):
        (root / name).mkdir()
        for group in range(1, 7):
            texture = np.random.default_rng(group).integers(0, 80, (1, 32, 32, 3), dtype=np.uint8)
            video = np.repeat(texture, 24, 0)
            for t in range(24):
                at = {"Down": t, "Up": 23 - t, "Right": t}[name]
                rows = (slice(None), slice(at, at + 6)) if name == "Right" else (slice(at, at + 6), slice(None))
                video[t][rows] = 230
            file = f"{name}/v_{name}_g{group:02}_c01.avi"
            write_video(root / file, video, 25)
            lists["test" if group <= 2 else "train"].append(file + ("" if group <= 2 else f" {label + 1}"))
    (root / "classInd.txt").write_text("".join(f"{i + 1} {name}\n" for i, name in enumerate(classes)))
    for part, lines in lists.items():
        (root / f"{part}list01.txt").write_text("\n".join(lines) + "\n")
    index_videos(root, workers=1, progress=False, decoder="pyav")
    return root
