import copy

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from videossl.methods.grasp import Grasp
from videossl.methods.joint import Joint, Zip
from videossl.methods.poke import Poke
from videossl.methods.push import Push
from videossl.methods.shuffle_and_learn import ShuffleAndLearn
from videossl.training.draws import Draws

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


def test_every_task_moves_the_trunk_and_without_it_only_its_head_differs(records, tiny):
    whole = Joint(TASKS).prepare(records)
    for left_out in TASKS:
        part = Joint({name: task for name, task in whole.tasks.items() if name != left_out}, gradients="sum")
        alone = Joint({left_out: whole.tasks[left_out]})
        torch.manual_seed(0)
        net = alone.build(tiny())
        net(batch_of(alone, records))[0].backward()
        assert all(p.grad.abs().sum() > 0 for name, p in net.trunk.named_parameters() if p.grad is not None)
        assert left_out not in part.build(tiny()).nets


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


def test_questions_about_touch_and_about_time_share_a_trunk(counting, tiny):
    videos = [{**counting(frames), "name": f"counting{frames}"} for frames in (120, 150)]
    method = Joint({"grasp": TASKS["grasp"], "order": ShuffleAndLearn()}).prepare(
        Zip({"grasp": videos, "order": videos})
    )
    records = Zip({"grasp": videos, "order": videos})
    loss, metrics = method.build(tiny())(batch_of(method, records))
    assert loss.isfinite() and {"grasp_accuracy", "order_accuracy"} <= metrics.keys()


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match="no tasks"):
        Joint({})
    with pytest.raises(ValueError, match="a weight is given for 'pull'"):
        Joint(TASKS, weights={"pull": 1.0})
    with pytest.raises(ValueError, match="leave a task out instead"):
        Joint(TASKS, weights={"push": 0.0})
    with pytest.raises(ValueError, match="no record for task 'grasp': these are of push"):
        Joint(TASKS).check({"push": {}})
    assert np.isfinite(list(Joint(TASKS).chance.values())).all()
