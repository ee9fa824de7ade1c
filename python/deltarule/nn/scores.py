"""Predictions beside targets: R^2, and which labels targets stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core
from .inputs import CLASSIFICATION, MULTI_LABEL


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


def probabilities(z: npt.NDArray[Any], loss: str, task: str) -> npt.NDArray[Any]:
    """Of logits z[N,O] of a cross-entropy, see `Network.predict_proba`."""
    if loss == "softmax_cross_entropy":
        return np.asarray(_core.softmax(z, 1))
    p = np.asarray(_core.activate(z, "sigmoid"))
    return np.hstack([1 - p, p]) if task == CLASSIFICATION and z.shape[1] == 1 else p


def as_dense(targets: npt.NDArray[Any], outputs: int) -> npt.NDArray[np.float64]:
    """Targets float64 [N,O] of targets, or of labels: 1 at the label, or the label itself where O is 1."""
    if targets.dtype.kind == "i" and outputs > 1:
        targets = np.eye(outputs)[targets]
    dense: npt.NDArray[np.float64] = targets.astype(np.float64).reshape(len(targets), outputs)
    return dense


def loss_of_mean(loss: str, outputs: Sequence[npt.NDArray[Any]], t: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Loss [N] of what several nets give on average: of their z[N,O], or the probabilities of their logits z.

    log of a mean of p_k is log sum e^(log p_k) - log K, in float64: a probability that float32 rounds to 0 has one.
    """
    z = np.stack(outputs).astype(np.float64)

    def log_mean(logarithms: npt.NDArray[Any]) -> npt.NDArray[Any]:
        mean: npt.NDArray[Any] = np.logaddexp.reduce(logarithms, axis=0) - np.log(len(logarithms))
        return mean

    if loss == "squared_error":
        rows = (z.mean(axis=0) - t) ** 2 / 2
    elif loss == "softmax_cross_entropy":
        rows = -t * log_mean(z - np.logaddexp.reduce(z, axis=2, keepdims=True))
    else:
        rows = -t * log_mean(-np.logaddexp(0, -z)) - (1 - t) * log_mean(-np.logaddexp(0, z))
    result: npt.NDArray[Any] = rows.sum(axis=1)
    return result


def as_labels(targets: npt.NDArray[Any], task: str) -> npt.NDArray[Any]:
    """Labels [N], or 0 and 1 [N,O] (multi-label), of labels or targets."""
    if targets.dtype.kind == "i":
        return targets
    if task == MULTI_LABEL:
        return (targets > 0.5).astype(np.int64)
    one = targets.ndim == 1 or targets.shape[1] == 1
    labels: npt.NDArray[Any] = (targets.ravel() > 0.5).astype(np.int64) if one else targets.argmax(axis=1)
    return labels
