"""Read an exported folder with its format's own reader: `python read_export.py lerobot|rlds FOLDER FILE.npz`.

A script, for these readers need other versions of what the toolkit needs, so they are installed beside it.
"""

import sys
from pathlib import Path

import numpy as np


def lerobot(folder: Path) -> dict[str, np.ndarray]:
    """What the data set gives of each frame ("given/..."), and its rows as stored ("stored/...")."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    data = LeRobotDataset("videossl/export", root=folder)
    assert len(data) == data.meta.total_frames
    frames = [data[n] for n in range(len(data))]
    given = {f"given/{name}": np.stack([np.asarray(frame[name]) for frame in frames]) for name in frames[0]}
    table = data.hf_dataset.with_format("arrow")[:]
    pictures = data.meta.camera_keys
    stored = {f"stored/{name}": table[name].to_pylist() for name in table.column_names if name not in pictures}
    means = {f"mean/{name}": found["mean"] for name, found in data.meta.stats.items()}
    return given | {name: np.array(values) for name, values in stored.items()} | means


def lerobot_split(folder: Path) -> dict[str, np.ndarray]:
    """What is left when lerobot's own tool has taken episode 0 away: it reads and writes all that there is."""
    from lerobot.datasets.dataset_tools import delete_episodes
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    without = folder.with_name(f"{folder.name}_without")
    delete_episodes(LeRobotDataset("videossl/export", root=folder), [0], without, "videossl/without")
    return lerobot(without)


def rlds(folder: Path) -> dict[str, np.ndarray]:
    """Steps of all episodes ("steps/observation/image", ...) and their metadata, stacked; names of each label."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    steps, known = [], []
    for episode in tfds.as_numpy(builder.as_dataset(split="train")):
        steps.append([{**step, **step["observation"]} for step in episode["steps"]])
        known.append(episode["episode_metadata"])
    assert len(known) == builder.info.splits["train"].num_examples
    found = {f"known/{name}": np.stack([one[name] for one in known]) for name in known[0]}
    for name in set(steps[0][0]) - {"observation"}:
        found[f"steps/{name}"] = np.stack([[step[name] for step in episode] for episode in steps])
    for name, feature in builder.info.features["episode_metadata"].items():
        if hasattr(feature, "names"):
            found[f"names/{name}"] = np.array(feature.names)
    return found


if __name__ == "__main__":
    read = {"lerobot": lerobot, "lerobot_split": lerobot_split, "rlds": rlds}[sys.argv[1]]
    np.savez(sys.argv[3], **read(Path(sys.argv[2])))
