import pytest

from videossl.experiments.protocols import Diff, Protocols, diff, protocols


def test_protocols_are_listed_printed_and_told_apart(capsys):
    protocols(Protocols())
    listed = " ".join(capsys.readouterr().out.split())
    assert "vcop-retrieval" in listed and "dino-knn" in listed
    protocols(Protocols(("coclr-finetune-as-published",)))
    printed = " ".join(capsys.readouterr().out.split())
    assert "mistake: test videos choose the epoch" in printed and "views.every: 15" in printed
    diff(Diff("coclr-finetune", "coclr-finetune-as-published"))
    table = capsys.readouterr().out
    assert "choose" in table and "held_out" in table and "dropout" not in table
    with pytest.raises(
        ValueError, match="there is no published protocol 'vcop'; there are: shuffle-and-learn-finetune"
    ):
        protocols(Protocols(("vcop",)))
