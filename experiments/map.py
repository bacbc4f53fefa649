"""Features as a map in two dimensions: `videossl map features.parquet`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from sklearn.neighbors import KNeighborsClassifier
from tyro.conf import Positional

from videossl.experiments.console import console
from videossl.experiments.embed import Table, by_name, read_features

FIRST = 50  # principal components, before t-SNE
NEIGHBOURS = 10  # of a point, whose labels and places are compared
SHOWN = 20  # classes that the legend names


@dataclass(frozen=True)
class Map:
    """Draw videos as points, near to each other where their features are: by t-SNE or UMAP, each twice, or PCA.

    Distances between clusters mean nothing in t-SNE and little in UMAP; what is near a point does. Beside the picture
    two numbers are told: how far neighbours are the true ones (trustworthiness, 1 at best), and k-NN by the points
    alone, where there are labels.

    Sources: van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008; McInnes, Healy and Melville, "UMAP:
    Uniform Manifold Approximation and Projection for Dimension Reduction", arXiv 1802.03426, 2018.
    """

    features: Positional[Path]  # file that `videossl embed` wrote
    out: Path = Path("map.png")  # picture to write
    method: Literal["tsne", "umap", "pca"] = "tsne"  # umap: pip install 'videossl[umap]'
    # about how many neighbours count, UMAP's n_neighbors; lowered where there are too few
    perplexities: tuple[float, float] = (10.0, 30.0)
    most: int = 5000  # videos; of more so many are drawn
    seed: int = 0  # of t-SNE and UMAP, and of which are drawn

    def __post_init__(self):
        if self.most < 4:
            raise ValueError(f"a map is of four videos or more, but most is {self.most}")
        if min(self.perplexities) <= 0:
            raise ValueError(f"perplexities are numbers of neighbours, but are {self.perplexities}: give some above 0")


def draw_map(config: Map) -> list[dict[str, float]]:
    """Draw and print; returns for each picture "trustworthiness", and with labels "knn".

    Raises:
        FileNotFoundError: the features, or their videos, are not there.
        ImportError: UMAP is asked for, but not installed.
        ValueError: there are fewer than four videos.
    """
    table = read_features(config.features)
    names, points = of_videos(table)
    if len(names) < 4:
        raise ValueError(f"{config.features} has {len(names)} videos, but a map is of four or more")
    rng = np.random.default_rng(config.seed)
    chosen = np.sort(rng.permutation(len(names))[: config.most])
    names, points = [names[n] for n in chosen], points[chosen]
    records = by_name(table)
    labels = np.array([records[name].get("label", -1) for name in names])
    classes = [records[name].get("class", name.split("/")[0]) for name in names]
    most = (len(names) - 1) / 3
    perplexities = [0.0] if config.method == "pca" else [min(value, most) for value in config.perplexities]
    figure = Figure(figsize=(6.2 * len(perplexities), 5.4), layout="constrained")
    told = []
    for axis, perplexity in zip(figure.subplots(1, len(perplexities), squeeze=False)[0], perplexities, strict=True):
        flat = placed(points, config.method, perplexity, config.seed)
        told.append(measured(points, flat, labels))
        words = ", ".join(f"{name} {value:.2f}" for name, value in told[-1].items())
        title = {
            "tsne": f"t-SNE, perplexity {perplexity:g}",
            "umap": f"UMAP, {neighbours(perplexity)} neighbours",
            "pca": "PCA",
        }[config.method]
        axis.set_title(f"{title}: {words}", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
        for label in np.unique(labels):
            here = labels == label
            colour = "#555" if label < 0 else colormaps["tab20"](label % 20)
            axis.scatter(*flat[here].T, s=12, color=colour, label=classes[int(np.argmax(here))])
        console.print(f"{title}: {words}")
    if 1 < len(np.unique(labels)) <= SHOWN:
        axis.legend(fontsize=7, markerscale=1.5, bbox_to_anchor=(1.01, 1), loc="upper left", frameon=False)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(config.out, dpi=110)
    console.print(f"picture: {config.out}")
    return told


def of_videos(table: Table) -> tuple[list[str], np.ndarray]:
    """Names of the videos, and the mean of each one's clips, as unit vectors (N, D)."""
    names, number = np.unique(np.array(table.names), return_inverse=True)
    sums = np.zeros((len(names), table.values.shape[1]), np.float32)
    np.add.at(sums, number, table.values.numpy())
    unit = sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12)
    return names.tolist(), unit


def placed(points: np.ndarray, method: Literal["tsne", "umap", "pca"], perplexity: float, seed: int) -> np.ndarray:
    """Points in two dimensions, (N, 2): by t-SNE or UMAP of the first principal components, or just the first two."""
    count = min(2 if method == "pca" else FIRST, *points.shape)
    first = PCA(count, random_state=seed).fit_transform(points)
    if method == "pca":
        return first
    if method == "tsne":
        return TSNE(perplexity=perplexity, random_state=seed, init="pca").fit_transform(first)
    # With a seed UMAP takes one core. Its usual start, by eigenvectors, fails where points are few.
    reducer = umap().UMAP(n_neighbors=neighbours(perplexity), random_state=seed, n_jobs=1, init="pca")
    return reducer.fit_transform(first)


def neighbours(perplexity: float) -> int:
    """UMAP's number of neighbours, two or more."""
    return max(2, round(perplexity))


def umap():
    """umap-learn's module.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import umap
    except ImportError as error:
        raise ImportError("UMAP needs umap-learn: pip install 'videossl[umap]', or draw by --method tsne") from error
    return umap


def measured(points: np.ndarray, flat: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How true a map is, see `Map`; k-NN leaves each point itself out."""
    k = max(1, min(NEIGHBOURS, (len(points) - 1) // 2))
    found = {"trustworthiness": float(trustworthiness(points, flat, n_neighbors=k))}
    if labels.min() >= 0 and len(np.unique(labels)) > 1:
        near = KNeighborsClassifier(k).fit(flat, labels).kneighbors(return_distance=False)  # of itself none
        votes = [np.bincount(labels[row]).argmax() for row in near]
        found["knn"] = float((np.array(votes) == labels).mean())
    return found
