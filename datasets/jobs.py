"""Jobs done in processes that may die or hang of them: reading a damaged file can make a decoder do either.

Each process does one job at a time and is watched by its parent. One that dies, or says nothing for too long, is replaced:
its job is answered by a `Fault`, and the others go on.
"""

import importlib
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

LIMIT = 60.0  # seconds without a sign of life: a frame takes under one, and a first call that compiles a few
STARTING = 120  # seconds a process may take to import and compile what it needs
TICK = 0.5  # seconds between two looks at the clock, and between two signs of life
BATCH = 1000  # jobs after which a process is replaced, for decoders lose memory
SHARE = 1_000_000  # bytes of videos that take about as long to decode as a process to start
PRELOADED = "videossl.datasets.preload"

# A plain fork would share the parent's threads and open files. A server that has imported what is needed forks within
# milliseconds, but the system libraries of others than Linux do not bear that.
CONTEXT = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")


@dataclass(frozen=True)
class Fault:
    """What a job did instead of ending."""

    what: Literal["crash", "hang", "bug"]  # its process died; it took too long; it raised an exception
    why: str

    def of(self, culprit: str) -> str:
        """Such as "makes the decoder crash (killed by SIGSEGV)"."""
        return f"makes {culprit} {'fail' if self.what == 'bug' else self.what} ({self.why})"


def in_processes(
    work: Callable[[Any], Any],
    jobs: Iterable[Any],
    workers: int,
    limit: float = LIMIT,
    total: float = math.inf,
    batch: int = BATCH,
    tries: int = 1,
) -> Iterator[tuple[int, Any]]:
    """Call `work` on each job, in processes that are ended with this one.

    Args:
        work: a function of a module, not of the script that runs. It can be pickled, as the jobs and what it returns can.
        jobs: taken up as processes are free for them.
        workers: processes at a time; each takes tens of milliseconds to start, the first of all a second or two.
        limit: seconds that a job may take without a `sign_of_life`. Only those count in which this process is awake: a
            machine that was suspended is no hang.
        total: seconds that a job may take in all.
        batch: jobs after which a process is replaced.
        tries: how often a job is tried that a process dies of. What kills it may be left from a job before; with 2, only
            those are to blame that kill a new process too.

    Yields: number of a job, in whichever order they end, and what `work` returned, or a `Fault`.

    Raises:
        ChildProcessError: no process can be started.
    """
    fresh, again = ((n, job, tries) for n, job in enumerate(jobs)), []
    children: list[_Child] = []
    now = time.monotonic()
    try:
        while True:
            while len(children) < workers and (task := again.pop() if again else next(fresh, None)):
                children.append(_Child(work, task))
            if not children:
                return
            ready = wait([child.pipe for child in children], TICK)
            before, now = now, time.monotonic()
            for child in list(children):
                child.passes(min(now - before, 2 * TICK))
                answer = child.heard() if child.pipe in ready else None
                if answer is None:  # a sign of life, which does not end its time
                    answer = child.overdue(limit, total)
                if answer is None:
                    continue
                (result,) = answer
                over = isinstance(result, Fault) and result.what != "bug"
                if over and result.what == "crash" and child.tries > 1:
                    again.append((child.number, child.job, child.tries - 1))
                else:
                    yield child.number, result
                if not over and child.done < batch and (task := next(fresh, None)):
                    child.give(task)
                else:
                    children.remove(child)
                    child.end()
    finally:
        for child in children:
            child.end()


def worth_starting(workers: int, sizes: Iterable[int], share: int = SHARE) -> int:
    """How many processes of at most `workers` are worth their start: one a file, and one a `share` of all bytes.

    Args:
        workers: from 1.
        sizes: bytes of the files that are to be read; looked at only until all workers have enough.
        share: bytes that take about as long to read as a process to start.
    """
    total, few = 0, 1
    for files, size in enumerate(sizes, 1):
        total += size
        few = min(workers, files, 1 + total // share)
        if few == workers:
            break
    return few


def check_limit(limit: float) -> None:
    """Raise a ValueError if processes that are well would pass for hanging, for signs of life come every `TICK`."""
    if not limit >= 2 * TICK:
        raise ValueError(
            f"limit is {limit:g}, but should be seconds without a frame after which a decoder hangs, from {2 * TICK:g}: "
            f"one that is at work says so every {TICK:g}"
        )


class _Child:
    """A process, and the job that it is at or is to begin with."""

    def __init__(self, work: Callable[[Any], Any], task: tuple[int, Any, int]):
        self.pipe, other = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_answer, args=(other, work, os.getcwd()), daemon=True)
        if CONTEXT.get_start_method() == "forkserver":
            CONTEXT.set_forkserver_preload([PRELOADED])
        with _without_main():
            self.process.start()
        other.close()  # so that its death ends the pipe
        self.started, self.done = False, 0
        self._take(task)

    def _take(self, task: tuple[int, Any, int]):
        self.number, self.job, self.tries = task
        self.silent, self.spent = 0.0, 0.0  # seconds

    def give(self, task: tuple[int, Any, int] | None = None) -> None:
        """Have the process begin a job, the next one or that which it was made for."""
        if task is not None:
            self._take(task)
        with suppress(OSError):  # it has died, which the pipe will tell
            self.pipe.send(self.job)

    def passes(self, seconds: float) -> None:
        """Count time that went by."""
        self.silent += seconds
        self.spent += seconds

    def heard(self) -> tuple[Any] | None:
        """The answer to its job, in a tuple, if that is what came; a `Fault` if it died."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode
            why = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
            if not self.started:
                raise ChildProcessError(f"a process to read files in could not be started: {why}") from None
            return (Fault("crash", why),)
        self.silent = 0.0
        if message is not None:
            self.done += 1
            return message
        if not self.started:
            self.started, self.spent = True, 0.0
            self.give()
        return None

    def overdue(self, limit: float, total: float) -> tuple[Fault] | None:
        """A `Fault`, in a tuple, if it takes too long."""
        if not self.started:
            if self.silent > STARTING:
                raise ChildProcessError(f"a process to read files in did not start within {STARTING} seconds")
        elif self.spent > total:
            return (Fault("hang", f"took more than {total:g} seconds"),)
        elif self.silent > limit:
            return (Fault("hang", f"no sign of life for {limit:g} seconds"),)
        return None

    def end(self) -> None:
        """Kill the process, which has nothing to lose, and free what it held."""
        self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()


@contextmanager
def _without_main() -> Iterator[None]:
    """A process started meanwhile does not run the user's script anew, which would be slow and need a guard there."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class _Signs:
    """Whom this process tells that its job goes on; nobody, where it has no job."""

    pipe: Connection | None = None
    due = 0.0  # when it is to tell so again, by the monotonic clock


def sign_of_life() -> None:
    """Tell the parent that the job this process is at goes on; outside of jobs nothing happens.

    It costs so little that it may be called for every frame.
    """
    if _Signs.pipe is not None and time.monotonic() > _Signs.due:
        _Signs.pipe.send(None)
        _Signs.due = time.monotonic() + TICK


def _answer(pipe: Connection, work: Callable[[Any], Any], folder: str) -> None:
    """Do the jobs that come, to be killed at any time."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all of them; the parent ends its own
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.chdir(folder)
    importlib.import_module(PRELOADED)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders have much to say about damaged files
    pipe.send(None)
    _Signs.pipe = pipe
    while True:
        job = pipe.recv()
        pipe.send((_done(work, job),))


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _done(work: Callable[[Any], Any], job: Any) -> Any:
    try:
        return work(job)
    except Exception as error:  # whatever it is, the other jobs are to be done
        place = traceback.extract_tb(error.__traceback__)[-1]
        return Fault("bug", f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})")
