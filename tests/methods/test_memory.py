"""What methods share that tell every record from all others, and that each of them learns."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from videossl.methods.deep_cluster import DeepCluster, paired
from videossl.methods.instance_discrimination import InstanceDiscrimination
from videossl.methods.memory import Memory, Remembered
from videossl.methods.nat import NAT
from videossl.methods.pirl import PIRL
from videossl.methods.triplet import Triplet

WEAK = {"area": (0.6, 1.0), "colour": 0.1, "blurred": 0.0}


class Given(nn.Module):
    """Makes the same features of whatever it is shown."""

    def __init__(self, z):
        super().__init__()
        self.z = nn.Parameter(z)

    def forward(self, features):
        return self.z


LEARNERS = [
    InstanceDiscrimination(temperature=0.1, out=16, **WEAK),
    PIRL(patches=2, temperature=0.1, out=16, **WEAK),
    DeepCluster(clusters=12, hidden=32, out=16, **WEAK),
    DeepCluster(clusters=12, pairs=True, hidden=32, out=16, **WEAK),
    NAT(out=8, **WEAK),
    Triplet(out=16, **WEAK),
    Triplet(negatives="hardest", out=16, **WEAK),
    Triplet(negatives="all", margin=1.0, out=16, **WEAK),
]


@pytest.mark.parametrize("method", LEARNERS, ids=lambda method: f"{type(method).__name__}")
def test_each_learns_to_tell_pictures_apart(method, learn, batch, tiny, pictures):
    records = pictures(40)
    method = method.prepare(records) if hasattr(method, "prepare") else method
    asked = batch(method, records)
    net = learn(method, records, tiny(), 80)
    metrics = net(asked)[1]
    assert metrics["guessing"] == pytest.approx(1 / 40) and metrics["accuracy"] > 4 / 40


def test_records_are_numbered_by_their_names_and_strangers_have_none(pictures):
    method = Remembered().prepare(pictures(3)[::-1])
    assert method.names == ("00", "01", "02")
    rng = np.random.default_rng(0)
    frames = pictures(1)[0]["frames"]
    numbers = {
        name: method.sample({"frames": frames, "name": name}, rng)["number"] for name in ("00", "02", "015", "9")
    }
    assert numbers == {"00": 0, "02": 2, "015": -1, "9": -1}
    with pytest.raises(ValueError, match="records of one name"):
        Remembered().prepare([{"name": "a"}, {"name": "a"}])
    with pytest.raises(ValueError, match=r"Remembered tells records apart: call `prepare\(records\)` first"):
        Remembered().counted()


def test_what_is_remembered_is_a_running_mean_of_unit_length_of_the_records_seen_alone():
    torch.manual_seed(0)
    memory = Memory(5, 3, momentum=0.25)
    before = memory.rows.clone()
    z = F.normalize(torch.randn(3, 3), dim=1)
    memory.remember(z, torch.tensor([4, -1, 0]))
    assert torch.allclose(memory.rows[4], F.normalize(0.25 * before[4] + 0.75 * z[0], dim=0), atol=1e-6)
    assert torch.allclose(memory.rows[0], F.normalize(0.25 * before[0] + 0.75 * z[2], dim=0), atol=1e-6)
    assert torch.equal(memory.rows[1:4], before[1:4]) and torch.allclose(memory.rows.norm(dim=1), torch.ones(5))


def test_contrast_is_the_softmax_over_all_records():
    torch.manual_seed(0)
    memory = Memory(6, 4, momentum=0.5)
    z = F.normalize(torch.randn(2, 4), dim=1)
    loss, _ = memory.contrast(z, torch.tensor([2, 5]), z, 0.3)
    logits = z @ memory.rows.T / 0.3
    assert loss.item() == pytest.approx(F.cross_entropy(logits, torch.tensor([2, 5])).item(), rel=1e-5)
    other = F.normalize(torch.randn(1, 4), dim=1)
    loss, _ = memory.contrast(z[:1], torch.tensor([-1]), other, 0.3)
    scores = torch.cat([z[:1] @ other.T, z[:1] @ memory.rows.T], 1)[0] / 0.3
    assert loss.item() == pytest.approx(-math.log(scores.softmax(0)[0]), rel=1e-5)
    loss, _ = memory.contrast(z, torch.tensor([2, 5]), z, 1e9)
    assert loss.item() == pytest.approx(math.log(6), rel=1e-4)


@pytest.mark.parametrize("balance", [None, 0.2])
def test_losses_are_the_logarithms_of_the_own_records_share_of_all_that_is_remembered(balance, tiny, batch, pictures):
    records, made = pictures(6), {}
    kind = InstanceDiscrimination if balance is None else PIRL
    given = {} if balance is None else {"patches": 2, "balance": balance}
    torch.manual_seed(0)
    net = kind(out=8, temperature=0.2, **given).prepare(records).build(tiny()).eval()
    asked = batch(net.method, records)
    for head in ("projector",) if balance is None else ("whole", "together"):
        getattr(net, head).register_forward_hook(
            lambda module, inputs, result, head=head: made.setdefault(head, F.normalize(result, dim=1))
        )
    loss = net(asked)[0].item()
    costs = []
    for z in made.values():
        shares = [(row @ net.memory.rows.T / 0.2).softmax(0) for row in z]
        costs.append(sum(-math.log(share[n].item()) for share, n in zip(shares, asked["number"], strict=True)) / 6)
    expected = costs[0] if balance is None else 0.8 * costs[0] + 0.2 * costs[1]
    assert loss == pytest.approx(expected, rel=1e-4)


def test_a_gradient_of_pirls_halves_comes_from_the_patches_or_the_picture(tiny, batch, pictures):
    records = pictures(6)
    for balance, silent in ((1.0, "whole"), (0.0, "together")):
        torch.manual_seed(0)
        method = PIRL(patches=2, out=8, balance=balance).prepare(records)
        net = method.build(tiny())
        net(batch(method, records))[0].backward()
        grads = {name: getattr(net, name).weight.grad for name in ("whole", "together")}
        assert grads[silent] is None or grads[silent].abs().max() == 0
        assert grads[{"whole": "together", "together": "whole"}[silent]].abs().max() > 0


def test_pirl_remembers_the_picture_and_at_first_the_order_of_patches_matters(tiny, batch, pictures):
    records = pictures(6)
    torch.manual_seed(0)
    method = PIRL(patches=2, out=8, momentum=0.0).prepare(records)
    net, made = method.build(tiny()), {}
    for name in ("whole", "together"):
        getattr(net, name).register_forward_hook(
            lambda module, given, result, name=name: made.setdefault(name, []).append(F.normalize(result, dim=1))
        )
    asked = batch(method, records)
    net(asked)
    remembered = net.memory.rows[asked["number"]]
    assert torch.allclose(remembered, made["whole"][0], atol=1e-6)
    assert not torch.allclose(remembered, made["together"][0], atol=1e-2)
    parts = net.part(torch.randn(1, 4, 16))
    one, other = (net.together(shown.flatten(1)) for shown in (parts, parts.flip(1)))
    assert not torch.allclose(one, other, atol=1e-3)


def test_pirls_patches_are_all_of_the_picture_in_some_order(tiny):
    net = PIRL(patches=2, names=("a", "b")).build(tiny())
    clips = torch.arange(16.0 * 16).view(1, 1, 1, 16, 16)
    patches = net.cut(clips)
    assert patches.shape == (1, 4, 1, 1, 8, 8)
    corners = patches[0, :, 0, 0, 0, 0].tolist()
    assert sorted(corners) == [0, 8, 128, 136]
    assert torch.equal(net.eval().cut(clips), net.cut(clips))
    with pytest.raises(ValueError, match="patches of 2 pixels are too small"):
        PIRL(patches=7, names=("a", "b")).build(tiny())


def test_points_are_exchanged_for_the_nearest_in_all_and_each_keeps_one(tiny):
    torch.manual_seed(0)
    net = NAT(out=4, names=tuple("abcdef")).build(tiny())
    z = net.points[[3, 0, 5]]  # records 0, 3 and 5 lie at each other's points
    targets = net.targets(z, torch.tensor([0, 3, 5]))
    assert torch.equal(targets, z) and net.own.tolist() == [3, 1, 2, 0, 4, 5]
    net.eval().targets(z[[1, 0, 2]], torch.tensor([0, 3, 5]))
    assert net.own.tolist() == [3, 1, 2, 0, 4, 5]
    assert torch.equal(net.targets(net.points[[2]], torch.tensor([-1])), net.points[[2]])


def test_no_exchange_makes_the_batch_farther_and_points_stay_one_for_each(tiny):
    torch.manual_seed(0)
    net = NAT(out=3, names=tuple("abcdefghijkl")).build(tiny())
    assert torch.allclose(net.points.norm(dim=1), torch.ones(12))
    for _ in range(20):
        number = torch.randperm(12)[:5]
        z = F.normalize(torch.randn(5, 3), dim=1)
        before = (z - net.points[net.own[number]]).square().sum()
        after = (z - net.targets(z, number)).square().sum()
        assert after <= before + 1e-6 and after <= 4 * 5
        assert sorted(net.own.tolist()) == list(range(12))


def test_points_that_know_nothing_of_the_features_lie_at_a_squared_distance_of_2(tiny):
    torch.manual_seed(0)
    net = NAT(out=16, names=tuple(map(str, range(4000)))).build(tiny()).eval()
    z = F.normalize(torch.randn(4000, 16), dim=1)
    distance = (z - net.targets(z, torch.arange(4000))).square().sum(1)
    assert distance.mean().item() == pytest.approx(2, abs=0.03) and distance.max() <= 4


def test_clusters_are_found_anew_when_as_many_were_seen_as_there_are(tiny, batch, pictures):
    records = pictures(8)
    method = DeepCluster(clusters=3, hidden=8, out=4).prepare(records)
    torch.manual_seed(0)
    net = method.build(tiny())
    before = net.centres.clone()
    net(batch(method, records[:4]))
    net.update(0.1)
    assert torch.equal(net.centres, before) and net.visits == 4
    net(batch(method, records[4:]))
    net.update(0.2)
    assert net.visits == 0 and not torch.equal(net.centres, before)
    distances = torch.cdist(net.memory.rows, net.centres)
    assert (distances.argmin(1) == net.cluster).float().mean() > 0.8 and len(net.cluster.unique()) == 3
    sizes = torch.bincount(net.cluster)
    assert torch.allclose(net.weight * sizes, torch.full((3,), 8 / 3))  # each cluster counts alike
    assert net(batch(method, records))[1]["agreement"] == 0  # there were none before
    net.find_clusters()
    first = net.agreement.item()
    net.find_clusters()
    assert net.agreement == pytest.approx(1) and 0 < first <= 1


def test_clusters_cost_what_records_drawn_evenly_from_them_would(tiny, batch, pictures):
    records = pictures(6)
    torch.manual_seed(0)
    net = DeepCluster(clusters=2, hidden=8, out=4).prepare(records).build(tiny()).eval()
    net.cluster.copy_(torch.tensor([0, 0, 0, 0, 1, 1]))
    net.weight.copy_(6 / (2 * torch.tensor([4.0, 2.0])))
    taken = []
    net.projector.register_forward_hook(lambda module, given, result: taken.append(F.normalize(result, dim=1)))
    given = batch(net.method, records)
    loss = net(given)[0].item()
    costs = {0: [], 1: []}
    for z, number in zip(taken[0].unflatten(0, (6, 2))[:, 0], given["number"].tolist(), strict=True):
        cluster = int(net.cluster[number])
        costs[cluster].append(-(z @ net.centres.T / 0.1).log_softmax(0)[cluster].item())
    assert loss == pytest.approx((sum(costs[0]) / 4 + sum(costs[1]) / 2) / 2, rel=1e-4)


def test_pairs_of_one_cluster_and_of_two_count_half_each():
    alike, cluster = torch.randn(4, 4), torch.tensor([0, 0, 1, 2])
    costs = {True: [], False: []}
    for i in range(4):
        for j in range(4):
            same = bool(cluster[i] == cluster[j])
            probability = torch.sigmoid(alike[i, j]).item()
            costs[same].append(-math.log(probability if same else 1 - probability))
    expected = (sum(costs[True]) / 6 + sum(costs[False]) / 10) / 2
    assert paired(alike, cluster).item() == pytest.approx(expected, rel=1e-4)
    assert paired(torch.zeros(4, 4), cluster).item() == pytest.approx(math.log(2), rel=1e-5)


def test_more_clusters_than_records_are_refused(tiny, pictures):
    with pytest.raises(ValueError, match="9 clusters of 5 records"):
        DeepCluster(clusters=9).prepare(pictures(5)).build(tiny())
    with pytest.raises(ValueError, match="clusters are two or more"):
        DeepCluster(clusters=1)
    assert DeepCluster().prepare(pictures(5)).build(tiny()).clusters == 2


@pytest.mark.parametrize("method", LEARNERS, ids=lambda method: f"{type(method).__name__}")
def test_a_batch_of_one_is_refused_in_words(method, tiny, pictures):
    method = method.prepare(pictures(12)) if hasattr(method, "prepare") else method
    with pytest.raises(ValueError, match=r"a batch of one example: .* give --batch 2 or more"):
        method.build(tiny())({"clips": torch.rand(1, 2, 1, 3, 16, 16), "number": torch.zeros(1, dtype=torch.long)})


@pytest.mark.parametrize("kind", ["semihard", "hardest", "all"])
def test_triplets_of_alike_features_cost_the_margin_and_those_far_enough_teach_nothing(kind, tiny, batch, pictures):
    asked = batch(Triplet(), pictures(5))
    for z, expected in ((torch.ones(5, 2, 5), 0.3), (torch.eye(5)[:, None].repeat(1, 2, 1), 0.0)):
        net = Triplet(negatives=kind, margin=0.3).build(tiny())
        net.projector = Given(z)
        loss, _ = net(asked)
        loss.backward()
        assert loss.item() == pytest.approx(expected, abs=1e-6)
        assert expected or net.projector.z.grad.abs().max() == 0


@pytest.mark.parametrize("kind", ["semihard", "hardest", "all"])
def test_triplets_cost_the_same_however_features_are_turned(kind, tiny, batch, pictures):
    torch.manual_seed(0)
    net = Triplet(negatives=kind, margin=0.5, out=4).build(tiny()).eval()
    asked = batch(net.method, pictures(5))
    loss = net(asked)[0].item()
    turn = torch.linalg.qr(torch.randn(4, 4))[0]
    with torch.no_grad():
        net.projector.weight.copy_(turn @ net.projector.weight)
        net.projector.bias.copy_(turn @ net.projector.bias)
    assert loss > 0 and net(asked)[0].item() == pytest.approx(loss, rel=1e-4)


def test_the_triplet_loss_is_that_of_a_loop(tiny, batch, pictures):
    records = pictures(5)
    for kind in ("semihard", "hardest", "all"):
        torch.manual_seed(0)
        method = Triplet(negatives=kind, margin=0.3, out=4)
        net = method.build(tiny()).eval()
        taken = []
        net.projector.register_forward_hook(
            lambda module, given, result, taken=taken: taken.append(F.normalize(result, dim=2))
        )
        loss = net(batch(method, records))[0].item()
        one, other = taken[0].unbind(1)
        costs = []
        for i in range(5):
            own = (one[i] - other[i]).square().sum().item()
            distances = {j: (one[i] - other[j]).square().sum().item() for j in range(5) if j != i}
            farther = {j: d for j, d in distances.items() if d > own} or distances
            chosen = {
                "semihard": [min(farther.values())],
                "hardest": [min(distances.values())],
                "all": distances.values(),
            }
            costs += [max(0.0, 0.3 + own - d) for d in chosen[kind]]
        assert loss == pytest.approx(sum(costs) / len(costs), abs=1e-5)


def test_labelled_triplets_take_the_farthest_of_a_label_and_the_nearest_of_another(tiny, batch, pictures):
    records = [{**record, "label": n % 2} for n, record in enumerate(pictures(6))]
    method = Triplet(negatives="hardest", labelled=True, margin=0.3)
    net, asked = method.build(tiny()), batch(method, records)
    labels = asked["label"].tolist()
    assert sorted(labels) == [0, 0, 0, 1, 1, 1]
    torch.manual_seed(0)
    net.projector = Given(torch.randn(6, 2, 4))
    one, other = F.normalize(net.projector.z.detach(), dim=2).unbind(1)
    total = 0.0
    for i in range(6):
        distances = {j: (one[i] - other[j]).square().sum().item() for j in range(6)}
        farthest = max(distance for j, distance in distances.items() if labels[j] == labels[i])
        nearest = min(distance for j, distance in distances.items() if labels[j] != labels[i])
        total += max(0.0, 0.3 + farthest - nearest) / 6
    assert net(asked)[0].item() == pytest.approx(total, rel=1e-5) and total > 0.3
    with pytest.raises(ValueError, match="a batch of one label has nothing to be told from"):
        net({**asked, "label": torch.zeros(6, dtype=torch.long)})
    with pytest.raises(ValueError, match='no "label", by which triplets are chosen'):
        method.check(pictures(1)[0])


def test_a_margin_of_nothing_is_refused():
    with pytest.raises(ValueError, match="margin is over 0"):
        Triplet(margin=0.0)
