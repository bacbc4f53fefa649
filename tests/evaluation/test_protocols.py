import dataclasses

import pytest
import torch

from videossl.evaluation.base import Judge
from videossl.evaluation.finetune import FineTune
from videossl.evaluation.protocols import PUBLISHED, between, differences, fields_of
from videossl.evaluation.retrieval import Retrieval
from videossl.evaluation.views import Views
from videossl.models.small import Small


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_protocol_names_its_source_and_has_views_of_any_trunk(name):
    entry = PUBLISHED[name]
    assert isinstance(entry.judge, Judge) and entry.source and entry.version >= 1
    assert len(entry.judge.views.resolved(Small(length=1).build()).indices(100))
    mistaken = getattr(entry.judge, "choose", "") == "test" or entry.judge.views.shortest > 1
    assert mistaken <= bool(entry.mistake)


def test_the_views_are_those_of_the_papers():
    frames = PUBLISHED["shuffle-and-learn-finetune"].judge.views
    assert frames.indices(300).shape == (25, 1) and frames.crops == 10
    assert PUBLISHED["vcop-finetune"].judge.views.clips == 10
    half = PUBLISHED["coclr-retrieval"].judge.views.resolved(Small(length=32).build())
    assert half.indices(92)[:, 0].tolist() == [0, 15, 30, 45, 60] and half.indices(92).shape == (5, 32)
    thirty = PUBLISHED["slowfast-finetune"].judge.views
    fifteen = PUBLISHED["videomae-finetune"].judge.views
    assert thirty.clips * thirty.crops == 30 and fifteen.clips * fifteen.crops == 15


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
    assert list(found) == ["centre", "views.crops", "views.clips+views.every"]
    assert found["centre"] == dataclasses.replace(one, centre=True)
    assert found["views.crops"].views == Views(clips=10, crops=10)
    assert found["views.clips+views.every"].views == Views(every=5, crops=1)


def test_fields_bear_the_names_of_the_command_line():
    assert fields_of(FineTune())["views.stride"] == 1 and fields_of(FineTune())["epochs"] == 150


def test_published_counts_of_videos_come_out():
    """UCF101 test list 1, by the frame counts of 40 videos: those under a protocol's least are left out by it alone."""
    views = PUBLISHED["coclr-retrieval-centred"].judge.views.resolved(Small(length=32).build())
    lengths = torch.arange(10, 50).tolist()
    seen = 0
    for frames in lengths:
        try:
            seen += len(views.indices(frames)) > 0
        except ValueError:
            assert frames < 16
    assert seen == sum(frames >= 16 for frames in lengths)
