import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch import nn

from videossl.methods.base import Net
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

RECORDS = [{"frames": torch.full((4, 3, 4, 4), 10 * i, dtype=torch.uint8)} for i in range(8)]


class Noisy(Net):
    """A line through noisy points: dropout stands for every use of torch's generator in a step."""

    def __init__(self, share=0.5):
        super().__init__()
        self.share = share
        self.trunk = nn.Linear(4, 8)
        self.head = nn.Linear(8, 1)
        self.seen = []

    def forward(self, batch):
        guess = self.head(nn.functional.dropout(self.trunk(batch["x"]).relu(), self.share, self.training))
        loss = (guess.squeeze(-1) - batch["y"]).square().mean()
        return loss, {"error": loss.sqrt()}

    def update(self, progress):
        self.seen.append(progress)


def sample(record, rng):
    x = rng.normal(size=4).astype("float32")
    return {"x": x, "y": x.sum()}


def losses(net, optimizer, start, stop):
    batches = loader(Draws(RECORDS, sample, 0), 4, start=start)
    learning = fit(net, batches, optimizer, stop, cosine(0.02), start=start, seed=5)
    return [metrics["loss"].item() for _, metrics in learning]


def fresh(share=0.5):
    torch.manual_seed(0)
    net = Noisy(share)
    return net, torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)


def test_a_resumed_run_reaches_the_same_losses_bit_for_bit():
    net, optimizer = fresh()
    whole = losses(net, optimizer, 0, 20)
    final = {k: v.clone() for k, v in net.state_dict().items()}

    half, optimizer = fresh()
    learning = fit(half, loader(Draws(RECORDS, sample, 0), 4), optimizer, 20, cosine(0.02), seed=5)
    first = [next(learning)[1]["loss"].item() for _ in range(9)]
    saved, state = half.state_dict(), optimizer.state_dict()
    other, optimizer = fresh()
    torch.manual_seed(999)  # what the process drew before does not matter
    other.load_state_dict(saved)
    optimizer.load_state_dict(state)
    assert first + losses(other, optimizer, 9, 20) == whole
    assert all(torch.equal(value, final[key]) for key, value in other.state_dict().items())


def test_a_linear_toy_is_learned_and_every_step_is_reported():
    net, optimizer = fresh()
    learning = list(fit(net, loader(Draws(RECORDS, sample, 0), 16), optimizer, 150, cosine(0.05), clip=1.0))
    assert [step for step, _ in learning] == list(range(1, 151))
    assert learning[-1][1]["loss"] < 0.3 * learning[0][1]["loss"]
    assert learning[0][1].keys() == {"loss", "error", "rate", "seconds", "waiting"}
    assert all(0 <= metrics["waiting"] <= metrics["seconds"] for _, metrics in learning)
    assert net.seen[0] == pytest.approx(1 / 150) and net.seen[-1] == 1.0


def test_a_group_of_parameters_can_have_its_own_scale_of_the_rate():
    net, _ = fresh()
    groups = [{"params": net.trunk.parameters(), "scale": 0.1}, {"params": net.head.parameters()}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    for _, metrics in fit(net, loader(Draws(RECORDS, sample, 0), 4), optimizer, 3, cosine(1.0)):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * optimizer.param_groups[1]["lr"])
        assert metrics["rate"] == optimizer.param_groups[1]["lr"]


def ready(batches):
    return list(loader(Draws(RECORDS, sample, 0), 4, stop=batches))


def test_one_batch_is_read_for_each_step_and_none_beyond_the_last():
    net, optimizer = fresh()
    read = []
    batches = (read.append(n) or batch for n, batch in enumerate(ready(9)))
    for step, _ in fit(net, batches, optimizer, 7, cosine(0.02), start=2):
        assert read == list(range(step - 2))
    assert len(read) == 5


def test_batches_that_end_too_soon_are_an_error():
    net, optimizer = fresh()
    with pytest.raises(ValueError, match="batches ended before step 4 of 5"):
        list(fit(net, ready(3), optimizer, 5, cosine(0.02)))


def test_a_batch_of_one_for_a_net_with_batch_normalisation_is_a_clear_error():
    net, _ = fresh()
    net.head = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="--batch 2 or more"):
        list(fit(net, loader(Draws(RECORDS, sample, 0), 1), optimizer, 1, cosine(0.02)))


def test_the_wait_is_that_for_the_batch_and_no_more():
    def slow():
        for batch in ready(5):
            time.sleep(0.05)
            yield batch

    net, optimizer = fresh()
    waits = [metrics["waiting"] for _, metrics in fit(net, slow(), optimizer, 5, cosine(0.02))]
    assert min(waits) >= 0.05
    waits = [metrics["waiting"] for _, metrics in fit(net, ready(5), optimizer, 5, cosine(0.02))]
    assert min(waits) < 0.001


class Random(Noisy):
    """Its loss is a random number."""

    def forward(self, batch):
        loss, _ = super().forward(batch)
        return 0 * loss + torch.rand((), device=loss.device), {}


def test_a_step_is_seeded_as_torch_manual_seed_does():
    net = Random()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step, metrics in fit(net, ready(2), optimizer, 2, cosine(0.02), seed=5):
        torch.manual_seed(int(np.random.SeedSequence([5, step, 0]).generate_state(1, np.uint64)[0]))
        torch.nn.functional.dropout(torch.ones(4, 8))  # as the net does before
        assert metrics["loss"] == torch.rand(())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_computes_on_each_batch_as_it_was_though_the_next_is_copied_meanwhile():
    class Mean(Noisy):
        def forward(self, batch):
            slow = torch.ones(2000, 2000, device="cuda")
            for _ in range(20):  # the next copies are done before this step reads its batch
                slow = slow @ slow / 2000
            return batch["x"].mean() + 0 * slow.mean() + 0 * self.head.bias.sum(), {}

    net = Mean().cuda()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    batches = ({"x": torch.full((1000, 1000), float(n)).pin_memory()} for n in range(1, 31))
    fabric = Fabric(accelerator="cuda", devices=1)
    found = [metrics["loss"] for _, metrics in fit(net, batches, optimizer, 30, cosine(0.02), fabric=fabric)]
    assert [loss.item() for loss in found] == pytest.approx(range(1, 31), rel=1e-4)


TWO = """
import sys
import torch
from lightning.fabric import Fabric
sys.path.insert(0, {folder!r})
from test_fit import RECORDS, fresh, sample
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

fabric = Fabric(accelerator="cpu", devices={devices}, strategy="auto")
fabric.launch()
net, optimizer = fresh(share=0.0)  # no dropout: its masks differ by rank
batches = loader(Draws(RECORDS, sample, 0), 4, rank=fabric.global_rank, world=fabric.world_size)
for _ in fit(net, batches, optimizer, 6, cosine(0.02), fabric=fabric):
    pass
if fabric.global_rank == 0:
    torch.save(net.state_dict(), {out!r})
"""


def test_two_processes_learn_what_one_does(tmp_path):
    folder = str(Path(__file__).parent)
    for devices in (1, 2):
        script = tmp_path / f"train{devices}.py"
        script.write_text(TWO.format(folder=folder, devices=devices, out=str(tmp_path / f"{devices}.pt")))
        subprocess.run([sys.executable, str(script)], check=True, capture_output=True, timeout=120)
    one, two = torch.load(tmp_path / "1.pt"), torch.load(tmp_path / "2.pt")
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=1e-4, atol=1e-6)
