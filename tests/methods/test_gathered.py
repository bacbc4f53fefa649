"""What is learned of a batch does not depend on how many processes share it."""

import subprocess
import sys
import textwrap

import pytest
import torch

SCRIPT = """
    import sys

    import torch
    from lightning.fabric import Fabric
    from torch.nn import functional as F

    from videossl.methods.clip import CLIP
    from videossl.methods.memory import Memory
    from videossl.methods.moco import MoCo
    from videossl.methods.simclr import SimCLR
    from videossl.methods.swav import SwAV
    from videossl.methods.vicreg import VICReg
    from videossl.models.small import Small

    def found(fabric):
        torch.set_num_threads(1)
        torch.manual_seed(0)
        trunk = Small(length=1, width=2, size=16).build()
        z = F.normalize(torch.randn(2, 8, 6, generator=torch.Generator().manual_seed(1)), dim=2)
        mine = slice(fabric.global_rank * 8 // fabric.world_size, (fabric.global_rank + 1) * 8 // fabric.world_size)
        small = {"hidden": 8, "out": 6}
        swav = SwAV(prototypes=6, **small).build(trunk)
        losses = {
            "SimCLR": SimCLR(**small).build(trunk).contrast,
            "MoCo v3": MoCo(version=3, **small).build(trunk).contrast,
            "VICReg": VICReg(out=6).build(trunk).regularise,
            "SwAV": lambda one, other: swav.swap([one, other], []),
        }
        values = {}
        for name, loss in losses.items():
            one, other = (part[mine].clone().requires_grad_() for part in z)
            value = loss(one, other)
            value.backward()
            # Fabric takes the mean over processes of gradients, hence of losses.
            grads = [None if part.grad is None else part.grad / fabric.world_size for part in (one, other)]
            values[name] = value.detach(), grads
        words = [f"number {n}" for n in range(8)]
        method = CLIP(out=6, width=8, depth=1, heads=2, vocabulary=300).prepare([{"caption": text} for text in words])
        clips = torch.rand(8, 1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
        torch.manual_seed(3)
        clip = method.build(trunk).eval()
        value, _ = clip({"clips": clips[mine], "tokens": torch.stack([method.tokens(text) for text in words])[mine]})
        value.backward()
        values["CLIP"] = value.detach(), [clip.picture.weight.grad, clip.scale.grad]
        torch.manual_seed(4)
        queue, memory = MoCo(queue=12, **small).build(trunk), Memory(9, 6, 0.5)
        queue.enqueue(z[0, mine])
        memory.remember(z[0, mine], torch.tensor([3, 1, 4, 1, 5, 8, 2, 6])[mine])
        values["kept"] = queue.queue, memory.rows
        torch.save(values, f"{fabric.world_size}.{fabric.global_rank}")

    if __name__ == "__main__":
        found(Fabric(accelerator="cpu", devices=1))
        Fabric(accelerator="cpu", devices=2, strategy="ddp_fork").launch(found)
"""


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gathered")
    (folder / "script.py").write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: torch.load(folder / name) for name in ("1.0", "2.0", "2.1")}


@pytest.mark.parametrize("name", ["SimCLR", "MoCo v3", "VICReg", "SwAV"])
def test_two_processes_have_the_loss_and_the_gradients_of_one(values, name):
    whole, grads = values["1.0"][name]
    parts = [values[f"2.{rank}"][name] for rank in (0, 1)]
    assert ((parts[0][0] + parts[1][0]) / 2).item() == pytest.approx(whole.item(), rel=1e-4)
    for n in (0, 1):
        if grads[n] is not None:
            assert torch.allclose(torch.cat([parts[0][1][n], parts[1][1][n]]), grads[n], atol=1e-5)


def test_so_has_clip_whose_weights_have_the_mean_of_gradients(values):
    whole, grads = values["1.0"]["CLIP"]
    parts = [values[f"2.{rank}"]["CLIP"] for rank in (0, 1)]
    assert [part[0].item() for part in parts] == pytest.approx([whole.item()] * 2, rel=1e-4)
    for n in (0, 1):
        assert torch.allclose((parts[0][1][n] + parts[1][1][n]) / 2, grads[n], atol=1e-5)


def test_what_is_kept_of_the_past_is_the_same_everywhere(values):
    for n in (0, 1):
        assert torch.allclose(values["2.0"]["kept"][n], values["1.0"]["kept"][n], atol=1e-6)
        assert torch.equal(values["2.0"]["kept"][n], values["2.1"]["kept"][n])
