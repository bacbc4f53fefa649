"""Identity: is it the same thing again, lying otherwise?

Source: Pinto et al., "The Curious Robot", ECCV 2016, section 3.4: two pictures of one object in different poses, or of
two objects. Here a thing is picked up and falls anew, or another takes its place.
"""

from math import pi
from typing import Any, ClassVar

import numpy as np
from scipy.spatial.transform import Rotation

from videossl.datasets.shards import Field
from videossl.robot.tabletop import SPREAD, Tabletop

OTHERS = 4  # things that wait beside the table


class Identity(Tabletop):
    """Show a thing, then the same in another pose, or another.

    Action: (6,) float32: which, in [-1, 1]: below 0 the same, else one of four others, a quarter of [0, 1] each; x and y
    in metres, in [-0.05, 0.05], where it is put; and roll, pitch and yaw in radians, in [-pi, pi], [-pi / 2, pi / 2] and
    [-pi, pi], in which it falls from 1 cm above the table.
    Reward: 0. Never done; cut after 8 pairs. Each begins from the same scene: `restore` must be left as it is.
    """

    task = "identity"
    trials = 8
    jaws = False
    low, high = (-1.0, -SPREAD, -SPREAD, -pi, -pi / 2, -pi), (1.0, SPREAD, SPREAD, pi, pi / 2, pi)
    spots: ClassVar[tuple[int, ...]] = (1,)
    most: ClassVar[int] = 1  # thing on the table

    def __init__(self, *, restore: bool = True, **options: Any):
        if not restore:
            raise ValueError(
                "each pair begins with the first thing on the table, so identity cannot do without restore"
            )
        super().__init__(restore=restore, **options)

    def told(self) -> dict[str, Field]:
        picture = (self.size, self.size, 3)
        return {
            "first": Field(picture, "uint8", "RGB, around the thing"),
            "second": Field(picture, "uint8", "RGB, around the same thing in another pose, or around another"),
            "same": Field((), "bool", "both show the same thing"),
            "other_category": Field((), "int32", "of the thing in the second picture", self.categories),
            "other_instance": Field((), "int32", "of the thing in the second picture, within its category"),
            "T_world_object_after": Field((7,), "float64", "m and quaternion xyzw: the thing in the second picture"),
        }

    def cast(self) -> int:
        return 1 + OTHERS

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        self.begin()
        which, spot = rng.uniform(-1, 1), rng.uniform(-SPREAD, SPREAD, 2)
        upright, (roll, up, yaw) = rng.uniform() < self.randomisation.upright, rng.uniform(-1, 1, 3)
        angles = (0, 0, pi * yaw) if upright else (pi * roll, np.arcsin(up), pi * yaw)  # all poses alike
        return np.clip(np.float32([which, *spot, *angles]), self.action_space.low, self.action_space.high)

    def act(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool]:
        which, x, y, roll, pitch, yaw = action
        first, before, same = self.things[0], self.aim(0, 0), which < 0
        camera = self.close_up(*before[:3])
        seen = self.picture(camera).rgb
        second = first if same else self.things[1 + min(int(which * OTHERS), OTHERS - 1)]
        if not same:
            self.world.put_away(first.body)
            self.world.release(second.body)
        turn = Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_quat()
        self.lay(second, turn, np.array([x, y]))
        after = self.world.pose(second.body)
        told = {
            "first": seen,
            "second": self.picture(self.close_up(*after[:3])).rgb,
            "same": same,
            "other_category": second.category,
            "other_instance": second.shape.number,
            "T_world_object": before,
            "T_world_object_after": after,
        }
        return told | self.seen_by(camera), 0.0, False
