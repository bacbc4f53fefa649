"""A module of someone else's, with a loss of its own, trained on our records around our trunk.

    class TheirSimCLR(LightningModule):  # as lightly's examples have it
        def __init__(self, backbone, dim):
            super().__init__()
            self.backbone, self.head = backbone, SimCLRProjectionHead(dim, dim, 128)
            self.criterion = NTXentLoss()

        def training_step(self, batch, batch_index):
            (one, other), labels, names = batch
            loss = self.criterion(*(self.head(self.backbone(x).flatten(start_dim=1)) for x in (one, other)))
            self.log("train_loss", loss)
            return loss

    method = Others(module=TheirSimCLR)
    net = method.build(ResNet(18).build())  # then as any other: Draws, loader, fit, probe(net.trunk)

A function cannot be written down, so neither the command line nor a checkpoint knows this method: save the trunk's state.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from videossl.methods.base import Net
from videossl.methods.two_views import TwoViews, seen
from videossl.models.base import Trunk


def as_lightly(views: list[Tensor], batch: dict) -> tuple[list[Tensor], Tensor, list[str]]:
    """Views, labels (-1 where a record has none) and names (empty): what lightly's loaders give."""
    return views, torch.as_tensor(batch["label"]), [""] * len(views[0])


@dataclass(frozen=True)
class Others(TwoViews):
    """Views are images (B, C, H, W), of the fields of `TwoViews`; with `length` over 1 clips (B, T, C, H, W).

    The module is called as Lightning calls it, `training_step(batch, 0)`, or, where it has no such method, `forward(batch)`.
    It gives a loss, or a dict with "loss" and scalars, which are metrics then, as is what it logs. Its optimizers, its
    other hooks and its trainer are not used: `fit` takes their place.
    """

    # of a backbone, from views to features (B, dim), and dim: the module, which has the backbone among its own
    module: Callable[[nn.Module, int], nn.Module] = field(kw_only=True)
    batch: Callable[[list[Tensor], dict], Any] = as_lightly  # of views and our batch: what the module is given

    def sample(self, record, rng: np.random.Generator):
        """Both views, and the record's "label"; -1 where it has none."""
        return super().sample(record, rng) | {"label": int(record.get("label", -1))}

    def build(self, trunk):
        return OthersNet(trunk, self)


class OthersNet(Net):
    """Metrics are the module's own."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.module = method.module(Backbone(trunk), trunk.dim)
        if not {id(p) for p in trunk.parameters()} <= {id(p) for p in self.module.parameters()}:
            raise ValueError(
                f"{type(self.module).__name__} does not hold the backbone that it was given, so nothing would be learned by"
                " the trunk: keep it as an attribute"
            )
        self.logged: dict[str, Any] = {}
        if hasattr(self.module, "log_dict"):  # a LightningModule's, which would ask for its trainer
            self.module.log, self.module.log_dict = self.log, self.log_dict

    def log(self, name: str, value: Any, *_, **__) -> None:
        """Keep a scalar that the module logs."""
        self.logged[name] = value

    def log_dict(self, values: dict[str, Any], *_, **__) -> None:
        """Keep scalars that the module logs."""
        self.logged.update(values)

    def forward(self, batch):
        views = list(seen(batch, self.method, self.trunk.size, self.training).unbind(1))
        given = self.method.batch([view[:, 0] if self.method.length == 1 else view for view in views], batch)
        self.logged = {}
        step = getattr(self.module, "training_step", None)
        result = step(given, 0) if step else self.module(given)
        result = result if isinstance(result, dict) else {"loss": result}
        loss = result.get("loss")
        if not isinstance(loss, Tensor) or loss.ndim:
            raise ValueError(
                f"{type(self.module).__name__} should give a loss, one number, but gave {type(loss).__name__}"
                f" {tuple(loss.shape) if isinstance(loss, Tensor) else ''}"
            )
        said = {**self.logged, **{name: value for name, value in result.items() if name != "loss"}}
        scalars = {name: torch.as_tensor(value, device=loss.device) for name, value in said.items()}
        return loss, {name: value.detach().float() for name, value in scalars.items() if not value.ndim}


class Backbone(nn.Module):
    """A trunk that takes images (N, C, H, W) as well as clips (N, T, C, H, W), floats in [0, 1], to (N, dim)."""

    def __init__(self, trunk: Trunk):
        super().__init__()
        self.trunk = trunk

    def forward(self, views: Tensor) -> Tensor:
        return self.trunk(views.unsqueeze(1) if views.ndim == 4 else views)
