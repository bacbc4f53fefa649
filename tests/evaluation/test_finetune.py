import numpy as np
import pytest
import torch
from torch import nn

from videossl.evaluation import finetune
from videossl.evaluation.features import Encoder
from videossl.evaluation.finetune import Action, FineTune
from videossl.evaluation.views import Views
from videossl.models.caffenet import CaffeNet
from videossl.models.small import Small

VIEWS = Views(clips=2)


def made(n: int, seed: int = 0) -> list[dict]:
    """Noisy videos, dark (0), middling (1) or bright (2)."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randint(100, (n, 6, 3, 10, 12), dtype=torch.uint8, generator=rng)
    return [{"frames": f + 70 * (i % 3), "label": i % 3, "name": f"{seed} {i}"} for i, f in enumerate(noise)]


def trunk(width: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return Small(length=4, width=width, size=8).build()


def test_fine_tuning_learns_what_a_random_head_does_not_know_and_leaves_the_trunk_alone():
    encoder = Encoder(trunk().train(), batch=32)
    before = {name: item.clone() for name, item in encoder.trunk.state_dict().items()}
    train, test = made(24), made(30, seed=1)
    untrained = FineTune(epochs=0, views=VIEWS).score(encoder, train, test)
    trained = FineTune(epochs=20, batch=8, rate=0.05, views=VIEWS).score(encoder, train, test)
    assert untrained.metrics["video_accuracy"] < 0.7 and "train_loss" not in untrained.metrics
    assert trained.metrics["video_accuracy"] > 0.95 and trained.metrics["train_loss"] < 0.5
    assert trained.metrics["chance"] == pytest.approx(1 / 3) and trained.evaluated == 30 and trained.trained == 24
    assert all(torch.equal(item, before[name]) for name, item in encoder.trunk.state_dict().items())
    assert encoder.trunk.training and all(p.grad is None for p in encoder.trunk.parameters())


def test_the_whole_net_is_trained_batch_norm_too():
    encoder = Encoder(trunk().requires_grad_(False))
    net, _ = FineTune(epochs=1, batch=4, rate=0.1, views=VIEWS).tuned(encoder, made(12), 3, seed=0)
    old, new = encoder.trunk.state_dict(), net.trunk.state_dict()
    assert all(not torch.equal(item, new[name]) for name, item in old.items())


def test_the_seed_decides_everything_and_nothing_else_does():
    encoder, train = Encoder(trunk()), made(12)
    protocol = FineTune(epochs=1, batch=4, views=VIEWS)
    weights = []
    for seed, around in ((5, 1), (5, 2), (6, 1)):
        torch.manual_seed(around)
        state = torch.get_rng_state()
        weights.append(protocol.tuned(encoder, train, 3, seed)[0].state_dict())
        assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(item, weights[1][name]) for name, item in weights[0].items())
    assert not torch.equal(weights[0]["linear.weight"], weights[2]["linear.weight"])


def test_workers_change_nothing():
    train = made(12)
    protocol = FineTune(epochs=1, batch=4, views=VIEWS)
    one, two = (protocol.tuned(Encoder(trunk(), workers=w), train, 3, seed=0)[0].state_dict() for w in (0, 2))
    assert all(torch.equal(item, two[name]) for name, item in one.items())


def test_rates_fall_along_a_cosine_and_the_head_has_its_own(monkeypatch):
    seen = []

    def watched(net, batches, optimizer, steps, rate, **others):
        for step, metrics in finetune_fit(net, batches, optimizer, steps, rate, **others):
            seen.append([group["lr"] for group in optimizer.param_groups])
            counts = [sum(p.numel() for p in group["params"]) for group in optimizer.param_groups]
            assert counts == [sum(p.numel() for p in net.trunk.parameters()), 3 * net.trunk.dim + 3]
            yield step, metrics

    finetune_fit = finetune.fit
    monkeypatch.setattr(finetune, "fit", watched)
    protocol = FineTune(epochs=10, batch=6, rate=0.01, head=10.0, views=VIEWS)
    protocol.tuned(Encoder(trunk()), made(12), 3, seed=0)
    assert len(seen) == 20  # 10 epochs of 12 videos, 6 in a step
    trunks, heads = zip(*seen, strict=True)
    assert heads == pytest.approx([10 * rate for rate in trunks])
    assert max(trunks) == pytest.approx(0.01, rel=0.02) and trunks[-1] < 1e-3
    assert list(trunks[1:]) == sorted(trunks[1:], reverse=True)


def test_a_training_clip_is_a_run_of_frames_from_anywhere_in_the_video():
    frames = torch.arange(20, dtype=torch.uint8)[:, None, None, None].expand(20, 3, 8, 8)
    question = Action(classes=3, length=4, stride=2, size=8)
    starts = set()
    for seed in range(200):
        example = question.sample({"frames": frames, "label": 2}, np.random.default_rng(seed))
        clip = example["clips"][:, 0, 0, 0].tolist()
        assert clip == list(range(clip[0], clip[0] + 7, 2)) and example["label"] == 2
        starts.add(clip[0])
    assert starts == set(range(14))


@pytest.mark.parametrize("frames", range(1, 8))
def test_a_training_video_shorter_than_a_clip_is_looped(frames):
    counting = torch.arange(frames, dtype=torch.uint8)[:, None, None, None].expand(frames, 3, 8, 8)
    question = Action(classes=3, length=8, stride=1, size=8)
    example = question.sample({"frames": counting, "label": 0}, np.random.default_rng(0))
    assert example["clips"][:, 0, 0, 0].tolist() == [i % frames for i in range(8)]


def test_the_loss_before_training_is_near_that_of_guessing():
    net = Action(classes=3, length=4, stride=1, size=8).build(trunk())
    batch = {"clips": torch.stack([r["frames"][:4] for r in made(12)]), "label": torch.arange(12) % 3}
    loss, metrics = net(batch)
    assert abs(loss.item() - np.log(3)) < 0.3 and 0 <= metrics["accuracy"] <= 1


def test_a_videos_answer_is_the_mean_of_its_views_probabilities():
    encoder, train, test = Encoder(trunk(width=4)), made(12), made(9, seed=1)
    views = Views(clips=2, crops=10)
    protocol = FineTune(epochs=1, batch=4, rate=0.05, views=views)
    scores = protocol.score(encoder, train, test, seed=3)
    net = protocol.tuned(encoder, train, 3, seed=3)[0].eval()
    views = views.resolved(encoder.trunk)
    right = 0
    for n, record in enumerate(test):
        seen = views.crop(record["frames"][views.indices(6)].float() / 255)
        with torch.no_grad():
            shares = net.linear(net.trunk(seen)).softmax(-1)  # (20, 3)
        assert scores.predictions[n] == shares.mean(0).argmax()
        right += (shares.view(2, 10, 3).mean(1).argmax(1) == record["label"]).sum().item()
    assert scores.metrics["clip_accuracy"] == pytest.approx(right / 18)


def test_training_sees_random_crops_some_mirrored_and_otherwise_the_centre():
    class Seen(nn.Module):
        dim, length, size = 1, 1, 4

        def forward(self, clips):
            self.clips = clips
            return clips.mean((1, 2, 3, 4))[:, None]

    net = Action(classes=2, length=1, stride=1, size=4).build(Seen())
    frame = torch.arange(6 * 8, dtype=torch.uint8).view(6, 8)
    batch = {"clips": frame.expand(200, 1, 3, 6, 8), "label": torch.zeros(200, dtype=torch.int64)}
    windows = {}
    for top in range(3):
        for left in range(5):
            window = frame[top : top + 4, left : left + 4]
            windows[tuple(window.flatten().tolist())] = (top, left, False)
            windows[tuple(window.flip(1).flatten().tolist())] = (top, left, True)

    def places():
        net(batch)
        shown = (net.trunk.clips[:, 0, 0] * 255).round().int().flatten(1).tolist()
        return [windows[tuple(pixels)] for pixels in shown]

    torch.manual_seed(0)
    net.train()
    assert len(set(places())) > 25  # of 30
    net.eval()
    assert set(places()) == {(1, 2, False)}


def test_few_labels_are_drawn_as_for_the_probe():
    scores = FineTune(epochs=1, batch=4, labels=2, views=VIEWS).score(Encoder(trunk()), made(24), made(9, seed=1))
    assert scores.trained == 6
    with pytest.raises(ValueError, match="9 labelled videos a class were asked for, but class 0 has 8"):
        FineTune(labels=9, views=VIEWS).score(Encoder(trunk()), made(24), made(9, seed=1))


class Broken:
    def __len__(self):
        return 6

    def __getitem__(self, index):
        raise OSError("cut off")


def test_a_training_video_that_cannot_be_read_stops_it_and_is_named():
    train = [{**made(3)[0], "frames": Broken(), "name": "torn.avi"}]
    with pytest.raises(OSError, match="cut off") as error:
        FineTune(epochs=1, batch=1, views=VIEWS).score(Encoder(trunk()), train, made(9, seed=1))
    assert "torn.avi" in error.value.__notes__[0]


def test_a_test_video_that_cannot_be_read_is_counted_and_never_replaced():
    test = made(9, seed=1)
    test[4] = {**test[4], "frames": Broken()}
    scores = FineTune(epochs=0, views=VIEWS).score(Encoder(trunk()), made(6), test)
    assert scores.failed == {"1 4": "cut off"} and scores.tested == [0, 1, 2, 3, 5, 6, 7, 8]
    assert np.sum(scores.confusion) == 8


def test_a_missing_label_is_an_error():
    test = made(3)
    del test[2]["label"]
    with pytest.raises(ValueError, match='Fine-tuning needs "label" of each video, but 0 2 has none'):
        FineTune(views=VIEWS).score(Encoder(trunk()), made(6), test)


def test_a_loss_that_is_no_number_any_more_is_an_error():
    broken = trunk()
    next(broken.parameters()).data.fill_(float("nan"))
    with pytest.raises(ValueError, match="the loss of step 3 is nan: give a lower rate"):
        FineTune(epochs=1, batch=4, views=VIEWS).score(Encoder(broken), made(12), made(6, seed=1))
    with pytest.raises(ValueError, match="the loss of step 50 is nan: give a lower rate"):  # not after all epochs
        FineTune(epochs=1000, batch=4, views=VIEWS).score(Encoder(broken), made(12), made(6, seed=1))


def grouped(n: int, seed: int = 0) -> list[dict]:
    return [record | {"group": str(i // 3)} for i, record in enumerate(made(n, seed))]


@pytest.mark.parametrize("choose", ["held_out", "test"])
def test_the_epoch_is_chosen_by_the_videos_that_are_to_choose_it(choose, monkeypatch):
    asked, weights = [], []
    answers = iter([0.5, 0.9, 0.7])

    def told(net, encoder, records, views):
        asked.append([record["name"] for record in records])
        weights.append(net.linear.weight.detach().clone())
        return next(answers)

    monkeypatch.setattr(finetune, "accuracy", told)
    train, test = grouped(15), grouped(6, seed=1)
    net, _ = FineTune(epochs=3, batch=4, views=VIEWS, choose=choose).tuned(Encoder(trunk()), train, 3, 0, test)
    assert torch.equal(net.linear.weight, weights[1]) and not torch.equal(weights[1], weights[2])
    names = {record["name"] for record in (test if choose == "test" else train)}
    assert all(set(chosen) <= names and chosen for chosen in asked) and len(asked) == 3
    if choose == "held_out":
        with pytest.raises(ValueError, match="no group of the training videos can be held out"):
            FineTune(epochs=1, views=VIEWS, choose=choose).tuned(Encoder(trunk()), grouped(3), 3, 0, test)


def test_what_lies_up_to_a_frozen_layer_stays_and_the_rest_learns():
    torch.manual_seed(0)
    encoder = Encoder(CaffeNet(size=39, widths=(8,)).build())
    before = encoder.trunk.state_dict()
    images = [{**record, "frames": record["frames"][:1].repeat(1, 1, 5, 5)} for record in made(6)]
    protocol = FineTune(epochs=2, batch=3, rate=0.1, frozen="conv3", views=Views(clips=1, crops=1))
    after = protocol.tuned(encoder, images, 3, seed=0)[0].trunk.state_dict()
    stays = [torch.equal(item, after[name]) for name, item in before.items()]
    kinds = [name.split(".")[1] for name in before if name.startswith("convolutions")]
    known = sum(int(place) <= 9 for place in kinds)  # conv1 to conv3, whose means have place 9
    assert stays == [True] * known + [False] * (len(stays) - known) and known == 8
    assert all(parameter.requires_grad for parameter in encoder.trunk.parameters())
    with pytest.raises(ValueError, match="has no layer 'conv9'"):
        FineTune(epochs=1, frozen="conv9", views=VIEWS).tuned(encoder, images, 3, seed=0)


def test_a_trunk_that_is_frozen_whole_is_probed():
    net = FineTune(epochs=2, batch=4, rate=0.1, frozen="features", views=VIEWS).tuned(Encoder(trunk()), made(12), 3, 0)[
        0
    ]
    assert all(torch.equal(item, net.trunk.state_dict()[name]) for name, item in trunk().state_dict().items())
    assert not any(part.training for part in net.trunk.modules() if isinstance(part, nn.BatchNorm3d))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"batch": 0}, "epochs are 150 and batch is 0: epochs start at 0, a batch at 1"),
        ({"epochs": -1}, "epochs are -1"),
        ({"constant": True, "drops": (0.5,)}, r"constant does not fall, but drops are \(0.5,\): give one"),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong, why):
    with pytest.raises(ValueError, match=why):
        FineTune(**wrong)


def test_accuracy_is_that_of_middle_clips():
    torch.manual_seed(0)
    net = Action(3, length=4, stride=1, size=8).build(trunk()).eval()
    records = made(9)
    views = VIEWS.resolved(net.trunk)
    with torch.inference_mode():
        clips = torch.stack([r["frames"][1:5, :, 1:9, 2:10] for r in records]).float() / 255
        right = net.linear(net.trunk(clips)).argmax(1).tolist()
    expected = sum(r == record["label"] for r, record in zip(right, records, strict=True)) / 9
    assert finetune.accuracy(net, Encoder(net.trunk), records, views) == pytest.approx(expected)


@pytest.mark.parametrize("average", ["softmax", "logits"])
def test_what_is_averaged_over_views_is_what_was_asked_for(average):
    torch.manual_seed(0)
    net = Action(3, length=4, stride=1, size=8).build(trunk()).eval()
    clips = torch.rand(5, 4, 3, 8, 8)
    with torch.inference_mode():
        logits = net.linear(net.trunk(clips))
        answer = finetune.Answers(net, average)(clips)
    assert torch.equal(answer, logits if average == "logits" else logits.softmax(-1))


def test_rate_optimizer_dropout_and_crop_are_those_asked_for(monkeypatch):
    rates = []

    def watched(net, batches, optimizer, steps, rate, **options):
        rates.append([rate(progress) for progress in (0, 0.6, 1)])
        kinds.append((type(optimizer).__name__, optimizer.param_groups[0]["weight_decay"], net.dropout.p, net.area))
        return iter(())

    kinds = []
    monkeypatch.setattr(finetune, "fit", watched)
    odd = FineTune(
        epochs=1, rate=1.0, optimizer="adam", decay=0.5, drops=(0.5,), dropout=0.9, area=(0.2, 1.0), views=VIEWS
    )
    for judge in (odd, FineTune(epochs=1, rate=1.0, constant=True, views=VIEWS)):
        judge.tuned(Encoder(trunk()), made(6), 3, seed=0)
    assert rates == [[1.0, pytest.approx(0.1), pytest.approx(0.1)], [1.0, 1.0, 1.0]]
    assert kinds == [("Adam", 0.5, 0.9, (0.2, 1.0)), ("SGD", 5e-4, 0.0, None)]
