"""Tables of papers: what they print, the commands that make them anew, and smaller ones for what is simulated.

In commands {out} is the folder for all of it, {root} that of the paper's data, and a line with {seed} is done for each seed.
The small ones say the same of less: small trunks, hundreds of steps, and pictures that a simulator draws.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperTable:
    """One table of a paper."""

    title: str
    source: str
    verified: bool  # numbers checked against the source; otherwise from memory, and shown as such
    columns: tuple[str, ...]
    theirs: dict[str, tuple[float | None, ...]]  # what was scored -> a number for each column
    paper: tuple[str, ...]  # commands at the paper's scale
    small: tuple[str, ...]  # commands on what is simulated; those of `evaluate` write to {out}/evaluation
    leaves: str = ""  # where the commands at the paper's scale leave the paper
    metrics: tuple[str, ...] = ()  # of ours that theirs are; none: the first of each protocol
    numbers: str = ""  # file in {out} with what a recipe finds that asks no `evaluate`
    beside: tuple[str, str] = ("", "")  # of theirs: without the method, and with it, where `evaluate` finds ours
    digits: int = 1  # that the paper prints after the point


CLUTTER = "simulate clutter --out {out}/clutter --train 200 --test 100 --categories mug book ball --seed 1"
PLACES = (
    "evaluate {out}/seed{seed} random --root {out}/clutter --dataset voc --size 96 96 --detection.steps 300 --detection.batch 4"
    " --detection.width 32 --segmentation.steps 300 --segmentation.width 32 --depth.steps 300 --depth.width 32 --seeds {seed} --out {out}/evaluation --protocols"
)
# Fine-tuned on random resized crops, mirrored; the middle is tested.
IMAGENET = (
    "--dataset image_folder --size 256 256 --protocols finetune --finetune.area 0.08 1 --finetune.views.clips 1"
    " --finetune.views.crops 1"
)
LABELS_1_10 = "top-5 of ImageNet, 1 % of the labels", "10 %"
ADAM = "--optimizer adamw --rate 2e-3 --drops --decay 0.05 --save 100 --workers 2"
ACTIONS = (
    "simulate actions --out {out}/actions --groups 60 --frames 48 --size 56 --seed 1",
    "index {out}/actions --decoder pyav",
)
OBJECTS = "simulate objects --out {out}/objects --train 10 --test 10 --size 56 --plain --seed 1"
FEW_STEPS = f"--steps 400 --batch 32 {ADAM} --seed {{seed}} --out {{out}}/seed{{seed}}"
FINETUNE = (
    "evaluate {out}/seed{seed} random --root {out}/actions --size 56 56 --protocols finetune --finetune.epochs 20"
    " --finetune.batch 15 --finetune.rate 2e-3 --finetune.head 50 --finetune.labels 5 --finetune.views.clips 4"
    " --finetune.views.length 4 --finetune.views.stride 4 --finetune.views.crops 1 --seeds {seed} --out {out}/evaluation"
)
FEW_LABELS = (
    "evaluate {out}/seed{seed} random --root {out}/objects --dataset image_folder --size 56 56 --protocols linear"
    " --linear.penalty 0.01 --linear.views.clips 1 --linear.views.crops 1 --linear.labels LABELS --seeds {seed}"
    " --out {out}/evaluation"
)
ALL_LABELS = FEW_LABELS.replace(" --linear.labels LABELS", "")
FIXMATCH = (
    "evaluate {out}/seed{seed} random --root {out}/objects --dataset image_folder --size 56 56 --protocols semi_supervised"
    " --semi-supervised.labels 5 --semi-supervised.steps 200 --semi-supervised.ratio 3 --semi-supervised.rate 1e-2"
    " --semi-supervised.views.clips 1 --semi-supervised.views.crops 1 --seeds {seed} --out {out}/evaluation"
)

TABLES = {
    "shuffle-and-learn": PaperTable(
        "Shuffle and Learn, table 2: accuracy of fine-tuned nets, mean of 3 splits",
        "Misra et al., ECCV 2016, as quoted in lecture slides; the authors' release",
        True,
        ("UCF101", "HMDB51"),
        {
            "random initialisation": (38.6, 13.3),
            "trained on UCF101 with labels": (None, 15.2),
            "Shuffle and Learn": (50.2, 18.1),
        },
        (
            "index {root}",
            "pretrain --root {root} --seed {seed} --out {out}/seed{seed}",
            "evaluate {out}/seed{seed} random --root {root} --protocols shuffle-and-learn-finetune --seeds {seed}"
            " --out {out}/evaluation",
        ),
        (
            *ACTIONS,
            f"pretrain --root {{out}}/actions --size 56 56 {FEW_STEPS} method:shuffle-and-learn --method.far 4"
            " --method.near 4 --method.negatives 0.5 --method.jitter 2 --method.head pairs trunk:small --trunk.length 1"
            " --trunk.size 48",
            FINETUNE,
        ),
        "split 1 of UCF101; the others are `--split` of pretrain and `--splits` of evaluate",
        beside=("random initialisation", "Shuffle and Learn"),
    ),
    "opn": PaperTable(
        "OPN, table 1: accuracy of fine-tuned nets, mean of 3 splits",
        "Lee et al., ICCV 2017",
        False,
        ("UCF101", "HMDB51"),
        {
            "random initialisation": (47.8, 16.3),
            "ImageNet": (67.7, 28.0),
            "Shuffle and Learn": (50.2, 18.1),
            "OPN": (56.3, 22.1),
        },
        (
            "index {root}",
            "pretrain --root {root} --size 240 320 --batch 64 --rate 1e-2 --steps 170000 --drops 0.76 --seed {seed}"
            " --out {out}/seed{seed} method:opn trunk:caffenet --trunk.size 80 --trunk.widths 1024",
            "evaluate {out}/seed{seed} random --root {root} --protocols opn-finetune --seeds {seed} --out {out}/evaluation",
        ),
        (
            *ACTIONS,
            f"pretrain --root {{out}}/actions --size 56 56 {FEW_STEPS} method:opn --method.gap 3 --method.region 1.0"
            " --method.slack 8 --method.fc7 128 --method.jitter 2 --method.dropout 0 --method.pairs difference trunk:small"
            " --trunk.length 1 --trunk.size 48",
            FINETUNE,
        ),
        "split 1 of UCF101",
        beside=("random initialisation", "OPN"),
    ),
    "ego-motion": PaperTable(
        "Ego-motion equivariance, table of scenes: accuracy with 6 labels a class, KITTI to SUN397",
        "Jayaraman and Grauman, ICCV 2015",
        False,
        ("SUN397",),
        {
            "labels only": (0.70,),
            "temporal coherence": (1.21,),
            "DrLIM": (1.02,),
            "equivariance": (1.31,),
            "equivariance and DrLIM": (1.58,),
        },
        (
            "pretrain --root {root}/KITTI --dataset kitti_raw --seed {seed} --out {out}/seed{seed} method:equivariance"
            " --method.no-relative --method.no-standardise --method.margin 1 trunk:small --trunk.length 1 --trunk.size 32",
            "evaluate {out}/seed{seed} random --root {root}/SUN397 --dataset sun397 --protocols linear --linear.labels 6"
            " --seeds {seed} --out {out}/evaluation",
        ),
        (
            "simulate driving --out {out}/drives --drives 60 --size 60 100 --seed 1",
            "simulate scenes --out {out}/scenes --size 48 64 --seed 1",
            "pretrain --root {out}/drives --dataset kitti_raw --steps 400 --batch 32 --optimizer adamw --rate 5e-3 --drops"
            " --decay 0.05 --clip 1 --save 100 --seed {seed} --out {out}/seed{seed} method:equivariance --method.gap 5"
            " --method.patterns 4 --method.mirror --method.pull 3 trunk:small --trunk.length 1 --trunk.grid 3",
            "evaluate {out}/seed{seed} random --root {out}/scenes --dataset sun397 --protocols knn linear --linear.labels 6"
            " --linear.penalty 0.01 --seeds {seed} --out {out}/evaluation",
        ),
        "the trunk is ours, features are learned without labels and then probed, not jointly",
        digits=2,
        beside=("labels only", "equivariance"),
    ),
    "curious-robot": PaperTable(
        "The Curious Robot, table 1: accuracy of classification",
        "Pinto et al., ECCV 2016, as quoted in lecture slides",
        True,
        ("household", "UW RGB-D", "Caltech-256"),
        {
            "random initialisation": (25.0, 46.8, 24.2),
            "identity only": (31.5, 66.0, 25.2),
            "auto-encoder": (29.6, 65.7, 28.0),
            "robot tasks": (35.4, 69.3, 31.7),
            "ImageNet": (62.5, 82.0, 65.6),
        },
        ("curious-robot --scale paper --images {root} --out {out}/robot",),
        ("curious-robot --scale quick --out {out}/robot",),
        "simulated interactions; tables 2 and 3 are printed too",
        numbers="robot/curious_robot.json",
    ),
    "simclr-labels": PaperTable(
        "SimCLR, table 7: few labels",
        "Chen et al., ICML 2020, as quoted in lecture slides",
        True,
        LABELS_1_10,
        {
            "labels alone": (48.4, 80.4),
            "pseudo-labels": (51.6, 82.4),
            "FixMatch": (None, 89.1),
            "instance discrimination": (39.2, 77.4),
            "PIRL": (57.2, 83.8),
            "SimCLR": (75.5, 87.8),
            "SimCLR, 4 times as wide": (85.8, 92.6),
        },
        (
            "pretrain --root {root} --dataset image_folder --size 256 256 --batch 4096 --steps 312000 --rate 4.8 --drops"
            " --decay 1e-6 --seed {seed} --out {out}/seed{seed} method:sim-clr trunk:resnet --trunk.depth 50",
            *(
                f"evaluate {{out}}/seed{{seed}} random --root {{root}} {IMAGENET} --finetune.labels {share}"
                f" --finetune.epochs {epochs} --finetune.batch 4096 --finetune.rate 0.8 --finetune.decay 0"
                " --seeds {seed} --out {out}/evaluation"
                for share, epochs in ((0.01, 60), (0.1, 30))
            ),
        ),
        (
            OBJECTS,
            f"pretrain --root {{out}}/objects --dataset image_folder --size 56 56 {FEW_STEPS} method:sim-clr"
            " --method.hidden 256 --method.out 64 --method.temperature 0.2 trunk:small --trunk.length 1 --trunk.size 48",
            FEW_LABELS.replace("LABELS", "1"),
            FEW_LABELS.replace("LABELS", "5"),
            ALL_LABELS,
            FIXMATCH,
        ),
        "SGD, where the paper has LARS, and in fine-tuning without Nesterov's momentum; all epochs from memory",
        metrics=("top5_accuracy",),
        beside=("labels alone", "SimCLR"),
    ),
    "moco-detection": PaperTable(
        "MoCo, table of detection: AP50 on VOC 2007, Faster R-CNN on ResNet-50",
        "He et al., CVPR 2020, as quoted in lecture slides",
        True,
        ("AP50",),
        {
            "labels of ImageNet": (74.4,),
            "relative position": (66.8,),
            "jigsaw": (61.4,),
            "local aggregation": (69.1,),
            "MoCo, ImageNet": (74.9,),
            "MoCo, a billion pictures": (75.6,),
        },
        (
            "pretrain --root {root}/ImageNet --dataset image_folder --size 256 256 --batch 256 --steps 1000000 --rate 0.03"
            " --drops 0.6 0.8 --decay 1e-4 --seed {seed} --out {out}/seed{seed} method:mo-co --method.version 1 trunk:resnet"
            " --trunk.depth 50",
            "evaluate {out}/seed{seed} random --root {root}/VOCdevkit/VOC2007 --dataset voc --size 480 640 --protocols"
            " moco-detection --seeds {seed} --out {out}/evaluation",
        ),
        (
            CLUTTER,
            f"pretrain --root {{out}}/clutter --dataset voc --size 104 104 {FEW_STEPS} method:mo-co --method.queue 512"
            " --method.momentum 0.99 --method.hidden 256 --method.out 64 trunk:small --trunk.length 1 --trunk.size 96",
            f"{PLACES} detection",
        ),
        "see `videossl protocols moco-detection`, whose 24,000 steps are the paper's for VOC 2007 and 2012 together",
        beside=("labels of ImageNet", "MoCo, ImageNet"),
    ),
    "rotnet": PaperTable(
        "RotNet, table of transfer: AP50 on VOC 2007 and mIoU on VOC 2012, AlexNet",
        "Gidaris et al., ICLR 2018, as quoted in lecture slides",
        True,
        ("detection", "segmentation"),
        {
            "random initialisation": (43.4, 19.8),
            "labels of ImageNet": (56.8, 48.0),
            "context encoder": (44.5, 29.7),
            "colour": (46.9, 35.6),
            "BiGAN": (46.9, 34.9),
            "jigsaw": (53.2, 37.6),
            "counting": (51.4, 36.6),
            "RotNet": (54.4, 39.1),
        },
        (
            "pretrain --root {root}/ImageNet --dataset image_folder --size 256 256 --batch 192 --steps 200000 --rate 0.01"
            " --drops 0.33 0.66 --decay 5e-4 --seed {seed} --out {out}/seed{seed} method:rotation trunk:caffenet",
            "evaluate {out}/seed{seed} random --root {root}/VOCdevkit/VOC2007 --dataset voc --size 480 640 --protocols"
            " detection --seeds {seed} --out {out}/evaluation",
            "evaluate {out}/seed{seed} random --root {root}/VOCdevkit/VOC2007 --dataset voc --size 480 640 --protocols"
            " segmentation --lists {root}/VOCdevkit/VOC2007/ImageSets/Segmentation --seeds {seed} --out {out}/evaluation",
        ),
        (
            CLUTTER,
            f"pretrain --root {{out}}/clutter --dataset voc --size 104 104 {FEW_STEPS} method:rotation trunk:small"
            " --trunk.length 1 --trunk.size 96",
            f"{PLACES} detection segmentation depth",
        ),
        "Faster R-CNN with a feature pyramid, where theirs is Fast R-CNN; masks are VOC 2007's; steps are this toolkit's",
        beside=("random initialisation", "RotNet"),
    ),
    "mae": PaperTable(
        "MAE, table 3: accuracy on ImageNet of fine-tuned transformers",
        "He et al., CVPR 2022, as quoted in lecture slides",
        True,
        ("ViT-B", "ViT-L", "ViT-H"),
        {
            "labels alone": (82.3, 82.6, 83.1),
            "DINO": (82.8, None, None),
            "MoCo v3": (83.2, 84.1, None),
            "BEiT": (83.2, 85.2, None),
            "MAE": (83.6, 85.9, 86.9),
        },
        (
            "pretrain --root {root} --dataset image_folder --size 256 256 --batch 4096 --steps 250000 --optimizer adamw"
            " --rate 2.4e-3 --drops --decay 0.05 --seed {seed} --out {out}/seed{seed} method:mae trunk:vit",
            f"evaluate {{out}}/seed{{seed}} random --root {{root}} {IMAGENET} --finetune.epochs 100 --finetune.batch 1024"
            " --finetune.optimizer adamw --finetune.rate 2e-3 --finetune.decay 0.05 --seeds {seed} --out {out}/evaluation",
        ),
        (
            OBJECTS,
            f"pretrain --root {{out}}/objects --dataset image_folder --size 56 56 {FEW_STEPS} method:mae --method.width 96"
            " --method.depth 2 --method.heads 4 trunk:vit --trunk.width 96 --trunk.depth 4 --trunk.heads 4 --trunk.patch 6"
            " --trunk.size 48",
            "evaluate {out}/seed{seed} random --root {out}/objects --dataset image_folder --size 56 56 --protocols finetune"
            " --finetune.epochs 10 --finetune.batch 32 --finetune.optimizer adamw --finetune.rate 1e-3 --finetune.decay 0.05"
            " --finetune.area 0.3 1 --finetune.views.clips 1 --finetune.views.crops 1 --seeds {seed} --out {out}/evaluation",
        ),
        "fine-tuned without mixup, cutmix, erasing, drop path and rates that fall by layer",
        beside=("labels alone", "MAE"),
    ),
    "dino": PaperTable(
        "DINO, tables of attention and label propagation: Jaccard on VOC 2012, J&F on DAVIS-2017",
        "Caron et al., ICCV 2021",
        False,
        ("Jaccard", "J&F"),
        {
            "random initialisation": (22.0, None),
            "labels of ImageNet": (27.3, 66.0),
            "DINO": (45.9, 69.9),
        },
        (
            "pretrain --root {root}/ImageNet --dataset image_folder --size 256 256 --batch 1024 --steps 125000 --optimizer"
            " adamw --rate 2e-3 --drops --decay 0.04 --seed {seed} --out {out}/seed{seed} method:dino trunk:vit --trunk.patch"
            " 8",
            "evaluate {out}/seed{seed} random --root {root}/DAVIS --dataset davis --size 480 854 --protocols dino-propagation"
            " attention --seeds {seed} --out {out}/evaluation",
        ),
        (
            "simulate masks --out {out}/masks --train 60 --val 20 --frames 24 --seed 1",
            "pretrain --root {out}/masks --dataset davis --size 128 128 --steps 300 --batch 16 --optimizer adamw --rate 1e-3"
            " --drops --decay 0.05 --clip 1 --save 100 --workers 2 --seed {seed} --out {out}/seed{seed} method:dino"
            " --method.small 4 --method.small-size 0.5 --method.prototypes 256 --method.hidden 128 --method.bottleneck 64"
            " trunk:vit --trunk.width 96 --trunk.depth 4 --trunk.heads 4 --trunk.patch 8 --trunk.size 96",
            "evaluate {out}/seed{seed} random --root {out}/masks --dataset davis --size 128 128 --protocols propagation"
            " attention --seeds {seed} --out {out}/evaluation",
        ),
        "100 epochs, theirs are 300 and more; attention is measured on DAVIS's things, not VOC's",
        metrics=("jaccard", "J&F"),
        beside=("labels of ImageNet", "DINO"),
    ),
}
