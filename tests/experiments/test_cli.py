"""The command line: it answers at once, and says what is wrong in one line."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from videossl.experiments.cli import COMMANDS, main, one_line_errors, parse


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
        parse(name, ["--help"])
    assert stopped.value.code == 0
    assert f"usage: videossl {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["pretrain", "resume"])
def test_every_option_is_explained(name, capsys):
    with pytest.raises(SystemExit):
        parse(name, ["--help"])
    explained, option = {}, None
    for line in capsys.readouterr().out.splitlines():
        text = line.strip("│ ")
        if line.startswith(("╭", "╰")) or set(text) <= set("─-"):  # the edge of a box; a dumb terminal gets none
            option = None
        elif text.startswith("-"):
            option, _, about = text.partition("  ")
            explained[option] = about
        elif option:
            explained[option] += " " + text
    assert len(explained) > (20 if name == "pretrain" else 0)
    for option, about in explained.items():
        assert re.sub(r"\((default: .*|required)\)$", "", about.strip()).strip(), f"{option} is not explained"


def test_scripts_say_what_is_wrong_in_one_line_too():
    error = ValueError("no frames")
    error.add_note("in example 3")
    for raised, said in [(error, "videossl: no frames (in example 3)"), (KeyboardInterrupt(), "videossl: interrupted")]:
        with pytest.raises(SystemExit) as stopped, one_line_errors():
            raise raised
        assert stopped.value.code == said
    with pytest.raises(TypeError), one_line_errors():
        raise TypeError("a bug")


def test_a_video_that_cannot_be_read_is_named_in_one_line_by_workers_too(refused, tiny, tmp_path):
    root = tmp_path / "videos"
    shutil.copytree(tiny, root)
    options = ["--size", "32", "32", "--held-out", "0", "--batch", "12", "--steps", "2", "--accelerator", "cpu"]
    options += ["method:shuffle-and-learn", "--method.far", "4", "--method.near", "2"]
    options += ["trunk:small", "--trunk.size", "28", "--trunk.width", "4"]
    said = []
    video = root / "Down/v_Down_g05_c01.avi"
    stat = video.stat()
    video.write_bytes(b"x" * stat.st_size)  # as long and as old as the index has it
    os.utime(video, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    for workers in (0, 2):
        said.append(
            refused("pretrain", "--root", root, "--out", tmp_path / str(workers), "--workers", workers, *options)
        )
    assert said[0] == said[1] and video.name in said[0]
    assert "in example" in said[0] and "in example 0," not in said[0]  # that one is looked at before the workers start


def test_the_commands_of_the_readme_are_understood():
    text = (Path(__file__).parents[2] / "README.md").read_text()
    lines = [line.split("#")[0].split("&&")[-1] for line in text.splitlines() if line.startswith("    ")]
    commands = [shlex.split(line) for line in lines if line.split()[:1] == ["videossl"]]
    assert len(commands) >= 7
    for _, *words in commands:
        name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
        parse(name, words[len(name.split()) :])


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
