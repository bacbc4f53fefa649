"""Have a trained net choose grasps while they are collected: the later stages of a staged collection.

Source: Pinto and Gupta, "Supersizing Self-supervision", ICRA 2016, section IV: patches around points that are proposed
at random are scored at all angles, and what is tried is drawn by these scores. So successes become frequent, and what
fails is what the net mistook for a grasp: hard negatives, for the net of the next stage.
"""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np

from videossl.datasets.interactions import square
from videossl.methods.grasp import GraspNet
from videossl.robot.act import judged
from videossl.robot.tabletop import Tabletop
from videossl.training import checkpoints

KEPT = ("method", "prepared", "trunk", "net", "step")  # of a checkpoint: all but what training alone needs


class Guide:
    """A net that scores grasps, as it is kept with what it chose.

    Attributes:
        size: height and width in pixels of the patches that the net learned from.
        digest: 16 hexadecimal digits, of the weights and the size.
    """

    def __init__(self, net: GraspNet, size: tuple[int, int], content: dict):
        """`content` is that of the net's checkpoint, to save it again."""
        self.net, self.size, self.content = net.eval(), tuple(size), content
        found = sha256(repr((self.size, net.angles, net.align)).encode())
        for name, value in sorted(net.state_dict().items()):
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.contiguous().numpy().tobytes())
        self.digest = found.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write what `guide_of` needs to one file.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """
        checkpoints.save(path, **self.content, pictures=self.size)

    def choose(self, env: Tabletop, rng: np.random.Generator, points: int) -> np.ndarray:
        """An action: one of `points` spots as they are tried at random, at one of all angles, drawn by its odds.

        Odds are those of success against failure, p / (1 - p), as the net sees them.
        """
        actions, scores = judged(self.net, self.size, points, env, rng)
        odds = np.exp(scores - scores.max())
        return actions[rng.choice(len(odds), p=odds / odds.sum())]


def guide_of(path: Path) -> Guide:
    """The guide that a run of `videossl pretrain` trained, or that `Guide.save` wrote.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it did not learn to grasp.
    """
    content = checkpoints.load(path)
    _, net = checkpoints.load_net(path)
    nets = getattr(net, "nets", {"grasp": net})
    if "grasp" not in nets or not isinstance(nets["grasp"], GraspNet):
        raise ValueError(f"{path} did not learn to grasp: give a run of `videossl pretrain ... method:grasp`")
    size = content.get("pictures") or _seen(path, nets["grasp"])
    return Guide(nets["grasp"], size, {name: content[name] for name in KEPT})


def _seen(run: Path, net: GraspNet) -> tuple[int, int]:
    """What pictures were scaled to in a run: as its config.json says, or as its trunk asks for."""
    config = run / "config.json"
    asked = json.loads(config.read_text())["config"]["data"]["size"] if config.is_file() else None
    return tuple(asked or square(net.trunk.resize))
