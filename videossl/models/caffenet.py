"""CaffeNet with batch norm, for frames: the net of Shuffle and Learn and of OPN.

Source: Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", NeurIPS 2012, section 3,
with pooling before normalisation as Caffe's reference net has it (Jia et al., ACM MM 2014); batch norm as in
networks/tuple_train.prototxt of github.com/imisra/shuffle-tuple (Misra et al., "Shuffle and Learn", ECCV 2016).
"""

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch
from torch import Tensor, nn

from videossl.models.base import IMAGENET, Trunk, before_each, by_frame, load_weights
from videossl.models.caffemodel import CaffeLayer, read_caffemodel

CONVOLUTIONS = {"conv1": 2, "conv2": 6, "conv3": 11, "conv4": 14, "conv5": 17}  # where each ends, after its ReLU
DENSE = 4  # modules of each dense layer: linear, norm, ReLU, dropout
SCALE = 255 * 0.226  # Caffe's pixels, 0 to 255 less their mean, are as many times as large as ours
CAFFE_MEAN = 123.68, 116.779, 103.939  # of red, green and blue, which Caffe has in the other order; as in the release


@dataclass(frozen=True)
class CaffeNet:
    """CaffeNet up to fc7, 4096 features; the feature of a clip is the mean over its frames.

    Layers are those of Shuffle and Learn's release: convolutions of 96, 256, 384, 384 and 256 channels; two groups in
    the second, fourth and fifth (once for two GPUs, kept since parameter counts and published numbers are for that
    net); local response norm after pool1 and pool2; batch norm without scale and shift after conv3 to fc7; dropout of
    0.5 after fc6 and fc7. What differs: the biases that such a batch norm cancels are left out; weights start as
    torch's, uniform with a standard deviation of 0.006 to 0.03 (the release: normal, 0.01, and 0.005 in fc6 and fc7);
    colours have unit variance instead of 0 to 255, and the response norm's constant is scaled to match.

    OPN (Lee et al., ICCV 2017) is CaffeNet(size=80, widths=(1024,)), but for a scale and shift after batch norm and for
    windows of 3 pixels in pool5, where 4 to 2 pixels take 2 here.
    """

    size: int = 227  # pixels a side; fc6 has as many inputs as pool5 gives at this size, others are pooled to it
    widths: tuple[int, ...] = (4096, 4096)  # outputs of fc6 and fc7
    # a .caffemodel file, such as Shuffle and Learn's release or Caffe's reference net, which has no batch norm; or a state
    # dict of this trunk. What comes after fc7 is left out
    weights: Path | None = None

    def build(self) -> Trunk:
        return CaffeNetTrunk(self)


class CaffeNetTrunk(Trunk):
    """The network of a `CaffeNet`."""

    def __init__(self, config: CaffeNet):
        size = config.size
        if size < 23 or not config.widths:
            raise ValueError(f"CaffeNet needs frames of at least 23 pixels and fc6, but was asked for {config}")
        resize = round(size * 256 / 227), round(size * 340 / 227)
        super().__init__(dim=config.widths[-1], length=1, size=size, resize=resize, colours=IMAGENET)
        response = dict(size=5, alpha=1e-4 * SCALE**2, beta=0.75, k=1.0)  # Caffe's 1e-4, for its pixels
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, 96, 11, stride=4),  # conv1, 227 to 55 pixels
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=True),  # 27; Caffe rounds up
            nn.LocalResponseNorm(**response),
            nn.Conv2d(96, 256, 5, padding=2, groups=2),  # conv2
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=True),  # 13
            nn.LocalResponseNorm(**response),
            nn.Conv2d(256, 384, 3, padding=1, bias=False),  # conv3
            nn.BatchNorm2d(384, affine=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, 3, padding=1, groups=2, bias=False),  # conv4
            nn.BatchNorm2d(384, affine=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1, groups=2, bias=False),  # conv5
            nn.BatchNorm2d(256, affine=False),
            nn.ReLU(inplace=True),
        )
        side = (size - 11) // 4 + 1
        for _ in ("pool1", "pool2", "pool5"):
            side = max(1, ceil((side - 3) / 2) + 1)  # under 39 pixels pool5 is given one cell
        # pool5. From 2n + 1 to n pixels its windows are those of a pooling over 3 with stride 2: 13 to 6 at 227.
        self.dense = nn.Sequential(nn.AdaptiveMaxPool2d(side), nn.Flatten())
        inputs = 256 * side**2
        for width in config.widths:
            self.dense += nn.Sequential(
                nn.Linear(inputs, width, bias=False),
                nn.BatchNorm1d(width, affine=False),
                nn.ReLU(inplace=True),
                nn.Dropout(0.5),
            )
            inputs = width
        if config.weights is not None and Path(config.weights).suffix == ".caffemodel":
            load_caffe(self, read_caffemodel(config.weights), config.weights)
        elif config.weights is not None:
            load_weights(self, config.weights, classifier="fc8")

    @property
    def layers(self) -> tuple[str, ...]:
        """conv1 to conv5, and fc6, fc7, each after its ReLU."""
        dense = sum(isinstance(layer, nn.Linear) for layer in self.dense)
        return (*CONVOLUTIONS, *(f"fc{6 + n}" for n in range(dense)), *super().layers)

    def layer(self, clips: Tensor, name: str) -> Tensor:
        if name in CONVOLUTIONS:
            net = self.convolutions[: CONVOLUTIONS[name]]
            return by_frame(net, self.normalise(clips)).transpose(1, 2)
        if name.startswith("fc") and name in self.layers:
            net = self.dense[: 2 + DENSE * (int(name[2:]) - 5)]
            return by_frame(net, self.maps(clips).transpose(1, 2)).mean(1)
        return super().layer(clips, name)

    def maps(self, clips: Tensor) -> Tensor:
        """conv5, before pool5: (N, T, 3, H, W) to (N, 256, T, H', W'); 227 pixels to 13."""
        return by_frame(self.convolutions, self.normalise(clips)).transpose(1, 2)

    def stages(self, clips: Tensor) -> list[Tensor]:
        """conv1, conv2 and conv5: 227 pixels to 55, 27 and 13."""
        stages = before_each(nn.MaxPool2d, self.convolutions, self.normalise(clips).flatten(0, 1))
        return [maps.unflatten(0, clips.shape[:2]).transpose(1, 2) for maps in stages]

    def forward(self, clips: Tensor) -> Tensor:
        """The last dense layer, mean over the frames: (N, T, 3, H, W) to (N, dim)."""
        return by_frame(self.dense, self.maps(clips).transpose(1, 2)).mean(1)


@torch.no_grad()
def load_caffe(trunk: CaffeNetTrunk, layers: list[CaffeLayer], path: Path) -> None:
    """Copy Caffe's weights, so that in eval mode the trunk gives what Caffe does.

    Caffe sees blue, green, red, from 0 to 255 less `CAFFE_MEAN`: conv1 is turned to what this trunk sees. Until the first
    batch norm responses are `SCALE` times smaller than Caffe's, and so are features where a file has no batch norm: biases
    stand for the means of batch norm then, whose variance is 1.

    Args:
        path: of the file, for errors.

    Raises:
        ValueError: a layer is missing or of another shape.
    """
    blobs, norms, last = {}, {}, ""
    for layer in layers:
        if layer.kind == "BatchNorm":
            norms[last] = [torch.from_numpy(blob.copy()).flatten() for blob in layer.blobs]
        else:
            last = layer.name
            blobs[last] = [torch.from_numpy(blob.copy()) for blob in layer.blobs]

    modules = [m for m in (*trunk.convolutions, *trunk.dense) if isinstance(m, nn.Conv2d | nn.Linear)]
    norm_of = iter(m for m in (*trunk.convolutions, *trunk.dense) if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d))
    names = [*CONVOLUTIONS, *(f"fc{6 + n}" for n in range(len(modules) - len(CONVOLUTIONS)))]
    scale = SCALE
    for name, module in zip(names, modules, strict=True):
        shapes = [tuple(blob.shape) for blob in blobs.get(name, ())]
        needed = module.weight.shape
        if len(shapes) != 2 or blobs[name][0].numel() != needed.numel() or blobs[name][1].numel() != needed[0]:
            raise ValueError(
                f"the weights in {path} are of another net than this trunk's: its {name} has {shapes or 'none'}, but needed are "
                f"{tuple(needed)} and a bias"
            )
        weight, bias = blobs[name][0].view(needed), blobs[name][1].flatten()
        if name == "conv1":
            weight = weight.flip(1)  # to red, green, blue
            bias = bias + (weight * (255 * trunk.mean - torch.tensor(CAFFE_MEAN).view(3, 1, 1))).sum((1, 2, 3))
            weight = weight * 255 * trunk.std / SCALE
        module.weight.copy_(weight)
        if module.bias is not None:
            module.bias.copy_(bias / scale)
            continue
        norm = next(norm_of)
        if name in norms:
            mean, variance, factor = norms[name]  # sums, and how much they are sums of
            norm.running_mean.copy_((mean / factor - bias) / scale)
            norm.running_var.copy_((variance / factor + norm.eps) / scale**2 - norm.eps)
            scale = 1.0
        else:
            norm.running_mean.copy_(-bias / scale)
            norm.running_var.fill_(1 - norm.eps)
