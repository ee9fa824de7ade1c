"""Predictions beside targets: R^2, and which labels targets stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .inputs import MULTI_LABEL


def r2(values: npt.NDArray[Any], targets: npt.NDArray[Any]) -> float:
    """R^2 of values[N,O] for targets[N,O], or [N] where O is 1, see `Network.score`."""
    if values.shape[1] == 1 and targets.ndim == 1:
        targets = targets[:, None]
    if targets.shape != values.shape:
        raise ValueError(f"score: y is {targets.shape}; wanted {values.shape}")
    targets = targets.astype(np.float64)
    residual = np.sum((values.astype(np.float64) - targets) ** 2, axis=0)
    total = np.sum((targets - targets.mean(axis=0)) ** 2, axis=0)
    return float(np.where(total > 0, 1 - residual / np.where(total > 0, total, 1), residual == 0).mean())


def as_labels(targets: npt.NDArray[Any], task: str) -> npt.NDArray[Any]:
    """Labels [N], or 0 and 1 [N,O] (multi-label), of labels or targets."""
    if targets.dtype.kind == "i":
        return targets
    if task == MULTI_LABEL:
        return (targets > 0.5).astype(np.int64)
    one = targets.ndim == 1 or targets.shape[1] == 1
    labels: npt.NDArray[Any] = (targets.ravel() > 0.5).astype(np.int64) if one else targets.argmax(axis=1)
    return labels
