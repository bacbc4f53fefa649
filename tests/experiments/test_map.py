"""Maps of features."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from videossl.experiments import map as maps
from videossl.experiments.embed import Table, keep
from videossl.experiments.map import Map, draw_map, measured, neighbours, of_videos, placed


@pytest.fixture
def features(tmp_path, monkeypatch):
    """Thirty videos of three classes that lie apart, two clips each."""
    rng = np.random.default_rng(0)
    centres = 5 * rng.normal(size=(3, 16))
    names = [f"{'abc'[n % 3]}/{n:02}.avi" for n in range(30) for _ in range(2)]
    values = np.stack([centres[n % 3] + rng.normal(size=16) for n in range(30) for _ in range(2)])
    table = Table(names, np.tile([0, 8], 30), torch.tensor(values, dtype=torch.float32), {"data": {}})
    keep(table, tmp_path / "features.h5")
    monkeypatch.setattr(maps, "by_name", lambda table: {name: {"label": "abc".index(name[0])} for name in names})
    return tmp_path / "features.h5"


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_classes_that_lie_apart_do_so_on_the_map(features, tmp_path, method, capsys):
    out = tmp_path / "maps" / "map.png"
    told = draw_map(Map(features, out, method))
    assert len(told) == (1 if method == "pca" else 2) and all(one["knn"] == 1 for one in told)
    assert all(one["trustworthiness"] > 0.8 for one in told) and out.stat().st_size > 1000
    assert "knn 1.00" in capsys.readouterr().out
    assert draw_map(Map(features, out, method)) == told
    assert len(draw_map(Map(features, out, method, most=12))) == len(told)


def test_a_video_is_the_mean_of_its_clips():
    table = Table(["b", "a", "b"], np.zeros(3, int), torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]), {})
    names, points = of_videos(table)
    assert names == ["a", "b"] and np.allclose(points, [[0, 1], [0.8, 0.6]])


def test_a_map_that_keeps_all_places_is_trusted_and_one_by_chance_is_not():
    rng = np.random.default_rng(0)
    points = np.c_[rng.normal(size=(40, 2)), np.zeros((40, 3))]
    assert measured(points, points[:, :2], np.full(40, -1)) == {"trustworthiness": 1.0}
    assert measured(points, rng.normal(size=(40, 2)), np.arange(40) % 2)["trustworthiness"] < 0.7
    assert np.allclose(np.abs(placed(points, "pca", 0, 0)).std(0) > 0.1, True)


def test_umap_is_asked_with_the_neighbours_and_the_seed(features, tmp_path, monkeypatch, capsys):
    asked = []

    class UMAP:
        def __init__(self, **options):
            asked.append(options)

        def fit_transform(self, points):
            return points[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    told = draw_map(Map(features, tmp_path / "map.png", "umap", perplexities=(5.4, 30.0), seed=3))
    assert [options["n_neighbors"] for options in asked] == [5, 10]  # 30 points have no 30 neighbours
    assert all(options["random_state"] == 3 for options in asked) and len(told) == 2
    assert "UMAP, 5 neighbours: trustworthiness" in capsys.readouterr().out


@pytest.mark.slow  # numba compiles it anew in every process
def test_umap_keeps_classes_apart_and_is_the_same_again():
    pytest.importorskip("umap", reason="no umap-learn: pip install 'videossl[umap]'")
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 3
    points = 5 * rng.normal(size=(3, 16))[labels] + rng.normal(size=(24, 16))
    flat = placed(points, "umap", 7.4, 0)
    assert flat.shape == (24, 2) and measured(points, flat, labels)["knn"] == 1 and neighbours(7.4) == 7
    assert np.array_equal(placed(points, "umap", 7.4, 0), flat) and neighbours(0.3) == 2


def test_a_map_without_umap_says_what_to_install(features, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match=r"UMAP needs umap-learn: pip install 'videossl\[umap\]'"):
        draw_map(Map(features, tmp_path / "map.png", "umap"))


def test_a_map_of_three_videos_is_refused(tmp_path):
    keep(Table(["a", "b", "c"], np.zeros(3, int), torch.rand(3, 4), {}), tmp_path / "few.h5")
    with pytest.raises(ValueError, match="has 3 videos, but a map is of four or more"):
        draw_map(Map(tmp_path / "few.h5"))
