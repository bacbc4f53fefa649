import faulthandler
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from videossl.datasets import jobs
from videossl.datasets.jobs import Fault, in_processes, sign_of_life, worth_starting

FINE = "None"
SLEEP = "__import__('time').sleep(600)"


def test_a_process_that_dies_hangs_or_errs_is_blamed_on_one_job_and_the_others_are_done():
    asked = [FINE, "__import__('os').abort()", FINE, "1 / 0", SLEEP, "__import__('sys').exit(3)", FINE]
    results = dict(in_processes(eval, asked, workers=2, limit=2.0))
    assert sorted(results) == list(range(7))
    assert sorted(n for n in results if results[n] is None) == [0, 2, 6]
    assert results[1] == Fault("crash", "killed by SIGABRT") and results[5] == Fault(
        "crash", "ended with exit status 3"
    )
    assert results[3].what == "bug" and results[3].why.startswith("ZeroDivisionError: division by zero")
    assert results[4] == Fault("hang", "no sign of life for 2 seconds")
    assert results[1].of("the decoder") == "makes the decoder crash (killed by SIGABRT)"
    assert results[3].of("decord").startswith("makes decord fail (ZeroDivisionError")


def slow(seconds: float) -> int:
    """A job of so many seconds that says all the time that it goes on."""
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        sign_of_life()
        time.sleep(0.01)
    return os.getpid()


def counted(path: Path) -> int:
    """A job that its process dies of the first time."""
    with open(path, "a") as file:
        file.write("x")
    if path.stat().st_size == 1:
        faulthandler.disable()  # which would show where
        os.abort()
    return path.stat().st_size


@pytest.mark.usefixtures("forked")
def test_a_job_that_shows_signs_of_life_may_take_any_time_up_to_the_total():
    assert isinstance(dict(in_processes(slow, [3.0], 1, limit=1.0))[0], int)
    assert dict(in_processes(slow, [3.0], 1, limit=1.0, total=1.5)) == {0: Fault("hang", "took more than 1.5 seconds")}
    sign_of_life()  # nobody is told


@pytest.mark.usefixtures("forked")
def test_a_job_is_tried_again_in_a_new_process_if_that_is_asked_for(tmp_path):
    assert dict(in_processes(counted, [tmp_path / "once"], 1)) == {0: Fault("crash", "killed by SIGABRT")}
    assert dict(in_processes(counted, [tmp_path / "twice"], 1, tries=2)) == {0: 2}


@pytest.mark.usefixtures("forked")
def test_processes_are_few_and_replaced_after_a_batch():
    assert len(set(dict(in_processes(slow, [0] * 12, 1)).values())) == 1
    assert len(set(dict(in_processes(slow, [0] * 12, 1, batch=5)).values())) == 3
    assert len(set(dict(in_processes(slow, [0.01] * 12, 2)).values())) == 2


SCRIPT = """
import os, pathlib, sys
from videossl.datasets.jobs import in_processes
place = pathlib.Path({place!r})
(place / "runs").open("a").write("x")  # no guard: a process that ran the script anew would be counted here
jobs = [f"__import__('pathlib').Path({place!r}, 'child').write_text(str(__import__('os').getpid()))", {sleep!r}]
for answer in in_processes(eval, jobs, 1):
    print(answer, flush=True)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_processes_end_with_their_parent_and_do_not_run_its_script(tmp_path, end):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(place=str(tmp_path), sleep=SLEEP))
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert parent.stdout.readline().startswith(b"(0, ")
    child = int((tmp_path / "child").read_text())
    os.kill(child, 0)  # it is there
    parent.send_signal(end)
    parent.wait(10)
    parent.stdout.close()
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the process outlives its parent")
    assert (tmp_path / "runs").read_text() == "x"


def test_where_no_process_can_be_started_that_is_an_error(monkeypatch):
    monkeypatch.setattr(jobs, "_answer", eval)  # which does not take what it is given
    with pytest.raises(ChildProcessError, match="could not be started: ended with exit status 1"):
        list(in_processes(eval, [FINE], 1))


def test_as_many_processes_are_started_as_there_is_work_for():
    million = 1_000_000
    assert worth_starting(4, [5 * million] * 3) == 3  # few but long files
    assert worth_starting(4, [10_000] * 50) == 1  # many, but soon read
    assert worth_starting(2, [million] * 50) == 2
    assert worth_starting(4, []) == 1
