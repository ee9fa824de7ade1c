"""The oracle of the training engine: the same network in float64 NumPy, from the formulas of reference.py."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from reference import OPTIMIZERS, activation, activation_derivative, loss

SLOPES = {"leaky_relu": 0.01, "elu": 1.0}


@dataclass
class Dense:
    w: np.ndarray
    b: np.ndarray | None
    activation: str = "tanh"
    slope: float = 0.0


@dataclass
class Network:
    layers: list[Dense]
    loss: str

    def parameters(self):
        return [p for layer in self.layers for p in (layer.w, layer.b) if p is not None]

    def outputs(self, x, masks=None):
        """x[B,I] -> y[B,O]; masks[l] multiplies what comes out of layer l."""
        x = np.asarray(x, np.float64)
        self.inputs, self.z = [], []
        for index, layer in enumerate(self.layers):
            self.inputs.append(x)
            z = x @ layer.w + (0 if layer.b is None else layer.b)
            self.z.append(z)
            y = activation(layer.activation, z, layer.slope).astype(np.float64)
            x = y * (masks or {}).get(index, 1.0)
        return x

    def evaluate(self, x, t, weights=None, masks=None):
        """Weighted mean loss, its gradient with respect to the outputs, wrong rows; t: labels or targets."""
        y = self.outputs(x, masks)
        t = np.asarray(t)
        kind = {"targets": t.reshape(y.shape)} if t.dtype.kind == "f" else {"labels": t}
        total = len(y) if weights is None else np.asarray(weights, np.float64).sum()
        scale = 1 / total if total > 0 else 0.0
        value, dy, errors = loss(self.loss, y, weights=weights, scale=scale, **kind)
        return float(value), dy.astype(np.float64), errors

    def gradients(self, x, t, weights=None, masks=None):
        """Loss, gradients in parameters() order, dx."""
        value, delta, _ = self.evaluate(x, t, weights, masks)
        found = []
        for index in reversed(range(len(self.layers))):
            layer = self.layers[index]
            slope = activation_derivative(layer.activation, self.z[index], layer.slope).astype(np.float64)
            delta = delta * (masks or {}).get(index, 1.0) * slope
            found[:0] = [self.inputs[index].T @ delta] + ([] if layer.b is None else [delta.sum(axis=0)])
            delta = delta @ layer.w.T
        return value, found, delta


@dataclass
class Optimizer:
    kind: str
    lr: float
    momentum: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    slots: list = field(default_factory=list)
    step: int = 0

    def settings(self):
        names = ("lr", "momentum", "beta1", "beta2", "eps", "weight_decay", "clip_norm")
        return {name: getattr(self, name) for name in names}

    def update(self, parameters, gradients):
        """In place; weight decay for matrices, not for biases."""
        if not self.slots:
            self.slots = [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]
        self.step += 1
        norm = math.sqrt(sum((g**2).sum() for g in gradients))
        scale = self.clip_norm / norm if 0 < self.clip_norm < norm else 1.0
        for index, (w, g) in enumerate(zip(parameters, gradients, strict=True)):
            settings = self.settings() | {"weight_decay": self.weight_decay if w.ndim == 2 else 0.0}
            w[...], *self.slots[index] = OPTIMIZERS[self.kind](
                w, scale * g, *self.slots[index], step=self.step, **settings
            )


def train(net, optimizer, x, t, order, batch_size, weights=None, masks=None):
    """The steps of one call: losses, weights of the minibatches, errors. masks(step, rows) -> masks."""
    losses, totals, errors = [], [], 0
    for step, start in enumerate(range(0, len(order), batch_size)):
        rows = order[start : start + batch_size]
        w = None if weights is None else weights[rows]
        drawn = masks(step, len(rows)) if masks else None
        errors += net.evaluate(x[rows], t[rows], w, drawn)[2]
        value, gradients, _ = net.gradients(x[rows], t[rows], w, drawn)
        optimizer.update(net.parameters(), gradients)
        losses.append(value)
        totals.append(len(rows) if w is None else w.sum())
    return np.array(losses), np.array(totals), errors
