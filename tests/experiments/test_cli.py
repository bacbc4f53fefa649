"""The command line: it answers at once, and says what is wrong in one line."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from videossl.experiments.cli import COMMANDS, main, run


@pytest.fixture
def refused(monkeypatch):
    """Run a command that must give up; returns the one line it says."""

    def run(*words: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["videossl", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        said = stopped.value.code
        assert isinstance(said, str) and said.startswith("videossl: ") and "\n" not in said, said
        return said

    return run


def test_help_answers_in_under_a_second_without_torch():
    code = "import sys; sys.argv = ['videossl', '--help']; from videossl.experiments.cli import main; main()"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True)
    seconds = time.perf_counter() - began
    assert done.returncode == 0 and all(name in done.stdout for name in COMMANDS)
    assert not any(line.rsplit("|", 1)[-1].strip() in ("torch", "tyro", "numpy") for line in done.stderr.splitlines())
    assert seconds < 1 or os.getloadavg()[0] > os.cpu_count()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_its_options(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(name, ["--help"])
    assert stopped.value.code == 0
    assert f"usage: videossl {name}" in capsys.readouterr().out


def test_an_unknown_command_is_answered_with_those_there_are(refused):
    said = refused("pretend")
    assert "there is no command 'pretend'" in said and "pretrain" in said


def test_what_is_not_there_is_named_and_nothing_is_made_on_the_way(refused, tmp_path):
    assert "nowhere is not there" in refused("index", tmp_path / "nowhere")
    assert "holds no file named as a video" in refused("index", tmp_path)
    assert "nowhere is not there" in refused("pretrain", "--root", tmp_path / "nowhere", "--out", tmp_path / "run")
    assert "no checkpoint at" in refused("evaluate", tmp_path / "run", "--root", tmp_path)
    assert "is no run" in refused("resume", tmp_path)
    assert "nowhere" in refused("report", tmp_path / "nowhere")
    assert sorted(path.name for path in tmp_path.iterdir()) == []


def test_a_refusal_in_a_real_process_is_one_line_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "videossl.experiments.cli", "index", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("videossl: ") and len(done.stderr.splitlines()) == 1


def test_a_bug_is_not_hidden(monkeypatch):
    monkeypatch.setenv("VIDEOSSL_TRACEBACK", "1")
    monkeypatch.setattr(sys, "argv", ["videossl", "index", "/nowhere/at/all"])
    with pytest.raises(FileNotFoundError):
        main()
