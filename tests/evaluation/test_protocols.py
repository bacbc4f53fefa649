import dataclasses

import pytest

from videossl.evaluation.base import Judge
from videossl.evaluation.finetune import FineTune
from videossl.evaluation.knn import KNN
from videossl.evaluation.next_best_view import NextBestView
from videossl.evaluation.probe import LinearProbe
from videossl.evaluation.protocols import PUBLISHED, between, differences, fields_of, mistake
from videossl.evaluation.retrieval import Retrieval
from videossl.evaluation.views import Views
from videossl.models.small import Small


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_protocol_names_its_source_and_has_views_of_any_trunk(name):
    entry = PUBLISHED[name]
    assert isinstance(entry.judge, Judge) and entry.source and entry.version >= 1
    assert len(entry.judge.views.resolved(Small(length=1).build()).indices(100))
    assert bool(entry.mistake) == (name in ("coclr-finetune-as-published", "coclr-retrieval-centred"))


def test_what_errs_is_told_of_any_protocol_whatever_its_name():
    assert mistake(FineTune(choose="test")) == "test videos choose the epoch"
    assert mistake(Retrieval(centre=True)) == "a test video's answer depends on the other test videos"
    assert mistake(KNN(views=Views(shortest=9))) == "videos under 9 frames are dropped"
    assert mistake(Retrieval(centre=True, views=Views(shortest=9))).count(", and ") == 1
    assert mistake(FineTune(choose="held_out")) == mistake(KNN()) == mistake(NextBestView()) == ""


def test_the_views_are_those_of_the_papers():
    frames = PUBLISHED["shuffle-and-learn-finetune"].judge.views
    assert frames.indices(300).shape == (25, 1) and frames.crops == 10
    assert PUBLISHED["vcop-finetune"].judge.views.clips == 10
    half = PUBLISHED["coclr-retrieval"].judge.views.resolved(Small(length=32).build())
    assert half.indices(92)[:, 0].tolist() == [0, 15, 30, 45, 60] and half.indices(92).shape == (5, 32)
    thirty = PUBLISHED["slowfast-finetune"].judge.views
    fifteen = PUBLISHED["videomae-finetune"].judge.views
    assert thirty.clips * thirty.crops == 30 and fifteen.clips * fifteen.crops == 15


# What the sources say, in the words of the command line; what none of them says is not here.
SOURCES = {
    # TSN's two-stream scheme, which both papers refer to
    "shuffle-and-learn-finetune": {
        "batch": 128,
        "optimizer": "sgd",
        "choose": "last",
        "views.clips": 25,
        "views.crops": 10,
    },
    "opn-finetune": {"batch": 128, "views.clips": 25, "views.length": 1, "views.crops": 10},
    # ft_classify.py, retrieve_clips.py
    "vcop-finetune": {
        **{"epochs": 150, "batch": 8, "rate": 1e-3, "head": 1.0, "optimizer": "sgd", "decay": 5e-4, "constant": True},
        **{"drops": (), "area": None, "dropout": 0.0, "average": "logits", "choose": "held_out"},
        **{"views.clips": 10, "views.crops": 1, "views.stride": 1, "views.shortest": 1},
    },
    "vcop-retrieval": {
        **{"same": ("label",), "ks": (1, 5, 10, 20, 50), "centre": False, "views.clips": 10, "views.crops": 1},
        **{"views.shortest": 1},
    },
    # eval/main_classifier.py
    "coclr-finetune": {
        **{"epochs": 500, "batch": 32, "rate": 1e-4, "head": 10.0, "optimizer": "adam", "decay": 1e-3},
        **{
            "drops": (400 / 500, 450 / 500),
            "dropout": 0.9,
            "area": (0.2, 1.0),
            "average": "softmax",
            "choose": "held_out",
        },
        **{"views.length": 32, "views.stride": 1, "views.every": 15, "views.crops": 10, "views.shortest": 1},
    },
    "coclr-finetune-as-published": {
        "choose": "test",
        "epochs": 500,
        "rate": 1e-4,
        "views.every": 15,
        "views.crops": 10,
    },
    "coclr-linear": {"labels": None, "views.length": 32, "views.every": 15, "views.crops": 10},
    "coclr-retrieval": {"ks": (1, 5, 10, 20, 50), "centre": False, "maps": None, "views.length": 32, "views.every": 15},
    "coclr-retrieval-centred": {"centre": True, "views.length": 32, "views.every": 15, "views.shortest": 16},
    # config/finetune/ucf101_resnet18.jsonnet and those it imports: 64 * 8 / 16 clips
    "rspnet-finetune": {
        **{"epochs": 30, "batch": 32, "rate": 0.1, "head": 1.0, "optimizer": "sgd", "decay": 1e-4, "drops": ()},
        **{"constant": False, "area": (0.25, 1.0), "views.clips": 10, "views.crops": 1, "views.stride": 1},
    },
    "rspnet-retrieval": {"centre": False, "maps": None, "views.clips": 10, "views.crops": 1},
    # UCF101's configuration syn8: 8 frames, each 8th, 10 clips of 3 crops
    "slowfast-finetune": {
        **{"epochs": 200, "batch": 64, "rate": 0.01, "optimizer": "sgd", "decay": 0.0, "dropout": 0.8, "drops": ()},
        **{"views.clips": 10, "views.crops": 3, "views.length": 8, "views.stride": 8},
    },
    # scripts/ucf101 and run_class_finetuning.py: 8 GPUs of 16 videos, and the rate is times batch / 256
    "videomae-finetune": {
        **{"epochs": 100, "batch": 8 * 16, "rate": 5e-4 * 8 * 16 / 256, "optimizer": "adamw", "decay": 0.05},
        **{"dropout": 0.5, "average": "softmax", "views.clips": 5, "views.crops": 3, "views.length": 16},
        "views.stride": 4,
    },
    "severe-linear": {"views.clips": 10, "views.crops": 1, "views.length": 32},
    "dino-knn": {"k": 20, "temperature": 0.07, "views.clips": 1, "views.crops": 1},
    # eval_video_segmentation.py
    "dino-propagation": {"last": 7, "near": 12, "most": 5, "temperature": 0.1},
    # detection/configs: 24k steps of 16 pictures
    "moco-detection": {"steps": 24_000, "batch": 16, "rate": 0.02, "frozen": False},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_numbers_are_those_of_the_sources(name):
    if PUBLISHED[name].source.startswith("ours"):
        assert name not in SOURCES  # it is what its class says
        return
    found = fields_of(PUBLISHED[name].judge)
    assert {field: found[field] for field in SOURCES[name]} == SOURCES[name]


def test_our_own_protocols_choose_nothing_on_the_test_list():
    ours = {name: entry.judge for name, entry in PUBLISHED.items() if entry.source.startswith("ours")}
    assert ours == {"knn": KNN(), "retrieval": Retrieval(), "linear": LinearProbe(), "finetune": FineTune()}
    assert ours["finetune"].choose == "last" and ours["linear"].penalty is None and not ours["retrieval"].centre
    assert all(judge.views.shortest == 1 for judge in ours.values())


def test_what_differs_is_named_with_both_values():
    one, other = PUBLISHED["coclr-retrieval"].judge, PUBLISHED["coclr-retrieval-centred"].judge
    assert differences(one, other) == {"centre": (False, True), "views.shortest": (1, 16)}
    assert differences(one, one) == {}
    with pytest.raises(ValueError, match="Retrieval and k-NN are different questions"):
        differences(one, PUBLISHED["knn"].judge)


def test_protocols_between_two_differ_from_the_first_in_one_field_each():
    one = Retrieval(views=Views(clips=10, crops=1))
    other = Retrieval(centre=True, views=Views(every=5, crops=10))
    found = between(one, other)
    assert list(found) == ["centre", "views.clips+views.every", "views.crops"]
    assert found["centre"] == dataclasses.replace(one, centre=True)
    assert found["views.crops"].views == Views(clips=10, crops=10)
    assert found["views.clips+views.every"].views == Views(every=5, crops=1)


def test_what_lies_between_any_two_published_ones_of_a_kind_can_be_asked():
    judges = [entry.judge for entry in PUBLISHED.values()]
    for one in judges:
        for other in (judge for judge in judges if type(judge) is type(one)):
            found = between(one, other)
            assert set("+".join(found).split("+")) == ({*differences(one, other)} or {""})
            assert all(set(differences(one, judge)) == set(name.split("+")) for name, judge in found.items())


def test_fields_bear_the_names_of_the_command_line():
    assert fields_of(FineTune())["views.stride"] == 1 and fields_of(FineTune())["epochs"] == 150
    assert fields_of(NextBestView())["maps.views.stride"] == 1  # of a dataclass in a dataclass
