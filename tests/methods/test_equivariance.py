import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from videossl.geometry import motion
from videossl.methods.equivariance import Equivariance, contrast, distance, find_patterns
from videossl.methods.pairs import video_number
from videossl.models.base import Trunk
from videossl.training import checkpoints
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

STEPS = ((0.25, 0.0), (-0.25, 0.0), (0.0, 1.0))  # yaw and metres a frame of the toy's drives: right, left, ahead


def pose_of(yaw: float, ahead: float) -> np.ndarray:
    """T_world_camera of a camera turned to the right by `yaw`, in radians, `ahead` metres along the world's z."""
    pose = np.eye(4)
    pose[0, 0] = pose[2, 2] = np.cos(yaw)
    pose[0, 2], pose[2, 0] = np.sin(yaw), -np.sin(yaw)
    pose[2, 3] = ahead
    return pose


def drive(seed: int, frames: int = 40) -> dict:
    """A world of four waves, seen through a window: turning moves them sideways, driving moves them up."""
    rng = np.random.default_rng(seed)
    steps = np.array(STEPS)[rng.integers(3, size=frames - 1)]
    pose = [np.eye(4)]
    for step in steps:
        pose.append(pose[-1] @ pose_of(*step))
    yaw, ahead = np.concatenate([[(0, 0)], steps.cumsum(0)]).T
    y, x = np.mgrid[:16, :16] * np.pi / 8
    waves = np.array([(1, 0), (0, 1), (2, 0), (0, 2)])
    phases = rng.uniform(0, 2 * np.pi, 4)
    shown = sum(
        np.sin(a * (x - 4 * yaw[:, None, None]) + b * (y - ahead[:, None, None]) + phase)
        for (a, b), phase in zip(waves, phases, strict=True)
    )
    grey = torch.from_numpy((127 + 30 * shown).astype(np.uint8))[:, None]
    return {"frames": grey.repeat(1, 3, 1, 1), "pose": np.stack(pose), "name": f"drive{seed}"}


TOY = Equivariance(gap=1, patterns=3, embedding=16, still=(0.01, 0.01))
TOY_PREPARED = dataclasses.replace(TOY, centres=STEPS, scale=(0.1, 1.0))


def test_planted_patterns_are_found_whatever_the_order_of_the_records():
    records = [drive(i) for i in range(6)]
    found = TOY.prepare(records)
    assert np.allclose(found.centres, sorted(STEPS), atol=1e-4)
    assert found == TOY.prepare(records[::-1])
    assert found.nearest(np.array(STEPS)).tolist() == [2, 0, 1]  # sorted by yaw: left, ahead, right


def test_patterns_are_sorted_so_that_numbers_of_clusters_do_not_matter():
    rng = np.random.default_rng(0)
    modes = np.array([(-0.2, 3.0), (0.0, 9.0), (0.0, 0.0), (0.2, 3.0)])
    moved = (modes[rng.integers(4, size=400)]) + rng.normal(0, 0.01, (400, 2))
    found = np.array(find_patterns(moved, (0.2, 3.0), 4))
    assert np.abs(found[[0, 3]] - modes[[0, 3]]).max() < 0.02
    assert (np.diff(found[:, 0]) >= 0).all()
    assert find_patterns(moved[::-1], (0.2, 3.0), 4) == tuple(map(tuple, found.tolist()))
    with pytest.raises(ValueError, match="3 different motions in the records, but 4 patterns"):
        find_patterns(modes[:3], (0.2, 3.0), 4)


def test_given_patterns_are_kept_and_the_same_records_give_the_same():
    records = [drive(i) for i in range(3)]
    given = dataclasses.replace(TOY, centres=((0.0, 1.0), (0.1, 0.0)))
    assert given.prepare(records).centres == given.centres
    prepared = TOY.prepare(records)
    assert prepared == TOY.prepare(records) == prepared.prepare(records[:1])
    assert checkpoints.restore(checkpoints.plain(prepared)) == prepared


def test_yaw_is_compared_around_the_circle():
    turned = motion(pose_of(np.radians(-179), 0), pose_of(np.radians(179), 0))
    assert np.degrees(turned[0]) == pytest.approx(-2)  # two degrees to the left, not 358 to the right
    method = dataclasses.replace(TOY, centres=((np.radians(-178), 0.0), (0.0, 0.0)), scale=(1.0, 1.0))
    assert method.nearest(np.array([np.radians(179), 0.0])) == 0


def test_the_pattern_is_that_of_the_motion_between_the_frames_shown(counting):
    record = counting(120)
    method = Equivariance(gap=10).prepare([record])
    seen = np.zeros(6, int)
    for seed in range(300):
        example = method.sample(record, np.random.default_rng(seed))
        first, later = example["clips"][:, 0, 0, 0, 0].tolist()
        assert 1 <= later - first <= 10
        assert example["answer"] == method.nearest(motion(record["pose"][first], record["pose"][later]))
        seen[example["answer"]] += 1
    assert seen.min() > 20  # of 50: rare ones are drawn as often where they are among those looked at


def test_balance_raises_what_is_rare(counting):
    record = counting(120)
    rare = pose_of(0.0, 0.0)[None].repeat(120, 0)
    rare[:, 2, 3] = np.arange(120)  # straight on,
    rare[100:] = rare[100] @ pose_of(0.5, 0.0)  # and one turn
    record["pose"] = rare
    shares = []
    for tries in (1, 64):
        method = Equivariance(gap=5, tries=tries, centres=((0.0, 3.0), (0.5, 0.0)), scale=(0.1, 3.0))
        answers = [method.sample(record, np.random.default_rng(seed))["answer"] for seed in range(400)]
        shares.append(np.mean(answers))
    assert shares[0] < 0.25 and 0.4 < shares[1] < 0.6


def test_clips_follow_on_their_first_frames(counting):
    record = counting(120)
    method = Equivariance(gap=4, length=3).prepare([record])
    for seed in range(50):
        example = method.sample(record, np.random.default_rng(seed))
        numbers = example["clips"][..., 0, 0, 0].int()
        assert torch.equal(numbers.diff(dim=1), torch.ones(2, 2, dtype=torch.int))
        first, later = numbers[:, 0].tolist()
        assert example["answer"] == method.nearest(motion(record["pose"][first], record["pose"][later]))


@pytest.mark.parametrize("mirror", [False, True])
def test_mirrored_pairs_turn_the_other_way_and_others_are_shown_as_filmed(mirror, tiny):
    records = [drive(i) for i in range(4)]
    method = dataclasses.replace(TOY, mirror=mirror).prepare(records)
    assert np.allclose(method.centres, sorted(STEPS), atol=1e-4)
    net, shown = method.build(tiny()), []
    net.trunk.register_forward_pre_hook(lambda _, clips: shown.append(clips[0]))
    batch = next(iter(loader(Draws(records, method.sample, 0), 40)))
    assert batch["mirror"].any() == mirror and not batch["mirror"].all()
    net(batch)
    clips = shown[0].unflatten(0, (40, 2))
    for i in range(40):
        first, later = batch["starts"][i].tolist()
        record = next(r for r in records if video_number(r) == batch["video"][i])
        filmed = record["frames"][[first, later]].float()[:, None] / 255
        turned = batch["mirror"][i].item()
        assert torch.equal(clips[i], filmed.flip(-1) if turned else filmed)
        yaw, ahead = motion(record["pose"][first], record["pose"][later])
        assert batch["answer"][i] == method.nearest(np.array([-yaw if turned else yaw, ahead]))


def test_both_frames_are_cropped_at_the_same_place(tiny):
    record = drive(0)
    noise = torch.randint(0, 255, (1, 3, 24, 32), dtype=torch.uint8)
    record["frames"] = noise.expand(40, -1, -1, -1)  # all frames are the same
    net = TOY_PREPARED.build(tiny())
    shown = []
    net.trunk.register_forward_pre_hook(lambda _, clips: shown.append(clips[0]))
    net(next(iter(loader(Draws([record], TOY_PREPARED.sample, 0), 16))))
    pairs = shown[0].unflatten(0, (16, 2))
    assert torch.equal(pairs[:, 0], pairs[:, 1])
    assert len(pairs[:, 0].unique(dim=0)) > 8  # and pairs at places of their own


def test_the_loss_is_nothing_where_the_right_map_hits_and_others_miss_by_the_margin():
    distances = torch.tensor([[0.0, 1.0, 2.5], [3.0, 0.0, 1.0]])
    assert contrast(distances, torch.tensor([0, 1]), margin=1.0).tolist() == [0, 0]
    distances = torch.tensor([[0.5, 0.25, 2.0]])
    assert contrast(distances, torch.tensor([0]), margin=1.0).item() == pytest.approx((0.5 + 0.75) / 3)
    assert contrast(distances, torch.tensor([0]), margin=1.0, pull=2.0).item() == pytest.approx((1.0 + 0.75) / 3)


@pytest.mark.parametrize("ours", [True, False])
def test_a_collapsed_embedding_costs_the_margin_for_every_other_map(ours, tiny):
    method = dataclasses.replace(TOY_PREPARED, margin=0.7, standardise=ours, relative=ours)
    net = method.build(tiny())
    nn.init.zeros_(net.embedding.layers[0].weight)
    nn.init.zeros_(net.embedding.layers[0].bias)
    loss, metrics = net(next(iter(loader(Draws([drive(0)], method.sample, 0), 8))))
    assert loss.item() == pytest.approx(0.7 * 2 / 3)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
    assert metrics["rho"].isfinite()


def test_maps_that_change_nothing_score_one(tiny):
    net = TOY_PREPARED.build(tiny())  # the identity
    _, metrics = net(next(iter(loader(Draws([drive(0)], TOY_PREPARED.sample, 0), 32))))
    assert metrics["rho"].item() == pytest.approx(1, abs=1e-5) and metrics["others_rho"].item() == pytest.approx(
        1, abs=1e-5
    )
    assert TOY_PREPARED.chance == {"accuracy": pytest.approx(1 / 3), "rho": 1.0}


class Given(Trunk):
    """A trunk that gives the first `dim` pixels back."""

    def __init__(self, dim: int):
        super().__init__(dim=dim, length=1, size=4, resize=(4, 4), colours=((0.5,) * 3, (0.25,) * 3))

    def forward(self, clips):
        return clips.flatten(1)[:, : self.dim]


def test_with_an_identity_encoder_the_maps_become_the_motions_and_compose():
    angles = torch.tensor([0.9, -0.9, 2.0])
    planes = torch.block_diag(*[torch.tensor([[0.0, -1.0], [1.0, 0.0]])] * 2)
    motions = torch.matrix_exp(angles[:, None, None] * planes)  # (3, 4, 4): turns, which commute
    method = dataclasses.replace(TOY_PREPARED, embedding=0, standardise=False, relative=False, margin=0.1)
    net = method.build(Given(4))
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 300)
        z = torch.randn(64, 4, generator=generator)
        answer = torch.randint(3, (64,), generator=generator)
        later = torch.einsum("bij,bj->bi", motions[answer], z) + 1e-3 * torch.randn(64, 4, generator=generator)
        clips = torch.zeros(64, 2, 1, 3, 4, 4)
        clips.flatten(2)[:, 0, :4], clips.flatten(2)[:, 1, :4] = z, later
        loss, _ = net({"clips": clips, "answer": answer})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    maps = net.maps_of_motion.detach()
    assert (maps - motions).abs().max() < 0.02
    z = torch.randn(100, 4, generator=generator)
    twice, both = z @ (maps[0] @ maps[2]).T, z @ (motions[0] @ motions[2]).T
    assert distance(twice, both).mean() / distance(z, both).mean() < 0.02


def learn(method: Equivariance, trunk: Trunk, records: list[dict], steps: int) -> nn.Module:
    net = method.build(trunk)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in fit(net, loader(Draws(records, method.sample, 0), 32), optimizer, steps, cosine(1e-2)):
        pass
    return net.eval()


@torch.no_grad()
def score(net: nn.Module, method: Equivariance, records: list[dict]) -> dict[str, float]:
    _, metrics = net(next(iter(loader(Draws(records, method.sample, 1), 400))))
    return {name: value.item() for name, value in metrics.items()}


@pytest.mark.parametrize("drlim", [0.0, 0.1])
def test_it_learns_a_toy_in_seconds(drlim, tiny):
    train, test = [drive(i) for i in range(40)], [drive(100 + i) for i in range(20)]
    method = dataclasses.replace(TOY, drlim=drlim).prepare(train)
    torch.manual_seed(0)
    before = score(method.build(tiny()).eval(), method, test)
    found = score(learn(method, tiny(), train, 100), method, test)
    assert found["accuracy"] > 0.9 and before["accuracy"] < 0.45
    assert found["frequent_accuracy"] < 0.45
    assert found["rho"] < 0.6 and found["others_rho"] > 1.2 and before["rho"] > 0.9


def test_the_loss_does_not_depend_on_the_scale_of_features(tiny):
    """So that shrinking them gains nothing: what is measured is what changes."""
    batch = next(iter(loader(Draws([drive(0)], TOY_PREPARED.sample, 0), 16)))
    losses = []
    for relative in (True, False):
        net = dataclasses.replace(TOY_PREPARED, standardise=False, relative=relative).build(tiny())
        nn.init.normal_(net.change, std=0.1)
        for scale in (1.0, 0.1):
            with torch.no_grad():
                net.embedding.layers[0].weight *= scale
                net.embedding.layers[0].bias *= scale
            losses.append(net(batch)[0].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and losses[2] != pytest.approx(losses[3], rel=1e-2)


def test_poses_of_other_drives_teach_nothing(tiny):
    """The control: with motions that are not those between the frames, the answer cannot be found."""
    train, test = ([drive(s + i) | {"pose": drive(500 + s + i)["pose"]} for i in range(30)] for s in (0, 100))
    method = TOY.prepare(train)
    torch.manual_seed(0)
    assert score(learn(method, tiny(), train, 100), method, test)["accuracy"] < 0.45


def test_labels_are_learned_beside_motion_and_images_without_poses_are_only_classified(tiny):
    drives = [drive(i) for i in range(8)]
    images = []
    for i in range(40):
        grey = torch.full((1, 3, 16, 16), 60 + 120 * (i % 2), dtype=torch.uint8)
        images.append({"frames": grey + torch.randint(0, 20, grey.shape, dtype=torch.uint8), "label": i % 2})
    method = dataclasses.replace(TOY, labels=True).prepare(drives + images)
    assert method.classes == 2
    method.check(images[0])
    example = method.sample(images[1], np.random.default_rng(0))
    assert (example["answer"], example["label"]) == (-1, 1) and torch.equal(*example["clips"])
    assert method.sample(drives[0], np.random.default_rng(0))["label"] == -1
    torch.manual_seed(0)
    net = learn(method, tiny(), drives + images, 60)
    assert score(net, method, drives + images)["label_accuracy"] > 0.95
    only = next(iter(loader(Draws(images, method.sample, 0), 8)))
    loss, metrics = net(only)  # no pair of a drive in the batch
    assert loss.isfinite() and all(value.isfinite() for value in metrics.values())
    with pytest.raises(ValueError, match='no record has a "label"'):
        dataclasses.replace(TOY, labels=True).prepare(drives)
    with pytest.raises(ValueError, match="no record has poses"):
        dataclasses.replace(TOY, labels=True).prepare(images)


def test_the_net_shows_its_maps_and_embeds_clips(tiny):
    net = TOY_PREPARED.build(tiny()).eval()
    z = net.embed(torch.rand(5, 2, 1, 3, 16, 16))
    assert net.maps_of_motion.shape == (3, 16, 16) and z.shape == (5, 2, 16)
    with torch.no_grad():
        net.change.normal_()
    assert torch.allclose(net.moved(z)[:, :, 1], z @ net.maps_of_motion[1].T, atol=1e-5)
    batch = next(iter(loader(Draws([drive(0)], TOY_PREPARED.sample, 0), 8)))
    logits = net.predict(batch)
    assert logits.shape == (8, len(TOY_PREPARED.answers))
    assert (logits.argmax(1) == batch["answer"]).float().mean().item() == pytest.approx(
        net(batch)[1]["accuracy"].item()
    )


def test_drives_that_cannot_be_asked_are_refused_in_words(counting, tiny):
    record = counting(60)
    still = {**record, "pose": np.tile(np.eye(4), (60, 1, 1))}
    nan = {**record, "pose": np.full((60, 4, 4), np.nan)}
    for wrong, reason in [
        ({"frames": record["frames"]}, "no camera poses: kitti_raw .* kitti_odometry and comma2k19 have them"),
        (counting(10), "fewer than the 11 frames"),
        ({**record, "pose": record["pose"][:59]}, r"poses of shape \(59, 4, 4\) for 60 frames"),
        (still, "stands still all the time"),
        (nan, "not finite"),
    ]:
        with pytest.raises(ValueError, match=reason):
            Equivariance().check(wrong)
    for unready in (
        lambda: Equivariance().sample(record, np.random.default_rng(0)),
        lambda: Equivariance().build(tiny()),
    ):
        with pytest.raises(ValueError, match="no patterns of motion yet"):
            unready()
    with pytest.raises(ValueError, match="counts from 1"):
        Equivariance(gap=0)
