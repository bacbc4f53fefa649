"""Simulated worlds: PyBullet is touched here and nowhere else. Importing this names the tasks to gymnasium.make."""

from gymnasium import register

register("videossl/Grasp-v0", entry_point="videossl.robot.tasks.grasp:Grasp")
register("videossl/Push-v0", entry_point="videossl.robot.tasks.push:Push")
register("videossl/Poke-v0", entry_point="videossl.robot.tasks.poke:Poke")
register("videossl/Identity-v0", entry_point="videossl.robot.tasks.identity:Identity")
