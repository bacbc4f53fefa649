"""Zero-shot evaluation: scores by hand from likeness, and a net that says what each picture is called."""

import pytest
import torch

from videossl.datasets.records import Records
from videossl.evaluation.features import Encoder
from videossl.evaluation.views import Views
from videossl.evaluation.zero_shot import ZeroShot, named
from videossl.methods.clip import CLIP
from videossl.methods.simclr import SimCLR
from videossl.models.small import Small

VIEWS = Views(clips=2, length=1, crops=1)
SMALL = {"out": 8, "width": 16, "depth": 1, "heads": 2, "context": 12, "vocabulary": 300}


def records(count: int, classes=("red cube", "ball", "pen")) -> Records:
    torch.manual_seed(1)
    found = []
    for n in range(count):
        label = n % len(classes)
        frames = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
        found.append({"frames": frames, "name": f"{n}", "label": label, "class": classes[label]})
    return Records(found, "made", classes=classes)


def clip_net():
    torch.manual_seed(0)
    made = records(9)
    return CLIP(**SMALL).prepare(made).build(Small(length=1, width=2, size=32).build()).eval()


def test_scores_are_those_of_the_mean_likeness_of_clips():
    likeness = torch.tensor(
        [
            [[0.9, 0.1, 0.0], [0.2, 0.3, 0.0]],  # its clips say 0 and 1, their mean says 0
            [[0.1, 0.0, 0.8], [0.0, 0.1, 0.9]],  # 2
            [[0.5, 0.4, 0.0], [0.6, 0.1, 0.0]],  # 0, but it is 1
        ]
    )
    scores = named(likeness, torch.tensor([0, 2, 1]), [0, 1, 3], {"2": "cut short"})
    assert scores.predictions == [0, 2, 0] and scores.tested == [0, 1, 3] and scores.failed == {"2": "cut short"}
    assert scores.metrics == pytest.approx({"video_accuracy": 2 / 3, "clip_accuracy": 3 / 6, "chance": 1 / 3})
    assert scores.confusion == [[1, 0, 0], [1, 0, 0], [0, 0, 1]] and scores.trained == 0
    torch.manual_seed(0)
    many = named(torch.rand(40, 2, 9), torch.arange(40) % 9, list(range(40)), {})
    assert many.metrics["top5_accuracy"] > many.metrics["video_accuracy"]


def test_a_video_is_what_the_mean_of_its_clips_is_most_like_and_names_alone_are_asked_about():
    net, test = clip_net(), records(12)
    encoder = Encoder(net.trunk, progress=False, whole=lambda: net)
    prompts = ("a {}", "the {} on a table")
    scores = ZeroShot(prompts, VIEWS).score(encoder, [], test)
    with torch.no_grad():
        features = encoder.features(test, VIEWS).values
        chosen = net.likeness(features, test.classes, prompts).mean(1).argmax(1).tolist()
    assert scores.predictions == chosen and len(set(chosen)) > 1
    right = sum(one == record["label"] for one, record in zip(chosen, test, strict=True))
    assert scores.metrics["video_accuracy"] == pytest.approx(right / 12)
    turned = Records(test, "made", classes=test.classes[::-1])
    assert ZeroShot(prompts, VIEWS).score(encoder, [], turned).predictions == [2 - n for n in chosen]


def test_runs_without_a_text_encoder_and_classes_without_names_are_refused():
    net, test = clip_net(), records(6)
    other = SimCLR(hidden=8, out=4).build(Small(length=1, width=2, size=32).build())
    encoder = Encoder(net.trunk, progress=False, whole=lambda: net)
    with pytest.raises(ValueError, match="needs a text encoder, but this trunk is of SimCLR: name only runs of"):
        ZeroShot().score(Encoder(other.trunk, whole=lambda: other), [], test)
    with pytest.raises(ValueError, match="needs a text encoder, but this trunk is random"):
        ZeroShot().score(Encoder(other.trunk), [], test)
    with pytest.raises(ValueError, match=r"'a photo' has none"):
        ZeroShot(("a {}", "a photo")).score(encoder, [], test)
    with pytest.raises(ValueError, match="there are 0 names, and labels up to 2"):
        ZeroShot().score(encoder, [], list(test))
    with pytest.raises(ValueError, match='Zero-shot needs "label" of each video, but 0 has none'):
        ZeroShot().score(encoder, [], [{key: value for key, value in test[0].items() if key != "label"}])
    assert not ZeroShot.by_default
