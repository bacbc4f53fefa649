import pytest
import torch
from torch.nn import functional as F

from videossl.evaluation.base import interval
from videossl.evaluation.features import Encoder
from videossl.evaluation.layers import LayerProbe, Layers, pooled
from videossl.evaluation.probe import LinearProbe
from videossl.evaluation.views import Views
from videossl.models.caffenet import CaffeNet
from videossl.models.small import Small

VIEWS = Views(clips=1, crops=1)


@pytest.mark.parametrize(
    ("channels", "side", "numbers"), [(64, 12, 9216), (192, 7, 9408), (384, 5, 9600), (256, 6, 9216), (96, 10, 9600)]
)
def test_maps_are_pooled_to_the_sizes_of_the_published_probes(channels, side, numbers):
    maps = torch.randn(2, channels, 1, 30, 30)
    features = pooled(maps, 9600)
    assert features.shape == (2, numbers)
    assert torch.equal(features, F.adaptive_max_pool2d(maps[:, :, 0], side).flatten(1))


def test_small_maps_and_features_stay_as_they_are():
    maps = torch.randn(2, 5, 3, 2, 4)
    assert torch.allclose(pooled(maps, 9600), F.adaptive_max_pool3d(maps, (3, 2, 2)).mean(2).flatten(1))
    assert torch.equal(pooled(torch.ones(3, 7), 2), torch.ones(3, 7))


def test_each_layer_is_found_among_the_features_of_all():
    torch.manual_seed(0)
    trunk = CaffeNet(size=67).build().eval()
    layers = Layers(trunk, ("conv1", "conv4", "fc6"), 500)
    clips = torch.rand(2, 1, 3, 67, 67)
    features = layers(clips)
    assert features.shape == (2, layers.dim)
    for name in layers.names:
        assert torch.equal(features[:, layers.part(name)], pooled(trunk.layer(clips, name), 500))
    with pytest.raises(ValueError, match="has no layer 'conv9'; it has: conv1"):
        Layers(trunk.train(), ("conv9",), 500)
    assert trunk.training  # as it was
    with pytest.raises(ValueError, match="0 numbers of a layer were asked for"):
        Layers(trunk, ("conv1",), 0)


def test_a_layer_scores_what_the_linear_probe_scores_on_it_alone():
    rng = torch.Generator().manual_seed(0)
    records = []
    for n in range(24):
        frames = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8, generator=rng)
        frames[:, n % 3] //= 2
        records.append({"frames": frames, "label": n % 3, "name": str(n), "group": str(n)})
    torch.manual_seed(0)
    trunk = Small(length=1, width=4, size=32).build().eval()
    probe = LayerProbe(penalty=0.1, views=VIEWS)
    scores = probe.score(Encoder(trunk), records[:15], records[15:])
    alone = LinearProbe(penalty=0.1, views=VIEWS).score(Encoder(trunk), records[:15], records[15:])
    assert scores.metrics["features"] == alone.metrics["video_accuracy"]
    assert set(scores.metrics) == {*trunk.layers, "chance", "majority"} and scores.trained == 15
    assert scores.intervals == {name: interval(scores.metrics[name], 9) for name in trunk.layers}
