import pytest
import torch
from torch import nn

from videossl.evaluation.features import Encoder
from videossl.evaluation.kept import Kept
from videossl.evaluation.views import Views

VIEWS = Views(clips=2, crops=1)


class Colours(nn.Module):
    """A trunk whose features are the mean colour; it counts the clips that it is shown."""

    dim, length, size, seen = 3, 1, 2, 0

    def forward(self, clips):
        self.seen += len(clips)
        return clips.mean((1, 3, 4))


class Broken:
    def __len__(self):
        return 3

    def __getitem__(self, index):
        raise OSError("is gone")


def made(n: int, seed: int = 0) -> list[dict]:
    rng = torch.Generator().manual_seed(seed)
    frames = torch.randint(256, (n, 3, 3, 2, 2), dtype=torch.uint8, generator=rng)
    return [{"frames": f, "name": f"{seed} {i}", "label": i % 2} for i, f in enumerate(frames)]


def encoder(folder) -> Encoder:
    return Encoder(Colours(), batch=4, progress=False, kept=Kept(folder, lambda record: record["name"]))


def test_what_one_encoder_computed_another_reads_and_new_videos_are_added(tmp_path):
    first = encoder(tmp_path).features(made(5), VIEWS)
    again = encoder(tmp_path)
    found = again.features(made(5), VIEWS)
    assert again.trunk.seen == 0 and torch.equal(found.values, first.values) and found.labels.equal(first.labels)
    both = again.features([*made(2, seed=1), *made(5)], VIEWS)
    assert again.trunk.seen == 2 * 2 and torch.equal(both.values[2:], first.values)
    last = encoder(tmp_path)
    assert torch.equal(last.features([*made(2, seed=1), *made(5)], VIEWS).values, both.values) and last.trunk.seen == 0


def test_other_views_are_computed_and_files_hold_no_more_than_their_features(tmp_path):
    encoder(tmp_path).features(made(400), VIEWS)
    other = encoder(tmp_path)
    other.features(made(400), Views(clips=3, crops=1))
    assert other.trunk.seen == 1200 and len(list(tmp_path.iterdir())) == 2
    stored = Kept(tmp_path, str).read(VIEWS.resolved(other.trunk))
    assert len(stored) == 400 and all(value.untyped_storage().nbytes() == 2 * 3 * 4 for value in stored.values())


def test_what_cannot_be_read_or_is_not_known_is_not_kept(tmp_path):
    records = made(3)
    found = encoder(tmp_path).features([*records, {"frames": Broken(), "name": "x"}], VIEWS)
    assert found.failed == {"x": "is gone"}
    mended = encoder(tmp_path)
    assert mended.features([*records, {**made(1, seed=2)[0], "name": "x"}], VIEWS).kept == [0, 1, 2, 3]
    assert mended.trunk.seen == 2
    nameless = Encoder(Colours(), progress=False, kept=Kept(tmp_path / "none", lambda record: None))
    nameless.features(records, VIEWS)
    assert not (tmp_path / "none").exists()


def test_a_file_that_holds_something_else_is_said(tmp_path):
    path = encoder(tmp_path).kept.path(VIEWS.resolved(Colours()))
    path.write_bytes(b"no features")
    with pytest.raises(ValueError, match="cannot be read as features: remove it"):
        encoder(tmp_path).features(made(2), VIEWS)
    torch.save({"a": 1}, path)
    with pytest.raises(ValueError, match="holds no features: name a folder for these alone"):
        encoder(tmp_path).features(made(2), VIEWS)
