"""What training leaves behind besides the weights: the numbers of every epoch, or why it stopped."""

from __future__ import annotations

from collections.abc import Iterator, KeysView
from functools import partial
from itertools import chain
from typing import Any

from . import headers

# What an epoch's record has, and of which kind; callbacks may add to it.
COLUMNS = {
    "epoch": headers.COUNT,
    "train_loss": headers.NUMBER,
    "train_error": headers.optional(headers.NUMBER),
    "validation_loss": headers.optional(headers.NUMBER),
    "validation_error": headers.optional(headers.NUMBER),
    "seconds": headers.NUMBER,
    "samples_per_second": headers.optional(headers.NUMBER),
    "learning_rate": headers.NUMBER,
    "gradient_norms": headers.many(headers.NUMBER),
}


class DivergedError(ValueError):
    """The loss is NaN or infinite.

    Attributes
    ----------
    epoch : int or None
        Epoch of `fit`, from 1; None for `train_step`.
    step : int
        Step within the epoch, from 1 (for `train_step`: update of the net, from 1).
    learning_rate : float
    """

    def __init__(self, message: str, *, epoch: int | None, step: int, learning_rate: float) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.step = step
        self.learning_rate = learning_rate

    def __reduce__(self) -> tuple[Any, ...]:
        whole = partial(type(self), epoch=self.epoch, step=self.step, learning_rate=self.learning_rate)
        return whole, self.args


class History:
    """Numbers of every epoch, by epoch and by name.

    As a table (pandas' DataFrame) does, it iterates over the names of its columns and its length is that of a column:
    ``dict(history)`` has all of them, ``"validation_loss" in history`` asks for one.

    Attributes
    ----------
    epochs : list of dict
        One record an epoch: ``epoch`` (from 1), ``train_loss`` and ``train_error`` (means over the epoch,
        while the weights change), ``validation_loss``, ``validation_error`` (at its end), ``seconds``,
        ``samples_per_second`` (training alone), ``learning_rate`` (of the last step), ``gradient_norms`` (L2
        norm of every layer's weight gradient on the last minibatch). Errors are fractions; what was not
        measured is None.
    best : dict or None
        With early stopping, the record of the epoch whose weights the net has now.

    Raises
    ------
    KeyError
        For a name that is not there; the choices are in the message.

    Examples
    --------
    >>> history = History([{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.25}])
    >>> history["train_loss"]
    [0.5, 0.25]
    >>> list(history), len(history)
    (['epoch', 'train_loss'], 2)
    """

    def __init__(self, epochs: list[dict[str, Any]] | None = None) -> None:
        self.epochs: list[dict[str, Any]] = [] if epochs is None else epochs
        self.best: dict[str, Any] | None = None

    def __getitem__(self, key: str) -> list[Any]:
        if key not in self:
            raise KeyError(f"History: there is no {key!r}; choices: {', '.join(self)}")
        return [record.get(key) for record in self.epochs]

    def __contains__(self, key: object) -> bool:
        return any(key in record for record in self.epochs or [COLUMNS])

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> KeysView[str]:
        """Names of the numbers, also before the first epoch; what a callback adds to a record is one of them."""
        return (dict.fromkeys(chain.from_iterable(self.epochs)) if self.epochs else COLUMNS).keys()

    def __len__(self) -> int:
        return len(self.epochs)

    def __repr__(self) -> str:
        if not self.epochs:
            return "History(no epochs)"
        keys = ("train_loss", "validation_loss", "validation_error")
        shown = [f"{k}={self.epochs[-1][k]:.4g}" for k in keys if self.epochs[-1].get(k) is not None]
        best = "" if self.best is None else f", best epoch {self.best['epoch']}"
        return f"History({len(self)} epochs, {', '.join(shown)}{best})"
