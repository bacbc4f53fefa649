"""The training loop, as a generator: it does what is the same for all methods and gives control back after every step.

It stands on Lightning Fabric, so devices, machines, precision and strategy are Fabric's, and no method knows of them.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.optim import Optimizer

from videossl.methods.base import Net
from videossl.training.schedules import Schedule


def fit(
    net: Net,
    batches: Iterable[dict],
    optimizer: Optimizer,
    steps: int,
    rate: Schedule,
    *,
    start: int = 0,
    seed: int = 0,
    clip: float | None = None,
    fabric: Fabric | None = None,
) -> Iterator[tuple[int, dict[str, Tensor | float]]]:
    """Train; yields (step, metrics) after each step, steps counted from 1.

    Randomness within a step comes from torch's generators (the CPU's and the device's), seeded from (seed, step, rank)
    before it: a run that starts at step k continues exactly as one that never stopped.

    A GPU works through a step while this process goes on to the next, so the next batch is copied beside it, if it is
    in pinned memory (`loader(..., pin=True)`) and the loop body does not read from the device, which waits for it.

    Args:
        net: what to train, and its optimizer over its parameters; both are changed in place.
        batches: from `loader(draws, batch, start=start)`; one is read for each step, when it begins.
        steps: the last step.
        rate: learning rate as a function of progress; multiplied with a group's "scale" where it has one.
        start: steps done before.
        clip: largest norm of the gradient; None leaves it as it is.
        fabric: a launched Fabric; None is this process on the CPU, in 32 bits.

    Yields: metrics are the net's own and "loss" (scalars on the device: reading one waits for it), and floats "rate",
        "seconds" (of the step) and "waiting" (of those, this process for data; a GPU may have been busy meanwhile).

    Raises:
        ValueError: there are fewer batches than steps, or one example in a batch, which a net with batch normalisation
            cannot learn from.
    """
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    wrapped, optimizer_ = fabric.setup(net, optimizer)
    wrapped.train()
    source = _on_device(batches, fabric)
    for step in range(start + 1, steps + 1):
        begin = time.perf_counter()
        batch = next(source, None)
        waited = time.perf_counter() - begin
        if batch is None:
            raise ValueError(f"batches ended before step {step} of {steps}: give more, or lower steps")

        _seed(fabric.device, [seed, step, fabric.global_rank])
        lr = rate((step - 1) / steps)
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get("scale", 1.0)
        optimizer_.zero_grad()
        with _batch_of_one_explained():
            loss, metrics = wrapped(batch)
        fabric.backward(loss)
        if clip is not None:
            fabric.clip_gradients(wrapped, optimizer_, max_norm=clip)
        optimizer_.step()
        net.update(step / steps)

        metrics = {"loss": loss.detach(), **{name: value.detach() for name, value in metrics.items()}}
        yield step, {**metrics, "rate": lr, "seconds": time.perf_counter() - begin, "waiting": waited}


def while_finite(
    loop: Iterable[tuple[int, dict]], fabric: Fabric | None = None, every: int = 50
) -> Iterator[tuple[int, dict]]:
    """What `fit` yields, as long as the loss is finite: it is read every so many steps and after the last, by all
    processes together.

    Raises:
        ValueError: it is not.
    """
    step, metrics = 0, None
    for step, metrics in loop:
        if step % every == 0:
            _refuse_infinite(step, metrics["loss"], fabric)
        yield step, metrics
    if metrics is not None:
        _refuse_infinite(step, metrics["loss"], fabric)


def _refuse_infinite(step: int, loss: Tensor, fabric: Fabric | None) -> None:
    mean = loss if fabric is None else fabric.all_reduce(loss.clone())  # which it changes in place
    if not mean.isfinite():
        raise ValueError(f"the loss of step {step} is {mean.item()}: give a lower rate, or another trunk")


@contextmanager
def _batch_of_one_explained() -> Iterator[None]:
    """Torch's line about a batch of one, which names a tensor's size alone, says what to do."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith("Expected more than 1 value per channel"):
            raise
        why = "a batch of one example cannot be normalised (this net has batch normalisation): give --batch 2 or more"
        raise ValueError(why) from error


def _on_device(batches: Iterable[dict], fabric: Fabric) -> Iterator[dict]:
    """Batches on the device. To a GPU each is copied while it may still compute the step before."""
    if fabric.device.type != "cuda":
        yield from batches if fabric.device.type == "cpu" else map(fabric.to_device, batches)
        return
    copying = torch.cuda.Stream(fabric.device)
    for batch in batches:
        with torch.cuda.stream(copying):
            batch = fabric.to_device(batch)  # does not block where the batch is in pinned memory
        computing = torch.cuda.current_stream(fabric.device)
        computing.wait_stream(copying)
        # The batch's memory is the copying stream's: it must not be copied over before the step is done with it.
        apply_to_collection(batch, Tensor, lambda tensor, stream: tensor.record_stream(stream), computing)
        yield batch


def _seed(device: torch.device, entropy: list[int]) -> None:
    """As torch.manual_seed, which looks for all kinds of device there are, and takes 0.1 to 0.5 ms for it."""
    seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)  # of this process's device alone
