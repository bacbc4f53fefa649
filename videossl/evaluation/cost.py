"""What a trunk costs: weights, arithmetic, time and memory, to stand beside what it scores."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import ClassVar
from weakref import WeakSet, finalize

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from videossl.evaluation.base import Judge, Scores
from videossl.evaluation.features import Encoder, resting
from videossl.evaluation.views import Views
from videossl.models.base import Trunk

WARM = 2  # passes before time is taken


@dataclass(frozen=True)
class Cost(Judge):
    """Of one video with all its views, in eval mode, on the encoder's device; frames are drawn, no video is read."""

    repeats: int = 5  # passes, of which the median is told
    views: Views = field(default_factory=Views)  # of a video

    title: ClassVar[str] = "Cost"
    needs = ()
    unit = "number"
    by_default = False

    def __post_init__(self):
        if self.repeats < 1:
            raise ValueError(f"repeats are {self.repeats}: time is taken once at least")

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """Nothing is drawn that matters, so the seed changes nothing.

        Returns: metrics are "million weights", "GFLOPs a video" (multiplications and additions counted apart, of
            convolutions and matrices), "seconds a video", "videos a second", and "GB": the most memory of tensors at a
            time, weights and clips with them; on a GPU of all that lies there.
        """
        views = self.views.resolved(encoder.trunk)
        clips = (views.clips or 10) * views.crops
        shown = torch.rand(clips, views.length, 3, views.size, views.size, device=encoder.device)
        metrics = measured(encoder.trunk, shown, encoder.batch, self.repeats)
        return Scores(metrics, tested=list(range(len(test))), trained=len(train), failed={})


def measured(trunk: Trunk, clips: torch.Tensor, batch: int, repeats: int) -> dict[str, float]:
    """See `Cost.score`, of clips (N, T, 3, H, W) that go through the trunk `batch` at once; its mode is restored."""
    gpu = clips.device.type == "cuda"
    with resting(trunk):
        # Other ways to attend have no formula on every device, and are then counted as nothing.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            trunk(clips[:1])
        with Memory() as memory:
            trunk(clips[:batch])
        if gpu:
            torch.cuda.reset_peak_memory_stats(clips.device)
        seconds = []
        for _ in range(WARM + repeats):
            began = time.perf_counter()
            for part in clips.split(batch):
                trunk(part)
            if gpu:
                torch.cuda.synchronize(clips.device)
            seconds.append(time.perf_counter() - began)
    spent = median(seconds[WARM:])
    tensors = (*trunk.parameters(), *trunk.buffers(), clips)
    stored = {storage.data_ptr(): storage.nbytes() for storage in (tensor.untyped_storage() for tensor in tensors)}
    most = torch.cuda.max_memory_allocated(clips.device) if gpu else sum(stored.values()) + memory.most
    return {
        "million weights": sum(weight.numel() for weight in trunk.parameters()) / 1e6,
        "GFLOPs a video": counter.get_total_flops() * len(clips) / 1e9,
        "seconds a video": spent,
        "videos a second": 1 / spent,
        "GB": most / 1e9,
    }


class Memory(TorchDispatchMode):
    """Bytes of the tensors that operations make in here: `now` and `most` at a time.

    What an operation needs within itself, such as a convolution's unfolded pictures, is not seen.
    """

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self.known: WeakSet = WeakSet()  # storages

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        given = {tensor.untyped_storage() for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        made = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            storage = tensor.untyped_storage() if isinstance(tensor, Tensor) else None
            if storage is None or storage in given or storage in self.known:
                continue
            self.known.add(storage)
            self.now += storage.nbytes()
            finalize(storage, self.freed, storage.nbytes())
        self.most = max(self.most, self.now)
        return made

    def freed(self, size: int) -> None:
        self.now -= size
