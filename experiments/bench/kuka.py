"""PyBullet's own grasping environment at work, for `videossl bench collect` to stand beside: grasps by random actions.

It needs the old gym, which nothing else here can live with, so this file is run by the Python of an environment of its
own (`python -m venv kuka && kuka/bin/pip install pybullet "gym==0.25.2" "numpy<2"`), where videossl is not installed.

    kuka/bin/python experiments/bench/kuka.py 20

prints what so many seconds of processor time gave, as JSON. An episode is one grasp: a reset with 5 random objects, up to
20 closed-loop steps of the KUKA arm, each with a 48x48 picture, and the attempt that the environment makes at the end.
"""

import json
import random
import sys
import time


def main(seconds: float) -> None:
    """Grasp for at least so long."""
    import numpy as np  # here, so that the file can be imported where none of these is
    from pybullet_envs.bullet.kuka_diverse_object_gym_env import KukaDiverseObjectEnv

    random.seed(0)
    np.random.seed(0)
    environment = KukaDiverseObjectEnv(renders=False, isDiscrete=False, maxSteps=20)
    environment.action_space.seed(0)
    grasps = succeeded = 0
    began, clock = time.process_time(), time.perf_counter()
    while time.process_time() - began < seconds:
        environment.reset()
        done = False
        while not done:
            _, _, done, info = environment.step(environment.action_space.sample())
        grasps += 1
        succeeded += info["grasp_success"]
    found = {"grasps": grasps, "succeeded": succeeded, "processor seconds": time.process_time() - began}
    print(json.dumps(found | {"seconds": time.perf_counter() - clock}))


if __name__ == "__main__":
    main(float(sys.argv[1]))
