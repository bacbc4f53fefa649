import pytest
import torch

from videossl.evaluation.dense import Stages
from videossl.evaluation.depth import Depth
from videossl.evaluation.pixels import FCN, Pixelwise, enlarged
from videossl.evaluation.segmentation import Segmentation, SegmentationNet
from videossl.models.small import Small


def test_coarse_scores_are_added_to_finer_ones():
    head = FCN([3, 5], 4, 2).eval()
    fine, coarse = torch.randn(2, 3, 8, 8), torch.randn(2, 5, 4, 4)
    finest = torch.randn(2, 9, 16, 16)  # of a stage that is not scored
    expected = enlarged(head.scores[0](fine) + enlarged(head.scores[1](coarse), (8, 8)), (32, 24))
    assert torch.allclose(head([finest, fine, coarse], (32, 24)), expected)


def test_maps_are_enlarged_between_the_centres_of_their_cells():
    wide = enlarged(torch.tensor([[[[0.0, 1.0]]]]), (1, 4))
    assert wide.flatten().tolist() == [0, 0.25, 0.75, 1]


def test_the_head_stands_on_as_many_stages_as_asked_for_and_learns_on_a_frozen_trunk():
    for stages in (1, 2, 9):
        net = SegmentationNet(Stages(Small(length=1, width=4, size=32).build(), 1, (32, 32), True), stages, 6, 5)
        assert len(net.head.scores) == min(stages, len(net.maps.shapes))
        assert net.scores(torch.rand(2, 3, 32, 32), (7, 9)).shape == (2, 5, 7, 9)
        learned = [name for name, weight in net.named_parameters() if weight.requires_grad]
        assert learned and all(name.startswith("head.") for name in learned)


@pytest.mark.parametrize("kind", [Pixelwise, Segmentation, Depth])
def test_a_head_stands_on_a_stage_at_least(kind):
    with pytest.raises(ValueError, match="0 stages: the head stands on one of the trunk's at least"):
        kind(stages=0)
