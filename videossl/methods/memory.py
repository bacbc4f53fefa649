"""What was made of each record before, remembered: what methods share that tell every record from all others.

Source: Wu, Xiong, Yu, Lin, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018, section 3.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.nn import all_gather
from torch.nn import functional as F

from videossl.methods.two_views import TwoViews, several


@dataclass(frozen=True)
class Remembered(TwoViews):
    """The question of this family: which of all records is this a view of? A method inherits it and adds its own fields."""

    # of the records, in alphabetical order: `prepare` finds them
    names: tuple[str, ...] = field(default=(), repr=False)

    def prepare(self, records: Sequence[dict]):
        """With the names of these records, which are told apart.

        Raises:
            ValueError: there are fewer than two names.
        """
        names = sorted({str(record["name"]) for record in records})
        if len(names) < 2:
            raise ValueError("records of one name: there is nothing to tell them from")
        return replace(self, names=tuple(names))

    def sample(self, record, rng: np.random.Generator):
        """Both views, and the record's "number"; -1 of one that `prepare` did not see, such as a held-out one."""
        name = str(record["name"])
        place = bisect_left(self.names, name)
        known = place < len(self.names) and self.names[place] == name
        return super().sample(record, rng) | {"number": place if known else -1}

    def counted(self) -> int:
        """How many records there are.

        Raises:
            ValueError: they are not known yet.
        """
        if not self.names:
            raise ValueError(f"{type(self).__name__} tells records apart: call `prepare(records)` first")
        return len(self.names)


class Memory(nn.Module):
    """A unit vector for each record: the running mean of what was made of it."""

    def __init__(self, records: int, dim: int, momentum: float):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("rows", F.normalize(torch.randn(records, dim), dim=1))

    def contrast(self, z: Tensor, number: Tensor, own: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Cross entropy of telling unit vectors' own rows among all, and how often that is right.

        Args:
            z: (B, D).
            number: (B,) of the records; -1 where one has no row: then `own` (B, D) stands for it.
        """
        known = number >= 0
        own = torch.where(known[:, None], self.rows[number], own.detach())
        others, place = z @ self.rows.clone().T, number.clamp(min=0)[:, None]
        others = others.scatter(1, place, others.gather(1, place).masked_fill(known[:, None], -torch.inf))
        logits = torch.cat([(z * own).sum(1, keepdim=True), others], 1) / temperature
        answer = torch.zeros(len(z), dtype=torch.long, device=z.device)
        return F.cross_entropy(logits, answer), (logits.argmax(1) == 0).float().mean()

    @torch.no_grad()
    def remember(self, z: Tensor, number: Tensor) -> None:
        """Take up what was made of records that have a row; of one that was seen twice the last counts."""
        if several():
            z, number = torch.cat(all_gather(z.contiguous())), torch.cat(all_gather(number))
        last = {n: i for i, n in enumerate(number.tolist()) if n >= 0}  # one each: the same in every process
        rows, places = list(last), list(last.values())
        if rows:
            mixed = self.momentum * self.rows[rows] + (1 - self.momentum) * z[places].to(self.rows.dtype)
            self.rows[rows] = F.normalize(mixed, dim=1)
