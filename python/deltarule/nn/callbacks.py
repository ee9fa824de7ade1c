"""Callbacks of `fit`: early stopping, checkpoints, and the base class for one's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .._atomic import check_writable
from .._numbers import as_count, as_number
from .._through import host
from . import model
from .headers import COUNT, NUMBER, Kind, check
from .history import History

if TYPE_CHECKING:
    from .network import Network


class Callback:
    """What `fit` calls. Override what is wanted.

    A callback with state of its own that a resumed run needs overrides `state` and `restore` as well.

    Examples
    --------
    >>> class StopAtZero(Callback):
    ...     def on_epoch_end(self, net, history):
    ...         return history["train_error"][-1] == 0
    """

    def on_train_begin(self, net: Network, history: History) -> None:
        """Before the first step (also of a resumed run, whose state is restored after this)."""

    def on_epoch_end(self, net: Network, history: History) -> bool | None:
        """After every epoch, ``history.epochs[-1]``; what is true ends the training."""
        return None

    def on_train_end(self, net: Network, history: History) -> None:
        """After the last step, also where an exception ends the training; not without its own `on_train_begin`.

        What one callback raises here is raised once all have been called.
        """

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: JSON values and NumPy arrays by name."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""


class EarlyStopping(Callback):
    """Stop when a validation number stops falling, and give the net the weights of its best epoch.

    The best weights come back however training ends: by patience, after the last epoch, by Ctrl-C or by
    `DivergedError`. ``history.best`` is the record of their epoch.

    Parameters
    ----------
    monitor : "validation_error" or "validation_loss", optional
        By default the error, or the loss where the targets are real numbers and have no error.
    patience : int
        Epochs without improvement that end the training.
    min_delta : float
        A fall must be larger than this to count as improvement for the patience. (The best weights are those
        of the lowest value, however small the fall.)

    Examples
    --------
    >>> EarlyStopping(patience=5)
    EarlyStopping(monitor=None, patience=5, min_delta=0.0)
    """

    MONITORS = ("validation_error", "validation_loss")
    STATE: ClassVar[dict[str, Kind]] = {
        "lowest": NUMBER,
        "lowest_epoch": COUNT,
        "reference": NUMBER,
        "waited": COUNT,
    }

    def __init__(self, monitor: str | None = None, patience: int = 10, min_delta: float = 0.0) -> None:
        if monitor is not None and monitor not in self.MONITORS:
            raise ValueError(f"EarlyStopping: monitor is {monitor!r}; choices: {', '.join(self.MONITORS)}")
        self.monitor = monitor
        self.patience = as_count(patience, "EarlyStopping: patience", least=1)
        self.min_delta = as_number(min_delta, "EarlyStopping: min_delta")
        if not self.min_delta >= 0:
            raise ValueError(f"EarlyStopping: min_delta is {min_delta}; wanted 0 or more")
        self._start()

    def _start(self) -> None:
        self.lowest = float("inf")
        self.lowest_epoch = 0  # 0: none yet
        self.reference = float("inf")  # what the next value must beat by min_delta
        self.waited = 0
        self.weights: list[Any] = []  # arrays on the net's device
        self.masks: model.Masks = {}  # of the weights that were pruned then

    def __repr__(self) -> str:
        return (
            f"EarlyStopping(monitor={self.monitor!r}, patience={self.patience}, min_delta={self.min_delta})"
        )

    def on_train_begin(self, net: Network, history: History) -> None:
        """Forget an earlier training."""
        self._start()

    def on_epoch_end(self, net: Network, history: History) -> bool:
        """Keep the weights if they are the best so far; true when ``patience`` is at its end."""
        record = history.epochs[-1]
        value = record["validation_error"] if self.monitor is None else record[self.monitor]
        if value is None:
            value = record["validation_loss"]
        # A NaN is below nothing, so it is never the best.
        if value < self.lowest:
            self.lowest, self.lowest_epoch = value, record["epoch"]
            self.weights = [parameter.copy() for parameter in net.parameters]
            self.masks = net.masks
        if value < self.reference - self.min_delta:
            self.reference, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited >= self.patience

    def on_train_end(self, net: Network, history: History) -> None:
        """Give the net its best weights."""
        if self.lowest_epoch:
            model.assign(net, self.weights, self.masks)
            history.best = history.epochs[self.lowest_epoch - 1]

    def state(self) -> dict[str, Any]:
        """Counters, and the best weights with their masks."""
        numbers = {key: getattr(self, key) for key in self.STATE}
        masks = {f"masks.{i}": mask.astype(np.uint8) for i, mask in self.masks.items()}
        return {**numbers, **{f"weights.{i}": host(w) for i, w in enumerate(self.weights)}, **masks}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave; ValueError if it is something else, which changes nothing."""
        check(state, self.STATE, "EarlyStopping: the state", "it")
        count = sum(key.startswith("weights.") for key in state)
        if (count > 0) != (state["lowest_epoch"] > 0):
            raise ValueError(
                f"EarlyStopping: the state has {count} weights of epoch {state['lowest_epoch']}; "
                "wanted those of the best epoch"
            )
        for key in self.STATE:
            setattr(self, key, state[key])
        self.weights = [state[f"weights.{i}"] for i in range(count)]
        masks = [key for key in state if key.startswith("masks.")]
        self.masks = {int(key.removeprefix("masks.")): state[key] for key in masks}


class Checkpoint(Callback):
    """Write the whole state of the training to ``path``, for ``fit(..., resume=path)``.

    It is written after every ``every`` epochs, at the end, and on Ctrl-C (then in the middle of an epoch).
    The file replaces the last one in one step: a full disk leaves the old one as it was. So does an interrupt where
    the state is not whole: a second Ctrl-C, or one raised in a callback that has a state.

    Parameters
    ----------
    path : str or path
    every : int
        Epochs between two checkpoints.
    """

    def __init__(self, path: str | os.PathLike[str], every: int = 1) -> None:
        self.path = Path(path)
        self.every = as_count(every, "Checkpoint: every", least=1)

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}, every={self.every})"

    def on_train_begin(self, net: Network, history: History) -> None:
        """Find out now, not after an hour, whether the file can be written."""
        check_writable(self.path)
