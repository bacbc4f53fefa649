"""Tell to which cluster a record belongs, of clusters that are found anew after each epoch.

Sources: Caron, Bojanowski, Joulin, Douze, "Deep Clustering for Unsupervised Learning of Visual Features", ECCV 2018; as its
second version (Caron et al., "SwAV", NeurIPS 2020, appendix D) clusters are found among the features of each record's last
visit, so that no record is read for that alone, and their centres are the classifier.
"""

from dataclasses import dataclass

import torch
from sklearn.cluster import KMeans
from torch import nn
from torch.nn import functional as F

from videossl.methods.base import Net
from videossl.methods.memory import Memory, Remembered
from videossl.methods.two_views import found, seen


@dataclass(frozen=True)
class DeepCluster(Remembered):
    """k-means over unit vectors of all records, once as many examples were seen as there are records.

    `pairs` asks another question of the clusters: the two views' features are to be alike if they are of one cluster, and
    unlike if not, over all pairs of the batch.
    """

    clusters: int = 3000
    pairs: bool = False
    temperature: float = 0.1
    hidden: int = 2048
    out: int = 128

    def build(self, trunk):
        return DeepClusterNet(trunk, self)


class DeepClusterNet(Net):
    """Metrics: see `found`; "accuracy" is that; "clustered", how often the cluster was told."""

    def __init__(self, trunk, method):
        super().__init__()
        count = method.counted()
        self.trunk, self.method, self.clusters = trunk, method, min(method.clusters, max(2, count // 2))
        self.projector = nn.Sequential(
            nn.Linear(trunk.dim, method.hidden),
            nn.BatchNorm1d(method.hidden),
            nn.ReLU(),
            nn.Linear(method.hidden, method.out),
        )
        self.memory = Memory(count, method.out, momentum=0.0)
        self.register_buffer("centres", F.normalize(torch.randn(self.clusters, method.out), dim=1))
        self.register_buffer("cluster", torch.randint(self.clusters, (count,)))  # of each record
        self.register_buffer("visits", torch.zeros((), dtype=torch.long))  # since clusters were found

    def forward(self, batch):
        views = seen(batch, self.method, self.trunk.size, self.training)
        number = batch["number"]
        z = self.projector(self.trunk(views.flatten(0, 1)))
        z = F.normalize(z, dim=1).unflatten(0, views.shape[:2])  # (B, 2, D)
        strangers = (z[:, 1].detach() @ self.centres.T).argmax(1)
        cluster = torch.where(number >= 0, self.cluster[number], strangers)
        logits = z[:, 0] @ self.centres.clone().T / self.method.temperature
        if self.method.pairs:
            same = (cluster[:, None] == cluster[None]).float()
            alike = z[:, 0] @ z[:, 1].T / self.method.temperature
            loss = F.binary_cross_entropy_with_logits(alike, same)
        else:
            loss = F.cross_entropy(logits, cluster)
        if self.training:
            self.memory.remember(z[:, 0].detach(), number)
            self.visits += len(z)
        told = (logits.argmax(1) == cluster).float().mean()
        return loss, {**found(z[:, 0], z[:, 1]), "clustered": told}

    def update(self, progress: float) -> None:
        if self.visits >= len(self.memory.rows):
            self.find_clusters()

    @torch.no_grad()
    def find_clusters(self) -> None:
        """k-means over what is remembered; it begins where a fixed seed says, so that a resumed run finds the same."""
        rows = self.memory.rows.cpu().numpy()
        found_ = KMeans(self.clusters, n_init=1, random_state=0).fit(rows)
        centres = torch.from_numpy(found_.cluster_centers_).to(self.centres)
        self.centres.copy_(F.normalize(centres, dim=1))
        self.cluster.copy_(torch.from_numpy(found_.labels_).to(self.cluster))
        self.visits.zero_()
