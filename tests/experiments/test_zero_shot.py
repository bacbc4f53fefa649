"""`videossl evaluate RUN --protocols zero_shot`."""

import pytest

from videossl.evaluation.features import Encoder
from videossl.evaluation.views import Views
from videossl.evaluation.zero_shot import ZeroShot
from videossl.experiments.data import Videos
from videossl.experiments.devices import Devices
from videossl.experiments.evaluate import Evaluate, score
from videossl.experiments.pretrain import Pretrain, pretrain
from videossl.experiments.results import rows
from videossl.methods.base import Method
from videossl.methods.clip import CLIP
from videossl.methods.rotation import Rotation
from videossl.models.small import Small
from videossl.training.checkpoints import load_net

ENGINE = Devices(accelerator="cpu")
VIEWS = Views(clips=2, crops=1)


def trained(tiny, folder, method: Method):
    numbers = {"steps": 2, "batch": 4, "log": 1, "save": 2, "workers": 0, "watch": 0, "held_out": 0.0}
    trunk = Small(length=1, width=4, size=28)
    return pretrain(Pretrain(Videos(tiny, size=(32, 32)), folder, method=method, trunk=trunk, engine=ENGINE, **numbers))


def test_names_of_classes_are_scored_and_runs_without_words_are_refused(tiny, tmp_path):
    run = trained(tiny, tmp_path / "clip", CLIP(out=8, width=16, depth=1, heads=2, context=12, vocabulary=300))
    videos, asked = Videos(tiny, size=(32, 32)), ZeroShot(("a bar that moves {}",), VIEWS)
    options = {"zero_shot": asked, "workers": 0, "engine": ENGINE}
    (result,) = score(Evaluate((str(run),), videos, ("zero-shot",), out=tmp_path / "scores", **options))
    _, net = load_net(run)
    test = videos.records(False, 1, net.trunk.resize)
    encoder = Encoder(net.trunk, progress=False, whole=lambda: net)
    assert result["metrics"] == pytest.approx(asked.score(encoder, [], test).metrics)
    assert result["metrics"]["chance"] == pytest.approx(1 / 3) and sum(map(sum, result["confusion"])) == 6
    (row,) = [row for row in rows([result]) if row.headline]
    assert (row.protocol, row.metric) == ("Zero-shot", "video_accuracy")
    other = trained(tiny, tmp_path / "rotation", Rotation())
    with pytest.raises(ValueError, match="needs a text encoder, but this trunk is of Rotation: name only runs of"):
        score(Evaluate((str(other),), videos, ("zero_shot",), out=tmp_path / "others", **options))
    with pytest.raises(ValueError, match="this trunk is random"):
        score(Evaluate((str(run), "random"), videos, ("zero_shot",), out=tmp_path / "third", **options))
