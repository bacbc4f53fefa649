from math import prod

import numpy as np
import pytest

from videossl.robot import tabletop
from videossl.robot.materials import MATERIALS, Finish
from videossl.robot.objects import ObjectSet, Shape


@pytest.fixture
def put(monkeypatch):
    """A task with one box on its table, at (0.02, 0.01) and turned by `yaw`: `put(Grasp, (0.03, 0.10, 0.06))`."""

    def box_on_table(task, sides, mass=0.15, friction=0.5, stiffness=3000.0, yaw=0.0, size=16, hand="gripper"):
        corners = np.stack(np.meshgrid(*[(-side / 2, side / 2) for side in sides]), -1).reshape(-1, 3)
        shape = Shape("box", 0, (corners,), prod(sides))
        made = Finish(MATERIALS[0].name, (1.0, 0.2, 0.2), 0, friction, stiffness, mass / shape.volume)
        monkeypatch.setattr(tabletop, "finish", lambda rng: made)
        env = task(size=size, hand=hand, randomisation=tabletop.Randomisation.none())
        env.objects = ObjectSet(("box",), 2, lambda category, number: shape)
        env.categories, env.instances = ("box",), [("box", 0)]
        env.reset(seed=0)
        turn = np.array([0, 0, np.sin(yaw / 2), np.cos(yaw / 2)])
        assert env.lay(env.things[0], turn, np.array([0.02, 0.01]))
        env.world.keep()
        return env

    return box_on_table
