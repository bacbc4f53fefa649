"""S3D: the inception net for clips, its 3-D convolutions split into space and time.

Source: Xie et al., "Rethinking Spatiotemporal Feature Learning: Speed-Accuracy Trade-offs in Video Classification",
ECCV 2018, section 3 and figure 5.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor, nn
from torchvision.models.video import s3d

from videossl.models.base import KINETICS, Pool, Trunk, before_each, load_weights


@dataclass(frozen=True)
class S3D:
    """S3D, 1024 features, torchvision's; for 64 frames of 224 pixels (CoCLR: 32 of 128). No gating: it is not S3D-G.

    Three things differ from torchvision's net. Features are the mean over all of the last maps: torchvision, like the
    paper, slides a window of 2 moments by 7 x 7 places over them, by which the first and last moment count half once
    there are more than two; for 13 to 20 frames of 224 pixels both are the same. The last pooling's window shrinks to
    what is there, so that clips under five frames have features; where torchvision's has a result it is the same. Batch
    norm has torch's momentum of 0.1, as in CoCLR's code: with torchvision's 0.001 its running mean needs thousands of
    steps to be of use.
    """

    weights: Path | None = None  # a state dict of torchvision's s3d; its classifier is left out

    def build(self) -> Trunk:
        return S3DTrunk(self)


class S3DTrunk(Trunk):
    """torchvision's S3D without its classifier: the network of an `S3D`."""

    def __init__(self, config: S3D):
        super().__init__(dim=1024, length=64, size=224, resize=(256, 340), colours=KINETICS)
        self.net = s3d(norm_layer=partial(nn.BatchNorm3d, eps=0.001))
        self.net.features[13] = Pool(2, 2, 2)  # the only one without padding
        self.net.classifier = nn.Identity()
        if config.weights is not None:
            load_weights(self.net, config.weights, classifier="classifier.")

    def maps(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) to (N, 1024, T', H', W'): 64 frames of 224 pixels to 8 moments of 7 x 7."""
        return self.net.features(self.normalise(clips).transpose(1, 2))

    def stages(self, clips: Tensor) -> list[Tensor]:
        """What each pooling is given, and the last maps: height and width over 2, 4, 8, 16 and 32."""
        return before_each((nn.MaxPool3d, Pool), self.net.features, self.normalise(clips).transpose(1, 2))
