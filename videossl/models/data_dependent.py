"""Random weights that suit the data: every unit's response has mean 0 and variance 1.

Source: Krähenbühl, Doersch, Donahue, Darrell, "Data-dependent Initializations of Convolutional Neural Networks", ICLR 2016,
algorithm 1; "Random, rescaled" in the tables of later papers. Two of its parts are left out: filters that are centres of
patches (k-means), and the balance of rates between layers, which changes nothing where batch norms follow.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from videossl import augment
from videossl.evaluation.views import Views
from videossl.models.base import Trunk

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
FLAT = 1e-4  # a deviation under which a unit's response is taken for constant, as a share of the layer's mean deviation


@torch.no_grad()
def rescale(trunk: Trunk, clips: Tensor) -> None:
    """Scale each convolution's and dense layer's weights, first to last, and move its biases; in place.

    A layer without biases keeps its mean, which a batch norm after it takes away: batch norms are given the mean and
    variance of these clips as their running ones, so that a net in eval mode is what it would be in training. Units that
    respond to nothing or to all alike are moved, not scaled.

    Args:
        trunk: its mode is restored. Of a layer that is used several times the first time counts.
        clips: (N, T, 3, H, W), floats in [0, 1], on the trunk's device.

    Raises:
        ValueError: the trunk has no such layer.
    """
    done: set[nn.Module] = set()

    def layer(module: nn.Module, given: tuple, response: Tensor) -> Tensor | None:
        if module in done:
            return None
        done.add(module)
        mean, deviation = told(response, channel_of(module))
        scale = torch.where(deviation > FLAT * deviation.mean(), 1 / deviation, 1.0)
        module.weight.mul_(scale.view(-1, *[1] * (module.weight.ndim - 1)))
        if module.bias is None:
            return response * along(scale, response, channel_of(module))
        module.bias.sub_(mean).mul_(scale)
        shift, gain = (along(value, response, channel_of(module)) for value in (mean, scale))
        return (response - shift) * gain

    def norm(module: nn.Module, given: tuple) -> None:
        if module in done or module.running_mean is None:
            return
        done.add(module)
        mean, deviation = told(given[0], 1)
        module.running_mean.copy_(mean)
        module.running_var.copy_(deviation**2)

    hooks = [m.register_forward_hook(layer) for m in trunk.modules() if isinstance(m, LAYERS)]
    hooks += [m.register_forward_pre_hook(norm) for m in trunk.modules() if isinstance(m, _BatchNorm)]
    training = trunk.training
    trunk.eval()
    try:
        trunk(clips)
    finally:
        trunk.train(training)
        for hook in hooks:
            hook.remove()
    if not any(isinstance(module, LAYERS) for module in done):
        raise ValueError(f"{type(trunk).__name__} has no convolution or dense layer to rescale: take random weights")


def channel_of(module: nn.Module) -> int:
    """The dimension of a layer's response along which its units lie."""
    return -1 if isinstance(module, nn.Linear) else 1


def told(response: Tensor, channel: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each unit, over clips and places."""
    units = response.movedim(channel, 0).flatten(1).double()
    deviation, mean = torch.std_mean(units, 1, correction=0)
    return mean.to(response), deviation.to(response)


def along(values: Tensor, response: Tensor, channel: int) -> Tensor:
    """A value for each unit, in the response's number of dimensions."""
    shape = [1] * response.ndim
    shape[channel] = -1
    return values.view(shape)


def looked_at(records: Sequence[dict], trunk: Trunk, count: int = 64) -> Tensor:
    """A middle clip of so many records, evenly spread: (N, T, 3, size, size), floats in [0, 1], on the trunk's device.

    What cannot be read is left out.

    Raises:
        ValueError: nothing can be read.
    """
    views, clips, reasons = Views(clips=1, crops=1).resolved(trunk), [], []
    for n in sorted({round(place * (len(records) - 1) / max(count - 1, 1)) for place in range(count)}):
        frames = records[n]["frames"]
        try:
            clips.append(views.crop(augment.pixels(frames[views.indices(len(frames))])))
        except (ValueError, OSError) as error:
            reasons.append(f"{records[n].get('name')}: {error}")
    if not clips:
        raise ValueError(f"none of {len(reasons)} videos can be read; {'; '.join(reasons[:3])}")
    return torch.cat(clips).to(trunk.mean.device)
