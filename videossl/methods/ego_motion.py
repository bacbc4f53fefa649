"""Tell how a camera moved between two frames.

Source: Agrawal, Carreira, Malik, "Learning to See by Moving", ICCV 2015, section 4; what is binned, how, and the network
after the authors' release (kitti_utils.py, kitti_new.py and run_kitti_exp.py of github.com/pulkitag/
learning-to-see-by-moving).
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl.geometry import relative, wrap
from videossl.methods.base import Net
from videossl.methods.pairs import check_moving, draw_pairs, frequent, poses, show, some_motions
from videossl.methods.parts import encode, layer_shape
from videossl.models.base import Trunk

COMPONENTS = ("sideways", "forward", "yaw")


def components(pose: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Motion from one pose to another, (..., 3): metres sideways (to the right) and forward, yaw to the right in radians.

    Each camera sees where the other one is; the distances are means of both, so that swapping the two negates all three.

    Args:
        pose, later: T_world_camera, (..., 4, 4), x right, y down, z forward.
    """
    there, back = relative(pose, later), relative(later, pose)
    metres = (there[..., [0, 2], 3] - back[..., [0, 2], 3]) / 2
    yaw = wrap(np.arctan2(there[..., 0, 2] - there[..., 2, 0], there[..., 0, 0] + there[..., 2, 2]))
    return np.concatenate([metres, yaw[..., None]], -1)


@dataclass(frozen=True)
class EgoMotion:
    """Which bin the motion between two frames lies in, for each of three components: sideways, forward, yaw.

    Components are divided by their deviation between frames next to each other in the training records (`prepare`), both
    distances by the larger of theirs, since what hardly changes is hardly seen. 20 edges from -10 to 10 make 21 bins,
    of which the outer two take whatever is beyond (the release reserves a 22nd that nothing falls into). No motion falls
    into the bin in the middle. Each component has a softmax of its own.

    Where we leave the release: distances are in the cameras' frames, not in that of the first one of the drive, whose
    axes two frames do not show; deviations are about no motion, as they are when pairs run both ways in time; no frame
    is paired with itself; both frames may be clips (`length`).

    The two are cropped at the same place, and mirrored only with `mirror`, which mirrors their motion too.
    """

    gap: int = 7  # frames from one to the other, at most, either way in time
    edges: int = 20  # between bins: an even number, so that no motion falls amid a bin
    reach: float = 10.0  # of the outermost edges, in deviations of the motion between neighbouring frames
    regress: bool = False  # give the three numbers themselves instead of their bins, with a smooth L1 loss
    length: int = 1  # frames of each of the two: 1 in the paper, more for trunks that read clips
    mirror: bool = False  # show half of the pairs mirrored, moving and turning the other way
    # What the head sees of the two frames: "maps" is the paper's, convolutions over the last feature maps of both;
    # "match" sees how alike each place of one is to each place of the other (see the net), and learns within minutes;
    # "features" is for trunks without maps.
    head: Literal["maps", "match", "features"] = "maps"
    widths: tuple[int, int] = (256, 128)  # channels of the convolutions over maps
    cells: int = 6  # a side, to which maps are pooled (or what the convolutions make of them): as CaffeNet's pool5
    hidden: int = 500  # units of the dense layer before the answers
    dropout: float = 0.5  # after it
    norm: bool = False  # batch norm before and after that layer: the paper has none, and takes far longer to begin
    pairs: int = 20_000  # of the training records, from which deviations are taken
    still: tuple[float, float, float] = (0.1, 0.1, 0.01)  # metres, metres, radians: no more is a standing camera
    scale: tuple[float, float, float] | None = None  # metres, metres, radians; found by `prepare` where not given

    def __post_init__(self):
        if min(self.gap, self.length, self.hidden, self.cells, self.pairs, *self.widths) < 1 or self.reach <= 0:
            raise ValueError(
                f"gap, length, widths, cells, hidden, pairs are counts from 1, reach is over 0: got {self}"
            )
        if self.edges < 2 or self.edges % 2:
            raise ValueError(f"edges is an even number, so that no motion falls amid a bin, but {self.edges} was given")

    @property
    def span(self) -> int:
        """Frames a video must have."""
        return self.gap + self.length

    @property
    def chance(self) -> dict[str, float]:
        """Accuracy of guessing among the bins."""
        names = () if self.regress else ("accuracy", *(f"{name}_accuracy" for name in COMPONENTS))
        return dict.fromkeys(names, 1 / (self.edges + 1))

    def check(self, record):
        """Raise a ValueError if the record has no poses, is too short or stands still."""
        check_moving(poses(record, self.span), self.gap, components, self.still)

    def prepare(self, records: list[dict]) -> "EgoMotion":
        """Itself with the scale of the components, where it was not given."""
        if self.scale is not None:
            return self
        moved = some_motions(records, 1, components, self.pairs)
        deviation = np.sqrt(np.square(moved).mean(0)).clip(1e-6)
        deviation[:2] = deviation[:2].max()
        return replace(self, scale=tuple(deviation.round(6).tolist()))

    def scaled(self, moved: np.ndarray) -> np.ndarray:
        """Components (..., 3) in units of their scale."""
        if self.scale is None:
            raise ValueError("no scale of motion yet: method = method.prepare(records) finds it")
        return moved / np.array(self.scale)

    def bins(self, scaled: np.ndarray) -> np.ndarray:
        """Bins of scaled components, from 0 to `edges`, in the same shape."""
        return np.digitize(scaled, np.linspace(-self.reach, self.reach, self.edges))

    def sample(self, record, rng):
        frames, pose = record["frames"], poses(record, self.span)
        starts = rng.permutation(draw_pairs(len(frames), 1, self.gap, self.length, 1, rng)[0])
        mirror = bool(self.mirror and rng.random() < 0.5)
        moved = self.scaled(components(pose[starts[0]], pose[starts[1]])) * ((-1, 1, -1) if mirror else 1)
        clips = frames[starts[:, None] + np.arange(self.length)]
        return {"clips": clips, "motion": moved.astype(np.float32), "bins": self.bins(moved), "mirror": mirror}

    def build(self, trunk):
        return EgoMotionNet(trunk, self)


class EgoMotionNet(Net):
    """The trunk on both frames, one head on what it says of the two, and an answer for each component.

    Metrics, for bins: "accuracy", the mean of "sideways_accuracy", "forward_accuracy" and "yaw_accuracy"; beside each
    "frequent_..._accuracy", what always giving the batch's most frequent bin would score. For `regress`: "error", the
    mean of "sideways_error" and so on, mean absolute errors in units of the scale; beside each "still_..._error", what
    answering no motion would score.
    """

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk = trunk
        self.method = method
        self.join = {"maps": JoinedMaps, "match": Match, "features": JoinedFeatures}[method.head](trunk, method)
        inputs, outputs = self.join.outputs, 1 if method.regress else method.edges + 1
        self.answer = nn.Sequential(
            *([nn.BatchNorm1d(inputs)] if method.norm else []),
            nn.Linear(inputs, method.hidden),
            *([nn.BatchNorm1d(method.hidden)] if method.norm else []),
            nn.ReLU(),
            nn.Dropout(method.dropout),
            nn.Linear(method.hidden, len(COMPONENTS) * outputs),
            nn.Unflatten(1, (len(COMPONENTS), outputs)),
        )

    def predict(self, batch):
        """Logits (B, 3, bins), or (B, 3, 1) numbers."""
        clips = show(batch, self.trunk.size, self.training)  # (B, 2, T, C, H, W)
        return self.answer(self.join(self.trunk, clips))

    def forward(self, batch):
        predicted = self.predict(batch)
        if self.method.regress:
            truth = torch.as_tensor(batch["motion"])
            predicted = predicted.squeeze(-1)
            # Summed over components, as the logarithms are.
            return F.smooth_l1_loss(predicted, truth, reduction="none").sum(1).mean(), errors(predicted, truth)
        bins = torch.as_tensor(batch["bins"])
        loss = F.cross_entropy(predicted.flatten(0, 1), bins.flatten()) * len(COMPONENTS)
        return loss, accuracies(predicted, bins)


class JoinedMaps(nn.Module):
    """Convolutions over the last feature maps of both frames, side by side: the paper's top net, pooled to `cells`."""

    def __init__(self, trunk: Trunk, method: EgoMotion):
        super().__init__()
        first, second = method.widths
        self.outputs = second * method.cells**2
        self.net = nn.Sequential(
            nn.Conv2d(2 * channels(trunk), first, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(method.cells),
            nn.Flatten(),
        )

    def forward(self, trunk: Trunk, clips: Tensor) -> Tensor:
        """(B, 2, T, C, H, W) to (B, outputs)."""
        return self.net(mean_maps(trunk, clips).flatten(1, 2))


class Match(nn.Module):
    """How alike, from -1 to 1, each of the `cells` by `cells` places of one frame is to each of the other's.

    Alike is the cosine between the places' feature maps, without what all of both frames have in common. Where a place
    went is seen at once, while convolutions over both maps have to learn to compare them first.

    Source: Dosovitskiy et al., "FlowNet: Learning Optical Flow with Convolutional Networks", ICCV 2015, section 3.
    """

    def __init__(self, trunk: Trunk, method: EgoMotion):
        super().__init__()
        channels(trunk)  # there are some
        self.cells = method.cells
        self.outputs = method.cells**4

    def forward(self, trunk: Trunk, clips: Tensor) -> Tensor:
        """(B, 2, T, C, H, W) to (B, outputs)."""
        maps = mean_maps(trunk, clips)
        places = F.adaptive_avg_pool2d(maps.flatten(0, 1), self.cells).unflatten(0, maps.shape[:2]).flatten(3)
        places = F.normalize(places - places.mean((1, 3), keepdim=True), dim=2)  # (B, 2, channels, places)
        return torch.einsum("bcp,bcq->bpq", places[:, 0], places[:, 1]).flatten(1)


class JoinedFeatures(nn.Module):
    """The features of both frames, side by side."""

    def __init__(self, trunk: Trunk, method: EgoMotion):
        super().__init__()
        self.outputs = 2 * trunk.dim

    def forward(self, trunk: Trunk, clips: Tensor) -> Tensor:
        """(B, 2, T, C, H, W) to (B, outputs)."""
        return encode(trunk, clips).flatten(1)


def mean_maps(trunk: Trunk, clips: Tensor) -> Tensor:
    """The last feature maps, means over a clip's time: (B, 2, T, C, H, W) to (B, 2, channels, H', W')."""
    return trunk.maps(clips.flatten(0, 1)).mean(2).unflatten(0, clips.shape[:2])


def channels(trunk: Trunk) -> int:
    """Channels of a trunk's feature maps, from a look at one clip.

    Raises:
        ValueError: it has no maps.
    """
    if "maps" not in trunk.layers:
        raise ValueError(
            f"{type(trunk).__name__} has no maps(), which the head looks at: take a convolutional trunk such as CaffeNet or"
            " ResNet, or head features"
        )
    return layer_shape(trunk, "maps")[1]


@torch.no_grad()
def accuracies(logits: Tensor, bins: Tensor) -> dict[str, Tensor]:
    """Accuracy of each component and of all, and what the most frequent bins would score: (B, 3, bins) and (B, 3)."""
    right = (logits.argmax(-1) == bins).float().mean(0)
    usual = torch.stack([frequent(bins[:, i]) for i in range(len(COMPONENTS))])
    return {**named(right, "accuracy"), **named(usual, "accuracy", "frequent_")}


@torch.no_grad()
def errors(predicted: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Mean absolute error of each component and of all, and that of answering no motion: (B, 3) both."""
    own = (predicted - truth).abs().mean(0)
    return {**named(own, "error"), **named(truth.abs().mean(0), "error", "still_")}


def named(values: Tensor, name: str, prefix: str = "") -> dict[str, Tensor]:
    """Values of the components, (3,), and their mean, by name."""
    parts = {f"{prefix}{component}_{name}": values[i] for i, component in enumerate(COMPONENTS)}
    return {f"{prefix}{name}": values.mean(), **parts}
