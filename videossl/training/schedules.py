"""Rates as functions of progress, from 0 at the start to 1 at the end."""

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def cosine(peak: float, warmup: float = 0.01) -> Schedule:
    """Linear rise to `peak` over the first `warmup` share of the run, then half a cosine down to 0.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, equation 5.
    """

    def rate(progress: float) -> float:
        if progress < warmup:
            return peak * (progress + 1e-3) / (warmup + 1e-3)
        return peak * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))

    return rate


def steps(peak: float, drops: tuple[float, ...], factor: float = 0.1) -> Schedule:
    """`peak`, times `factor` after each of the `drops`, which are shares of the run."""
    return lambda progress: peak * factor ** sum(progress >= drop for drop in drops)
