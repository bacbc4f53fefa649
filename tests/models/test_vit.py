import pytest
import torch

from videossl.models.small import Small
from videossl.models.vit import ViT, positions, transformer

TINY = {"width": 24, "depth": 2, "heads": 2, "patch": 8, "size": 32}


@pytest.fixture
def trunk():
    torch.manual_seed(0)
    return ViT(**TINY, length=4, tubelet=2).build().eval()


def test_features_tokens_and_maps_have_the_shapes_of_the_grid(trunk):
    clips = torch.rand(3, 4, 3, 32, 32)
    assert trunk.grid == (2, 4, 4) and trunk(clips).shape == (3, 24)
    assert trunk.tokens(clips).shape == (3, 1 + 32, 24) and trunk.maps(clips).shape == (3, 24, 2, 4, 4)
    assert torch.equal(trunk(clips), trunk.tokens(clips)[:, 0])
    mean = ViT(**TINY, pool="mean").build().eval()
    frames = clips[:, :1]
    assert torch.allclose(mean(frames), mean.maps(frames).mean((2, 3, 4)), atol=1e-6)


def test_vit_s_has_its_published_number_of_weights():
    count = sum(p.numel() for p in ViT().build().parameters())
    # 21.67 M of timm's vit_small_patch16_224 without classifier, less its learned positions of 197 tokens
    assert count == 21_665_664 - 197 * 384


def test_other_sizes_and_lengths_are_read_too(trunk):
    assert trunk(torch.rand(2, 8, 3, 48, 64)).shape == (2, 24)
    assert trunk.maps(torch.rand(2, 1, 3, 35, 32)).shape == (2, 24, 1, 4, 4)
    with pytest.raises(ValueError, match="hold no token of 8 pixels a side"):
        trunk(torch.rand(2, 4, 3, 7, 32))


def test_only_what_is_kept_is_seen(trunk):
    clips = torch.rand(2, 4, 3, 32, 32)
    keep = torch.tensor([[0, 5, 31], [3, 4, 16]])
    seen = trunk.tokens(clips, keep)
    assert seen.shape == (2, 4, 24)
    other = clips.clone()
    other[0, :2, :, 8:, 8:] = 0.5  # places beyond the first row and column, of the first moment, but for number 5
    other[0, :2, :, 8:16, 8:16] = clips[0, :2, :, 8:16, 8:16]
    assert torch.allclose(trunk.tokens(other, keep), seen, atol=1e-6)
    everything = torch.arange(32).expand(2, 32)
    assert torch.allclose(trunk.tokens(clips, everything), trunk.tokens(clips), atol=1e-6)


def test_what_is_hidden_shows_the_methods_token_and_not_its_pixels(trunk):
    clips, token = torch.rand(1, 4, 3, 32, 32), torch.randn(24)
    hide = torch.zeros(1, 32, dtype=torch.bool)
    hide[0, 16:] = True  # the second moment
    other = clips.clone()
    other[:, 2:] = 0
    shown = trunk.tokens(clips, hide=hide, token=token)
    assert torch.allclose(trunk.tokens(other, hide=hide, token=token), shown, atol=1e-6)
    assert not torch.allclose(trunk.tokens(clips), shown)


def test_positions_differ_everywhere_and_stretch_with_the_grid():
    places = positions((2, 3, 4), (2, 3, 4), 36)
    assert places.shape == (24, 36) and (torch.cdist(places, places) + torch.eye(24) > 0.1).all()
    wide = positions((1, 1, 8), (1, 1, 4), 36)
    narrow = positions((1, 1, 4), (1, 1, 4), 36)
    middle = (wide[0::2] + wide[1::2]) / 2  # two places of the finer grid lie evenly about one of the coarser
    assert torch.nn.functional.cosine_similarity(middle, narrow).min() > 0.99


def test_attention_is_what_the_class_token_attends_to(trunk):
    clips = torch.rand(2, 4, 3, 32, 32)
    shares = trunk.attention(clips)
    assert shares.shape == (2, 2, 2, 4, 4) and (shares > 0).all() and (shares.sum((2, 3, 4)) < 1).all()
    before = trunk.tokens(clips)
    with torch.no_grad():
        trunk.blocks[-1].attn.qkv.weight.zero_()
        trunk.blocks[-1].attn.qkv.bias.zero_()
    assert torch.allclose(trunk.attention(clips), torch.full((2, 2, 2, 4, 4), 1 / 33), atol=1e-6)
    assert before.shape == (2, 33, 24)


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="size 30 is no multiple of what a token covers, 8"):
        ViT(**{**TINY, "size": 30}).build()
    with pytest.raises(ValueError, match="should be a multiple of the 5 heads"):
        ViT(**{**TINY, "heads": 5}).build()
    with pytest.raises(ValueError, match="MAE hides tokens, so its trunk must have tokens"):
        transformer(Small(length=1, size=32).build(), "MAE")
