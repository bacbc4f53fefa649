"""Learn a trunk from videos without labels: `videossl pretrain`.

A run's folder holds all that is needed to run it again and to look at it: config.json (every field, versions, the
data's fingerprint), log.jsonl and tensorboard/, checkpoint.pt, result.json (the pretext on held-out videos) and
examples.npz (what was asked of some of them, and answered).
"""

import dataclasses
import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from lightning.fabric import Fabric
from torch.nn import functional as F
from torch.utils.data import default_collate
from tyro.conf import subcommand

from videossl.datasets.records import Records, by_group
from videossl.experiments.console import console, quiet
from videossl.experiments.data import Videos, content, fingerprint
from videossl.experiments.devices import Devices
from videossl.experiments.methods import Question
from videossl.experiments.runs import Log, read_json, versions, write_json
from videossl.experiments.watch import Watch
from videossl.methods.base import Method, Net
from videossl.methods.shuffle_and_learn import ShuffleAndLearn
from videossl.models.c3d import C3D
from videossl.models.caffenet import CaffeNet
from videossl.models.data_dependent import looked_at, rescale
from videossl.models.lstm import LSTM, ConvLSTM
from videossl.models.r3d import R3D, R21D
from videossl.models.resnet import ResNet
from videossl.models.s3d import S3D
from videossl.models.small import Small
from videossl.models.split import Split
from videossl.models.vit import ViT
from videossl.training import checkpoints
from videossl.training.draws import Draws, askable, draw_window, loader
from videossl.training.fit import fit
from videossl.training.schedules import Schedule, cosine, steps

TrunkChoice = (
    Annotated[CaffeNet, subcommand("caffenet")]
    | Annotated[ResNet, subcommand("resnet")]
    | Annotated[R3D, subcommand("r3d")]
    | Annotated[R21D, subcommand("r21d")]
    | Annotated[S3D, subcommand("s3d")]
    | Annotated[C3D, subcommand("c3d")]
    | Annotated[ViT, subcommand("vit")]
    | Annotated[Small, subcommand("small")]
    | Annotated[Split, subcommand("split")]
    | Annotated[LSTM, subcommand("lstm")]
    | Annotated[ConvLSTM, subcommand("conv-lstm")]
)


@dataclass(frozen=True)
class Pretrain:
    """Learn a trunk from the videos of a data set's training list, without their labels.

    Defaults are those of Shuffle and Learn (Misra et al. 2016): CaffeNet, 100,000 steps of 128 tuples, SGD.
    """

    data: Annotated[Videos, tyro.conf.arg(name="")]
    out: Path = Path("runs/pretrain")  # the run's folder, made anew
    split: int = 1  # whose training list is learned from
    method: Question = field(default_factory=ShuffleAndLearn)
    trunk: TrunkChoice = field(default_factory=CaffeNet)
    # how the trunk begins; None: as it is built, at random or from its file of weights; rescaled: the same, and every
    # unit's response to training videos brought to mean 0 and variance 1 (Krähenbühl et al. 2016)
    init: Literal["rescaled"] | None = None
    steps: int = 100_000  # in the whole run
    batch: int = 128  # examples in a step, over all devices
    repeats: int = 1  # examples drawn from a video whenever it is decoded: faster, and less variety in a batch
    # frames in a row that are decoded for them; None decodes whole videos where repeats is over 1, and else only the
    # frames that an example shows
    window: int | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"  # sgd has a momentum of 0.9
    rate: float = 1e-3  # peak learning rate, after 1 % of linear warm-up where it follows a cosine
    drops: tuple[float, ...] = (0.8,)  # shares of the run after which the rate falls to a tenth; none: half a cosine
    decay: float = 5e-4  # weight decay
    clip: float | None = None  # largest norm of the gradient
    # share of the training list, in whole groups, that only measures the pretext; 0 measures nothing
    held_out: float = 0.1
    probes: int = 256  # examples from the held-out videos that it is measured on
    # training and held-out videos, of each, whose features are looked at: their spread, rank and, with labels, k-NN
    watch: int = 64
    seed: int = 0  # of weights, of examples and of what is held out
    workers: int = 2  # processes that decode, for each device
    log: int = 10  # steps between two lines of the log
    save: int = 500  # steps between two checkpoints, and two measurements on held-out videos
    engine: Annotated[Devices, tyro.conf.arg(name="")] = field(default_factory=Devices)

    def __post_init__(self):
        from_one = {"split": 1, "steps": 1, "batch": 1, "repeats": 1, "log": 1, "save": 1, "probes": 1}
        for name, least in {**from_one, "workers": 0, "seed": 0, "watch": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is a whole number from {least}, but {getattr(self, name)} was given")
        if self.window is not None and self.window < 1:
            raise ValueError(f"window is a whole number of frames from 1, or None, but {self.window} was given")
        if self.batch % self.repeats:
            raise ValueError(
                f"batch must be a multiple of repeats, so that no video is decoded for two batches: {self.batch}, "
                f"{self.repeats}"
            )
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out is a share, from 0 to under 1, but {self.held_out} was given")
        if self.save % self.log:
            raise ValueError(
                f"save must be a multiple of log, so that a run resumes at a line: {self.save}, {self.log}"
            )


@dataclass(frozen=True)
class Resume:
    """Go on with a run that was stopped: the same examples, the same losses."""

    run: tyro.conf.Positional[Path]  # its folder


def resume(config: Resume) -> Path:
    """Go on with a stopped run, from its last checkpoint.

    Raises:
        FileNotFoundError: the folder is no run's.
        ValueError: its config.json is not what `pretrain` writes.
    """
    path = config.run / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{config.run} is no run: it has no config.json, which `videossl pretrain` writes")
    found = read_json(path)
    stored = checkpoints.restore(found["config"]) if isinstance(found, dict) and "config" in found else None
    if not isinstance(stored, Pretrain):
        raise ValueError(f'{path} is not of a pretraining run: its "config" is not what `videossl pretrain` writes')
    return pretrain(dataclasses.replace(stored, out=config.run), resumed=True)


def pretrain(config: Pretrain, resumed: bool = False) -> Path:
    """Train, and measure the pretext on held-out videos; returns the run's folder.

    Raises:
        FileExistsError: the run's folder is there already, and this is no resumption; or it is a file.
        ValueError: the data cannot be asked this question, or the checkpoint there is of another one.
        FloatingPointError: the loss is not finite any more.
    """
    quiet()
    refuse_taken(config.out, resumed)
    fabric = config.engine.launch()
    refuse_uneven(config, fabric.world_size)
    torch.manual_seed(config.seed)
    trunk = config.trunk.build()
    listed = config.data.records(True, config.split, trunk.resize)
    train, held_out = usable(listed, config.method, fabric, config.window), []
    seen = sorted(content(record) for record in train)  # held-out ones too: the run was watched, maybe chosen, by them
    if config.held_out:
        train, held_out = by_group(train, config.held_out, config.seed)
    if config.init == "rescaled":
        rescale(trunk, looked_at(train, trunk))
    method = config.method.prepare(train) if hasattr(config.method, "prepare") else config.method
    net = method.build(trunk).to(fabric.device)
    optimizer = build_optimizer(config, net)
    watch = Watch(trunk, train, held_out, config.watch, fabric)
    start = restore(config, method, net, optimizer) if resumed else 0

    repeated = {"repeats": config.repeats, "window": config.window, "check": method.check}
    draws = Draws(train, method.sample, config.seed, **repeated)
    probe = Draws(held_out, method.sample, config.seed) if held_out else None
    example = draws[0]  # a wrong record or method shows here, not in a worker
    if fabric.is_global_zero:
        note_length(example, config, trunk.length)
        open_run(config, method, listed, train, held_out)
    fabric.barrier()

    batches = loader(
        draws,
        config.batch,
        start=start,
        workers=config.workers,
        rank=fabric.global_rank,
        world=fabric.world_size,
        pin=fabric.device.type == "cuda",
    )
    rate = schedule(config)
    learning = fit(
        net, batches, optimizer, config.steps, rate, start=start, seed=config.seed, clip=config.clip, fabric=fabric
    )
    title = f"pretrain {type(config.method).__name__}"
    with Log(config.out, title, start, config.steps, config.batch, method.chance, fabric) as log:
        for step, metrics in learning:
            log.add(step, metrics)
            saving = step % config.save == 0 or step == config.steps
            if step % config.log == 0 or saving:
                log.line(step, {**measure(net, probe, config, fabric), **watch(trunk, step)} if saving else {})
            if saving and fabric.is_global_zero:
                about = {"method": config.method, "prepared": method, "trunk": config.trunk}
                origin = {"seed": config.seed, "split": config.split, "seen": seen}
                path = config.out / "checkpoint.pt"
                checkpoints.save(path, **about, **origin, net=net, optimizer=optimizer, step=step)
    result = measure(net, probe, config, fabric)
    if fabric.is_global_zero:
        conclude(config, method, net, probe, result, fabric)
    fabric.barrier()
    return config.out


def refuse_taken(out: Path, resumed: bool) -> None:
    """Raise a FileExistsError where the run's folder cannot be one, or holds something that is not to go on."""
    if out.is_file():
        raise FileExistsError(f"{out} is a file, but --out names the folder of a run: give another")
    if not resumed and out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} exists: `videossl resume {out}` goes on with it; or name another --out")


def refuse_uneven(config: Pretrain, devices: int) -> None:
    """Raise a ValueError where a device's examples of a step are no whole number of videos."""
    if config.batch // devices % config.repeats:
        raise ValueError(
            f"each of {devices} devices has {config.batch // devices} of the {config.batch} examples of a step, which must "
            f"be a multiple of repeats, {config.repeats}: raise batch"
        )


def usable(records: Records, method: Method, fabric: Fabric, window: int | None = None) -> list[dict]:
    """Those that the method can be asked of, within a window of so many frames; says how many are left out, and why.

    Raises:
        ValueError: none can.
    """

    def check(record: dict) -> None:
        method.check(record)
        if window is not None:
            draw_window(record, window, np.random.default_rng(0), method.check)  # there is one to draw

    kept, reasons = askable(records, check)
    if fabric.is_global_zero:
        console.print(records.summary())
        for reason, names in reasons.items() if kept else ():  # else the error names them
            console.print(f"  {named(names)} of {len(records)} videos are left out of pretraining: {reason}")
    if not kept:
        whys = (f"{reason} ({named(names)})" for reason, names in reasons.items())
        raise ValueError(f"no video is left to pretrain on: {'; '.join(whys)}")
    return kept


def named(names: list[str]) -> str:
    """How many there are, and the first of them: "2 (YoYo/v_YoYo_g01_c01, ...)"."""
    return f"{len(names)} ({names[0]}{', ...' * (len(names) > 1)})"


def note_length(example: dict, config: Pretrain, length: int) -> None:
    """Say so where the trunk is made for longer or shorter clips than the method shows."""
    shown = example["clips"].shape[-4] if "clips" in example else length
    if shown != length:
        name = type(config.trunk).__name__
        note = f"{name} reads clips of {length} frames, but this method shows it clips of {shown} (--method.length)"
        if length == 1:
            note = (
                f"{name} reads single frames, and takes the mean over the {shown} that this method shows it: what their "
                "order or speed tells is lost on it (trunk:small and trunk:r3d read clips)"
            )
        console.print(f"note: {note}")


def build_optimizer(config: Pretrain, net: Net) -> torch.optim.Optimizer:
    """Over all of the net's parameters that are trained."""
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if config.optimizer == "sgd":
        return torch.optim.SGD(trained, lr=config.rate, momentum=0.9, weight_decay=config.decay)
    return torch.optim.AdamW(trained, lr=config.rate, weight_decay=config.decay)


def schedule(config: Pretrain) -> Schedule:
    """The learning rate over the run."""
    return steps(config.rate, config.drops) if config.drops else cosine(config.rate)


def restore(config: Pretrain, method: Method, net: Net, optimizer: torch.optim.Optimizer) -> int:
    """Take up the run's last checkpoint; returns its step, or 0 where there is none yet."""
    if not (config.out / "checkpoint.pt").exists():
        return 0
    saved = checkpoints.load(config.out)
    for part, asked in (("method", config.method), ("prepared", method), ("trunk", config.trunk)):
        if saved[part] != checkpoints.plain(asked):
            raise ValueError(f"{config.out}/checkpoint.pt is of another {part} than config.json: {saved[part]}")
    net.load_state_dict(saved["net"])
    optimizer.load_state_dict(saved["optimizer"])
    return saved["step"]


def open_run(config: Pretrain, method: Method, listed: Records, train: list[dict], held_out: list[dict]) -> None:
    """Make the run's folder and write down what is needed to run it again.

    Raises:
        ValueError: the folder is there, of a run on other videos.
    """
    data = {"name": listed.name, "listed": listed.listed, "train": len(train), "held_out": len(held_out)}
    written = {
        "config": checkpoints.plain(config),
        "prepared": checkpoints.plain(method),
        "data": {**data, "fingerprint": fingerprint(train), "held_out_fingerprint": fingerprint(held_out)},
        "versions": versions(),
    }
    path = config.out / "config.json"
    if path.exists():
        before = read_json(path).get("data")
        if before != written["data"]:
            raise ValueError(f"the videos are not those that {config.out} began with: {before}, now {written['data']}")
        return
    config.out.mkdir(parents=True, exist_ok=True)
    write_json(path, written)


@torch.no_grad()
def measure(net: Net, probe: Draws | None, config: Pretrain, fabric: Fabric) -> dict[str, float]:
    """The net's own loss and metrics on `probes` examples of held-out videos, in eval mode; nothing where none are.

    They are read in this process: joining workers of their own at every save would swallow an interrupt (SIGINT) that is
    sent to this process alone.
    """
    if probe is None:
        return {}
    batch = max(1, config.batch // fabric.world_size)
    sums, training = Counter(), net.training
    net.eval()
    for first in range(0, config.probes, batch):
        examples = [probe[n] for n in range(first, min(first + batch, config.probes))]
        with fabric.autocast():
            loss, metrics = net(fabric.to_device(default_collate(examples)))
        for name, value in {"loss": loss, **metrics}.items():
            sums[f"held_out_{name}"] += value.item() * len(examples)
    net.train(training)
    return {name: total / config.probes for name, total in sums.items()}


def conclude(
    config: Pretrain, method: Method, net: Net, probe: Draws | None, result: dict[str, float], fabric: Fabric
) -> None:
    """Keep some examples for the report, write and say what the pretext came to. result.json comes last: it says done."""
    chance = method.chance
    videos = len(probe.records) if probe else 0
    if probe and hasattr(method, "answers"):
        keep_examples(config, net, probe, fabric)
    if probe and hasattr(net, "panels"):
        keep_panels(config, net, probe, fabric)
    write_json(config.out / "result.json", {**result, "chance": chance, "videos": videos})
    for name in chance.keys() & {key.removeprefix("held_out_") for key in result}:
        found = result[f"held_out_{name}"]
        console.print(f"{name} on {videos} held-out videos: {found:.3f} (chance {chance[name]:.3f})")
    console.print(f"run: {config.out}")


@torch.no_grad()
def keep_examples(config: Pretrain, net: Net, probe: Draws, fabric: Fabric, count: int = 12, height: int = 96) -> None:
    """Save what is shown of some held-out examples (middle frames, small), the answers and the net's own."""
    shown, answers, predicted = [], [], []
    net.eval()
    for example in loader(probe, 1, stop=count):
        with fabric.autocast():
            logits = net.predict(fabric.to_device(example))
        middle = example["clips"][0, :, example["clips"].shape[2] // 2].float()  # (K, C, H, W)
        width = round(height * middle.shape[-1] / middle.shape[-2])
        shown.append(F.interpolate(middle, (height, width), mode="area").round().byte().numpy())
        answers.append(int(example["answer"]))
        predicted.append(logits[0].float().softmax(-1).cpu().numpy())
    net.train()
    clips = np.stack(shown)  # (count, K, C, H, W)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, clips=clips, answers=answers, predicted=np.stack(predicted))
    checkpoints.write(config.out / "examples.npz", buffer.getvalue())


@torch.no_grad()
def keep_panels(config: Pretrain, net: Net, probe: Draws, fabric: Fabric, count: int = 6) -> None:
    """Save the net's pictures of some held-out examples, for the report: name -> (count, T, C, H, W) uint8."""
    net.eval()
    examples = default_collate([probe[n] for n in range(count)])
    with fabric.autocast():
        panels = net.panels(fabric.to_device(examples))
    net.train()
    if not panels:
        return
    arrays = {name: (255 * clips.float().clamp(0, 1)).round().byte().cpu().numpy() for name, clips in panels.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    checkpoints.write(config.out / "panels.npz", buffer.getvalue())
