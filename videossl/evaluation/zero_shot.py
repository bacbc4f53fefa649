"""Zero-shot: a test video is what its clips are most like among the names of the classes. No label is learned from.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, section 3.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from videossl.evaluation.base import Judge, Scores, interval
from videossl.evaluation.features import Encoder
from videossl.evaluation.views import Views
from videossl.methods.clip import CLIPNet


@dataclass(frozen=True)
class ZeroShot(Judge):
    """Names of classes go through the run's own text encoder; a video's likeness to one is the mean over its clips.

    Only what `clip` trained can be asked. A run that learned from names of classes ("class", where records have no
    "caption") knows these labels: its number is no zero-shot one, but for classes that it was not shown.
    """

    # sentences with {} for the name, such as "a photo of a {}."; of several the mean is taken
    prompts: tuple[str, ...] = ("{}",)
    views: Views = field(default_factory=Views)  # of test videos

    title: ClassVar[str] = "Zero-shot"
    headlines = ("video_accuracy",)
    by_default = False

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """Nothing is learned or drawn: `train` and the seed change nothing.

        Returns: metrics are "video_accuracy", "top5_accuracy" (where there are more than five names), "clip_accuracy" and
            "chance" (one of the names).

        Raises:
            ValueError: the trunk was trained without a text encoder, the classes have no names, a prompt has no {}, or
                a label is missing.
        """
        net = None if encoder.whole is None else encoder.whole()
        if not isinstance(net, CLIPNet):
            found = "is random" if net is None else f"is of {type(net).__name__.removesuffix('Net')}"
            raise ValueError(
                f"zero-shot evaluation needs a text encoder, but this trunk {found}: name only runs of `videossl pretrain"
                " method:clip`"
            )
        if lacking := [prompt for prompt in self.prompts if "{}" not in prompt]:
            raise ValueError(f"a prompt has {{}} for the name of a class, but {lacking[0]!r} has none")
        names = list(getattr(test, "classes", ()))
        self.refuse(test)
        labels = [int(record["label"]) for record in test]
        if not names or not self.prompts or max(labels) >= len(names):
            raise ValueError(
                f"zero-shot evaluation needs a prompt, and a name for each class: there are {len(names)} names, and labels"
                f" up to {max(labels)}"
            )
        seen = encoder.features(test, self.views)
        with torch.inference_mode():
            likeness = net.eval().to(encoder.device).likeness(seen.values, names, self.prompts).float().cpu()
        return named(likeness, seen.labels, seen.kept, seen.failed)


def named(likeness: torch.Tensor, truth: torch.Tensor, kept: list[int], failed: dict[str, str]) -> Scores:
    """Scores of likeness to each name: (N, V, classes) of V clips of N videos, whose classes are `truth` (N,)."""
    classes, videos = likeness.shape[2], likeness.mean(1)
    chosen = videos.argmax(1)
    right = (chosen == truth).double().mean().item()
    top5 = (videos.topk(min(5, classes)).indices == truth[:, None]).any(1).double().mean().item()
    confusion = torch.bincount(truth * classes + chosen, minlength=classes**2).view(classes, classes)
    return Scores(
        metrics={
            "video_accuracy": right,
            **({"top5_accuracy": top5} if classes > 5 else {}),
            "clip_accuracy": (likeness.argmax(2) == truth[:, None]).double().mean().item(),
            "chance": 1 / classes,
        },
        tested=kept,
        trained=0,
        failed=failed,
        predictions=chosen.tolist(),
        confusion=confusion.tolist(),
        intervals={"video_accuracy": interval(right, len(truth))},
    )
