"""Several methods on one trunk.

Source: Pinto, Gandhi, Han, Park, Gupta, "The Curious Robot: Learning Visual Representations via Physical Interactions",
ECCV 2016, section 4: in a step each task has a batch of its own; its head learns by its own loss, the trunk by the mean
of all tasks' gradients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import Tensor, nn

from videossl.methods.base import Method, Net
from videossl.models.base import Trunk


@dataclass(frozen=True)
class Joint:
    """Questions of any kind, asked together.

    Its records, examples and batches are dicts of its tasks' (`Zip` makes such records):

        method = Joint({"grasp": Grasp(), "order": ShuffleAndLearn()})
        draws = Draws(Zip({"grasp": grasps, "order": videos}), method.sample)

    Source: see above; "sum" is the plain weighted sum of losses instead.

    The mean is taken on the trunk's own weights, from `build` on: what learns from that trunk afterwards, by itself or by
    another `build`, does so at a fraction of its gradients. `copy.deepcopy` gives one that is free of it.
    """

    tasks: Mapping[str, Method]
    # what the trunk learns by: the mean of the tasks' gradients, as in the paper, or their sum
    gradients: Literal["mean", "sum"] = "mean"
    weights: Mapping[str, float] = field(default_factory=dict)  # of tasks' losses; 1 where none is given

    def __post_init__(self):
        if not self.tasks:
            raise ValueError("there are no tasks: give at least one method by a name")
        if unknown := set(self.weights) - set(self.tasks):
            raise ValueError(f"a weight is given for {min(unknown)!r}, but the tasks are {', '.join(self.tasks)}")
        if not all(weight > 0 for weight in self.weights.values()):
            raise ValueError(f"weights are over 0, but {dict(self.weights)} were given: leave a task out instead")

    @property
    def chance(self) -> dict[str, float]:
        """Of each task, its metrics' names after its own."""
        return {f"{name}_{key}": value for name, task in self.tasks.items() for key, value in task.chance.items()}

    def check(self, record):
        """Raise a ValueError if a task's record is missing, or it cannot be asked of it."""
        for name, task in self.tasks.items():
            if name not in record:
                raise ValueError(f"no record for task {name!r}: these are of {', '.join(record) or 'none'} (see Zip)")
            task.check(record[name])

    def prepare(self, records: Sequence[dict]) -> "Joint":
        """With each task prepared on its own records; of a `Zip`, on each of them once."""
        own = records.tasks if isinstance(records, Zip) else None
        tasks = {
            name: task.prepare(own[name] if own else [record[name] for record in records])
            if hasattr(task, "prepare")
            else task
            for name, task in self.tasks.items()
        }
        return Joint(tasks, self.gradients, self.weights)

    def sample(self, record, rng: np.random.Generator):
        return {name: task.sample(record[name], rng) for name, task in self.tasks.items()}

    def build(self, trunk: Trunk):
        return JointNet(trunk, self)


class Zip(Sequence):
    """Records of several tasks, of any numbers, as one list: item n has record n of each, beginning again at the end.

    It is as long as the longest; the shorter are gone through more often, as each task has a batch in every step.
    """

    def __init__(self, tasks: Mapping[str, Sequence[dict]]):
        """Raises:
        ValueError: a task has no records.
        """
        empty = [name for name, records in tasks.items() if len(records) == 0]
        if empty or not tasks:
            raise ValueError(f"no records of {', '.join(empty) or 'any task'}")
        self.tasks = dict(tasks)

    def __len__(self):
        return max(map(len, self.tasks.values()))

    def __getitem__(self, n):
        if not -len(self) <= n < len(self):
            raise IndexError(n)
        return {name: records[n % len(self) % len(records)] for name, records in self.tasks.items()}


class JointNet(Net):
    """The tasks' nets, all on the same trunk, which is stored once."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk = trunk
        self.nets = nn.ModuleDict({name: task.build(trunk) for name, task in method.tasks.items()})
        self.weights = {name: method.weights.get(name, 1.0) for name in method.tasks}
        if method.gradients == "mean":
            count = len(self.nets)
            for parameter in trunk.parameters():
                if parameter.requires_grad:
                    parameter.register_hook(lambda gradient: gradient / count)
        self.register_state_dict_post_hook(_without_copies)
        self.register_load_state_dict_pre_hook(_with_copies)

    def forward(self, batch):
        total: Tensor | float = 0.0
        found = {}
        for name, net in self.nets.items():
            loss, metrics = net(batch[name])
            total = total + self.weights[name] * loss
            found |= {f"{name}_loss": loss.detach(), **{f"{name}_{key}": value for key, value in metrics.items()}}
        return total, found

    def update(self, progress: float) -> None:
        for net in self.nets.values():
            net.update(progress)


def _without_copies(net: JointNet, state: dict, prefix: str, metadata: dict) -> None:
    """Leave the trunk's weights out of each task's net."""
    for name in net.nets:
        for key in [key for key in state if key.startswith(f"{prefix}nets.{name}.trunk.")]:
            del state[key]


def _with_copies(net: JointNet, state: dict, prefix: str, *rest) -> None:
    """Give them back to each, as loading asks for."""
    for name in net.nets:
        for key in [key for key in state if key.startswith(f"{prefix}trunk.")]:
            state[f"{prefix}nets.{name}.{key.removeprefix(prefix)}"] = state[key]
