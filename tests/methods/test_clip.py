import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from videossl.methods.clip import CLIP, END, Text, byte_pairs, matched, read, words_of

SMALL = {"out": 16, "width": 16, "depth": 1, "heads": 2, "context": 12, "vocabulary": 300}
COLOURS = {"red": 0, "green": 1, "blue": 2}


def squares(count: int, seed: int = 0) -> list[dict]:
    """Noise with a bright square of one colour at the left or at the right, and words for both."""
    rng = np.random.default_rng(seed)
    records = []
    for n in range(count):
        colour, side = rng.integers(3), rng.integers(2)
        image = rng.integers(0, 60, (1, 3, 16, 16), dtype=np.uint8)
        image[:, colour, 4:12, 8 * side : 8 * side + 8] = 250
        words = f"a {list(COLOURS)[colour]} square on the {('left', 'right')[side]}"
        records.append({"frames": torch.from_numpy(image), "caption": words, "label": int(colour), "name": str(n)})
    return records


def test_it_learns_words_and_names_classes_it_was_not_told(learn, batch, tiny):
    records = squares(96)
    method = CLIP(**SMALL, area=(0.9, 1.0)).prepare(records)
    net = learn(method, records, tiny(), 160)
    metrics = net(batch(method, squares(48, seed=1)))[1]
    assert metrics["accuracy"] > 0.6 > 0.3 > metrics["guessing"]
    prompts = ("a {} square on the left", "a {} square on the right")
    asked = squares(60, seed=2)
    with torch.no_grad():
        features = net.trunk(torch.stack([record["frames"] for record in asked]).float() / 255)
        chosen = net.likeness(features, list(COLOURS), prompts).argmax(1)
        swapped = net.likeness(features, list(COLOURS)[::-1], prompts).argmax(1)
    assert (chosen == torch.tensor([record["label"] for record in asked])).float().mean() > 0.7
    assert torch.equal(2 - chosen, swapped)


def test_the_loss_is_that_of_rows_and_columns():
    logits, own = torch.randn(5, 5), torch.eye(5, dtype=torch.bool)
    total = 0.0
    for n in range(5):
        total -= math.log(logits[n].softmax(0)[n]) + math.log(logits[:, n].softmax(0)[n])
    assert matched(logits, own).item() == pytest.approx(total / 10, rel=1e-5)
    assert matched(logits.T, own).item() == pytest.approx(total / 10, rel=1e-5)
    everyone = torch.ones(5, 5, dtype=torch.bool)
    assert matched(torch.zeros(5, 5), own).item() == pytest.approx(math.log(5), rel=1e-5)
    assert matched(torch.zeros(5, 5), everyone).item() == pytest.approx(math.log(5), rel=1e-5)
    order = torch.randperm(5)
    assert matched(logits[order][:, order], own).item() == pytest.approx(total / 10, rel=1e-5)


def test_images_of_the_same_caption_are_right_for_each_other(tiny, batch):
    records = [{**record, "caption": "a square"} for record in squares(4)]
    method = CLIP(**SMALL).prepare(records)
    loss, metrics = method.build(tiny()).eval()(batch(method, records))
    assert metrics["accuracy"] == metrics["guessing"] == 1 and loss > 0


def test_cosines_are_multiplied_by_a_hundred_at_most(tiny, batch):
    records = squares(4)
    method = CLIP(**SMALL).prepare(records)
    net = method.build(tiny()).eval()
    assert net.scale.exp().item() == pytest.approx(1 / 0.07)
    losses = []
    for scale in (100.0, 1000.0):
        with torch.no_grad():
            net.scale.copy_(torch.tensor(scale).log())
        losses.append(net(batch(method, records))[0].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_any_text_becomes_tokens_that_end_and_the_same_for_the_same_captions():
    records = squares(20)
    method = CLIP(**SMALL).prepare(records)
    assert method == CLIP(**SMALL).prepare(records[::-1]) and method.prepare(squares(3)) is method
    tokens = method.tokens("a Red square")
    assert tokens.shape == (12,) and (tokens == END).sum() == 1
    assert torch.equal(tokens, method.tokens("a red SQUARE")) and not torch.equal(tokens, method.tokens("a red circle"))
    end = int(tokens.tolist().index(END))
    assert read(method.tokenizer).decode(tokens[:end].tolist()).strip() == "a red square"
    assert (tokens[end + 1 :] == 0).all()
    long = method.tokens("δ ü 猫 " * 20)
    assert len(long) == 12 and long[-1] == END
    assert read(byte_pairs(["aa"], 300)).get_vocab_size() <= 300


def test_a_texts_meaning_depends_on_its_tokens_up_to_the_end_alone():
    torch.manual_seed(0)
    text = Text(20, 8, 8, 2, 2, 4).eval()
    one = torch.tensor([[5, 6, END, 0, 0, 0, 0, 0]])
    padded = torch.cat([one, torch.tensor([[5, 6, 7, 8, 9, END, 0, 0]])])
    assert torch.allclose(text(one)[0], text(padded)[0], atol=1e-5)
    assert not torch.allclose(text(one)[0], text(torch.tensor([[6, 5, END, 0, 0, 0, 0, 0]]))[0], atol=1e-4)


def test_names_under_several_prompts_are_the_mean_of_their_unit_vectors(tiny):
    net = CLIP(**SMALL).prepare(squares(5)).build(tiny()).eval()
    one, other = net.names(["red", "blue"], ["a {}"]), net.names(["red", "blue"], ["{} square"])
    both = net.names(["red", "blue"], ["a {}", "{} square"])
    assert torch.allclose(both, F.normalize(one + other, dim=1), atol=1e-5)
    assert torch.allclose(both.norm(dim=1), torch.ones(2))


def test_a_clip_goes_with_its_words(counting):
    record = {**counting(30), "caption": "counting"}
    method = CLIP(**SMALL, length=4, stride=3).prepare([record])
    shown = method.sample(record, np.random.default_rng(0))["clips"][:, 0, 0, 0].int()
    assert (shown.diff() == 3).all()
    with pytest.raises(ValueError, match="fewer than the 10 frames of a clip"):
        method.check({**counting(9), "caption": "counting"})


def test_what_is_said_is_a_caption_or_a_class_and_without_either_it_is_told(tiny):
    assert words_of({"caption": "a cat", "class": "cat"}) == "a cat" and words_of({"class": "cat"}) == "cat"
    with pytest.raises(ValueError, match='no "caption", nor "class"'):
        CLIP().check({"frames": torch.zeros(1, 3, 8, 8), "label": 0})
    with pytest.raises(ValueError, match="CLIP knows no words yet"):
        CLIP().tokens("a cat")
    method = CLIP(**SMALL).prepare(squares(3))
    with pytest.raises(ValueError, match="a batch of one example"):
        method.build(tiny())({"clips": torch.zeros(1, 1, 3, 16, 16), "tokens": method.tokens("a")[None]})
    with pytest.raises(ValueError, match="multiple of its 3 heads"):
        CLIP(heads=3)
    with pytest.raises(ValueError, match="no tokenizer as JSON"):
        CLIP(tokenizer="words")
