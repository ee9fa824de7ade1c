"""What one call of `fit` is to do: checked before anything changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._numbers import as_count, as_flag, as_rows
from .._through import host
from ..data.augment import Augmentation, as_pixels, shape_of
from . import model
from .callbacks import Callback, EarlyStopping
from .inputs import CLASSIFICATION, REGRESSION, as_features, as_targets, as_weights, check_targets, own_labels
from .optimizers import SGD, Optimizer
from .optimizers import check as check_optimizer
from .schedules import Schedule, describe, factor
from .schedules import check as check_schedule

if TYPE_CHECKING:
    from .network import Network

Arrays = tuple[Any, Any]


@dataclass(frozen=True, eq=False)
class Plan:
    """Checked arguments of `fit`: x[N,I], y[N] or [N,O], weights[N], and so on; NumPy's, or Arrays on a device."""

    x: Any
    y: Any
    weights: Any
    task: str
    validation: Arrays | None
    optimizer: Optimizer
    epochs: int
    batch_size: int
    schedule: Schedule | None
    callbacks: tuple[Callback, ...]
    shuffle: bool
    augment: Augmentation | None
    image_shape: tuple[int, int] | None  # with augment
    angle_factor: npt.NDArray[np.float32] | None  # [N], of augment

    @classmethod
    def make(
        cls,
        net: Network,
        x: Any,
        y: Any,
        optimizer: Optimizer | None,
        epochs: int,
        batch_size: int | None,
        validation: tuple[Any, Any] | None,
        schedule: Schedule | None,
        callbacks: Sequence[Callback],
        sample_weight: Any,
        shuffle: bool,
        augment: Augmentation | None,
    ) -> Plan:
        """Check the arguments of `fit`; TypeError or ValueError with one line."""
        weights = as_weights(sample_weight, net.dtype, "fit")
        features, targets, task = _samples(net, x, y, weights, "fit", net.takes_counts)
        rows = as_rows(batch_size, "fit: batch_size", len(features))
        if schedule is not None:
            check_schedule(schedule, "fit: schedule")
            factor(schedule, 0.0)
        held_out = None if validation is None else _validation(net, validation, task)
        _check_callbacks(callbacks, held_out is not None, task)
        image_shape = angle_factor = None
        if augment is not None:
            if not isinstance(augment, Augmentation):
                raise TypeError(
                    f"fit: augment is {augment!r}; wanted data.augment.Affine, Elastic, or their sum"
                )
            image_shape = shape_of(net.inputs, net.image_shape, "fit: augment")
            labels = targets if task == CLASSIFICATION and targets.ndim == 1 else None
            angle_factor = augment.parts().factors(labels, len(features), "fit: augment")
            features = as_pixels(features)
        return cls(
            x=features,
            y=targets,
            weights=weights,
            task=task,
            validation=held_out,
            optimizer=check_optimizer(SGD(0.1) if optimizer is None else optimizer, "fit"),
            epochs=as_count(epochs, "fit: epochs"),
            batch_size=rows,
            schedule=schedule,
            callbacks=tuple(callbacks),
            shuffle=as_flag(shuffle, "fit: shuffle"),
            augment=augment,
            image_shape=image_shape,
            angle_factor=angle_factor,
        )

    @property
    def steps(self) -> int:
        """Minibatches of an epoch."""
        return -(-len(self.x) // self.batch_size)

    def rates(self, epoch: int, first: int, last: int) -> npt.NDArray[np.float64] | None:
        """Learning rates of steps first to last - 1 of an epoch, all from 0; None: the optimiser's."""
        if self.schedule is None:
            return None
        steps = self.steps
        factors = [factor(self.schedule, epoch + step / steps) for step in range(first, last)]
        return self.optimizer.lr * np.array(factors, dtype=np.float64)

    def stateful(self) -> list[Callback]:
        """The callbacks whose state belongs into a checkpoint."""
        return [c for c in self.callbacks if type(c).state is not Callback.state]

    def settings(self, net: Network) -> dict[str, Any]:
        """All that decides the bits of the weights, but for the number of epochs; as JSON."""
        return {
            **model.architecture(net),
            "seed": net.seed,
            "standardization": digest(*model.standardization(net).values()),
            "optimizer": self.optimizer.to_json(),
            "schedule": describe(self.schedule),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "augment": None if self.augment is None else self.augment.parts().to_json(),
            "image_shape": None if self.image_shape is None else list(self.image_shape),
            "samples": len(self.x),
            "data": digest(self.x, self.y),
            "sample_weight": None if self.weights is None else digest(self.weights),
            "validation": None if self.validation is None else digest(*self.validation),
            "callbacks": [_describe(c) for c in self.stateful()],
        }


def _describe(callback: Callback) -> str:
    """Its repr, or its class where that would be an address."""
    kind = type(callback)
    return f"{kind.__module__}.{kind.__qualname__}" if kind.__repr__ is object.__repr__ else repr(callback)


def _samples(net: Network, x: Any, y: Any, weights: Any, where: str, real: bool) -> tuple[Any, Any, str]:
    features = _contiguous(as_features(x, net.dtype, where))
    targets, task = as_targets(y, net.loss, net.dtype, where, real)
    targets = _contiguous(own_labels(targets))
    net.engine.check_samples(where, features, targets, weights)
    check_targets(targets, net.loss, where)
    if len(features) == 0:
        raise ValueError(f"{where}: x has no samples")
    return features, targets, task


def _validation(net: Network, validation: Any, task: str) -> Arrays:
    if not isinstance(validation, (tuple, list)) or len(validation) != 2:
        length = f" of {len(validation)}" if isinstance(validation, (tuple, list)) else ""
        raise ValueError(f"fit: validation is a {type(validation).__name__}{length}; wanted a pair (x, y)")
    real = task == REGRESSION and net.outputs == 1
    features, targets, own_task = _samples(net, validation[0], validation[1], None, "fit: validation", real)
    if own_task != task:
        raise ValueError(f"fit: y of validation is for {own_task}, y for {task}; wanted the same")
    return features, targets


def _check_callbacks(callbacks: Sequence[Callback], validation: bool, task: str) -> None:
    if isinstance(callbacks, Callback) or not isinstance(callbacks, Iterable):
        raise TypeError(f"fit: callbacks is {callbacks!r}; wanted a list of nn.Callback")
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(f"fit: a callback is {callback!r}; wanted an nn.Callback")
        if isinstance(callback, EarlyStopping):
            if not validation:
                raise ValueError("fit: EarlyStopping needs validation=(x, y)")
            if callback.monitor == "validation_error" and task == REGRESSION:
                raise ValueError(
                    "fit: EarlyStopping monitors validation_error, which regression does not have; "
                    "wanted validation_loss"
                )


def _contiguous(array: Any) -> Any:
    return np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array


def digest(*arrays: Any) -> str:
    """SHA-256 of dtypes, shapes and values."""
    total = hashlib.sha256()
    for array in map(host, arrays):
        total.update(f"{array.dtype} {array.shape}".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()
