import pytest
import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightning import LightningModule
from torch import nn
from torch.nn import functional as F

from videossl.methods.others import Others
from videossl.methods.two_views import found

WEAK = {"area": (0.5, 1.0), "colour": 0.2, "blurred": 0.0}


class TheirSimCLR(LightningModule):
    """As lightly's examples have it, with what its benchmarks log."""

    def __init__(self, backbone, dim):
        super().__init__()
        self.backbone, self.projection_head = backbone, SimCLRProjectionHead(dim, 32, 16)
        self.criterion = NTXentLoss(0.2)

    def training_step(self, batch, batch_index):
        (one, other), labels, names = batch
        assert len(labels) == len(names) == len(one)
        one, other = (self.projection_head(self.backbone(x).flatten(start_dim=1)) for x in (one, other))
        loss = self.criterion(one, other)
        self.log("train_loss", loss, prog_bar=True, sync_dist=True, batch_size=len(labels))
        self.log_dict(found(one, other))
        return loss


class Plain(nn.Module):
    """A module without Lightning; asks which way views differ in brightness."""

    def __init__(self, backbone, dim):
        super().__init__()
        self.backbone, self.out = backbone, nn.Linear(dim, 1)

    def forward(self, views):
        asked = self.out(self.backbone(views[0]))[:, 0]
        loss = F.mse_loss(asked, views[0].flatten(1).mean(1))
        return {"loss": loss, "error": loss.sqrt().item(), "asked": asked}


def test_a_lightning_module_trains_the_trunk_and_what_it_logs_is_a_metric(learn, batch, tiny, pictures):
    method, records = Others(module=TheirSimCLR, **WEAK), pictures(256)
    asked = batch(method, records[:48])
    net = learn(method, records, tiny(), 60)
    loss, metrics = net(asked)
    assert metrics["accuracy"] > 7 / 48 and metrics["train_loss"] == loss and not metrics["train_loss"].requires_grad
    torch.manual_seed(0)
    start = method.build(tiny())
    assert not torch.equal(net.trunk.body[0].weight, start.trunk.body[0].weight)
    assert net.module.backbone.trunk is net.trunk


def test_a_module_is_given_the_records_labels(batch, tiny, pictures):
    records = [{**record, "label": n} for n, record in enumerate(pictures(4))]
    del records[2]["label"]
    net, given = Others(module=TheirSimCLR, **WEAK).build(tiny()), []
    net.module.training_step = lambda parts, index: given.append(parts[1]) or net.module.backbone(parts[0][0]).mean()
    net(batch(net.method, records))
    assert sorted(given[0].tolist()) == [-1, 0, 1, 3]


def test_any_module_with_a_loss_will_do_and_its_batch_is_what_one_says(batch, tiny):
    method = Others(module=Plain, batch=lambda views, batch: views, length=3)
    clip = {"clips": torch.randint(256, (4, 2, 3, 3, 16, 16), dtype=torch.uint8)}
    loss, metrics = method.build(tiny()).eval()(clip)
    assert set(metrics) == {"error"} and metrics["error"].item() == pytest.approx(loss.item() ** 0.5, rel=1e-5)
    loss.backward()


def test_what_would_learn_nothing_is_said(batch, tiny, pictures):
    with pytest.raises(ValueError, match="Linear does not hold the backbone"):
        Others(module=lambda backbone, dim: nn.Linear(dim, 1)).build(tiny())
    silent = Others(module=Plain, batch=lambda views, batch: views).build(tiny())
    silent.module.forward = lambda views: {"error": 1.0}
    records = pictures(3)
    with pytest.raises(ValueError, match="should give a loss, one number, but gave NoneType"):
        silent(batch(silent.method, records))
    silent.module.forward = lambda views: torch.zeros(3)
    with pytest.raises(ValueError, match=r"but gave Tensor \(3,\)"):
        silent(batch(silent.method, records))
