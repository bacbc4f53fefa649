"""The table of image methods, of a few and in a few steps."""

import dataclasses
import json
from contextlib import suppress

import numpy as np
import PIL.Image
import pytest
import torch

from videossl.datasets.cifar10 import CLASSES
from videossl.experiments import image_methods
from videossl.experiments.image_methods import ImageMethods, methods, run
from videossl.experiments.methods import questions
from videossl.experiments.video_methods import action_methods
from videossl.models.small import Small
from videossl.models.vit import ViT


def test_every_method_that_can_be_asked_of_pictures_is_in_the_table():
    picture = {"frames": torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "name": "a picture"}
    listed = {type(entry.method) for entry in methods().values()}
    found = set()
    for kind in questions():
        with suppress(ValueError):  # of videos, of robots, or of words
            kind().check(picture)
            found.add(kind)
    assert found and found <= listed


def test_real_videos_are_seen_as_large_as_by_video_methods_and_left_out_without_a_folder(tmp_path, capsys):
    trunks = {type(entry.trunk): entry.trunk for entry in methods(64).values()}
    assert trunks[Small] == action_methods(4, 64)["OPN"].trunk and trunks[ViT].size == 64 == 8 * trunks[ViT].patch
    assert run(ImageMethods(tmp_path, only=("real_actions",))) == {}
    assert "real_actions: left out, since no folder was given" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["rotation", "DINO ViT"])
def test_a_method_is_scored_beside_random_weights_and_its_own_trivial_answer(name, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for label, name_ in enumerate(CLASSES):
            folder = tmp_path / "pictures" / part / name_
            folder.mkdir(parents=True)
            for n in range(count):
                picture = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
                picture[..., label % 3] += 100
                PIL.Image.fromarray(picture).save(folder / f"{n}.png")
    monkeypatch.setattr(image_methods, "TRANSFORMER", dataclasses.replace(image_methods.TRANSFORMER, width=24, depth=1))
    config = ImageMethods(
        tmp_path / "out", tmp_path / "pictures", only=("cifar10",), methods=(name,), seeds=(0, 1), steps=4, workers=0
    )
    found = run(config)
    assert json.loads((config.out / "image_methods.json").read_text())["worlds"] == found
    subjects = {row["subject"] for row in found["cifar10"]["scores"]}
    assert len(subjects) == 3 and {"random initialisation", "rescaled initialisation"} < subjects
    assert all(row["count"] == 2 for row in found["cifar10"]["scores"])
    page = config.out / "cifar10" / "report.html"
    assert name in capsys.readouterr().out and page.exists()
    drawn = config.out / "pictures" / f"cifar10-{name.replace(' ', '_')}.png"
    assert drawn.exists() == (name != "rotation")  # which has nothing to show but its answers
    assert ("head 4" in page.read_text()) == (name == "DINO ViT")
    again = run(config)["cifar10"]  # nothing is done again
    assert [again[key] for key in ("methods", "scores")] == [found["cifar10"][key] for key in ("methods", "scores")]
    if name == "rotation":  # which is kept where another is asked for
        both = run(dataclasses.replace(config, methods=("counting",)))["cifar10"]
        assert list(both["methods"]) == ["rotation", "counting"]
        assert both["methods"]["rotation"] == found["cifar10"]["methods"]["rotation"]


def test_a_method_that_is_not_in_the_table_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ValueError, match="there is no method 'SimClR'; there are: autoencoder, "):
        ImageMethods(tmp_path, methods=("rotation", "SimClR"))
