import copy
from dataclasses import replace

import pytest
import torch
from torch.utils.data import default_collate

from videossl.methods.grasp import Grasp
from videossl.methods.identity import Identity
from videossl.methods.joint import Joint, Zip
from videossl.methods.poke import Poke
from videossl.methods.push import Push
from videossl.methods.shuffle_and_learn import ShuffleAndLearn
from videossl.methods.simclr import SimCLR
from videossl.models.caffenet import CaffeNet
from videossl.models.resnet import ResNet
from videossl.models.small import Small
from videossl.models.vit import ViT
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

TASKS = {"grasp": Grasp(widths=(8,), turn=False), "push": Push(widths=(8,)), "poke": Poke(widths=(8,))}


@pytest.fixture
def records(counting):
    made = [{**counting(frames), "name": f"counting{frames}"} for frames in (120, 150, 200)]
    return Zip({"grasp": made, "push": made[:2], "poke": made})


def batch_of(method: Joint, records: Zip) -> dict:
    draws = Draws(records, method.sample, 0)
    return default_collate([draws[n] for n in range(6)])


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["mean", "sum"])
def test_heads_learn_by_their_own_loss_and_the_trunk_by_the_mean_or_the_weighted_sum(kind, records, tiny):
    weights = {"poke": 0.5}
    method = Joint(TASKS, gradients=kind, weights=weights).prepare(records)
    torch.manual_seed(0)
    net = method.build(tiny()).eval()
    batch = batch_of(method, records)
    alone, wanted = copy.deepcopy(net), {}
    for parameter in alone.trunk.parameters():
        parameter._backward_hooks = None  # the hand computation averages by itself
    for name, part in alone.nets.items():
        alone.zero_grad()
        (weights.get(name, 1.0) * part(batch[name])[0]).backward()
        for key, gradient in gradients(part).items():
            if key.startswith("trunk."):
                wanted[key] = wanted.get(key, 0) + gradient / (len(TASKS) if kind == "mean" else 1)
            else:
                wanted[f"nets.{name}.{key}"] = gradient
    net(batch)[0].backward()
    found = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    assert found.keys() == wanted.keys()
    for key in wanted:
        assert torch.allclose(found[key], wanted[key], atol=1e-6), key


def test_every_task_moves_the_trunk_and_without_it_only_its_head_is_missing(records, tiny):
    whole = Joint(TASKS, gradients="sum").prepare(records)
    torch.manual_seed(0)
    net = whole.build(tiny()).eval()
    batch = batch_of(whole, records)
    net(batch)[0].backward()
    together = gradients(net)
    for left_out in TASKS:
        rest = replace(whole, tasks={name: task for name, task in whole.tasks.items() if name != left_out})
        part = rest.build(tiny()).eval()
        part.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith(f"nets.{left_out}.")})
        part(batch)[0].backward()
        found = gradients(part)
        heads = {name for name in together if name.startswith("nets.") and not name.startswith(f"nets.{left_out}.")}
        assert heads and heads == {name for name in found if name.startswith("nets.")}
        assert all(torch.allclose(found[name], together[name], atol=1e-7) for name in heads)
        assert not torch.allclose(found["trunk.body.0.weight"], together["trunk.body.0.weight"], atol=1e-7)


def test_each_task_is_prepared_on_its_own_records_once_however_often_they_are_shown(counting):
    grasps = [{**counting(120), "success": n == 0, "name": f"grasp{n}"} for n in range(3)]
    pokes = [{**counting(120), "name": f"poke{n}"} for n in range(4)]
    method = Joint({"grasp": TASKS["grasp"], "poke": TASKS["poke"]})
    assert method.prepare(Zip({"grasp": grasps, "poke": pokes})).tasks["grasp"].successes == pytest.approx(1 / 3)
    listed = [{"grasp": grasp, "poke": poke} for grasp, poke in zip(grasps, pokes, strict=False)]
    assert method.prepare(listed).tasks["grasp"].successes == pytest.approx(1 / 3)


def test_a_copy_of_the_trunk_learns_by_all_of_its_gradient(records, tiny):
    net = Joint(TASKS).prepare(records).build(tiny())
    clips = torch.rand(2, 1, 3, 16, 16)
    found = []
    for trunk in (net.trunk, copy.deepcopy(net.trunk)):
        trunk.zero_grad()
        trunk(clips).sum().backward()
        found.append(gradients(trunk))
    assert all(torch.allclose(found[1][name], len(TASKS) * found[0][name]) for name in found[0])


def test_loss_and_metrics_are_the_tasks_own(records, tiny):
    method = Joint(TASKS).prepare(records)
    net = method.build(tiny()).eval()
    batch = batch_of(method, records)
    loss, metrics = net(batch)
    parts = {name: net.nets[name](batch[name]) for name in TASKS}
    assert loss.item() == pytest.approx(sum(part[0].item() for part in parts.values()), rel=1e-6)
    assert metrics["push_error"] == parts["push"][1]["error"] and metrics["poke_loss"] == parts["poke"][0]
    assert method.chance == {"grasp_accuracy": 0.5, "push_error": 1, "poke_error": 1, "poke_slope_error": 1}


def test_the_trunk_is_stored_once_and_loaded_into_all(records, tiny):
    method = Joint(TASKS).prepare(records)
    torch.manual_seed(0)
    net, other = method.build(tiny()).eval(), method.build(tiny()).eval()
    state = net.state_dict()
    assert not [key for key in state if "trunk" in key and key.startswith("nets.")]
    assert {key for key in state if key.startswith("trunk.")} == {f"trunk.{key}" for key in net.trunk.state_dict()}
    batch = batch_of(method, records)
    other.load_state_dict(state)
    assert other(batch)[0] == net(batch)[0]
    assert all(part.trunk is other.trunk for part in other.nets.values())


def test_shorter_lists_begin_again(records):
    assert len(records) == 3
    assert [records[n]["push"]["name"] for n in range(3)] == ["counting120", "counting150", "counting120"]
    assert records[-1]["grasp"]["name"] == "counting200"
    with pytest.raises(IndexError):
        records[3]
    with pytest.raises(ValueError, match="no records of push"):
        Zip({"grasp": [{}], "push": []})


SMALL = {
    "CaffeNet": CaffeNet(size=48, widths=(16, 16)),
    "ResNet": ResNet(),
    "ViT": ViT(width=24, depth=1, heads=2, patch=16, size=32),
    "Small": Small(length=1, width=4, size=16),
    "clips": Small(length=4, width=4, size=16),
}


@pytest.mark.parametrize("trunk", SMALL.values(), ids=SMALL)
def test_questions_about_touch_time_and_looks_share_a_trunk_of_any_family(trunk, counting):
    videos = [{**counting(frames), "name": f"counting{frames}"} for frames in (120, 150, 200)]
    tasks = {
        **TASKS,
        "identity": Identity(),
        "order": ShuffleAndLearn(),
        "views": SimCLR(),
    }
    records = Zip(dict.fromkeys(tasks, videos))
    method = Joint(tasks).prepare(records)
    built = trunk.build()
    built.size = min(built.size, 48)  # pixels: ResNet's are 224
    net = method.build(built)
    before = {name: weights.clone() for name, weights in net.trunk.named_parameters()}
    batches = loader(Draws(records, method.sample), 4, stop=2)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
    metrics = [metrics for _, metrics in fit(net, batches, optimizer, 2, cosine(1e-2))][-1]
    assert all(f"{name}_loss" in metrics and metrics[f"{name}_loss"].isfinite() for name in tasks)
    assert {"grasp_accuracy", "order_accuracy", "identity_auc"} <= metrics.keys()
    assert all(weights.isfinite().all() for weights in net.parameters())
    assert any(not weights.equal(before[name]) for name, weights in net.trunk.named_parameters())
    assert all(part.trunk is net.trunk for part in net.nets.values())
    if isinstance(trunk, CaffeNet):  # as in the paper
        assert [net.nets[name].branch for name in ("grasp", "push", "poke", "identity")] == [
            *("conv4", "conv3", "fc6", "fc7")
        ]


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match="no tasks"):
        Joint({})
    with pytest.raises(ValueError, match="a weight is given for 'pull'"):
        Joint(TASKS, weights={"pull": 1.0})
    with pytest.raises(ValueError, match="leave a task out instead"):
        Joint(TASKS, weights={"push": 0.0})
    with pytest.raises(ValueError, match="no record for task 'grasp': these are of push"):
        Joint(TASKS).check({"push": {}})
    with pytest.raises(ValueError, match=r"Small.* has no layer 'conv9' for a head to branch from"):
        Joint({"poke": Poke(branch="conv9")}).build(Small(length=1).build())
