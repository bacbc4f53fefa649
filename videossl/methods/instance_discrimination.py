"""Tell every record from all others: each is a class of its own, whose weight is what was made of it before.

Source: Wu, Xiong, Yu, Lin, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018, equation 2.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from videossl.methods.base import Net
from videossl.methods.memory import Memory, Remembered
from videossl.methods.two_views import seen


@dataclass(frozen=True)
class InstanceDiscrimination(Remembered):
    """The whole softmax over all records; the paper estimates it from 4,096 of them where there are millions.

    So its proximal term, which steadies that estimate, is left out.
    """

    temperature: float = 0.07
    momentum: float = 0.5  # of what is remembered of a record, when it is seen again
    out: int = 128  # numbers that are compared
    blurred: float = 0.0

    def build(self, trunk):
        return InstanceDiscriminationNet(trunk, self)


class InstanceDiscriminationNet(Net):
    """Metrics: "accuracy", of telling the record among all; "guessing", the chance of that."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.projector = nn.Linear(trunk.dim, method.out)
        self.memory = Memory(method.counted(), method.out, method.momentum)

    def forward(self, batch):
        views = seen(batch, self.method, self.trunk.size, self.training)
        number = batch["number"]
        z = F.normalize(self.projector(self.trunk(views[:, 0])), dim=1)
        with torch.no_grad():  # stands for records that are not remembered
            other = F.normalize(self.projector(self.trunk(views[:, 1])), dim=1) if (number < 0).any() else z
        loss, right = self.memory.contrast(z, number, other, self.method.temperature)
        if self.training:
            self.memory.remember(z, number)
        return loss, {"accuracy": right, "guessing": loss.new_tensor(1 / len(self.memory.rows))}
