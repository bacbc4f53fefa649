import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from videossl.methods.ego_motion import COMPONENTS, EgoMotion, components
from videossl.models.base import Trunk
from videossl.training import checkpoints
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

UNIT = EgoMotion(scale=(1.0, 1.0, 1.0))


def pose_of(yaw: float, sideways: float, ahead: float) -> np.ndarray:
    """T_world_camera of a camera turned to the right by `yaw`, in radians, at (x, z) in metres."""
    pose = np.eye(4)
    pose[0, 0] = pose[2, 2] = np.cos(yaw)
    pose[0, 2], pose[2, 0] = np.sin(yaw), -np.sin(yaw)
    pose[[0, 2], 3] = sideways, ahead
    return pose


def test_components_are_metres_to_the_right_metres_ahead_and_yaw_to_the_right():
    here = pose_of(0.7, 3.0, -2.0)
    assert np.allclose(components(here, here @ pose_of(0, 0.5, 2.0)), (0.5, 2.0, 0))
    assert np.allclose(components(here, here @ pose_of(0.1, 0, 0)), (0, 0, 0.1))
    turned = components(pose_of(np.radians(-179), 0, 0), pose_of(np.radians(179), 0, 0))
    assert np.degrees(turned[2]) == pytest.approx(-2)  # around the circle


def test_swapping_the_frames_negates_the_motion_and_mirrors_the_bins():
    rng = np.random.default_rng(0)
    for _ in range(100):
        one, other = (pose_of(rng.uniform(-3, 3), *rng.uniform(-9, 9, 2)) for _ in range(2))
        there, back = components(one, other), components(other, one)
        assert np.allclose(there, -back)
        assert (UNIT.bins(there) == UNIT.edges - UNIT.bins(back)).all()


def test_no_motion_falls_into_the_middle_bin_and_large_ones_into_the_outer_two():
    assert UNIT.bins(np.zeros(3)).tolist() == [10, 10, 10]
    assert UNIT.bins(np.array([-1e-3, 1e-3, 0.5])).tolist() == [10, 10, 10]
    assert UNIT.bins(np.array([-10.01, 10.01, 1e6])).tolist() == [0, 20, 20]
    assert UNIT.bins(np.array([-9.99, 9.99, 0.54])).tolist() == [1, 19, 11]
    with pytest.raises(ValueError, match="edges is an even number"):
        EgoMotion(edges=21)


@pytest.mark.parametrize("head", ["maps", "match", "features"])
def test_uniform_logits_cost_the_logarithm_of_the_bins_for_each_component(head, tiny, counting):
    method = dataclasses.replace(UNIT, head=head)
    net = method.build(tiny())
    nn.init.zeros_(net.answer[-2].weight)
    nn.init.zeros_(net.answer[-2].bias)
    loss, _ = net(next(iter(loader(Draws([counting(120)], method.sample, 0), 8))))
    assert loss.item() == pytest.approx(3 * np.log(21), rel=1e-5)


def test_what_is_asked_is_the_motion_between_the_frames_shown_either_way_in_time(counting):
    record = counting(120)
    method = EgoMotion().prepare([record])
    apart = set()
    for seed in range(200):
        example = method.sample(record, np.random.default_rng(seed))
        first, second = example["clips"][:, 0, 0, 0, 0].tolist()
        apart.add(second - first)
        moved = components(record["pose"][first], record["pose"][second]) / method.scale
        assert np.allclose(example["motion"], moved, atol=1e-5) and (example["bins"] == method.bins(moved)).all()
    assert apart == set(range(-7, 8)) - {0}


def test_the_scale_is_the_deviation_between_neighbouring_frames_and_one_for_both_distances(counting):
    record = counting(120)
    method = EgoMotion().prepare([record])
    steps = components(record["pose"][:-1], record["pose"][1:])
    deviation = np.sqrt((steps**2).mean(0))
    assert method.scale[0] == method.scale[1] == pytest.approx(deviation[:2].max(), rel=0.02)
    assert method.scale[2] == pytest.approx(deviation[2], rel=0.02)
    assert method == method.prepare([]) == EgoMotion().prepare([record])
    assert checkpoints.restore(checkpoints.plain(method)) == method


def test_mirrored_pairs_move_and_turn_the_other_way(counting, tiny):
    record = counting(120)
    record["frames"] = torch.arange(16, dtype=torch.uint8).expand(120, 3, 16, 16)  # brighter to the right
    method = dataclasses.replace(EgoMotion().prepare([record]), mirror=True)
    plain = dataclasses.replace(method, mirror=False)
    net, shown = method.build(tiny()), []
    batch = next(iter(loader(Draws([record], method.sample, 0), 40)))
    maps = net.trunk.maps
    net.trunk.maps = lambda clips: shown.append(clips) or maps(clips)
    net(batch)
    brighter = shown[0][..., -1].mean((1, 2, 3)) > shown[0][..., 0].mean((1, 2, 3))
    assert torch.equal(brighter, ~batch["mirror"].repeat_interleave(2)) and 5 < batch["mirror"].sum() < 35
    signs = {True: np.array([-1, 1, -1]), False: np.ones(3)}
    for seed in range(20):
        turned, filmed = (m.sample(record, np.random.default_rng(seed)) for m in (method, plain))
        assert not filmed["mirror"]
        assert np.allclose(turned["motion"], filmed["motion"] * signs[turned["mirror"]])


STEPS = ((1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0))  # metres sideways and ahead, yaw


def drive(seed: int, frames: int = 30) -> dict:
    """A texture seen from above: driving sideways moves it sideways, driving ahead moves it down."""
    rng = np.random.default_rng(seed)
    steps = np.array(STEPS)[rng.integers(3, size=frames - 1)]
    places = np.concatenate([[(0, 0, 0)], steps.cumsum(0)])
    y, x = np.mgrid[:16, :16] * np.pi / 8
    (a, b), (c, d) = rng.uniform(0, 2 * np.pi, (2, 2))
    right, ahead = places[:, :2].T[..., None, None]
    shown = np.sin(x + right + a) + np.sin(y - ahead + b) + np.sin(2 * (x + right) + c) + np.sin(2 * (y - ahead) + d)
    grey = torch.from_numpy((127 + 30 * shown).astype(np.uint8))[:, None]
    pose = np.stack([pose_of(yaw, sideways, forward) for sideways, forward, yaw in places])
    return {"frames": grey.repeat(1, 3, 1, 1), "pose": pose, "name": f"drive{seed}"}


TOY = EgoMotion(gap=1, edges=4, reach=1.5, widths=(32, 32), cells=4, hidden=32, dropout=0.0, norm=True)


def scores(method: EgoMotion, trunk: Trunk, train: list[dict], test: list[dict], steps: int) -> dict[str, float]:
    method = method.prepare(train)
    net = method.build(trunk)
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for _ in fit(net, loader(Draws(train, method.sample, 0), 32), optimizer, steps, cosine(5e-3)):
        pass
    with torch.no_grad():
        _, metrics = net.eval()(next(iter(loader(Draws(test, method.sample, 1), 200))))
    return {name: value.item() for name, value in metrics.items()}


@pytest.mark.parametrize("head", ["maps", "match", "features"])
def test_bins_are_learned_in_seconds(head, tiny):
    train, test = [drive(i) for i in range(40)], [drive(100 + i) for i in range(20)]
    torch.manual_seed(0)
    found = scores(dataclasses.replace(TOY, head=head), tiny(), train, test, 150)
    for name in ("sideways", "forward"):
        assert found[f"{name}_accuracy"] > found[f"frequent_{name}_accuracy"] + 0.15
    assert found["yaw_accuracy"] == found["frequent_yaw_accuracy"] == 1  # never turns


def test_numbers_are_learned_in_seconds(tiny):
    train, test = [drive(i) for i in range(40)], [drive(100 + i) for i in range(20)]
    torch.manual_seed(0)
    found = scores(dataclasses.replace(TOY, regress=True), tiny(), train, test, 150)
    assert found["error"] < 0.6 * found["still_error"]


def test_poses_of_other_drives_teach_nothing(tiny):
    """The control: with motions that are not those between the frames, the answer cannot be found."""
    train, test = ([drive(s + i) | {"pose": drive(500 + s + i)["pose"]} for i in range(20)] for s in (0, 100))
    torch.manual_seed(0)
    found = scores(TOY, tiny(), train, test, 60)
    assert found["sideways_accuracy"] < found["frequent_sideways_accuracy"] + 0.1


def test_metrics_and_chance_go_by_component(tiny, counting):
    record = counting(120)
    for regress, names in ((False, "accuracy"), (True, "error")):
        method = dataclasses.replace(EgoMotion(), regress=regress).prepare([record])
        _, metrics = method.build(tiny())(next(iter(loader(Draws([record], method.sample, 0), 8))))
        assert {names, *(f"{name}_{names}" for name in COMPONENTS)} <= metrics.keys()
        assert metrics[names].item() == pytest.approx(np.mean([metrics[f"{c}_{names}"].item() for c in COMPONENTS]))
        assert method.chance.keys() <= metrics.keys() and all(v == 1 / 21 for v in method.chance.values())


def test_a_look_at_the_maps_leaves_no_trace(tiny):
    trunk = tiny()
    trunk.body.insert(1, nn.BatchNorm2d(8))
    trunk.maps = lambda clips: trunk.body[:5](clips[:, 0]).unsqueeze(2)
    before = trunk.body[1].running_mean.clone()
    UNIT.build(trunk)
    assert trunk.training and torch.equal(trunk.body[1].running_mean, before)


class Mapless(Trunk):
    """A trunk that gives nothing but features."""

    def __init__(self):
        super().__init__(dim=4, length=1, size=16, resize=(16, 16), colours=((0.5,) * 3, (0.25,) * 3))

    def forward(self, clips):
        return clips.flatten(1)[:, :4]


def test_what_cannot_be_asked_is_refused_in_words(counting, tiny):
    record = counting(60)
    for wrong, reason in [
        ({"frames": record["frames"]}, "no camera poses"),
        (counting(7), "fewer than the 8 frames"),
        ({**record, "pose": np.tile(np.eye(4), (60, 1, 1))}, "stands still all the time"),
    ]:
        with pytest.raises(ValueError, match=reason):
            EgoMotion().check(wrong)
    with pytest.raises(ValueError, match="no scale of motion yet"):
        EgoMotion().sample(record, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"Mapless has no maps.*take a convolutional trunk"):
        UNIT.build(Mapless())
    dataclasses.replace(UNIT, head="features").build(Mapless())
