"""Images a second of contrasting, distilling and masking, beside lightly's own modules: `videossl bench images`.

Theirs are the training steps of lightly's benchmarks (github.com/lightly-ai/lightly, benchmarks/imagenet and
examples/pytorch/mae.py) without the classifier that these train beside, in a plain PyTorch loop.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Literal

import torch
from lightly.loss import DINOLoss, NTXentLoss
from lightly.models.modules import (
    DINOProjectionHead,
    MAEDecoderTIMM,
    MaskedVisionTransformerTIMM,
    MoCoProjectionHead,
    SimCLRProjectionHead,
)
from lightly.models.utils import (
    batch_shuffle,
    batch_unshuffle,
    get_at_index,
    patchify,
    random_token_mask,
    repeat_token,
    set_at_index,
    update_momentum,
)
from lightly.utils.scheduler import cosine_schedule
from rich.table import Table
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from videossl import augment
from videossl.experiments.bench.fit import HELD, adamw, in_turn, noise, ours
from videossl.experiments.bench.rounds import keep, spread
from videossl.experiments.console import console, quiet
from videossl.experiments.devices import Devices
from videossl.experiments.pretrain import TrunkChoice
from videossl.experiments.runs import command, versions
from videossl.methods.dino import DINO
from videossl.methods.mae import MAE
from videossl.methods.moco import MoCo
from videossl.methods.others import Backbone
from videossl.methods.simclr import SimCLR
from videossl.methods.two_views import TwoViews, augmented, seen, two
from videossl.models.base import Trunk
from videossl.models.small import Small
from videossl.models.vit import ViT
from videossl.training.checkpoints import plain
from videossl.training.draws import Draws, loader

STEPS = 1000  # that a run of theirs would have, for momenta that rise


@dataclass(frozen=True)
class BenchImages:
    """Time SimCLR, MoCo, DINO and MAE against lightly's modules, on the same trunk and batches of noise in memory.

    Both sides see batches through our augmentations, which lightly has none of for batches: its own change one image
    after the other in data workers. What is compared is all the rest: trunk, heads, loss, teachers and the loop.
    """

    out: Path | None = Path("runs/bench_images.json")  # file to write; None prints only
    methods: tuple[Literal["SimCLR", "MoCo", "DINO", "MAE"], ...] = ("SimCLR", "MoCo", "DINO", "MAE")
    steps: int = 2  # of each loop in a round; few, so that what else the machine does slows both alike
    rounds: int = 31  # at least 5: in each round every loop runs once
    batch: int = 32  # images in a step
    trunk: TrunkChoice = field(default_factory=lambda: Small(length=1))
    transformer: ViT = field(default_factory=lambda: ViT(width=192, depth=4, heads=3, patch=6, size=48))  # for MAE
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"  # auto is a GPU where there is one
    threads: int = 1  # of torch, on the CPU
    seed: int = 0  # of weights and noise

    def __post_init__(self):
        for name, least in {"steps": 1, "rounds": 5, "batch": 2, "threads": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is a whole number from {least}, but {getattr(self, name)} was given")
        if not self.methods:
            raise ValueError(f"name a method or more: {', '.join(PAIRS)}")


def bench_images(config: BenchImages) -> dict:
    """Measure, print a table and write `config.out`; returns what it writes.

    Under each method, with median, least and largest over the rounds: "images_per_second" of "ours" (in `fit`) and
    "lightly" (in a plain loop), and "ours_over_lightly" in the same round. Beside them of both "kept_mb": megabytes of
    tensors that a step keeps for its backward pass, and on a GPU "peak_mb": the most memory in a step, weights and all.
    """
    quiet()
    fabric = Devices(config.accelerator, devices=1, threads=config.threads).launch()
    device, found = fabric.device, {}
    for name in config.methods:
        method, theirs = PAIRS[name]
        torch.manual_seed(config.seed)
        trunk = (config.transformer if name == "MAE" else config.trunk).build()
        records = noise(1, trunk.resize)
        held = list(loader(Draws(records, method.sample, config.seed), config.batch, stop=HELD))
        with warnings.catch_warnings():  # of theirs, about what torch and lightly itself will take away
            warnings.simplefilter("ignore")
            other = theirs(deepcopy(trunk), method).to(device)
        loops = {
            "ours": ours(method.build(trunk).to(device), cycle(held), fabric),
            "lightly": plainly(other, cycle(held), device),
        }
        memory = {side: remembered(loop, device) for side, loop in loops.items()}
        rounds = in_turn(loops, 1, config, device)
        speeds = {side: [config.batch / r.seconds for r in of] for side, of in rounds.items()}
        found[name] = {
            "images_per_second": {side: spread(values) for side, values in speeds.items()},
            "ours_over_lightly": spread([a / b for a, b in zip(speeds["ours"], speeds["lightly"], strict=True)]),
            **{key: {side: told[key] for side, told in memory.items()} for key in memory["ours"]},
        }
    result = {
        "command": command(),
        "config": plain(config),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "methods": found,
        "versions": versions(),
    }
    show(result)
    if config.out is not None:
        keep(result, config.out)
    return result


def plainly(module: nn.Module, batches: Iterable[dict], device: torch.device) -> Iterator[None]:
    """What one would write: a module that gives its loss, and an optimizer."""
    optimizer = adamw(module)
    module.train()
    for batch in batches:
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        optimizer.zero_grad()
        module(batch).backward()
        optimizer.step()
        yield


def remembered(loop: Iterator, device: torch.device) -> dict[str, float]:
    """What one step of a loop keeps, after one in which optimizers make their state."""
    next(loop)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with counted() as kept:
        next(loop)
    found = {"kept_mb": sum(kept.values()) / 1e6}
    return found | ({"peak_mb": torch.cuda.max_memory_allocated(device) / 1e6} if device.type == "cuda" else {})


@contextmanager
def counted() -> Iterator[dict[int, int]]:
    """Bytes of each storage that forward passes in here keep for their backward passes, by its address."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


def views_of(batch: dict, method: TwoViews, size: int) -> list[Tensor]:
    """Two views as lightly's loaders give them: (B, 3, size, size) each."""
    return [view[:, 0] for view in seen(batch, method, size, training=True).unbind(1)]


class LightlySimCLR(nn.Module):
    """benchmarks/imagenet/resnet50/simclr.py."""

    def __init__(self, trunk: Trunk, method: SimCLR):
        super().__init__()
        self.method, self.size, self.backbone = method, trunk.size, Backbone(trunk)
        self.projection_head = SimCLRProjectionHead(trunk.dim, method.hidden, method.out)
        self.criterion = NTXentLoss(temperature=method.temperature)

    def forward(self, batch: dict) -> Tensor:
        views = views_of(batch, self.method, self.size)
        z = self.projection_head(self.backbone(torch.cat(views)).flatten(start_dim=1))
        return self.criterion(*z.chunk(len(views)))


class LightlyMoCo(nn.Module):
    """benchmarks/imagenet/resnet50/mocov2.py."""

    def __init__(self, trunk: Trunk, method: MoCo):
        super().__init__()
        self.method, self.size, self.query_backbone = method, trunk.size, Backbone(trunk)
        self.query_projection_head = MoCoProjectionHead(trunk.dim, method.hidden, method.out)
        self.backbone, self.projection_head = (
            deepcopy(module).requires_grad_(False) for module in (self.query_backbone, self.query_projection_head)
        )
        self.criterion = NTXentLoss(method.temperature, memory_bank_size=(method.queue, method.out))

    def forward(self, batch: dict) -> Tensor:
        views = views_of(batch, self.method, self.size)
        queries = self.query_projection_head(self.query_backbone(views[1]).flatten(start_dim=1))
        update_momentum(self.query_backbone, self.backbone, m=self.method.momentum)
        update_momentum(self.query_projection_head, self.projection_head, m=self.method.momentum)
        with torch.no_grad():
            shuffled, index = batch_shuffle(batch=views[0])
            keys = self.projection_head(self.backbone(shuffled).flatten(start_dim=1))
            keys = batch_unshuffle(batch=keys, shuffle=index)
        return self.criterion(queries, keys)


class LightlyDINO(nn.Module):
    """benchmarks/imagenet/resnet50/dino.py."""

    def __init__(self, trunk: Trunk, method: DINO):
        super().__init__()
        self.method, self.size, self.student_backbone = method, trunk.size, Backbone(trunk)
        widths = trunk.dim, method.hidden, method.bottleneck, method.prototypes
        self.student_projection_head, self.projection_head = (DINOProjectionHead(*widths) for _ in range(2))
        self.projection_head.load_state_dict(self.student_projection_head.state_dict())
        self.backbone = deepcopy(self.student_backbone).requires_grad_(False)
        self.projection_head.requires_grad_(False)
        self.criterion = DINOLoss(method.prototypes)
        self.step = 0

    def student(self, views: Tensor) -> Tensor:
        return self.student_projection_head(self.student_backbone(views).flatten(start_dim=1))

    def forward(self, batch: dict) -> Tensor:
        method, clips = self.method, augment.pixels(batch["clips"])
        large = two(clips, self.size, method)
        looks = (round(method.small_size * self.size), method.small_area, method.colour, method.small_blurred)
        views = [view[:, 0] for view in large.unbind(1)]
        views += [augmented(clips[:, n % 2], *looks)[:, 0] for n in range(method.small)]
        wide, narrow = torch.cat(views[:2]), torch.cat(views[2:])
        teacher = self.projection_head(self.backbone(wide).flatten(start_dim=1))
        student = torch.cat([self.student(wide), self.student(narrow)])
        loss = self.criterion(teacher.chunk(2), student.chunk(len(views)))
        momentum = cosine_schedule(min(self.step, STEPS - 1), STEPS, method.momentum, 1.0)
        update_momentum(self.student_backbone, self.backbone, m=momentum)
        update_momentum(self.student_projection_head, self.projection_head, m=momentum)
        self.step += 1
        return loss


class LightlyMAE(nn.Module):
    """examples/pytorch/mae.py, on timm's transformer of the trunk's sizes."""

    def __init__(self, trunk: Trunk, method: MAE):
        super().__init__()
        config = trunk.config
        sizes = {"img_size": config.size, "patch_size": config.patch, "num_classes": 0}
        vit = VisionTransformer(**sizes, embed_dim=config.width, depth=config.depth, num_heads=config.heads)
        self.method, self.size, self.patch_size = method, config.size, config.patch
        self.register_buffer("mean", trunk.mean)
        self.register_buffer("std", trunk.std)
        self.backbone = MaskedVisionTransformerTIMM(vit=vit)
        self.sequence_length = self.backbone.sequence_length
        self.decoder = MAEDecoderTIMM(
            num_patches=vit.patch_embed.num_patches,
            patch_size=config.patch,
            embed_dim=config.width,
            decoder_embed_dim=method.width,
            decoder_depth=method.depth,
            decoder_num_heads=method.heads,
        )
        self.criterion = nn.MSELoss()

    def forward(self, batch: dict) -> Tensor:
        clips = augment.flip(augment.crop(augment.pixels(batch["clips"]), self.size, self.method.area))
        images = (clips[:, 0] - self.mean) / self.std
        keep, mask = random_token_mask(
            size=(len(images), self.sequence_length), mask_ratio=self.method.ratio, device=images.device
        )
        encoded = self.decoder.embed(self.backbone.encode(images=images, idx_keep=keep))
        tokens = repeat_token(self.decoder.mask_token, (len(images), self.sequence_length))
        tokens = set_at_index(tokens, keep, encoded.type_as(tokens))
        painted = self.decoder.predict(get_at_index(self.decoder.decode(tokens), mask))
        return self.criterion(painted, get_at_index(patchify(images, self.patch_size), mask - 1))


PAIRS: dict[str, tuple[object, Callable[[Trunk, object], nn.Module]]] = {
    "SimCLR": (SimCLR(), LightlySimCLR),
    "MoCo": (MoCo(queue=4096), LightlyMoCo),
    "DINO": (DINO(small=6, prototypes=4096), LightlyDINO),
    "MAE": (MAE(width=128, depth=2, heads=4), LightlyMAE),
}


def show(found: dict) -> None:
    """Print the table."""
    config = found["config"]
    table = Table(title=f"{config['rounds']} rounds of {config['steps']} steps of {config['batch']} images")
    for column in (f"on {found['device']}", "ours", "lightly", "ours / lightly (least, largest)"):
        table.add_column(column, justify="left" if column.startswith("on") else "right")
    for name, of in found["methods"].items():
        ratio = of["ours_over_lightly"]
        speeds = (f"{of['images_per_second'][side]['median']:,.0f}" for side in ("ours", "lightly"))
        words = f"{ratio['median']:.3f} ({ratio['min']:.3f}, {ratio['max']:.3f})"
        table.add_row(f"{name}, images/s", *speeds, words)
        for key, label in (("kept_mb", "MB kept for the backward pass"), ("peak_mb", "MB at most")):
            if key in of:
                mine, theirs = of[key]["ours"], of[key]["lightly"]
                table.add_row(f"  {label}", f"{mine:,.1f}", f"{theirs:,.1f}", f"{mine / theirs:.3f}")
    console.print(table)
