"""Know a patch again, that was tracked through a video, among patches of other videos.

Source: Wang, Gupta, "Unsupervised Learning of Visual Representations using Videos", ICCV 2015, sections 3 and 4; loss
after the authors' release (RankHardLoss of github.com/xiaolonw/caffe-video_triplet).
"""

import zlib
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as vision

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.parts import encode


@dataclass(frozen=True)
class Tracking:
    """The window with the most moving points is tracked over some frames; its first and last patch are a pair.

    A point moves if it does so beside the camera, whose motion is a homography of most points (as for improved
    trajectories, Wang and Schmid, ICCV 2013); windows begin where neither too few nor too many points do. Of several
    places in a video the first with enough moving points and a track to the end is taken, and where there is none, the
    best: a track that is lost stays where it was last seen, so that no video stops a run. The metric "tracked" is the
    share of pairs without such a fault.

    Where we leave the paper, for OpenCV has neither any more: corners (Shi and Tomasi) in place of SURF, and in place of
    KCF the median of optical flow of points that return to where they came from (Kalal, Mikolajczyk, Matas,
    "Forward-Backward Error: Automatic Detection of Tracking Failures", ICPR 2010), which also tells when it is lost.
    Of what OpenCV has, TrackerMIL takes far longer, and the others need weights.

    Patches are of single frames (`length` for clip trunks), as large as the window, and scaled by the net.
    """

    frames: int = 30  # in a track
    length: int = 1  # frames of each of the two patches: 1 in the paper, more for trunks that read clips
    window: float = 0.5  # side of a patch, as a share of the frame's shorter side; 227 pixels in the paper
    moved: float = 0.5  # pixels a frame, beside the camera, from which a point moves
    moving: tuple[float, float] = (0.25, 0.75)  # share of points that move where a track begins
    astray: float = 2.0  # pixels by which the median point may miss where it came from, before the track is lost
    tries: int = 3  # places in the video that are looked at; then the best is taken
    margin: float = 0.5  # by which the pair is to be nearer than a negative, in cosines: the paper's; 1 in the release
    negatives: int = 4  # for each pair, from other videos of the batch: half among the nearest, half random
    warmup: float = 0.25  # share of the run in which all are random
    # a window elsewhere in the last frame is one more negative: the scene does not tell it from the pair
    background: bool = False
    grey: bool = False  # show patches without colour, by which alone most pairs are told; the release's second model
    # change of each patch's brightness and contrast in training, against telling by them; paper: none
    light: float = 0.0

    @property
    def chance(self) -> dict[str, float]:
        """Share of negatives that are farther than the pair's other patch, where features know nothing."""
        return {"accuracy": 0.5, **({"background_accuracy": 0.5} if self.background else {})}

    def __post_init__(self):
        if self.length < 1 or self.frames < 2 * self.length or min(self.tries, self.negatives) < 1:
            raise ValueError(
                "a pair shares no frame, and frames, length, tries and negatives are counts from 1, but got"
                f" frames {self.frames}, length {self.length}, tries {self.tries}, negatives {self.negatives}"
            )
        if not 0 < self.window <= 1 or not 0 <= self.moving[0] <= self.moving[1] <= 1 or not 0 <= self.warmup <= 1:
            raise ValueError(
                "window, moving and warmup are shares, within [0, 1], window over 0, but"
                f" {self.window}, {self.moving} and {self.warmup} were given"
            )
        if min(self.moved, self.astray, self.margin) <= 0:
            raise ValueError(
                f"moved, astray and margin are over 0, but {self.moved}, {self.astray} and {self.margin} were given"
            )

    def check(self, record):
        """Raise a ValueError if the record is too short, has no name, or is known to stand still."""
        if len(record["frames"]) < self.frames:
            raise ValueError(f"fewer than the {self.frames} frames of a track: lower frames")
        if "name" not in record:
            raise ValueError('no "name": negatives come from other videos, which are told apart by it')
        if "motion" in record and not self.weights(record["motion"]).any():
            raise ValueError("nothing moves: nothing to track")

    def sample(self, record, rng):
        self.check(record)
        weight = self.weights(record["motion"]) if "motion" in record else np.ones(len(record["frames"]))
        starts = len(record["frames"]) - self.frames + 1
        best = None
        for _ in range(self.tries):
            start = rng.choice(starts, p=weight[:starts] / weight[:starts].sum())
            frames = record["frames"][start + np.arange(self.frames)]  # (T, C, H, W)
            track = self.track(vision.rgb_to_grayscale(frames)[:, 0].numpy())
            if best is None or track.seen + track.begun > best[1].seen + best[1].begun:
                best = frames, track
            if track.begun and track.seen == 1:
                break
        frames, track = best
        return {
            "clips": self.patches(frames, track.boxes, rng),
            "video": zlib.crc32(record["name"].encode()),
            "tracked": np.float32(track.begun and track.seen == 1),
        }

    def weights(self, motion: np.ndarray) -> np.ndarray:
        """Motion within each window of `frames` frames: (windows,)."""
        total = np.concatenate([[0], np.cumsum(motion, dtype=float)])  # before each frame
        return total[self.frames - 1 :] - total[: len(total) - self.frames + 1]

    def track(self, grey: np.ndarray) -> "Track":
        """Choose a window in the first of these frames, (T, H, W) uint8, and follow it to the last."""
        side = max(1, round(self.window * min(grey.shape[1:])))
        points, moves = moving_points(grey[0], grey[1], self.moved)
        begun = len(points) > 0 and self.moving[0] <= moves.mean() <= self.moving[1]
        left, top = busiest(points[moves], side, grey.shape[1:])
        boxes, seen = follow(grey, np.array([left, top, side], float), self.astray)
        return Track(boxes, begun, seen)

    def patches(self, frames: Tensor, boxes: np.ndarray, rng: np.random.Generator) -> Tensor:
        """First and last patch, and the background's: (2 or 3, length, C, side, side), of the first window's side."""
        first, last = range(self.length), range(len(frames) - self.length, len(frames))
        shown = [[(i, boxes[i]) for i in first], [(i, boxes[i]) for i in last]]
        if self.background:
            elsewhere = apart(boxes[-1], frames.shape[-2:], rng)
            shown.append([(i, elsewhere) for i in last])
        side = int(boxes[0, 2])
        return torch.stack([torch.stack([cut_out(frames[i], box, side) for i, box in clip]) for clip in shown])

    def build(self, trunk):
        return TrackingNet(trunk, self)


class Track(NamedTuple):
    """Where a window went, and how well it is known."""

    boxes: np.ndarray  # (T, 3): left, top and side of a square, in pixels; inside the frame
    begun: bool  # whether as many points moved in the beginning as were to
    seen: float  # share of the steps until it was lost, 1 if it was not


def opencv() -> ModuleType:
    """OpenCV, which tracks: imported here alone, for it is not on every system.

    Raises:
        ImportError: the system lacks what it needs.
    """
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            f"Tracking needs OpenCV, which cannot be imported ({error}): `apt-get install libgl1`"
        ) from error
    return cv2


def flow(before: np.ndarray, after: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where points of one picture are in another, by Lucas and Kanade's method on a pyramid.

    Args:
        before, after: (H, W) uint8.
        points: (N, 2) float32, x and y in pixels.

    Returns: points (N, 2), and which of them were found, (N,) bool.
    """
    if len(points) == 0:
        return points, np.zeros(0, bool)
    found, status, _ = opencv().calcOpticalFlowPyrLK(before, after, points[:, None], None, winSize=(11, 11), maxLevel=3)
    return found[:, 0], status[:, 0] > 0


def moving_points(before: np.ndarray, after: np.ndarray, moved: float) -> tuple[np.ndarray, np.ndarray]:
    """Corners, and which of them move otherwise than the camera does.

    The camera's motion is the homography that most corners follow to within `moved` pixels (RANSAC); with fewer than 8
    corners, it stands still.

    Args:
        before, after: two frames in a row, (H, W) uint8.
        moved: pixels.

    Returns: points (N, 2) float32 in the first frame, and which of them move, (N,) bool.
    """
    cv2 = opencv()
    corners = cv2.goodFeaturesToTrack(before, maxCorners=200, qualityLevel=0.01, minDistance=3)
    points = np.zeros((0, 2), np.float32) if corners is None else corners.reshape(-1, 2)
    there, found = flow(before, after, points)
    points, there = points[found], there[found]
    camera = cv2.findHomography(points, there, cv2.RANSAC, moved)[0] if len(points) >= 8 else None
    still = points if camera is None else cv2.perspectiveTransform(points[:, None], camera)[:, 0]
    return points, np.linalg.norm(there - still, axis=1) > moved


def busiest(points: np.ndarray, side: int, size: tuple[int, int]) -> tuple[int, int]:
    """Left and top of the square window that holds the most points; of several, the one they lie in the middle of.

    Without any points it is the middle of the frame.
    """
    height, width = size
    lefts, tops = np.arange(width - side + 1), np.arange(height - side + 1)
    across = (points[:, :1] >= lefts) & (points[:, :1] < lefts + side)  # (N, lefts)
    down = (points[:, 1:] >= tops) & (points[:, 1:] < tops + side)  # (N, tops)
    counts = down.T.astype(float) @ across  # (tops, lefts)
    top, left = np.nonzero(counts == counts.max())
    middle = np.array([width - 1, height - 1]) / 2 if len(points) == 0 else points.mean(0)
    nearest = np.hypot(left + (side - 1) / 2 - middle[0], top + (side - 1) / 2 - middle[1]).argmin()
    return int(left[nearest]), int(top[nearest])


def follow(grey: np.ndarray, box: np.ndarray, astray: float, grid: int = 6) -> tuple[np.ndarray, float]:
    """Track a window through frames, by the median flow of a grid of points in it (Kalal et al. 2010, section 4).

    From frame to frame, the half of the points that best return to their places (forward-backward error) move and scale
    the window. It is lost, and stays where it was, once their median misses by more than `astray` pixels, or the
    window's middle leaves the frame.

    Args:
        grey: (T, H, W) uint8.
        box: left, top and side in the first frame, in pixels.
        grid: points along each side.

    Returns: boxes (T, 3) inside the frames, and the share of the steps in which it was not lost.
    """
    height, width = grey.shape[1:]
    steps = (np.arange(grid) + 0.5) / grid
    places = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)  # of the points, in units of the window's side
    boxes = [box]
    for before, after in pairwise(grey):
        moved = shifted(before, after, boxes[-1], places, astray)
        if moved is None or not (0 <= moved[0] + moved[2] / 2 < width and 0 <= moved[1] + moved[2] / 2 < height):
            break
        boxes.append(moved)
    seen = (len(boxes) - 1) / (len(grey) - 1)
    boxes = np.stack(boxes + [boxes[-1]] * (len(grey) - len(boxes)))
    side = boxes[:, 2:].clip(1, min(height, width))
    return np.hstack([boxes[:, :2].clip(0, [width, height] - side), side]), seen


def shifted(
    before: np.ndarray, after: np.ndarray, box: np.ndarray, places: np.ndarray, astray: float
) -> np.ndarray | None:
    """The box in the next frame; None where it is lost."""
    points = (places * box[2] + box[:2]).astype(np.float32)
    there, found = flow(before, after, points)
    back, returned = flow(after, before, there)
    known = np.flatnonzero(found & returned)
    if len(known) < 4:
        return None
    missed = np.hypot(*(points - back)[known].T)
    best = known[missed.argsort(kind="stable")[: len(known) // 2]]
    if median(missed) > astray:
        return None
    points, there = points[best], there[best]
    distances, now = (F.pdist(torch.from_numpy(xy)).numpy() for xy in (points, there))
    side = box[2] * median(now / distances)
    middle = box[:2] + box[2] / 2 + median(there - points)
    return np.array([*(middle - side / 2), side])


def median(values: np.ndarray) -> np.ndarray:
    """Of values (N, ...), the upper one where N is even: in a fifth of the time of np.median, which counts here."""
    return np.sort(values, axis=0)[len(values) // 2]


def apart(box: np.ndarray, size: tuple[int, int], rng: np.random.Generator, places: int = 9) -> np.ndarray:
    """A box of the same side elsewhere in the frame (height, width), that overlaps the first as little as can be."""
    height, width = size
    side = box[2]
    lefts, tops = np.linspace(0, width - side, places), np.linspace(0, height - side, places)
    overlap = np.outer((side - abs(tops - box[1])).clip(0), (side - abs(lefts - box[0])).clip(0))
    top, left = rng.choice(np.argwhere(overlap <= overlap.min() + 1e-6))
    return np.array([lefts[left], tops[top], side])


def cut_out(frame: Tensor, box: np.ndarray, side: int) -> Tensor:
    """A box of a frame (C, H, W) uint8, scaled to (C, side, side), bilinear."""
    cv2 = opencv()
    scale = box[2] / side
    # Pixels are areas: their middles lie half a pixel from their corners.
    place = np.array([[scale, 0, box[0] + 0.5 * scale - 0.5], [0, scale, box[1] + 0.5 * scale - 0.5]])
    image = np.ascontiguousarray(frame.permute(1, 2, 0).numpy())
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    patch = cv2.warpAffine(image, place, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(patch).permute(2, 0, 1)


class TrackingNet(Net):
    """The trunk alone: its features of unit length, compared by their cosine. CaffeNet(widths=(4096, 1024)) is the paper's.

    Patches are scaled to 8/7 of the trunk's size; each is cropped and mirrored by itself, as the release's data layer
    does.
    """

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk = trunk
        self.margin = method.margin
        self.negatives = method.negatives
        self.warmup = method.warmup
        self.grey = method.grey
        self.light = method.light
        self.register_buffer("hard", torch.tensor(method.warmup == 0))  # whether the nearest are mined yet

    def update(self, progress):
        self.hard.fill_(progress >= self.warmup)

    def views(self, batch: dict) -> Tensor:
        """Patches as the trunk sees them: (B, 2 or 3, T, 3, size, size)."""
        clips, size = augment.pixels(batch["clips"]), self.trunk.size
        room = round(size * 8 / 7)
        clips = vision.resize(clips.flatten(0, -4), [room, room], antialias=True).unflatten(0, clips.shape[:-3])
        clips = augment.grey(clips, share=1) if self.grey else clips
        if not self.training:
            return augment.centre(clips, size)
        return augment.light(augment.flip(augment.shift_crop(clips, size)), self.light, self.light)

    def forward(self, batch):
        video = torch.as_tensor(batch["video"])
        if len(video.unique()) < 2:
            raise ValueError(
                f"a batch of {len(video)} pairs, all of one video, but negatives come from other videos: raise batch,"
                " or give (and hold out) more videos"
            )
        views = self.views(batch)
        f = encode(self.trunk, views).float()  # (B, 2 or 3, dim)
        with torch.autocast(views.device.type, enabled=False):  # cosines near 1 are told apart in 32 bits alone
            f = F.normalize(f, dim=-1)
            first, last, elsewhere = f[:, 0], f[:, 1], f[:, 2:]  # elsewhere: none or one
            loss = ranking(first, last, elsewhere, video, self.margin, self.negatives, self.hard)
            with torch.no_grad():
                metrics = agreement(first, last, elsewhere, video)
                pixels = F.normalize(colours(views), dim=-1)
                trivial = agreement(pixels[:, 0], pixels[:, 1], pixels[:, 2:], video)
                metrics |= {f"pixels_{name}": value for name, value in trivial.items()}
                metrics["recall_chance"] = (1 / (strangers(video).sum(1) + 1)).mean()
                metrics["tracked"] = torch.as_tensor(batch["tracked"]).float().mean()
        return loss, metrics

    def panels(self, batch):
        views = self.views(batch)
        f = F.normalize(encode(self.trunk, views).float(), dim=-1)
        pixels = F.normalize(colours(views), dim=-1)
        last = views[:, 1]
        return {
            "first patch": views[:, 0],
            "last patch": last,
            "nearest last patch": last[(f[:, 0] @ f[:, 1].T).argmax(1)],
            "nearest by pixels": last[(pixels[:, 0] @ pixels[:, 1].T).argmax(1)],
        }


def ranking(
    first: Tensor, last: Tensor, elsewhere: Tensor, video: Tensor, margin: float, negatives: int, hard: Tensor
) -> Tensor:
    """Both patches of a pair are to be nearer to each other, by the margin, than to patches of other videos.

    Of a pair (x, y) and a negative z it is max(0, D(x, y) - D(x, z) + m) + max(0, D(x, y) - D(y, z) + m), where D is
    minus the cosine; the mean over triplets, of which there are as many as negatives for each pair. (The release takes
    half of it.) Negatives are drawn from the patches for which the first term is over 0: where `hard`, half of them
    from the `negatives` nearest to x, and the rest from all; else all of them from all.

    Args:
        first, last: (B, dim), of unit length.
        elsewhere: (B, n, dim), n more negatives for each pair.
        video: (B,), numbers of the videos they are from.
        hard: (), bool.
    """
    others = torch.cat([first, last])  # (2B, dim)
    pair = (first * last).sum(1, keepdim=True)
    near = first @ others.T  # cosines, (B, 2B)
    allowed = strangers(video).repeat(1, 2)
    chosen, kept = mined(near.detach(), allowed & (near - pair + margin > 0), negatives, hard)
    to_first = torch.cat([near.gather(1, chosen), (elsewhere @ first.unsqueeze(2)).squeeze(2)], 1)
    to_last = torch.cat([(last @ others.T).gather(1, chosen), (elsewhere @ last.unsqueeze(2)).squeeze(2)], 1)
    kept = torch.cat([kept, kept.new_ones(elsewhere.shape[:2])], 1)
    triplets = (to_first - pair + margin).relu() + (to_last - pair + margin).relu()
    return (triplets * kept).sum() / (allowed.sum(1).clamp(max=negatives) + elsewhere.shape[1]).sum()


def mined(near: Tensor, candidates: Tensor, negatives: int, hard: Tensor) -> tuple[Tensor, Tensor]:
    """Which candidates are taken as negatives.

    Args:
        near: how near each is, (B, n).
        candidates: which there are, (B, n) bool.
        negatives: to take of each row.
        hard: (), bool: half of them are drawn from the `negatives` nearest.

    Returns: their numbers (B, k), and which of these are candidates at all, (B, k) bool; where there are few, not all.
    """
    k = min(negatives, near.shape[1])
    luck = torch.rand(2, *near.shape).to(near.device)  # for those among the nearest, and for the rest
    nearest = torch.zeros_like(candidates).scatter(1, near.masked_fill(~candidates, -2).topk(k).indices, True)
    nearest &= candidates
    drawn = luck[0].masked_fill(~nearest, -1).topk((k + 1) // 2).indices
    first = torch.zeros_like(candidates).scatter(1, drawn, True) & nearest & hard
    best = (luck[1] + first).masked_fill(~candidates, -1).topk(k)
    return best.indices, best.values >= 0


def strangers(video: Tensor) -> Tensor:
    """Which pairs are of other videos, as seen from each: (B,) to (B, B) bool."""
    return video.unsqueeze(1) != video.unsqueeze(0)


def agreement(first: Tensor, last: Tensor, elsewhere: Tensor, video: Tensor) -> dict[str, Tensor]:
    """How well features (B, dim), (B, dim), (B, 0 or 1, dim), of unit length, tell that two patches are a pair.

    "accuracy": share of the patches of other videos that are farther from the first patch than its last; a tie is half.
    "recall": share of first patches whose last one is the nearest of all videos' last ones (one that knows nothing has
    1 of so many). "background_accuracy": as "accuracy", for the window elsewhere in the last frame.
    """
    allowed = strangers(video)
    pair, near = (first * last).sum(1, keepdim=True), first @ torch.cat([last, first]).T
    farther = (pair > near).float() + 0.5 * (pair == near)
    found = {
        "accuracy": farther[allowed.repeat(1, 2)].mean(),
        "recall": (pair > near[:, : len(last)].masked_fill(~allowed, -2).amax(1, keepdim=True)).float().mean(),
    }
    if elsewhere.shape[1]:
        other = (elsewhere @ first.unsqueeze(2)).squeeze(2)
        found["background_accuracy"] = ((pair > other).float() + 0.5 * (pair == other)).mean()
    return found


def colours(views: Tensor, side: int = 8) -> Tensor:
    """Patches (B, K, T, 3, H, W) as so many pixels a side, less the batch's mean: the trivial features, (B, K, n)."""
    small = F.adaptive_avg_pool2d(views.mean(2).flatten(0, 1), side).flatten(1)
    return (small - small.mean(0)).unflatten(0, views.shape[:2])
