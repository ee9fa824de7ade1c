"""The progress bar of `fit`."""

from __future__ import annotations

from typing import Any

from .history import History


class Progress:
    """A tqdm bar over the samples of all epochs; shows loss and validation error, and their rate itself."""

    def __init__(self, show: bool, samples: int, epochs: int, done: int) -> None:
        self._bar: Any = None
        self._epochs = epochs
        if show:
            try:
                from tqdm import tqdm
            except ImportError as error:
                raise ImportError(
                    "fit: progress needs tqdm; pip install 'deltarule[train]', or progress=False"
                ) from error
            self._bar = tqdm(
                total=samples * epochs, initial=done, unit=" samples", unit_scale=True, dynamic_ncols=True,
                leave=None,  # not inside another bar
            )  # fmt: skip

    def update(self, samples: int, epoch: int, loss: float, history: History) -> None:
        """``samples`` more are done; ``loss`` is the epoch's so far."""
        if self._bar is None:
            return
        self._bar.set_description(f"epoch {epoch}/{self._epochs}", refresh=False)
        numbers = {"loss": f"{loss:.4f}"}
        if history.epochs:
            error, validation_loss = (history.epochs[-1][k] for k in ("validation_error", "validation_loss"))
            if error is not None:
                numbers["validation error"] = f"{error:.2%}"
            elif validation_loss is not None:
                numbers["validation loss"] = f"{validation_loss:.4f}"
        self._bar.set_postfix(numbers, refresh=False)
        self._bar.update(samples)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
