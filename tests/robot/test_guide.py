import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("pybullet", reason="no pybullet, which has wheels for CPython 3.9 to 3.11 alone")

from videossl.datasets.interactions import interactions
from videossl.methods.grasp import Grasp as Question
from videossl.methods.joint import Joint
from videossl.methods.poke import Poke as PokeQuestion
from videossl.models.small import Small
from videossl.robot.collect import NET, Collect, collect, episodes, make, policy_of
from videossl.robot.guide import Guide, guide_of
from videossl.robot.replay import Replay, replay
from videossl.robot.tasks.grasp import Grasp
from videossl.training import checkpoints

TRUNK = Small(length=1, width=2, size=16)
HEAD = Question(align=True, channels=4, widths=(4,))


def run_of(folder: Path, seed: int = 0, method=HEAD, size: tuple[int, int] | None = (16, 16)) -> Path:
    """What a run leaves whose net has learned nothing."""
    folder.mkdir()
    torch.manual_seed(seed)
    net = method.build(TRUNK.build())
    for weights in net.state_dict().values():
        weights *= 3  # or it takes all grasps to be alike
    about = {"method": method, "prepared": method, "trunk": TRUNK, "step": 0, "seen": ["of", "its", "videos"]}
    checkpoints.save(folder / "checkpoint.pt", net=net, **about)
    (folder / "config.json").write_text(json.dumps({"config": {"data": {"size": size}}}))
    return folder


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


class Known(torch.nn.Module):
    """A net that answers the same whatever it is shown, and keeps what that was."""

    def __init__(self, logits):
        super().__init__()
        self.told, self.angles, self.align = logits, 18, True

    def logits(self, patches):
        self.shown = patches
        return self.told


@pytest.fixture(scope="module")
def guided(tmp_path_factory) -> Collect:
    root = tmp_path_factory.mktemp("guided")
    config = Collect("grasp", root / "set", 70, 1, size=24, policy=run_of(root / "run"), explore=0.4, points=3)
    collect(config)
    return config


def test_what_is_tried_is_drawn_by_its_odds_among_points_as_at_random(put):
    env = put(Grasp, (0.12, 0.04, 0.05), size=32)
    logits = torch.full((4, 18, 2), 0.0)
    logits[..., 0] = 30.0  # which all but two are sure to fail
    logits[1, 5], logits[3, 9] = torch.tensor([2.0, 2.0 + np.log(3)]), torch.tensor([0.0, 0.0])
    guide = Guide(Known(logits), (16, 20), {})
    chosen = [guide.choose(env, np.random.default_rng(k), 4) for k in range(200)]
    first = []
    for k, action in enumerate(chosen):
        rng = np.random.default_rng(k)
        spots = [env.sample(rng)[:2].tolist() for _ in range(4)]
        first.append(action[:2].tolist() == spots[1])
        assert action[:2].tolist() == spots[1 if first[-1] else 3]
        assert action[2] == pytest.approx((5 if first[-1] else 9) * np.pi / 18)
        assert env.action_space.contains(action)
    assert np.mean(first) == pytest.approx(0.75, abs=0.1)  # odds of 3 to 1
    assert guide.net.shown.shape == (4, 3, 16, 20) and 0 <= guide.net.shown.min() < guide.net.shown.max() <= 1


def test_guided_episodes_are_told_and_can_be_read_alone(guided):
    def read(which):
        return [r for train in (True, False) for r in interactions(guided.out, train=train, guided=which)]

    chosen, random, both = read(True), read(False), read(None)
    assert all(r["guided"] for r in chosen) and not any(r["guided"] for r in random)
    names = [{r["name"] for r in part} for part in (chosen, random, both)]
    assert len(both) == 70 and not names[0] & names[1] and names[0] | names[1] == names[2]
    assert len(random) / 70 == pytest.approx(guided.explore, abs=0.2)


def test_a_folder_at_random_has_no_guided_ones_and_pushes_do_not_tell(tmp_path):
    collect(Collect("grasp", tmp_path / "grasp", 10, 1, size=24))
    assert len(interactions(tmp_path / "grasp", guided=False)) == 5  # of one of two scenes
    assert len(interactions(tmp_path / "grasp", guided=True)) == 0
    collect(Collect("push", tmp_path / "push", 10, 1, size=24))
    with pytest.raises(ValueError, match="does not tell which of its episodes a net chose"):
        interactions(tmp_path / "push", guided=True)


def test_any_number_of_workers_makes_the_same_and_any_episode_is_made_again_without_the_run(guided, tmp_path, capsys):
    two = replace(guided, out=tmp_path / "two", workers=2)
    collect(two)
    assert bytes_of(two.out) == bytes_of(guided.out)
    (guided.out / "grasp" / "000001.h5").unlink()
    collect(replace(guided, policy=guided.out / NET))
    assert bytes_of(two.out) == bytes_of(guided.out)
    replay(Replay(guided.out, sample=8))
    assert "8 of 70 episodes of grasp made again: all the same" in capsys.readouterr().out
    replay(Replay(guided.out, episode=3, video=tmp_path / "grasp.webp"))
    assert (tmp_path / "grasp.webp").stat().st_size > 1000


def test_an_episode_is_of_the_seed_its_number_and_the_net(guided, tmp_path):
    env = make(Grasp, guided)

    def actions(policy):
        made = list(episodes(env, guided.seed, 0, 20, policy))
        return [(int(r["guided"]), r["action"].tolist()) for r in made]

    mine = actions(policy_of(guided))
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    assert actions(policy_of(guided)) == mine and torch.get_num_threads() == threads + 1
    torch.set_num_threads(threads)
    other = actions(policy_of(replace(guided, policy=run_of(tmp_path / "other", seed=1))))
    assert [chosen for chosen, _ in mine] == [chosen for chosen, _ in other]
    same = [a == b for (chosen, a), (_, b) in zip(mine, other, strict=True) if chosen]
    assert not all(same)
    assert all(a == b for (chosen, a), (_, b) in zip(mine, other, strict=True) if not chosen)
    env.close()


def test_the_folder_says_which_net_chose_and_goes_on_with_no_other(guided, tmp_path):
    digest = guide_of(guided.policy).digest
    assert json.loads((guided.out / "simulation.json").read_text())["policy"] == digest
    assert json.loads((guided.out / "manifest.json").read_text())["policy"] == digest
    before = bytes_of(guided.out)
    other = run_of(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match=rf"was made with policy '{digest}' \(now '{guide_of(other).digest}'\)"):
        collect(replace(guided, policy=other))
    with pytest.raises(ValueError, match=rf"was made with policy '{digest}' \(now None\)"):
        collect(replace(guided, policy=None, explore=None, points=None))
    assert bytes_of(guided.out) == before


def test_the_digest_is_that_of_weights_and_sizes_alone(tmp_path):
    digests = [
        guide_of(run_of(tmp_path / name, seed, size=size)).digest
        for name, seed, size in (("a", 0, (16, 16)), ("b", 0, (16, 16)), ("c", 1, (16, 16)), ("d", 0, (16, 24)))
    ]
    assert digests[0] == digests[1] and len(set(digests)) == 3
    guide_of(tmp_path / "a").save(tmp_path / "kept.pt")
    assert guide_of(tmp_path / "kept.pt").digest == digests[0]
    assert guide_of(run_of(tmp_path / "e", size=None)).size == (18, 18)  # the trunk asks for 18 by 24


def test_a_joint_run_guides_with_its_grasps_and_others_are_refused(tmp_path):
    joint = Joint({"grasp": HEAD, "poke": PokeQuestion(widths=(4,))})
    assert guide_of(run_of(tmp_path / "joint", method=joint)).net.angles == 18
    poke = run_of(tmp_path / "poke", method=PokeQuestion(widths=(4,)))
    with pytest.raises(ValueError, match="poke did not learn to grasp"):
        collect(Collect("grasp", tmp_path / "set", 5, 1, policy=poke))
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        collect(Collect("grasp", tmp_path / "set", 5, 1, policy=tmp_path / "nowhere"))
    assert not (tmp_path / "set").exists()
    with pytest.raises(ValueError, match="a policy chooses grasps, so it can collect grasp, but not push"):
        Collect("push", tmp_path / "set", policy=poke)
    with pytest.raises(ValueError, match="explore is a share of 0 to 1"):
        Collect("grasp", tmp_path / "set", policy=poke, explore=2)


@pytest.mark.parametrize("asked", [{"explore": 0.2}, {"points": 24}])
def test_how_a_net_chooses_is_asked_for_with_a_net_alone_and_is_in_the_plan_then(guided, asked):
    with pytest.raises(ValueError, match="they are of grasps that a net chooses, so give its run by --policy"):
        Collect("grasp", guided.out, **asked)
    plan = Collect("grasp", guided.out).plan
    assert plan["explore"] is plan["points"] is None
    assert Collect("grasp", guided.out, policy=guided.policy).plan == replace(guided, explore=0.2, points=24).plan | {
        "episodes": 1000,
        "size": 128,
    }
