"""The training loop, as a generator: it does what is the same for all methods and gives control back after every step.

It stands on Lightning Fabric, so devices, machines, precision and strategy are Fabric's, and no method knows of them.
"""

import time
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from lightning.fabric import Fabric
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

    Randomness within a step comes from torch's generators, seeded from (seed, step, rank) before it: a run that starts
    at step k continues exactly as one that never stopped.

    Args:
        net: what to train, and its optimizer over its parameters; both are changed in place.
        batches: from `loader(draws, batch, start=start)`; read until `steps` are done.
        steps: the last step.
        rate: learning rate as a function of progress; multiplied with a group's "scale" where it has one.
        start: steps done before.
        clip: largest norm of the gradient; None leaves it as it is.
        fabric: a launched Fabric; None is this process on the CPU, in 32 bits.

    Yields: metrics are the net's own and "loss" (scalars on the device: reading one waits for it), and floats "rate",
        "seconds" (of the step) and "waiting" (of those, for data).
    """
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    wrapped, optimizer_ = fabric.setup(net, optimizer)
    wrapped.train()
    source = iter(batches)
    for step in range(start + 1, steps + 1):
        begin = time.perf_counter()
        batch = fabric.to_device(next(source))
        waited = time.perf_counter() - begin

        torch.manual_seed(int(np.random.SeedSequence([seed, step, fabric.global_rank]).generate_state(1, np.uint64)[0]))
        lr = rate((step - 1) / steps)
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get("scale", 1.0)
        loss, metrics = wrapped(batch)
        optimizer_.zero_grad()
        fabric.backward(loss)
        if clip is not None:
            fabric.clip_gradients(wrapped, optimizer_, max_norm=clip)
        optimizer_.step()
        net.update(step / steps)

        metrics = {"loss": loss.detach(), **{name: value.detach() for name, value in metrics.items()}}
        yield step, {**metrics, "rate": lr, "seconds": time.perf_counter() - begin, "waiting": waited}
