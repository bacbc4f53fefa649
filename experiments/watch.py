"""What a trunk's features look like while it learns: whether they collapse, and what their neighbours are."""

from collections.abc import Sequence

import numpy as np
import torch
from lightning.fabric import Fabric

from videossl.evaluation.features import Encoder
from videossl.evaluation.geometry import rank, spread
from videossl.evaluation.knn import vote
from videossl.evaluation.views import Views
from videossl.experiments.console import console
from videossl.models.base import Trunk

FALLEN = 0.1  # of what the spread was before learning: under it features count as collapsed
NEIGHBOURS = 5


class Watch:
    """Looks at the middle clips of some training and some held-out videos.

    Source: the measures are those of `Geometry`; a collapse was what users of such methods asked to be told of.
    """

    def __init__(self, trunk: Trunk, train: Sequence[dict], held_out: Sequence[dict], videos: int, fabric: Fabric):
        """Args:
        trunk: as it is before the first step.
        videos: of each list, at most, evenly spread over it; 0 looks at none.
        """
        self.known, self.asked = spaced(train, videos), spaced(held_out, videos)
        self.fabric = fabric
        self.start = self._look(trunk)["spread"] if self.known else 0.0

    def __call__(self, trunk: Trunk, step: int) -> dict[str, float]:
        """ "spread" and "rank" of features, and where there are labels "knn", the accuracy on held-out videos.

        A collapse is said aloud.
        """
        if not self.known:
            return {}
        found = self._look(trunk)
        if found["spread"] < FALLEN * self.start and self.fabric.is_global_zero:
            console.print(
                f"  step {step}: features collapse: their spread is {found['spread']:.4f}, and was {self.start:.4f} "
                "before learning. Lower --rate, or see what keeps this method from it (its file says)"
            )
        return found

    @torch.no_grad()
    def _look(self, trunk: Trunk) -> dict[str, float]:
        encoder = Encoder(trunk, self.fabric, progress=False)
        views = Views(clips=1, crops=1)
        known = encoder.features(self.known, views)
        features = known.values[:, 0]
        asked = encoder.features(self.asked, views) if self.asked else None
        if asked is not None:
            features = torch.cat([features, asked.values[:, 0]])
        found = {"spread": spread(features), "rank": rank(features)}
        if asked is not None and min(known.labels.min(), asked.labels.min()) >= 0:
            classes = 1 + int(max(known.labels.max(), asked.labels.max()))
            k = min(NEIGHBOURS, len(known.kept))
            votes = vote(asked.videos, known.videos, known.labels, classes, k, temperature=0.07)
            found["knn"] = (votes.argmax(1) == asked.labels).double().mean().item()
        return found


def spaced(records: Sequence[dict], count: int) -> list[dict]:
    """So many of the records, evenly spread over the list."""
    places = np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)
    return [records[n] for n in places]
