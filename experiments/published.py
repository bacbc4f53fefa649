"""Numbers that the methods' papers print, to stand beside ours.

They are of the whole benchmark and of the paper's own network and schedule: a report says where ours are not.
"""

from dataclasses import dataclass

RELEASE = "Misra et al., ECCV 2016; the authors' release, README"
LECTURE = "Misra et al., ECCV 2016, as quoted in lecture slides (Pittsburgh, 2024)"


@dataclass(frozen=True)
class Published:
    """One number of a method's paper."""

    method: str  # the class of ours that implements the paper
    subject: str  # what was scored: the method itself, or what the paper compares it with
    trunk: str  # the class of ours that is the paper's network
    benchmark: str
    splits: tuple[int, ...]  # of the benchmark; the mean over them where there are several
    protocol: str
    metric: str
    percent: float  # as printed
    source: str
    verified: bool = True  # checked against the source named; otherwise from memory, and shown as such


SHUFFLE_AND_LEARN = "Shuffle and Learn"
ALL = (1, 2, 3)

PUBLISHED = [
    Published(
        "ShuffleAndLearn", subject, "CaffeNet", benchmark, splits, "Fine-tuning", "video_accuracy", percent, source
    )
    for subject, benchmark, splits, percent, source in [
        (SHUFFLE_AND_LEARN, "UCF101", ALL, 50.2, RELEASE),
        (SHUFFLE_AND_LEARN, "UCF101", (1,), 50.9, RELEASE),
        ("random initialisation", "UCF101", ALL, 38.6, LECTURE),
        (SHUFFLE_AND_LEARN, "HMDB51", ALL, 18.1, RELEASE),
        (SHUFFLE_AND_LEARN, "HMDB51", (1,), 19.8, RELEASE),
        ("random initialisation", "HMDB51", ALL, 13.3, LECTURE),
        ("trained on UCF101 with labels", "HMDB51", ALL, 15.2, LECTURE),
    ]
]
