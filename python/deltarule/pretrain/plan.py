"""What one call of `greedy` is to do: checked before anything changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .._numbers import as_count, as_rows
from .._through import host
from ..nn import SGD, Optimizer, model
from ..nn.inputs import as_features, as_targets, check_targets, own_labels
from ..nn.network import Network
from ..nn.optimizers import check as check_optimizer
from ..nn.plan import digest
from . import methods
from .methods import UNIT_ACTIVATIONS, Method, Supervised
from .stages import dense_layers


@dataclass(frozen=True, eq=False)
class Plan:
    """Checked arguments of `greedy`, one method, optimiser and number of epochs a layer."""

    x: Any
    y: Any
    methods: tuple[Method, ...]
    optimizers: tuple[Optimizer, ...]
    epochs: tuple[int, ...]
    batch_size: int
    seed: int

    @classmethod
    def make(
        cls,
        net: Network,
        x: Any,
        method: Any,
        y: Any,
        layers: int | None,
        optimizer: Any,
        epochs: Any,
        batch_size: int | None,
        seed: int | None,
    ) -> Plan:
        """Check the arguments of `greedy`; TypeError or ValueError with one line."""
        if not isinstance(net, Network):
            raise TypeError(f"greedy: net is {net!r}; wanted an nn.Network")
        if net.engine.masks():
            raise ValueError("greedy: weights of the net are pruned; wanted a whole net: prune it afterwards")
        dense = dense_layers(net)
        hidden = len(dense) - 1 if layers is None else as_count(layers, "greedy: layers")
        if not 1 <= hidden <= len(dense):
            raise ValueError(
                f"greedy: layers is {hidden}; the net has {len(dense)}, wanted 1 or more of them"
            )
        chosen = [methods.check(m, "greedy") for m in _each(method, hidden, "method")]
        rules = [
            check_optimizer(o, "greedy")
            for o in _each(SGD(0.1) if optimizer is None else optimizer, hidden, "optimizer")
        ]
        for rule in rules:
            rule.build()
            if getattr(rule, "clip_norm", None):
                raise ValueError(f"greedy: clip_norm is {rule.clip_norm}; wanted None")  # type: ignore[attr-defined]
        features, span = _features(net, x)
        _check_layers(net, chosen, span)
        supervised = any(isinstance(m, Supervised) for m in chosen)
        if supervised != (y is not None):
            raise ValueError(
                "greedy: y is None; Supervised wants labels" if supervised
                else "greedy: y came, but no method is Supervised; wanted None"
            )  # fmt: skip
        targets = None
        if supervised:
            targets = _contiguous(
                own_labels(as_targets(y, net.loss, net.dtype, "greedy", net.takes_counts)[0])
            )
            net.engine.check_samples("greedy", features, targets)
            check_targets(targets, net.loss, "greedy")
        rows = as_rows(batch_size, "greedy: batch_size", len(features))
        return cls(
            x=features,
            y=targets,
            methods=tuple(chosen),
            optimizers=tuple(rules),
            epochs=tuple(as_count(e, "greedy: epochs") for e in _each(epochs, hidden, "epochs")),
            batch_size=rows,
            seed=net.seed if seed is None else as_count(seed, "greedy: seed"),
        )

    @property
    def steps(self) -> int:
        """Minibatches of an epoch."""
        return -(-len(self.x) // self.batch_size)

    def settings(self, net: Network) -> dict[str, Any]:
        """All that decides the bits of the weights, as JSON."""
        return {
            **model.architecture(net),
            "seed": self.seed,
            "standardization": digest(*model.standardization(net).values()),
            "methods": [method.to_json() for method in self.methods],
            "optimizers": [optimizer.to_json() for optimizer in self.optimizers],
            "epochs": list(self.epochs),
            "batch_size": self.batch_size,
            "samples": len(self.x),
            "data": digest(self.x),
            "labels": None if self.y is None else digest(self.y),
        }


def _each(value: Any, count: int, name: str) -> list[Any]:
    """One value a layer: the same for all, or those of a sequence."""
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"greedy: {name} has {len(value)} entries; wanted {count}, one for each layer")
    return list(value)


def _features(net: Network, x: Any) -> tuple[Any, tuple[float, float]]:
    """x[N,I] in the engine's form, and the smallest and largest value the first layer sees."""
    features = _contiguous(as_features(x, net.dtype, "greedy"))
    if features.ndim != 2 or features.shape[1] != net.inputs or len(features) == 0:
        raise ValueError(f"greedy: x is {tuple(features.shape)}; wanted (samples, {net.inputs}), one or more")
    values: npt.NDArray[Any] = host(features)
    ends = np.stack([values.min(axis=0), values.max(axis=0)]).astype(np.float64)
    with np.errstate(over="ignore"):
        finite = np.isfinite(ends.astype(net.dtype)).all()
    if not finite:
        raise ValueError(f"greedy: x has values that are not finite; wanted finite numbers of {net.dtype}")
    if net.standardization is not None:
        shift, scale = net.standardization
        ends = (ends - shift) * scale
    return features, (float(ends.min()), float(ends.max()))


def _check_layers(net: Network, chosen: Sequence[Method], span: tuple[float, float]) -> None:
    layers = dense_layers(net)
    for index, method in enumerate(chosen):
        name = f"greedy: layer {index + 1}, {type(method).__name__}"
        method.check(layers[index], name)
        if isinstance(method, Supervised):
            if index == len(layers) - 1:
                raise ValueError(f"{name}: it is the output layer; wanted a hidden one")
            continue
        if not layers[index].bias:
            raise ValueError(f"{name}: the layer has no bias; wanted nn.Dense(..., bias=True)")
        if not method.takes_units:
            continue
        if index == 0 and not (span[0] >= -1e-6 and span[1] <= 1 + 1e-6):
            raise ValueError(
                f"{name}: x goes from {span[0]:g} to {span[1]:g}; wanted 0 to 1 (bytes: net.standardize by 1 / 255)"
            )
        below = layers[index - 1].activation
        if index > 0 and below not in UNIT_ACTIVATIONS:
            raise ValueError(
                f"{name}: the layer below is {below!r}; wanted values in [0, 1], as of 'sigmoid'"
            )


def _contiguous(array: Any) -> Any:
    return np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array
