"""Cells side by side in processes, each of which runs one after the other: `worker.py` is their side.

Processes, because a process has one number of threads. A worker is a session of its own: Ctrl-C at a terminal reaches
this process alone, which tells each worker once; so does Ctrl-Z, and they wait until it goes on. The pipe to a worker
closes with this process, however that ends, and the worker ends with the pipe.
"""

from __future__ import annotations

import dataclasses
import functools
import pickle
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from .. import _core
from . import records
from .experiment import Cell
from .work import Work
from .worker import Failure, Kind

LOOK_SECONDS = 0.1  # between two looks for Ctrl-C


def run(
    cells: Sequence[Cell],
    work: Work,
    folder: Path,
    jobs: int,
    running: Callable[[Sequence[Cell]], None],
    over: Callable[[Cell], None],
) -> None:
    """Run the cells, ``jobs`` at a time, those first that take longest.

    Parameters
    ----------
    running : function of list of Cell
        Told which ones run, many times a second.
    over : function of Cell
        Told of each whose record is written.

    Raises
    ------
    ChildProcessError
        A process was ended from outside, or by itself: one line that names its cell.
    KeyboardInterrupt
        Ctrl-C, or what else the handler of SIGINT raises; one that raises nothing lets the cells go on. Then, and
        after any error, those that run are stopped as by Ctrl-C and waited for. A second Ctrl-C is handed on to them,
        a third kills them.
    Exception
        That of a cell.
    """
    quiet = dataclasses.replace(work, progress=False)
    task = functools.partial(records.run, work=quiet, folder=folder, jobs=jobs)
    with Interrupts() as interrupts, Suspensions() as suspensions:
        pool = Pool(cells, task, jobs)
        try:
            pool.start()
            while pool.workers:
                if suspensions.came:
                    pool.tell("pause")
                    suspensions.release()
                    pool.tell("go_on")
                running(pool.running())
                for cell in pool.answers():
                    over(cell)
                interrupts.release()
        except BaseException:
            suspensions.end()
            pool.stop(interrupts)
            raise
        finally:
            pool.close()
    interrupts.release()  # those since the last look


class Interrupts:
    """Counts SIGINT while it is entered, and `release` does what would be done; outside the main thread, none."""

    def __init__(self) -> None:
        self.count = 0
        self._released = 0
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):  # not SIG_IGN, SIG_DFL, or a handler that was not set from Python
                self._before = before
                signal.signal(signal.SIGINT, self._add)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _add(self, *_: object) -> None:
        self.count += 1

    def release(self) -> None:
        """Call the handler that was there for each that has come: by default it raises KeyboardInterrupt."""
        while self._released < self.count:
            self._released += 1
            self._before(signal.SIGINT, None)


class Suspensions:
    """Holds Ctrl-Z back while it is entered, for `release`; where that would do nothing special, nothing."""

    def __init__(self) -> None:
        self.came = False
        self._held = False

    def __enter__(self) -> Suspensions:
        if threading.current_thread() is threading.main_thread():
            self._held = signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL
            self._hold()
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def release(self) -> None:
        """Be suspended; comes back when the process goes on."""
        self.came = False
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.pthread_kill(
            threading.get_ident(), signal.SIGTSTP
        )  # to this thread: nothing is done before it
        self._hold()

    def end(self) -> None:
        """Hold it back no longer."""
        if self._held:
            self._held = False
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            if self.came:
                signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)

    def _hold(self) -> None:
        if self._held:
            signal.signal(signal.SIGTSTP, self._add)

    def _add(self, *_: object) -> None:
        self.came = True


class Worker:
    """A process, the pipe to it, and the cell it runs."""

    def __init__(self) -> None:
        self.cell: Cell | None = None
        self.pipe, other = Pipe()
        with other:
            # Other things than text may be in sys.path; imports pass them over.
            places = [place for place in sys.path if isinstance(place, str)]
            code = f"import sys; sys.path[:] = {places!r}; from deltarule.papers import worker; worker.main()"
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, str(other.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                start_new_session=True,
            )

    def tell(self, kind: Kind, value: Any = None) -> None:
        """Send a message; one that has ended shows that in its next answer."""
        content = pickle.dumps((kind, value))
        with suppress(OSError):
            self.pipe.send_bytes(content)

    def begin(self, cell: Cell) -> None:
        """Have it run this cell."""
        content = pickle.dumps(cell)
        self.cell = cell  # from now on it owes an answer
        self.tell("cell", content)

    def answer(self) -> Failure | None:
        """What became of its cell; waits for that."""
        try:
            failure: Failure | None = self.pipe.recv()
        except (EOFError, OSError):
            code = self.process.wait()
            assert self.cell is not None
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            advice = (
                " (out of memory?); go on by --resume with fewer --jobs, or --jobs 1"
                if code == -signal.SIGKILL
                else "; what it said is above, and --resume with --jobs 1 shows where"
            )
            text = f"reproduce: the process of the cell {self.cell.key} {how}{advice}"
            failure = Failure.of(ChildProcessError(text))
        return failure

    def close(self) -> None:
        """End it; nothing of a cell that is over is lost by that."""
        self.pipe.close()
        self.process.kill()
        self.process.wait()


class Pool:
    """Workers, and the cells that wait for one."""

    def __init__(self, cells: Sequence[Cell], task: Callable[[Cell], None], jobs: int) -> None:
        self.workers: list[Worker] = []
        self._waiting = deque(sorted(cells, key=lambda cell: -cell.seconds))
        self._task = pickle.dumps(task)  # once: it holds the images
        self._jobs = jobs

    def start(self) -> None:
        """Start the workers, each with a cell."""
        for _ in range(self._jobs):
            self.workers.append(Worker())
        self._share_threads()
        for worker in self.workers:
            worker.tell("task", (self._task, _core.isa()))
            worker.begin(self._waiting.popleft())

    def running(self) -> list[Cell]:
        """The cells that run."""
        return [worker.cell for worker in self.workers if worker.cell]

    def answers(self) -> Iterator[Cell]:
        """The cells that are over, now or within a moment; their workers have gone on.

        Raises
        ------
        Exception
            That of a cell.
        """
        for worker in self._ready():
            failure = worker.answer()
            cell, worker.cell = worker.cell, None
            if failure is not None:
                raise failure.error() from failure.cause()
            assert cell is not None
            self._go_on(worker)
            yield cell

    def tell(self, kind: Kind) -> None:
        """Send a message without a value to all workers."""
        for worker in self.workers:
            worker.tell(kind)

    def stop(self, interrupts: Interrupts) -> None:
        """Stop the cells that run as by Ctrl-C, and wait until they have."""
        told, seen = 0, interrupts.count - 1
        while running := [worker for worker in self.workers if worker.cell]:
            if interrupts.count > seen:
                told, seen = told + 1, interrupts.count
                for worker in running:
                    if told > 2:
                        worker.process.kill()
                    else:
                        worker.tell("stop")
            for worker in self._ready():
                worker.answer()
                worker.cell = None

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.close()
        self.workers = []

    def _ready(self) -> list[Worker]:
        """Those that have an answer, now or within a moment."""
        ready = wait([worker.pipe for worker in self.workers if worker.cell], LOOK_SECONDS)
        return [worker for worker in self.workers if worker.pipe in ready]

    def _go_on(self, worker: Worker) -> None:
        """The next cell for a worker; without one it ends, and leaves its threads to the others."""
        if self._waiting:
            worker.begin(self._waiting.popleft())
        else:
            worker.close()
            self.workers.remove(worker)
            self._share_threads()

    def _share_threads(self) -> None:
        parts = shares(_core.num_threads(), len(self.workers))
        for worker, threads in zip(self.workers, parts, strict=True):
            worker.tell("threads", threads)


def shares(threads: int, workers: int) -> list[int]:
    """How many threads each worker gets: together all there are, but at least one.

    >>> shares(8, 3), shares(2, 4)
    ([3, 3, 2], [1, 1, 1, 1])
    """
    return [max(1, threads // workers + (index < threads % workers)) for index in range(workers)]
