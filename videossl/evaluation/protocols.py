"""Published protocols as values: what a number in a paper's table means, said in full, and where ours differs.

Each is a protocol (`Judge`) with the fields that its source gives, under a name and a version: the version grows when a
value is corrected, so that an old result says what it was. `dataclasses.replace` makes others of it.

Not fields of a protocol are the trunk, the scale of the frames (`resize` of the trunk) and the split: a result holds
them. Sources are what was read in the named repository; what was recalled of a paper is marked "from memory".
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from videossl.evaluation.base import Judge
from videossl.evaluation.detection import Detection
from videossl.evaluation.finetune import FineTune
from videossl.evaluation.knn import KNN
from videossl.evaluation.probe import LinearProbe
from videossl.evaluation.propagation import Propagation
from videossl.evaluation.retrieval import Retrieval
from videossl.evaluation.views import Views


@dataclass(frozen=True)
class Published:
    """A protocol as one paper's numbers were made."""

    judge: Judge
    source: str
    leaves: str = ""  # in what ours differs from the source
    version: int = 1

    @property
    def mistake(self) -> str:
        """What makes the source's number more than it should be, where this protocol repeats it."""
        return mistake(self.judge)


TEN_CLIPS = Views(clips=10, crops=1)
TWO_STREAM = FineTune(epochs=268, batch=128, rate=1e-2, drops=(0.7,), views=Views(clips=25, length=1, crops=10))
VCOP = FineTune(epochs=150, batch=8, rate=1e-3, constant=True, average="logits", choose="held_out", views=TEN_CLIPS)
COCLR = FineTune(
    epochs=500,
    batch=32,
    rate=1e-4,
    head=10.0,
    optimizer="adam",
    decay=1e-3,
    drops=(0.8, 0.9),
    dropout=0.9,
    area=(0.2, 1.0),
    choose="held_out",
    views=Views(length=32, every=15, crops=10),
)
# Fields that exclude each other: clips evenly spaced or one every so many frames; a rate that stays or falls in steps.
TOGETHER = ("views.clips", "views.every"), ("constant", "drops")
HALF_OVERLAPPING = Views(length=32, every=15, crops=1)

PUBLISHED = {
    "shuffle-and-learn-finetune": Published(
        TWO_STREAM,
        "Misra et al., ECCV 2016; github.com/imisra/shuffle-tuple: 25 frames, 10 crops, batches of 128",
        leaves="the schedule is the two-stream recipe's, from memory: 1e-2, a tenth after 14,000 of 20,000 steps, which are"
        " 268 epochs of UCF101; fc6 and fc7 go on from what they learned, theirs begin anew",
    ),
    "opn-finetune": Published(
        TWO_STREAM,
        "Lee et al., ICCV 2017; github.com/HsinYingLee/OPN: the two-stream scheme, 25 frames, 10 crops",
        leaves="their schedule was not released: this is the one above",
    ),
    "vcop-finetune": Published(
        VCOP,
        "Xu et al., CVPR 2019; github.com/xudejing/video-clip-order-prediction, ft_classify.py",
        leaves="they hold out 800 random videos, whose groups are also trained on; we hold out groups. Mirrored, too",
    ),
    "vcop-retrieval": Published(
        Retrieval(maps=9600, views=TEN_CLIPS),
        "Xu et al., CVPR 2019; github.com/xudejing/video-clip-order-prediction, retrieve_clips.py",
        leaves="their loader loses the last 1 training and 7 test videos of UCF101; pooled to a square, theirs by (1, 2, 2)",
    ),
    "coclr-finetune": Published(
        COCLR,
        "Han et al., NeurIPS 2020; github.com/TengdaHan/CoCLR, eval/main_classifier.py",
        leaves="the epoch is chosen on held-out training groups; no colour jitter, which they also leave on in tests",
    ),
    "coclr-finetune-as-published": Published(
        dataclasses.replace(COCLR, choose="test"),
        "the same code",
        leaves="their choice is on 30 % of the test list, ours on all of it",
    ),
    "coclr-linear": Published(
        LinearProbe(views=dataclasses.replace(HALF_OVERLAPPING, crops=10)),
        "Han et al., NeurIPS 2020; github.com/TengdaHan/CoCLR, eval/main_classifier.py",
        leaves="they run SGD on unit features for 100 epochs; ours is the optimum of a logistic regression",
    ),
    "coclr-retrieval": Published(
        Retrieval(views=HALF_OVERLAPPING),
        "Han et al., NeurIPS 2020; github.com/TengdaHan/CoCLR, without its centring",
    ),
    "coclr-retrieval-centred": Published(
        Retrieval(centre=True, views=dataclasses.replace(HALF_OVERLAPPING, shortest=16)),
        "the same code as it is",
    ),
    "rspnet-finetune": Published(
        FineTune(epochs=30, batch=32, rate=0.1, decay=1e-4, area=(0.25, 1.0), views=TEN_CLIPS),
        "Chen et al., AAAI 2021; github.com/PeihaoChen/RSPNet, config/finetune/ucf101_resnet18.jsonnet",
        leaves="they resample videos to 25 frames a second; HMDB51 takes 70 epochs there",
        version=2,
    ),
    "rspnet-retrieval": Published(Retrieval(views=TEN_CLIPS), "Chen et al., AAAI 2021; github.com/PeihaoChen/RSPNet"),
    "slowfast-finetune": Published(
        FineTune(
            epochs=200,
            batch=64,
            rate=0.01,
            decay=0.0,
            dropout=0.8,
            area=(0.25, 1.0),
            views=Views(clips=10, length=8, stride=8, crops=3),
        ),
        "Feichtenhofer et al., CVPR 2021; github.com/facebookresearch/SlowFast, UCF101 configuration syn8",
        leaves="theirs scales each crop's shorter side at random; batch norm over all devices is not set here",
    ),
    "videomae-finetune": Published(
        FineTune(
            epochs=100,
            batch=128,
            rate=2.5e-4,
            optimizer="adamw",
            decay=0.05,
            dropout=0.5,
            area=(0.08, 1.0),
            views=Views(clips=5, length=16, stride=4, crops=3),
        ),
        "Tong et al., NeurIPS 2022; github.com/MCG-NJU/VideoMAE, scripts/ucf101: 8 GPUs with 16 videos each, and a rate of"
        " 5e-4 * 128 / 256",
        leaves="area from memory; without their decay of rates by layer, drop path, mixup, RandAugment and two examples a"
        " video",
        version=2,
    ),
    "severe-linear": Published(
        LinearProbe(views=Views(clips=10, length=32, crops=1)),
        "Thoker et al., ECCV 2022; github.com/fmthoker/SEVERE-BENCHMARK",
        leaves="they run Adam for 10 epochs on 16 frames a second; ours is the optimum of a logistic regression",
    ),
    "dino-knn": Published(
        KNN(k=20, temperature=0.07, views=Views(clips=1, crops=1)),
        "Caron et al., ICCV 2021; github.com/facebookresearch/dino, eval_knn.py (of images)",
    ),
    "dino-propagation": Published(
        Propagation(),
        "Caron et al., ICCV 2021; github.com/facebookresearch/dino, eval_video_segmentation.py, on DAVIS-2017",
        leaves="a cell of the first frame has shares of the things, theirs the nearest pixel's; frames are scaled as --size"
        " says, theirs to 480 pixels a side and the other to a multiple of 64",
    ),
    "moco-detection": Published(
        Detection(steps=24_000, batch=16, rate=0.02, regions=512),
        "He et al., CVPR 2020; github.com/facebookresearch/moco, detection: VOC 2007 and 2012 trainval, VOC 2007 test",
        leaves="a feature pyramid, where theirs looks at the fourth stage and has the fifth on what is cut out; the rate falls"
        " along a cosine, theirs to a tenth after 18,000 and 22,000 steps; frames are scaled as --size says, theirs to 480 to"
        " 800 pixels high; batch norm sees one device's pictures, theirs all; pictures of 2012 are those in your trainval.txt",
    ),
    "knn": Published(KNN(), "ours: no protocol of k-NN on videos is established"),
    "retrieval": Published(Retrieval(), "ours: as Xu et al., on the features that the trunk returns"),
    "linear": Published(LinearProbe(), "ours: no learning rate to choose, the penalty chosen on held-out groups"),
    "finetune": Published(FineTune(), "ours: the recipe of Xu et al., nothing chosen on any video"),
}


def mistake(judge: Judge) -> str:
    """What makes a protocol's number more than it should be, whoever asks for it; nothing where all is well."""
    found = []
    if getattr(judge, "choose", None) == "test":
        found.append("test videos choose the epoch")
    if getattr(judge, "centre", False):
        found.append("a test video's answer depends on the other test videos")
    if judge.views.shortest > 1:
        found.append(f"videos under {judge.views.shortest} frames are dropped")
    return ", and ".join(found)


def fields_of(value: Any, prefix: str = "") -> dict[str, Any]:
    """A protocol's fields and those of dataclasses in it, by their names on the command line ("views.clips")."""
    found = {}
    for f in dataclasses.fields(value):
        inner = getattr(value, f.name)
        found |= fields_of(inner, f"{prefix}{f.name}.") if dataclasses.is_dataclass(inner) else {prefix + f.name: inner}
    return found


def differences(one: Judge, other: Judge) -> dict[str, tuple[Any, Any]]:
    """Fields in which two protocols of one kind differ, and both values.

    Raises:
        ValueError: they are of two kinds.
    """
    if type(one) is not type(other):
        raise ValueError(f"{one.title} and {other.title} are different questions: compare two of one kind")
    first, second = fields_of(one), fields_of(other)
    return {name: (first[name], second[name]) for name in first if first[name] != second[name]}


def between(one: Judge, other: Judge) -> dict[str, Judge]:
    """`one`, with each of `other`'s fields that differ by itself: name -> protocol. `TOGETHER` change as one."""
    names = list(differences(one, other))
    groups = []
    for name in names:
        partners = next((fields for fields in TOGETHER if name in fields), (name,))
        if (group := [name for name in names if name in partners]) not in groups:
            groups.append(group)
    found = {}
    for group in groups:
        views = {name.removeprefix("views."): fields_of(other)[name] for name in group if name.startswith("views.")}
        plain = {name: fields_of(other)[name] for name in group if not name.startswith("views.")}
        changed = dataclasses.replace(one, **plain)
        if views:
            changed = dataclasses.replace(changed, views=dataclasses.replace(one.views, **views))
        found["+".join(group)] = changed
    return found
