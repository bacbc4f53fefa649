import struct

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from videossl.models.caffemodel import read_caffemodel
from videossl.models.caffenet import CAFFE_MEAN, CaffeNet

SHAPES = {
    **{"conv1": (96, 3, 11, 11), "conv2": (256, 48, 5, 5), "conv3": (384, 256, 3, 3), "conv4": (384, 192, 3, 3)},
    **{"conv5": (256, 192, 3, 3), "fc6": (8, 256), "fc7": (6, 8), "fc8": (2, 6)},
}  # of a net for 67 pixels


def number(value: int) -> bytes:
    if value < 128:
        return bytes([value])
    return bytes([value & 127 | 128]) + number(value >> 7)


def field(n: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return number(n << 3 | 2) + number(len(value)) + value


def blob(values: np.ndarray, old: bool) -> bytes:
    data = field(5, values.astype("<f4").tobytes())
    if not old:
        return field(7, field(1, b"".join(map(number, values.shape)))) + data
    sides = (1,) * (4 - values.ndim) + values.shape
    return b"".join(number(n << 3) + number(side) for n, side in enumerate(sides, 1)) + data


def caffemodel(weights: dict[str, list[np.ndarray]], old: bool = False) -> bytes:
    """A file of layers; those named norm... are batch norm. Old ones number their kinds."""
    made = field(1, "CaffeNet")
    for name, blobs in {"relu": [], **weights}.items():
        kind = "BatchNorm" if name.startswith("norm") else "Convolution"
        told = (
            field(4, name) + number(5 << 3) + number(4) if old else field(1, name) + field(2, kind) + field(3, "below")
        )
        made += field(2 if old else 100, told + b"".join(field(6 if old else 7, blob(b, old)) for b in blobs))
    return made


def drawn(normed: bool) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    weights = {}
    for name, shape in SHAPES.items():
        weights[name] = [rng.normal(0, 0.5 / np.sqrt(np.prod(shape[1:])), shape), rng.normal(0, 1, shape[0])]
        if normed and name[-1] in "34567":
            weights[f"norm{name}"] = [rng.normal(0, 3, shape[0]), rng.uniform(1, 9, shape[0]), np.array([3.0])]
    return weights


def by_caffe(weights: dict[str, list[np.ndarray]], frames: torch.Tensor) -> torch.Tensor:
    """fc7 of (N, 3, H, W) floats in [0, 1], as tuple_train.prototxt has it."""
    w = {name: [torch.from_numpy(b).float() for b in blobs] for name, blobs in weights.items()}

    def layer(name: str, x: torch.Tensor, **how) -> torch.Tensor:
        x = F.linear(x, *w[name]) if name.startswith("fc") else F.conv2d(x, *w[name], **how)
        if f"norm{name}" in w:
            mean, variance, factor = w[f"norm{name}"]
            x = F.batch_norm(x, mean / factor, variance / factor, eps=1e-5)
        return x.relu()

    x = (255 * frames - torch.tensor(CAFFE_MEAN).view(3, 1, 1)).flip(1)  # blue, green, red
    x = layer("conv1", x, stride=4)
    x = F.local_response_norm(F.max_pool2d(x, 3, 2, ceil_mode=True), 5, 1e-4, 0.75, 1)
    x = layer("conv2", x, padding=2, groups=2)
    x = F.local_response_norm(F.max_pool2d(x, 3, 2, ceil_mode=True), 5, 1e-4, 0.75, 1)
    for name, groups in (("conv3", 1), ("conv4", 2), ("conv5", 2)):
        x = layer(name, x, padding=1, groups=groups)
    x = F.max_pool2d(x, 3, 2, ceil_mode=True).flatten(1)
    return layer("fc7", layer("fc6", x))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("normed", [True, False])
def test_features_are_those_of_caffe_of_its_own_colours_and_mean(tmp_path, normed, old):
    if old and normed:
        pytest.skip("files of that age have no batch norm")
    weights = drawn(normed)
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(weights, old))
    trunk = CaffeNet(67, (8, 6), tmp_path / "net.caffemodel").build().eval()
    frames = torch.rand(3, 3, 67, 67)
    expected = by_caffe(weights, frames) / (1 if normed else 255 * 0.226)
    with torch.no_grad():
        torch.testing.assert_close(trunk(frames[:, None]), expected, rtol=1e-3, atol=1e-4)
    assert expected.std() > 1e-3


def test_layers_come_in_their_order_with_what_they_hold(tmp_path):
    (tmp_path / "a").write_bytes(caffemodel({"conv1": [np.arange(6.0).reshape(1, 2, 3)], "norm1": [np.ones(2)]}))
    one, other = read_caffemodel(tmp_path / "a")
    assert (one.name, one.kind, other.name, other.kind) == ("conv1", "Convolution", "norm1", "BatchNorm")
    assert one.blobs[0].tolist() == [[[0, 1, 2], [3, 4, 5]]] and one.blobs[0].dtype == np.float32


def test_files_of_another_net_or_kind_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weights at .*nowhere\.caffemodel"):
        CaffeNet(weights=tmp_path / "nowhere.caffemodel").build()
    path = tmp_path / "net.caffemodel"
    whole = caffemodel({"conv1": [np.zeros((96, 3, 7, 7)), np.zeros(96)]})
    for content in (whole[:-5], b"\x89PNG\r\n", struct.pack("<16f", *range(16)), b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"is no \.caffemodel file"):
            read_caffemodel(path)
    path.write_bytes(whole)
    with pytest.raises(
        ValueError, match=r"another net than this trunk's: its conv1 has \[\(96, 3, 7, 7\), \(96,\)\], but"
    ):
        CaffeNet(67, (8, 6), path).build()


def test_a_state_dict_of_the_trunk_comes_back(tmp_path):
    made = CaffeNet(67, (8, 6)).build()
    torch.save(made.state_dict(), tmp_path / "net.pth")
    again = CaffeNet(67, (8, 6), tmp_path / "net.pth").build()
    assert all(torch.equal(again.state_dict()[name], value) for name, value in made.state_dict().items())
