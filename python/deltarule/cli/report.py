"""Errors of a trained net on a part of the data, in the way that its task counts them."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import nn
from ..data import Dataset, Samples


class Task(enum.Enum):
    """What the net is for; the value is how it is called in print."""

    CLASSES = "classes"
    LABELS = "yes/no targets"
    VALUES = "real targets"

    @classmethod
    def of(cls, dataset: Dataset, loss: str | None) -> Task:
        """Classes if the samples have labels, else by the loss."""
        if dataset.train.y.ndim == 1:
            return cls.CLASSES
        return cls.LABELS if loss == "binary_cross_entropy" else cls.VALUES


@dataclass(frozen=True)
class Measured:
    """Error as a fraction, its details (per class or per target), and the outputs [n,o] behind them.

    The error is the fraction of wrong samples; for real targets it is 1 - R^2, the fraction of their variance
    that the net does not explain, mean over the targets.
    """

    error: float
    detail_name: str
    details: Any
    outputs: NDArray[Any]


def measure(net: nn.Network, samples: Samples, task: Task, classes: Sequence[str] | None = None) -> Measured:
    """Error of `net` on `samples`; the per-class errors carry the names `classes`."""
    if task is Task.VALUES:
        values = np.asarray(net.predict(samples.x)).reshape(samples.y.shape)
        root_mean_square = np.sqrt(np.mean((values - samples.y) ** 2, axis=0))
        return Measured(unexplained(samples.y, values), "rmse", root_mean_square.tolist(), values)
    if task is Task.LABELS:
        probabilities = net.predict_proba(samples.x)
        wrong = (probabilities > 0.5) != (samples.y > 0.5)
        return Measured(
            float(wrong.any(axis=1).mean()), "per_target_errors", wrong.mean(axis=0).tolist(), probabilities
        )
    probabilities = class_probabilities(net, samples.x)
    wrong = probabilities.argmax(axis=1) != samples.y
    details = {}
    for index, name in enumerate(classes or ()):
        members = samples.y == index
        details[str(name)] = float(wrong[members].mean()) if members.any() else None
    return Measured(float(wrong.mean()), "per_class_errors", details, probabilities)


def class_probabilities(net: nn.Network, x: NDArray[Any]) -> NDArray[Any]:
    """Probability of each class, x[n,d] -> [n,k].

    The outputs of a net with the squared error, trained towards 0 and 1, estimate the probabilities; they are
    cut to that range.
    """
    if net.loss == "squared_error":
        outputs = np.clip(net.forward(x), 0, 1)
        return np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs
    probabilities: NDArray[Any] = net.predict_proba(x)
    return probabilities


def unexplained(targets: NDArray[Any], values: NDArray[Any]) -> float:
    """1 - R^2 of `values` [n,k] for `targets` [n,k], mean over targets; a constant one gives 0 or 1."""
    residual = np.sum((values - targets) ** 2, axis=0, dtype=np.float64)
    total = np.sum((targets - targets.mean(axis=0)) ** 2, axis=0, dtype=np.float64)
    ratio = np.where(total > 0, residual / np.where(total > 0, total, 1.0), residual > 0)
    return float(ratio.mean())


def per_class_lines(report: dict[str, Any]) -> list[str]:
    """The details of a report as lines of text, at most 110 characters wide."""
    if "rmse" in report:
        return ["root mean square error " + ", ".join(f"{value:.4g}" for value in report["rmse"])]
    if "per_target_errors" in report:
        cells = [f"{index} {value:.2%}" for index, value in enumerate(report["per_target_errors"])]
        title = "error per target"
    else:
        cells = [
            f"{name} {'no sample' if value is None else format(value, '.2%')}"
            for name, value in report["per_class_errors"].items()
        ]
        title = "error per class"
    width = max(map(len, cells)) + 3
    per_line = max(1, 90 // width)
    rows = [cells[start : start + per_line] for start in range(0, len(cells), per_line)]
    return [
        f"{title if row is rows[0] else '':<18}" + "".join(cell.ljust(width) for cell in row).rstrip()
        for row in rows
    ]
