"""Features of videos: each is decoded once for all that is seen of it, and remembered."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from videossl import augment
from videossl.evaluation.kept import Kept
from videossl.evaluation.views import Views, span
from videossl.models.base import Trunk

ASTRAY = "the trunk has gone astray. Train it at a lower rate, or take another --precision"


@dataclass(frozen=True)
class Features:
    """Features of N videos, of V clips each.

    A clip's feature is the mean over its crops (with `Views.every` also over all clips of a video: V is 1 then). They
    are neither centred nor scaled.
    """

    values: Tensor  # (N, V, D) float32, on the CPU
    labels: Tensor  # (N,) int64; -1 where a record has none
    kept: list[int]  # (N,) positions in the list of records
    failed: dict[str, str]  # name of a video that could not be read -> why; it is in none of the above
    whole: bool = False  # what counts as a clip is all of a video's, see `Views.every`

    @property
    def videos(self) -> Tensor:
        """One unit vector a video, (N, D): the mean over its clips, then divided by its length."""
        return F.normalize(self.values.mean(1), dim=-1)


class Encoder:
    """A trunk as it is, and what it makes of videos.

    Features are remembered for each record and views, so that protocols share them; make another encoder once the
    trunk's weights have changed. With several processes each encodes its share of the videos and all get all features,
    the same as one process would.
    """

    def __init__(
        self,
        trunk: Trunk,
        fabric: Fabric | None = None,
        workers: int = 0,
        batch: int = 64,
        progress: bool | None = None,
        whole: Callable[[], nn.Module] | None = None,
        kept: Kept | None = None,
    ):
        """Args:
        trunk: moved to Fabric's device, otherwise not changed.
        fabric: a launched Fabric: device, precision, processes; None: where the trunk is, in its precision.
        workers: processes that decode, for each device; 0 decodes in this one.
        batch: clips (each crop counts) that go through the trunk at once.
        progress: show a bar; None shows it on terminals.
        whole: gives the net that the trunk was trained in, for protocols that ask its heads; None where there is none.
        kept: features of this trunk on disk, which are read, and to which new ones are added.
        """
        self.trunk = trunk if fabric is None else trunk.to(fabric.device)
        self.fabric, self.workers, self.batch, self.whole, self.kept = fabric, workers, batch, whole, kept
        self.console = Console(stderr=True)
        self.progress = self.console.is_terminal if progress is None else progress
        # Views -> id of a record -> the record, so that its id stays its own, and its features or why there are none.
        self._known: dict[Views, dict[int, tuple[dict, Tensor | str]]] = {}
        self._moments: dict[tuple[int, int, int], dict] = {}  # id of frames, first frame, frames -> a record of them

    @property
    def device(self) -> torch.device:
        """Where the trunk is."""
        if self.fabric is not None:
            return self.fabric.device
        return next((p.device for p in self.trunk.parameters()), torch.device("cpu"))

    def bar(self, steps, total: int, title: str):
        """The same steps, with a bar where one is wanted, in the first process."""
        first = self.fabric is None or self.fabric.is_global_zero
        shown = self.progress and first
        return track(steps, title, total, console=self.console, transient=True, disable=not shown)

    def features(self, records: Sequence[dict], views: Views) -> Features:
        """What the trunk makes of these views of the records, in eval mode; its modes are restored.

        Where all records are images, videos of one frame, that is seen in one clip: more would be the same.

        Raises:
            ValueError: none of the videos can be read, or a feature is not finite.
        """
        views = views.resolved(self.trunk)
        if all(len(record["frames"]) == 1 for record in records):
            views = replace(views, clips=1, every=None)
        known = self._known.setdefault(views, {})
        new = {id(record): record for record in records if id(record) not in known}
        known |= self._read(list(new.values()), views)
        fresh = [record for key, record in new.items() if key not in known]
        known |= self._encode(fresh, views)

        found = [known[id(record)][1] for record in records]
        kept = [n for n, item in enumerate(found) if isinstance(item, Tensor)]
        failed = {records[n]["name"]: item for n, item in enumerate(found) if isinstance(item, str)}
        if not kept:
            reasons = "".join(f"; {name}: {why}" for name, why in list(failed.items())[:3])
            raise ValueError(f"none of {len(records)} videos can be read{reasons}")
        values = torch.stack([found[n] for n in kept])
        if not values.isfinite().all():
            bad = [records[n]["name"] for n in kept if not found[n].isfinite().all()]
            raise ValueError(f"features of {bad[0]} are not finite ({len(bad)} of {len(kept)} videos): {ASTRAY}")
        self._keep({id(record): known[id(record)] for record in fresh}, views)
        labels = torch.tensor([int(records[n].get("label", -1)) for n in kept])
        return Features(values, labels, kept, failed, whole=views.every is not None)

    def moments(
        self, records: Sequence[dict], starts: Sequence[np.ndarray], views: Views
    ) -> tuple[list[Tensor | None], dict[str, str]]:
        """What the trunk makes of single clips, each from a given frame on.

        Args:
            starts: of each record the first frames of its clips, (S,), where S may differ and be 0. A clip must fit.
            views: how long, sparse and large a clip is, and its crops; how many there are says `starts`.

        Returns: of each record the features of its clips, (S, D); None where one of them cannot be read, and name -> why.

        Raises:
            ValueError: none of the clips can be read.
        """
        views = replace(views, clips=1).resolved(self.trunk)
        length = span(views.length, views.stride)
        wanted = []
        for record, firsts in zip(records, starts, strict=True):
            for first in firsts.tolist():
                key = (id(record["frames"]), first, length)
                if key not in self._moments:
                    part = _Part(record["frames"], first, length)
                    self._moments[key] = {"frames": part, "name": f"{record['name']} from frame {first} on"}
                wanted.append(self._moments[key])
        found = self.features(wanted, views)
        values = dict(zip(found.kept, found.values[:, 0], strict=True))
        features, failed, begin = [], {}, 0
        for record, firsts in zip(records, starts, strict=True):
            mine = range(begin, begin := begin + len(firsts))
            lost = [wanted[n]["name"] for n in mine if n not in values]
            if lost:
                failed[record["name"]] = found.failed[lost[0]]
            rows = [values[n] for n in mine if not lost]
            features.append(None if lost else torch.stack(rows) if rows else found.values[:0, 0])
        return features, failed

    def _read(self, records: list[dict], views: Views) -> dict[int, tuple[dict, Tensor]]:
        """Id of a record -> the record and its features, of those whose features are on disk; the first process reads."""
        if self.kept is None or not records:
            return {}
        first = self.fabric is None or self.fabric.is_global_zero
        stored = self.kept.read(views) if first else {}
        if self.fabric is not None and self.fabric.world_size > 1:
            stored = self.fabric.broadcast(stored)
        named = [(record, self.kept.name(record)) for record in records]
        return {id(record): (record, stored[name]) for record, name in named if name in stored}

    def _keep(self, found: dict[int, tuple[dict, Tensor | str]], views: Views) -> None:
        """Put on disk what `_encode` found; the first process writes. What could not be read is tried again next time."""
        if self.kept is None or not (self.fabric is None or self.fabric.is_global_zero):
            return
        named = ((self.kept.name(record), item) for record, item in found.values() if isinstance(item, Tensor))
        features = {
            name: item.clone() for name, item in named if name is not None
        }  # of parts of a batch: no more of it
        if features:
            self.kept.add(views, features)

    def _encode(self, records: list[dict], views: Views) -> dict[int, tuple[dict, Tensor | str]]:
        """Id of a record -> the record, (V, D) features or why there are none.

        Batches are whole for any number of processes, so every clip meets the same others, and features are equal.
        """
        each = max(1, self.batch // ((views.clips or 1) * views.crops))  # videos in a batch
        batches = [list(range(n, min(n + each, len(records)))) for n in range(0, len(records), each)]
        rank, world = (0, 1) if self.fabric is None else (self.fabric.global_rank, self.fabric.world_size)
        mine = batches[rank::world]
        source = DataLoader(_Seen(records, views), batch_sampler=mine, num_workers=self.workers, collate_fn=list)
        done: list[tuple[int, Tensor | str]] = []
        with resting(self.trunk), nullcontext() if self.fabric is None else self.fabric.autocast():
            for videos in self.bar(source, len(mine), "encoding videos") if mine else ():
                read = [(n, clips) for n, clips in videos if isinstance(clips, Tensor)]
                encoded = self._through([clips for _, clips in read], views)
                done += [(n, why) for n, why in videos if isinstance(why, str)]
                done += [(n, item) for (n, _), item in zip(read, encoded, strict=True)]
        parts = [done] if world == 1 else [self.fabric.broadcast(done, src=other) for other in range(world)]
        return {id(records[n]): (records[n], item) for part in parts for n, item in part}

    def _through(self, videos: list[Tensor], views: Views) -> Sequence[Tensor]:
        """(V, T, C, H, W) uint8 videos, of any heights and widths, through the trunk: each (V, D) float32."""
        if not videos:
            return []
        seen = torch.cat([views.crop(augment.pixels(clips.to(self.device))) for clips in videos])
        encoded = torch.cat([self.trunk(part).float() for part in seen.split(self.batch)])  # (videos * V * crops, D)
        clips = encoded.view(len(encoded) // views.crops, views.crops, -1).mean(1).cpu()
        found = clips.split([len(video) for video in videos])
        return [part.mean(0, keepdim=True) for part in found] if views.every else found


@dataclass(frozen=True)
class _Part:
    """A video's frames from number `first` on."""

    frames: Sequence
    first: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: np.ndarray) -> Tensor:
        return self.frames[self.first + np.asarray(index)]


class _Seen(Dataset):
    """In a worker: the views' frames of record n, in one read; or why they cannot be read."""

    def __init__(self, records: list[dict], views: Views):
        self.records, self.views = records, views

    def __getitem__(self, n: int) -> tuple[int, Tensor | str]:
        frames = self.records[n]["frames"]
        try:
            return n, frames[self.views.indices(len(frames))]  # (V, T, C, H, W) uint8
        except (ValueError, OSError) as error:
            return n, str(error)


@contextmanager
def resting(net: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; every module's mode is restored."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def nearest(queries: Tensor, gallery: Tensor, k: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """For each query the k most similar of the gallery, by cosine; of equals the first.

    Args:
        queries: (N, D) unit vectors.
        gallery: (M, D) unit vectors, k of them or more.
        device: where to compute; beyond the gallery it takes no more memory for many queries than for some.

    Returns: (N, k) similarities, falling, and (N, k) indices into the gallery, on the CPU.
    """
    gallery = gallery.to(device)
    found = []
    for part in queries.split(max(1, 2**22 // len(gallery))):
        similarity, index = (part.to(device) @ gallery.T).sort(dim=1, descending=True, stable=True)
        found.append((similarity[:, :k].cpu(), index[:, :k].cpu()))
    return torch.cat([s for s, _ in found]), torch.cat([i for _, i in found])
