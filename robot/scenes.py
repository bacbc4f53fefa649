"""Pictures of simulated scenes for recognition from few labels, in SUN397's layout.

`DIR/c/crosswalk/sun_cbxyzabcdefghijk.jpg`, `ClassName.txt` with `/c/crosswalk` a line, `Training_01.txt` and
`Testing_01.txt` with `/c/crosswalk/sun_....jpg` a line. Categories have SUN397's names where it has them. Every picture
has a world and a viewpoint of its own, so that those of the test are never those of the training. Colours, textures,
season, light, haze and exposure are drawn anew for each world, from the same ranges in all categories: what tells a
category is what stands there and how. A picture comes from the seed, its category's name and
its own number alone.

Source of the layout: Xiao et al., "SUN Database", CVPR 2010.
"""

import string
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import cos, inf, pi, sin
from pathlib import Path
from zlib import crc32

import cv2
import joblib
import numpy as np

from videossl.robot import scenery as s
from videossl.robot.driving import CATEGORIES, LAMPS, SIGNS
from videossl.robot.humanoid import new_client
from videossl.robot.outputs import claim_for, run_jobs, write_picture, write_whole
from videossl.robot.street import BEHIND, Kind, Row, Street, camera_pose, plan_route

VERSION = 1  # of the pictures: raise it when the same config gives others, so that no folder mixes both
QUALITY = 95  # of JPEG, of 100

TREES = Row(s.tree, (4, 7), (4, 7), (6, 12), (1.5, 4), (2, 9), share=0.8)
STREET, LANE, ROAD, CAMPUS = (CATEGORIES[name] for name in ("City", "Residential", "Road", "Campus"))
SCENES = {
    "alley": Kind(
        half=(1.3, 2),
        lane=0,
        zones=(("cobbles", 0.0), ("concrete", 0.2), ("cobbles", inf)),
        rows=(
            Row(s.tower, (6, 14), (8, 10), (7, 14), (0.2, 0.6), (0, 0.1)),
            Row(s.lamp, (0.2, 0.2), (0.15, 0.15), (3.5, 4.5), (0.05, 0.1), (14, 20), present=0.6),
        ),
        skyline="town",
        marks=(),
        turns=0,
        crossing=0,
    ),
    "bridge": Kind(
        half=(3.5, 5),
        lane=1.7,
        zones=(("asphalt", 0.0), ("concrete", 1.5), ("water", 30), ("water", inf)),
        rows=(Row(s.truss, (6, 9), (2.4, 2.6), (6.5, 9), (0, 0), side="over"),),
        skyline="hills",
        turns=0,
        crossing=0,
        straight=(200, 300),
    ),
    "campus": replace(CAMPUS, turns=0, crossing=0.3),
    "construction_site": Kind(
        half=(2.5, 4),
        lane=0,
        zones=(("dirt", 0.0), ("dirt", 3), ("dirt", 25), ("dirt", inf)),
        rows=(
            Row(s.hoarding, (1.5, 2), (0.2, 0.2), (1, 1.2), (0.2, 0.6), (0, 3), share=0.6),
            Row(s.heap, (3, 6), (3, 6), (1.5, 3), (1, 4), (3, 12), share=0.7),
            Row(s.digger, (5, 6.5), (2.2, 2.5), (2.6, 3.2), (1, 5), (8, 25), share=0.8, sway=1.5),
            Row(s.shell, (14, 22), (10, 14), (8, 18), (7, 12), (4, 14)),
            Row(s.crane, (2, 2), (2, 2), (22, 34), (8, 24), (30, 50)),
            Row(s.container, (6, 6), (2.4, 2.4), (2.5, 2.6), (4, 8), (8, 30), share=0.5),
        ),
        skyline="town",
        marks=(),
        turns=0,
        crossing=0,
    ),
    "country_road": replace(ROAD, turns=0, crossing=0, half=(2.6, 3.6), lane=1.2),
    "crosswalk": replace(STREET, turns=0, crossing=1.0, straight=(28, 36)),
    "forest_road": Kind(
        half=(2, 3),
        lane=0.8,
        zones=(("dirt", 0.0), ("grass", 1), ("dirt", 20), ("dirt", inf)),
        rows=(
            Row(s.conifer, (3.5, 6), (3.5, 6), (9, 17), (0.5, 2.5), (0, 2.5), share=0.85),
            replace(TREES, setback=(1, 4), gap=(0, 5), height=(9, 15)),
            Row(s.conifer, (4, 6), (4, 6), (10, 18), (6, 11), (0, 2)),
            Row(s.conifer, (4, 6), (4, 6), (12, 18), (12, 18), (0, 2)),
            Row(s.bush, (1, 2), (1, 2), (0.6, 1.5), (0.4, 2), (1, 8), share=0.6),
        ),
        skyline="trees",
        marks=(),
        turns=0,
        crossing=0,
        straight=(10, 30),
    ),
    "highway": Kind(
        half=(10, 13),
        lane=4,
        zones=(("asphalt", 0.0), ("concrete", 1), ("grass", 12), ("grass", inf)),
        rows=(
            Row(s.rail, (4, 4), (0.15, 0.15), (0.75, 0.85), (0.8, 1)),
            Row(s.rail, (4, 4), (0, 0), (0.8, 0.9), (0, 0), side="over"),  # between the carriageways
            Row(s.screen, (4, 4), (0.4, 0.4), (2.5, 4.5), (3, 4), present=0.6),
            Row(s.gantry, (0.6, 0.6), (2, 3), (6.5, 8), (0, 0), (45, 90), side="over"),
            Row(s.lamp, (0.3, 0.3), (0.3, 0.3), (10, 13), (1.5, 2), (30, 40), present=0.7),
            Row(s.tree, (4, 7), (4, 7), (6, 12), (8, 16), (2, 14), share=0.7),
        ),
        skyline="hills",
        marks=(-7.5, -3.8, 0.0, 3.8, 7.5),
        edges=True,
        turns=0,
        crossing=0,
        straight=(60, 120),
        bend=(250, 600),
    ),
    "industrial_area": Kind(
        half=(4, 6),
        lane=1.8,
        zones=(("asphalt", 0.0), ("concrete", 0.3), ("concrete", 25), ("dirt", inf)),
        rows=(
            Row(s.container, (6, 12), (2.4, 2.4), (2.5, 2.6), (1.5, 5), (1, 12), share=0.75),
            Row(s.lorry, (9, 12), (2.4, 2.5), (3.4, 3.8), (0.3, 1), (4, 22), share=0.7),
            Row(s.shed, (25, 45), (18, 24), (8, 12), (9, 13), (3, 10)),
            Row(s.fence, (2.5, 2.5), (0.1, 0.1), (1.6, 2), (7, 7.5), share=0.7, present=0.5),
        ),
        skyline="town",
        marks=(),
        turns=0,
        crossing=0.2,
    ),
    "market": Kind(
        half=(1.8, 3),
        lane=0,
        zones=(("cobbles", 0.0), ("cobbles", 12), ("paving", 25), ("paving", inf)),
        rows=(
            Row(s.stall, (3, 4), (2.2, 2.8), (2.8, 3.4), (0.2, 0.8), (0.3, 1.5), share=0.9),
            Row(s.stall, (3, 4), (2.2, 2.8), (2.8, 3.4), (5.5, 6.5), (0.5, 3), share=0.8),
            Row(s.tower, (8, 16), (8, 12), (9, 16), (13, 16), (0, 1)),
        ),
        skyline="town",
        marks=(),
        turns=0,
        crossing=0,
    ),
    "park": Kind(
        half=(1.2, 1.8),
        lane=0,
        zones=(("dirt", 0.0), ("grass", 4), ("grass", 20), ("grass", inf)),
        rows=(
            Row(s.bench, (1.8, 2), (0.5, 0.6), (0.9, 1), (0.3, 0.6), (6, 16), share=0.8),
            Row(s.lamp, (0.2, 0.2), (0.2, 0.2), (3, 4), (0.2, 0.4), (12, 18), present=0.7),
            replace(TREES, setback=(2, 6), gap=(2, 12)),
            replace(TREES, setback=(9, 20), gap=(1, 8)),
            Row(s.bush, (1, 2.5), (1, 2.5), (0.7, 1.8), (1, 8), (2, 9), share=0.7),
        ),
        skyline="trees",
        marks=(),
        turns=0,
        crossing=0.3,
        straight=(8, 20),
        bend=(12, 40),
    ),
    "parking_lot": Kind(
        half=(3, 3.5),
        lane=0,
        zones=(("asphalt", 0.0), ("asphalt", 12), ("asphalt", 28), ("grass", inf)),
        rows=(
            Row(s.car, (3.9, 4.7), (1.65, 1.9), (1.4, 1.9), (0.3, 0.6), (0.6, 0.9), share=0.85, turn=pi / 2),
            Row(s.car, (3.9, 4.7), (1.65, 1.9), (1.4, 1.9), (5.6, 5.9), (0.6, 0.9), share=0.85, turn=pi / 2),
            Row(s.car, (3.9, 4.7), (1.65, 1.9), (1.4, 1.9), (17, 17.3), (0.6, 0.9), share=0.8, turn=pi / 2),
            Row(s.hall, (30, 45), (12, 16), (7, 10), (28, 32), (5, 30), present=0.6),
            Row(s.lamp, (0.3, 0.3), (0.3, 0.3), (7, 9), (11, 11.3), (20, 26)),
        ),
        skyline="town",
        marks=(),
        bays=2.5,
        turns=0,
        crossing=0,
        straight=(150, 200),
    ),
    "promenade": Kind(
        half=(2.5, 4),
        lane=-1,
        zones=(("paving", 0.0), ("concrete", 1), ("water", 40), ("water", inf)),
        rows=(
            Row(s.rail, (3, 3), (0.15, 0.15), (1, 1.1), (0.4, 0.5)),
            Row(s.lamp, (0.2, 0.2), (0.2, 0.2), (3.5, 5), (0.1, 0.2), (12, 18)),
            Row(s.boat, (6, 10), (2.2, 3), (6, 11), (4, 16), (2, 12), share=0.85, sway=0.6),
            Row(s.bench, (1.8, 2), (0.3, 0.3), (0.9, 1), (0.05, 0.05), (8, 18), share=0.7),
        ),
        skyline="hills",
        marks=(),
        turns=0,
        crossing=0,
    ),
    "residential_neighborhood": replace(LANE, turns=0, crossing=0.1),
    "street": replace(STREET, turns=0, crossing=0, rows=(*STREET.rows, SIGNS, LAMPS)),
    "tunnel": Kind(
        half=(4, 5.5),
        lane=1.8,
        zones=(("asphalt", 0.0), ("concrete", 1.2), ("dirt", 20), ("dirt", inf)),
        rows=(Row(s.tunnel, (4, 4), (1.8, 2.4), (5, 6.5), (0, 0), side="over"),),
        skyline="hills",
        edges=True,
        turns=0,
        crossing=0,
        bend=(80, 300),
    ),
}


@dataclass(frozen=True)
class SimulateScenes:
    """Make a set of simulated scenes in SUN397's layout: 16 categories, so 16 * (train + test) pictures."""

    out: Path  # folder to make, or to go on with: pictures that are there are kept
    train: int = 6  # pictures with labels in each category
    test: int = 10  # pictures in each category to be recognised
    size: tuple[int, int] = (96, 128)  # height and width in pixels
    seed: int = 0
    workers: int | None = None  # processes; all cores when not given. The pictures do not depend on it

    def __post_init__(self):
        if self.train < 1 or self.test < 1:
            raise ValueError(f"train {self.train}, test {self.test}: both need at least 1 picture in each category")
        if min(self.size) < 16 or max(self.size) > 2048:
            raise ValueError(f"a size of {self.size} pixels, but height and width must be 16 to 2048")
        if self.seed < 0:
            raise ValueError(f"seed {self.seed}, but it starts at 0")


def _name(config: SimulateScenes, scene: str, picture: int) -> str:
    """As in SUN397: "sun_" and fifteen letters, which are drawn, so that their order tells nothing."""
    rng = np.random.default_rng([config.seed, 0, crc32(scene.encode()), picture])
    letters = "".join(rng.choice(list(string.ascii_lowercase), 15))
    return f"/{scene[0]}/{scene}/sun_{letters}.jpg"


def show_scene(config: SimulateScenes, scene: str, picture: int) -> np.ndarray:
    """Picture 0, 1, ... of a category, (H, W, 3) uint8, red, green, blue; the first `train` are for training."""
    rng = np.random.default_rng([config.seed, 1, crc32(scene.encode()), picture])
    kind = SCENES[scene]
    route = plan_route(kind, 5.0, rng)
    street = Street(kind, route, config.size, rng)
    start = round((BEHIND + rng.uniform(0, 5)) / route.step)
    heading, aside = route.headings[start], rng.uniform(-0.8, 0.8)  # metres
    x, y = route.points[start] + aside * np.array([-sin(heading), cos(heading)])
    return street.picture(camera_pose(x, y, heading + rng.uniform(-0.35, 0.35), rng.uniform(1.3, 2.2)))


def _show(config: SimulateScenes, scene: str, picture: int) -> int:
    cv2.setNumThreads(1)  # workers share the cores
    path = config.out / _name(config, scene, picture)[1:]
    write_picture(path, show_scene(config, scene, picture), QUALITY)
    return 1


def simulate_scenes(config: SimulateScenes) -> None:
    """Make the set, or what is missing of it: the lists come last, so where they are there, all is there.

    Raises:
        ValueError: the folder holds a set made with another config, or whose simulation.json is damaged.
        FileExistsError: the folder holds something else, or is a file. Nothing is overwritten.
        ImportError: PyBullet is not installed.
    """
    if find_spec("pybullet") is None:
        new_client()  # which says what to do
    claim_for(config, VERSION)
    every = [(scene, picture) for scene in SCENES for picture in range(config.train + config.test)]
    missing = [each for each in every if not (config.out / _name(config, *each)[1:]).exists()]
    for scene in SCENES:
        (config.out / scene[0] / scene).mkdir(parents=True, exist_ok=True)
    jobs = [joblib.delayed(_show)(config, *each) for each in missing]
    run_jobs(jobs, len(every), len(every) - len(missing), config.workers, "pictures")
    lists = {
        "ClassName.txt": [f"/{scene[0]}/{scene}" for scene in SCENES],
        "Training_01.txt": [_name(config, *each) for each in every if each[1] < config.train],
        "Testing_01.txt": [_name(config, *each) for each in every if each[1] >= config.train],
    }
    for name, lines in lists.items():
        write_whole(config.out / name, "\n".join(lines) + "\n")
