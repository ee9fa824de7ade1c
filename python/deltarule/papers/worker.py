"""A process that runs cells for `pool.py`, one after the other, and ends when the pipe to it closes."""

from __future__ import annotations

import _thread
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Literal, NoReturn

from .. import _core
from .experiment import Cell

PAUSE_SECONDS = 0.1  # between two looks for a signal

# task: (pickled function of a cell that runs it, instruction set), once; cell: pickled; threads: how many;
# stop, pause, go_on: None
Kind = Literal["task", "cell", "threads", "stop", "pause", "go_on"]


@dataclass(frozen=True)
class Failure:
    """What a cell has raised, and where: pickled by itself, for an error of any kind may fail to come back."""

    text: str
    pickled: bytes
    trace: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """For ``error``; that it cannot be pickled is told by `error`."""
        try:
            pickled = pickle.dumps(error)
        except Exception:
            pickled = b""
        trace = "".join(traceback.format_exception(error)) if error.__traceback__ else ""
        return cls(_text(error), pickled, trace)

    def error(self) -> BaseException:
        """The error, or a RuntimeError that says as much where it does not come through the pipe as it is."""
        try:
            copy = pickle.loads(self.pickled)
            if isinstance(copy, BaseException) and _text(copy) == self.text:
                return copy
        except Exception:
            pass  # whatever the error's own code raises
        return RuntimeError(self.text)

    def cause(self) -> WorkerTraceback | None:
        """For ``raise ... from``: the traceback that the pipe has taken away."""
        return WorkerTraceback(f"\n{self.trace}") if self.trace else None


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


class WorkerTraceback(Exception):
    """The traceback of an error in another process, as text."""


def main() -> NoReturn:
    """Run what comes through the pipe whose descriptor is the process's argument."""
    # Only the other side says when to stop: of two interrupts the second would cost the checkpoint.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pipe = Connection(int(sys.argv[1]))
    listener = Listener(pipe)
    try:
        listener.start()
        task = pickle.loads(listener.task.get())
        while True:
            pipe.send(_run(task, listener.cells.get()))
    except (KeyboardInterrupt, OSError):
        os._exit(1)  # told to stop between two cells, or nobody hears the answer


def _run(task: Callable[[Cell], None], pickled: bytes) -> Failure | None:
    try:
        task(pickle.loads(pickled))
    except BaseException as error:
        return Failure.of(error)
    finally:
        sys.stdout.flush()  # the process may be ended any time now
    return None


class Listener(threading.Thread):
    """Takes messages while the main thread runs a cell; interrupts are for the main thread."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__(daemon=True)
        self.task: SimpleQueue[bytes] = SimpleQueue()
        self.cells: SimpleQueue[bytes] = SimpleQueue()
        self._pipe = pipe
        self._threads = 1
        self._may_go = threading.Event()
        self._may_go.set()
        signal.signal(signal.SIGUSR1, self._obey)

    def run(self) -> None:
        """Until the pipe closes: then the process ends, whatever it does."""
        try:
            while message := self._next():
                self._take(*message)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    def _next(self) -> tuple[Kind, Any] | None:
        try:
            message: tuple[Kind, Any] = self._pipe.recv()
        except (EOFError, OSError):
            return None
        return message

    def _take(self, kind: Kind, value: Any) -> None:
        if kind == "task":
            task, isa = value
            _core.set_isa(isa)
            self.task.put(task)
        elif kind == "cell":
            self.cells.put(value)
        elif kind == "threads":
            self._threads = value
            _thread.interrupt_main(signal.SIGUSR1)
        elif kind == "pause":
            self._may_go.clear()
            _thread.interrupt_main(signal.SIGUSR1)
        elif kind == "go_on":
            self._may_go.set()
        else:
            _thread.interrupt_main()

    def _obey(self, *_: object) -> None:
        # In the main thread, which is in no kernel now.
        _core.set_num_threads(self._threads)
        while not self._may_go.wait(PAUSE_SECONDS):
            pass  # but for other signals, which come between two waits
