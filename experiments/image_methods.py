"""Every image method on the same trunk, pictures and evaluation, beside random weights and trivial answers.

    python -m videossl.experiments.image_methods --cifar cifar10
    python -m videossl.experiments.image_methods --real ceiling_actions --only real_actions --methods SimCLR --steps 400

Each pretrains a small trunk (those that hide tokens a small transformer) in as many steps as the others, is asked its own
question on held-out and on test pictures, beside the trivial answer, and its features are scored by k-NN and a linear probe.
Of `--real` videos they learn from single frames, and are scored as `video_methods` scores its own, on a trunk as large.
What is done is not done again, so a command that was stopped goes on. OUT holds image_methods.json with all numbers, a
report.html for each set of pictures, and in `pictures` what methods painted, solved or attended to.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import tyro

from videossl.evaluation.knn import KNN
from videossl.evaluation.probe import LinearProbe
from videossl.evaluation.views import Views
from videossl.experiments.cli import one_line_errors
from videossl.experiments.data import Videos
from videossl.experiments.evaluate import Evaluate
from videossl.experiments.pictures import side_by_side
from videossl.experiments.video_methods import (
    ENGINE,
    WORLD,
    Entry,
    World,
    folder_of,
    real_videos,
    refuse_unknown,
    score_actions,
)
from videossl.experiments.video_methods import run as run_worlds
from videossl.methods.barlow_twins import BarlowTwins
from videossl.methods.bigan import BiGAN
from videossl.methods.byol import BYOL
from videossl.methods.colourisation import Colourisation
from videossl.methods.context_encoder import ContextEncoder
from videossl.methods.counting import Counting
from videossl.methods.cpc import CPC
from videossl.methods.deep_cluster import DeepCluster
from videossl.methods.dino import DINO, IBOT
from videossl.methods.ijepa import IJEPA
from videossl.methods.image_autoencoder import ImageAutoencoder
from videossl.methods.instance_discrimination import InstanceDiscrimination
from videossl.methods.jigsaw import Jigsaw
from videossl.methods.mae import MAE
from videossl.methods.mask_feat import MaskFeat
from videossl.methods.moco import MoCo
from videossl.methods.nat import NAT
from videossl.methods.patch_position import PatchPosition
from videossl.methods.pirl import PIRL
from videossl.methods.rotation import Rotation
from videossl.methods.simclr import SimCLR
from videossl.methods.simmim import SimMIM
from videossl.methods.simsiam import SimSiam
from videossl.methods.split_brain import SplitBrain
from videossl.methods.swav import SwAV
from videossl.methods.triplet import Triplet
from videossl.methods.vicreg import VICReg
from videossl.models.small import Small
from videossl.models.split import Split
from videossl.models.vit import ViT
from videossl.robot.things import SimulateObjects, simulate_objects

CONVOLUTIONAL = Small(length=1, size=48)
TRANSFORMER = ViT(width=96, depth=4, heads=4, patch=6, size=48)
VIEW = Views(clips=1, crops=1)


@dataclass(frozen=True)
class ImageMethods:
    """Pretrain by every image method, and compare with random weights and trivial answers."""

    out: Path = Path("runs/image_methods")
    cifar: Path | None = None  # folder of CIFAR-10; None leaves it out
    real: Path | None = None  # labelled real videos in UCF101's layout, such as ceiling_actions; None leaves them out
    only: tuple[str, ...] = ()  # sets of pictures; none named: all
    # by their names in the table, beside those that were done before; none named: all
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)  # of pretraining, of random trunks, and of the protocols
    steps: int = 300  # of pretraining
    instances: int = 10  # of each of 30 categories of simulated things, to learn from and as many others to test on
    epochs: int = 20  # of fine-tuning, on real videos
    workers: int = 2  # processes that draw and read pictures

    def __post_init__(self):
        if unknown := set(self.only) - WORLDS.keys():
            raise ValueError(f"there is no set {min(unknown)!r}; there are: {', '.join(WORLDS)}")
        refuse_unknown(self.methods, [methods()])


def methods(size: int = CONVOLUTIONAL.size) -> dict[str, Entry]:
    """All, with heads and numbers that suit small pictures; trunks see so many pixels a side, a transformer 8 x 8 patches."""
    c, t = replace(CONVOLUTIONAL, size=size), replace(TRANSFORMER, size=size, patch=size // 8)
    alike = ("accuracy", "guessing")  # among the views of a batch, or among all records
    decoder = {"width": 96, "depth": 2, "heads": 4}
    views = {"blurred": 0.5, "blurred_second": None, "solarised": 0.0}  # alike, as all others are shown
    distilled = {**views, "small": 2, "prototypes": 256, "hidden": 256, "bottleneck": 64, "momentum": 0.99}
    painted = "mse", "mean_mse"
    return {
        "autoencoder": Entry(ImageAutoencoder(width=16), c, *painted),
        "denoising": Entry(ImageAutoencoder(width=16, noise=0.2), c, *painted),
        "colour": Entry(Colourisation(width=32), c, "loss", "constant_loss"),
        "split brain": Entry(SplitBrain(width=32), Split(c), "colour_loss", "colour_constant"),
        "context encoder": Entry(ContextEncoder(code=256, width=16), c, *painted),
        "BiGAN": Entry(BiGAN(code=64, size=32, width=16, joint=128), c, "rebuilt"),
        "patch position": Entry(PatchPosition(hidden=256), c),
        "jigsaw": Entry(Jigsaw(grid=2, count=24, hidden=256), c),
        "rotation": Entry(Rotation(), c),
        "counting": Entry(Counting(numbers=64), c),
        "instance discrimination": Entry(InstanceDiscrimination(out=64), c, *alike),
        "PIRL": Entry(PIRL(patches=2, out=64), c, *alike),
        "NAT": Entry(NAT(out=64), c, *alike),
        "DeepCluster": Entry(DeepCluster(clusters=60, hidden=128, out=64), c, *alike),
        "DeepCluster, pairs": Entry(DeepCluster(clusters=60, pairs=True, hidden=128, out=64), c, *alike),
        "triplet": Entry(Triplet(out=64), c, *alike),
        "CPC": Entry(CPC(grid=4, width=96, depth=2), c, *alike),
        "SimCLR": Entry(SimCLR(hidden=256, out=64, temperature=0.2), c, *alike),
        "MoCo": Entry(MoCo(queue=512, momentum=0.99, hidden=256, out=64), c, *alike),
        "MoCo v3": Entry(MoCo(version=3, momentum=0.99, hidden=256, out=64), c, *alike),
        "BYOL": Entry(BYOL(momentum=0.99, hidden=256, out=64, **views), c, *alike),
        "SimSiam": Entry(SimSiam(hidden=256, bottleneck=64), c, *alike),
        "Barlow Twins": Entry(BarlowTwins(out=256), c, *alike),
        "VICReg": Entry(VICReg(out=256), c, *alike),
        "SwAV": Entry(SwAV(prototypes=60, hidden=256, out=64), c, *alike),
        "DINO": Entry(DINO(**distilled), c, "loss"),
        "DINO ViT": Entry(DINO(**distilled), t, "loss"),
        "MAE": Entry(MAE(**decoder), t, "error", "flat_error"),
        "SimMIM": Entry(SimMIM(), t, "error", "mean_error"),
        "MaskFeat": Entry(MaskFeat(), t, "error", "mean_error"),
        "I-JEPA": Entry(IJEPA(momentum=0.99, **decoder), t, "error", "mean_error"),
        "iBOT": Entry(IBOT(**distilled), t, "loss"),
    }


def simulated_objects(config: ImageMethods) -> World:
    """Household things of 30 categories, on a plain table; things to test on are others."""
    folder = config.out / "objects"
    count = config.instances
    simulate_objects(
        SimulateObjects(folder, train=count, test=count, size=56, plain=True, seed=WORLD, workers=config.workers)
    )
    return pictures(Videos(folder, dataset="image_folder", size=(56, 56)), config)


def cifar10(config: ImageMethods) -> World | None:
    """Real pictures of ten classes, if the folder was given."""
    return None if config.cifar is None else pictures(Videos(config.cifar, dataset="cifar10", size=(56, 56)), config)


def real_actions(config: ImageMethods) -> World | None:
    """Frames of the real videos that `video_methods` learns from, if the folder was given."""
    if config.real is None:
        return None
    videos = real_videos(config)
    return World(videos, methods(64), (partial(score_actions, videos, config, None),))


def pictures(videos: Videos, config: ImageMethods) -> World:
    """All methods on a set of pictures."""
    return World(videos, methods(), (partial(score_pictures, videos, config),))


def score_pictures(videos: Videos, config: ImageMethods, path: Path, out: Path, seed: int) -> Evaluate:
    """A run beside a random trunk, as it is and suited to the pictures."""
    return Evaluate(
        (str(path), "random", "rescaled"),
        videos,
        protocols=("knn", "linear"),
        seeds=(seed,),
        out=out,
        workers=config.workers,
        knn=KNN(views=VIEW),
        linear=LinearProbe(penalty=0.01, views=VIEW),
        engine=ENGINE,
    )


WORLDS = {"simulated_objects": simulated_objects, "cifar10": cifar10, "real_actions": real_actions}


def run(config: ImageMethods) -> dict:
    """Do what has not been done yet; returns what is found of all sets, those of earlier starts with them."""
    found = run_worlds(config, WORLDS, dict.fromkeys(WORLDS, methods), "image_methods.json")
    draw(config, found)
    return found


def draw(config: ImageMethods, found: dict) -> None:
    """A picture of each method that leaves any (`Net.panels`), of the first seed's run."""
    folder = config.out / "pictures"
    folder.mkdir(exist_ok=True)
    for world in found:
        for title in found[world]["methods"]:
            panels = folder_of(config, world, title, config.seeds[0]) / "panels.npz"
            if panels.exists():
                with np.load(panels) as arrays:
                    side_by_side(dict(arrays), folder / f"{world}-{title.replace(' ', '_')}.png")


if __name__ == "__main__":
    with one_line_errors():
        run(tyro.cli(ImageMethods))
