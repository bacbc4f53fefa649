"""The bench of views runs and reads what it says; how fast anything is, no test asks."""

import json
import shutil

import numpy as np
import pytest

from videossl.datasets.index import index_videos
from videossl.experiments.bench import views
from videossl.experiments.bench.views import BenchViews, bench_views, together, whole, with_jumps


@pytest.fixture
def folder(shared, tmp_path):
    """Six real videos, indexed."""
    root = tmp_path / "videos"
    root.mkdir()
    for path in sorted((shared / "UCF-101" / "Punch").glob("*.avi"))[:6]:
        shutil.copy(path, root)
    index_videos(root, workers=1, progress=False, decoder="pyav")
    return root


def test_all_ways_are_timed_and_written(folder, tmp_path, capsys):
    config = BenchViews(folder, tmp_path / "views.json", views=3, length=4, size=(32, 43), rounds=2)
    found = bench_views(config)
    assert json.loads(config.out.read_text()) == found and found["videos"] == 6
    assert list(found["seconds a video"]) == ["3 clips", "1 clip, 3 crops"]
    for kind, ways in found["seconds a video"].items():
        assert list(ways) == list(views.WAYS) and all(seconds["min"] > 0 for seconds in ways.values())
        assert found["times as fast"][kind]["together"] == {"median": 1, "min": 1, "max": 1}
    assert "one by one, whole" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"4 of the videos in .* are to be decoded, but 4 stay open"):
        bench_views(BenchViews(folder, files=4))
    with pytest.raises(ValueError, match="start at 1"):
        BenchViews(folder, rounds=0)


class Watched:
    """Frames that note what was asked of them."""

    def __init__(self, name: str, asked: list, keys: tuple = (0, 8)):
        self.name, self.asked, self.keys = name, asked, keys

    def __len__(self):
        return 20

    def __getitem__(self, index):
        self.asked.append((self.name, self.keys, np.array(index).tolist()))


def test_each_way_asks_for_the_frames_it_says(monkeypatch):
    asked = []
    videos = [Watched("a", asked), Watched("b", asked)]
    indices = [np.array([[0, 1], [9, 10]]), np.array([[2, 3], [4, 5]])]
    monkeypatch.setattr(views, "replace", lambda video, keys: Watched(video.name, asked, keys))
    together(videos, indices, 1)
    assert asked == [("a", (0, 8), [[0, 1], [9, 10]]), ("b", (0, 8), [[2, 3], [4, 5]])]
    asked.clear()
    with_jumps(videos, indices, 1)
    assert [(name, index) for name, _, index in asked] == [("a", [0, 1]), ("b", [2, 3]), ("a", [9, 10]), ("b", [4, 5])]
    asked.clear()
    whole(videos, [index[:1] for index in indices], 2)
    assert asked == [("a", (), [0, 1, 19]), ("b", (), [2, 3, 19])] * 2
