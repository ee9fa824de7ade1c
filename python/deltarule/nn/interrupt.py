"""Ctrl-C held back until a moment at which the state of the training is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class HeldInterrupt:
    """Holds SIGINT back while it is entered; `release` lets it through, and so does its end.

    Outside the main thread, where Python delivers no signals, it does nothing. A second Ctrl-C goes through,
    whatever the state of the training is then.
    """

    def __init__(self) -> None:
        self._before: Any = None
        self._pending: FrameType | None = None
        self._came = False

    def __enter__(self) -> HeldInterrupt:
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):  # not SIG_IGN, SIG_DFL, or a handler that was not set from Python
                self._before = before
                signal.signal(signal.SIGINT, self._hold)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            if kind is None or not issubclass(kind, KeyboardInterrupt):  # one is enough
                self.release()
            self._before = None

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self._came:
            self._came = False
            self._before(number, frame)
        self._came, self._pending = True, frame

    def release(self) -> None:
        """Call the handler that was there, if a signal has come: by default it raises KeyboardInterrupt."""
        if self._came:
            self._came = False
            self._before(signal.SIGINT, self._pending)
