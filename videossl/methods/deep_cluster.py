"""Tell to which cluster a record belongs, of clusters that are found anew after each epoch.

Sources: Caron, Bojanowski, Joulin, Douze, "Deep Clustering for Unsupervised Learning of Visual Features", ECCV 2018; as its
second version (Caron et al., "SwAV", NeurIPS 2020, appendix D) clusters are found among the features of each record's last
visit, so that no record is read for that alone, and their centres are the classifier.
"""

from dataclasses import dataclass

import torch
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor, nn
from torch.nn import functional as F

from videossl.methods.base import Net
from videossl.methods.memory import Memory, Remembered
from videossl.methods.temporal_coherence import mean
from videossl.methods.two_views import found, seen, several


@dataclass(frozen=True)
class DeepCluster(Remembered):
    """k-means over unit vectors of all records, once as many examples were seen as there are records.

    Clusters count alike, however large: where the paper draws as many records from each, records are weighted. Until
    there are clusters, random centres stand in for theirs. The paper's first version shows edges alone (a fixed Sobel
    filter), and whitens features by principal components before it finds clusters; its second does neither, nor do we.

    `pairs` asks another question of the clusters: the two views' features are to be alike if they are of one cluster, and
    unlike if not, over all pairs of the batch, both kinds weighted alike.
    """

    clusters: int | None = None  # None: one for each hundred records (the paper: for each 128), but two at least
    pairs: bool = False
    temperature: float = 0.1
    hidden: int = 2048
    out: int = 128

    def __post_init__(self):
        super().__post_init__()
        if self.clusters is not None and self.clusters < 2:
            raise ValueError(f"clusters are two or more, but {self.clusters} were asked for")

    def build(self, trunk):
        return DeepClusterNet(trunk, self)


class DeepClusterNet(Net):
    """Metrics: see `found`; "clustered", how often the cluster was told; "agreement", normalised mutual information of the
    clusters with those before: 1 says that they do not change any more.
    """

    def __init__(self, trunk, method):
        super().__init__()
        count = method.counted()
        clusters = method.clusters or max(2, count // 100)
        if clusters > count:
            raise ValueError(f"{clusters} clusters of {count} records: lower --method.clusters")
        self.trunk, self.method, self.clusters = trunk, method, clusters
        self.projector = nn.Sequential(
            nn.Linear(trunk.dim, method.hidden),
            nn.BatchNorm1d(method.hidden),
            nn.ReLU(),
            nn.Linear(method.hidden, method.out),
        )
        self.memory = Memory(count, method.out, momentum=0.0)
        self.register_buffer("centres", F.normalize(torch.randn(clusters, method.out), dim=1))
        self.register_buffer("cluster", torch.full((count,), -1))  # of each record; -1: the nearest to its other view
        self.register_buffer("weight", torch.ones(clusters))  # of a record of each cluster
        self.register_buffer("agreement", torch.zeros(()))
        self.register_buffer("visits", torch.zeros((), dtype=torch.long))  # since clusters were found

    def forward(self, batch):
        views = seen(batch, self.method, self.trunk.size, self.training)
        number = batch["number"]
        z = self.projector(self.trunk(views.flatten(0, 1)))
        z = F.normalize(z, dim=1).unflatten(0, views.shape[:2])  # (B, 2, D)
        known = torch.where(number >= 0, self.cluster[number], -1)
        cluster = torch.where(known >= 0, known, (z[:, 1].detach() @ self.centres.T).argmax(1))
        logits = z[:, 0] @ self.centres.clone().T / self.method.temperature
        if self.method.pairs:
            loss = paired(z[:, 0] @ z[:, 1].T / self.method.temperature, cluster)
        else:
            loss = F.cross_entropy(logits, cluster, self.weight.clone())
        if self.training:
            self.memory.remember(z[:, 0].detach(), number)
            self.visits += len(z) * (torch.distributed.get_world_size() if several() else 1)
        told = (logits.argmax(1) == cluster).float().mean()
        return loss, {**found(z[:, 0], z[:, 1]), "clustered": told, "agreement": self.agreement.clone()}

    def update(self, progress: float) -> None:
        if self.visits >= len(self.memory.rows):
            self.find_clusters()

    @torch.no_grad()
    def find_clusters(self) -> None:
        """k-means over what is remembered; it begins where a fixed seed says, so that a resumed run finds the same."""
        means = KMeans(self.clusters, n_init=1, random_state=0).fit(self.memory.rows.float().cpu().numpy())
        self.agreement.fill_(float(normalized_mutual_info_score(self.cluster.cpu().numpy(), means.labels_)))
        self.centres.copy_(F.normalize(torch.from_numpy(means.cluster_centers_), dim=1))
        self.cluster.copy_(torch.from_numpy(means.labels_))
        sizes = torch.bincount(self.cluster, minlength=self.clusters).clamp(min=1)
        self.weight.copy_(len(self.cluster) / (self.clusters * sizes))
        self.visits.zero_()


def paired(alike: Tensor, cluster: Tensor) -> Tensor:
    """Cross entropy of which pairs are of one cluster: of logits (B, B) and clusters (B,). Both kinds count half."""
    same = cluster[:, None] == cluster[None]
    return (mean(F.softplus(-alike), same) + mean(F.softplus(alike), ~same)) / 2
