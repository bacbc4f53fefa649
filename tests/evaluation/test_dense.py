import subprocess
import sys
import textwrap

import pytest
import torch

from videossl.evaluation.dense import Stages, answers
from videossl.evaluation.features import Encoder
from videossl.evaluation.segmentation import Segmentation
from videossl.models.base import IMAGENET, Trunk
from videossl.models.small import Small
from videossl.models.vit import ViT

TWO = """
    from dataclasses import replace

    import numpy as np
    import torch
    from lightning.fabric import Fabric
    from lightning.fabric.strategies import DDPStrategy

    from videossl.datasets.records import Records
    from videossl.evaluation.depth import Depth
    from videossl.evaluation.detection import Detection
    from videossl.evaluation.features import Encoder
    from videossl.evaluation.segmentation import Segmentation
    from videossl.models.small import Small

    def found(fabric):
        rng = torch.Generator().manual_seed(0)
        records = []
        for n in range(7):
            mask = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
            mask[..., 4 : 20 + n, 4:20] = 1
            picture = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8, generator=rng)
            boxes = {"boxes": np.array([[4, 4, 20, 20 + n]], np.float32) / 32, "things": np.array([0])}
            records.append({"frames": picture, "segmentation": mask, "depth": 1.0 + mask[0], "name": str(n), **boxes})
            records[-1]["difficult"] = np.array([False])
        train, test = (Records(part, "toy", classes=("thing",)) for part in (records[:4], records[4:]))
        torch.manual_seed(0)
        encoder = Encoder(Small(length=1, width=4, size=32).build(), fabric, progress=False)
        torch.manual_seed(fabric.global_rank)  # nothing below may lean on torch's own generator
        judges = [Detection(width=8, regions=8), Segmentation(width=8), Depth(width=8)]
        out = []
        for judge in judges:
            for steps in (0, 2):
                scores = replace(judge, steps=steps, batch=2).score(encoder, train, test)
                out.append((steps, scores))
        torch.save(out, f"{fabric.world_size}.{fabric.global_rank}")

    torch.set_num_threads(1)
    found(Fabric(accelerator="cpu", devices=1))
    ddp = DDPStrategy(start_method="fork", find_unused_parameters=True)
    Fabric(accelerator="cpu", devices=2, strategy=ddp).launch(found)
"""


def test_two_processes_agree_and_ask_of_all_test_pictures(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(textwrap.dedent(TWO))
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    one, first, second = (torch.load(tmp_path / name, weights_only=False) for name in ("1.0", "2.0", "2.1"))
    assert first == second and len(first) == 6
    for (steps, alone), (_, shared) in zip(one, first, strict=True):
        assert shared.tested == alone.tested == [0, 1, 2]
        if steps == 0:  # trained, each process has its own batch norm
            assert shared == alone


def test_maps_of_clip_trunks_are_the_mean_over_time_of_a_picture_that_stands_still():
    trunk = Small(length=4, width=4, size=32).build().eval()
    stages, picture = Stages(trunk, 4, (32, 48), True).eval(), torch.rand(2, 3, 32, 48)
    expected = trunk.stages(picture[:, None].repeat(1, 4, 1, 1, 1))
    assert all(torch.allclose(a, b.mean(2)) for a, b in zip(stages(picture), expected, strict=True))
    assert stages.shapes == [(4, 16, 24), (8, 8, 12), (32, 4, 6)]


def test_transformers_see_whole_tokens():
    stages = Stages(ViT(width=24, depth=1, heads=2, patch=14).build(), 1, (32, 60), False)
    assert stages.shapes == [(24, 2, 4)] and stages(torch.rand(1, 3, 32, 60))[0].shape == (1, 24, 2, 4)


def test_modes_and_gradients_are_those_of_a_frozen_trunk_or_not():
    for frozen in (True, False):
        trunk = Small(length=1, width=4, size=32).build().train()
        stages = Stages(trunk, 1, (32, 32), frozen)
        assert trunk.training  # as it was
        stages.train()
        assert trunk.training != frozen and stages(torch.rand(2, 3, 32, 32))[0].requires_grad != frozen


def test_trunks_without_maps_and_lists_that_cannot_be_read_are_refused():
    mapless = Trunk(dim=2, length=1, size=8, resize=(8, 8), colours=IMAGENET)
    with pytest.raises(ValueError, match=r"needs a trunk with maps, but Trunk has no maps\(\)"):
        Stages(mapless, 1, (32, 32), False)
    astray = Small(length=1, width=4, size=32).build()
    with torch.no_grad():
        next(astray.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite: the trunk has gone astray"):
        Stages(astray, 1, (32, 32), False)
    with pytest.raises(ValueError, match="steps start at 0, a batch at 1"):
        Segmentation(batch=0)

    def read(record):
        raise OSError("is gone")

    with pytest.raises(ValueError, match="none of 1 pictures can be read: is gone"):
        answers(Encoder(mapless, progress=False), mapless, [{"name": "a"}], read, print)
