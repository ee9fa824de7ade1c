"""The oracle of the training engine: the same network in float64 NumPy, written for reading."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

erf = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(z):
    return 0.5 * (1 + np.tanh(0.5 * z))


def phi(z):
    return 0.5 * (1 + erf(z / math.sqrt(2)))


# name: (f(z, slope), f'(z, slope))
ACTIVATIONS = {
    "linear": (lambda z, s: z, lambda z, s: np.ones_like(z)),
    "threshold": (lambda z, s: np.where(z < 0, 0.0, 1.0), lambda z, s: np.ones_like(z)),
    "sigmoid": (lambda z, s: sigmoid(z), lambda z, s: sigmoid(z) * sigmoid(-z)),
    "tanh": (lambda z, s: np.tanh(z), lambda z, s: 1 / np.cosh(z) ** 2),
    "scaled_tanh": (
        lambda z, s: 1.7159 * np.tanh(2 * z / 3),
        lambda z, s: 1.7159 * 2 / 3 / np.cosh(2 * z / 3) ** 2,
    ),
    "relu": (lambda z, s: np.maximum(z, 0), lambda z, s: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z, s: np.where(z < 0, s * z, z), lambda z, s: np.where(z > 0, 1.0, s)),
    "elu": (
        lambda z, s: np.where(z < 0, s * np.expm1(z), z),
        lambda z, s: np.where(z > 0, 1.0, s * np.exp(z)),
    ),
    "gelu": (
        lambda z, s: z * phi(z),
        lambda z, s: phi(z) + z * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi),
    ),
    "softplus": (lambda z, s: np.logaddexp(0, z), lambda z, s: sigmoid(z)),
    "softsign": (lambda z, s: z / (1 + np.abs(z)), lambda z, s: 1 / (1 + np.abs(z)) ** 2),
    "gaussian": (lambda z, s: np.exp(-(z**2)), lambda z, s: -2 * z * np.exp(-(z**2))),
}
SLOPES = {"leaky_relu": 0.01, "elu": 1.0}


def log_softmax(y):
    shifted = y - y.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _softmax(y, t):
    return -(t * log_softmax(y)).sum(axis=1), np.exp(log_softmax(y)) * t.sum(axis=1, keepdims=True) - t


# name: y[B,O], t[B,O] -> loss of each row [B], gradient of each row [B,O]
LOSSES = {
    "squared_error": lambda y, t: (0.5 * ((y - t) ** 2).sum(axis=1), y - t),
    "binary_cross_entropy": lambda y, t: ((np.logaddexp(0, y) - t * y).sum(axis=1), sigmoid(y) - t),
    "softmax_cross_entropy": _softmax,
}


def count_errors(loss, y, t):
    """Rows that are wrong: labels t[B], or targets t[B,O]."""
    if t.ndim == 1:
        if y.shape[1] > 1:
            return int((y.argmax(axis=1) != t).sum())
        return int(((y[:, 0] > (0.5 if loss == "squared_error" else 0)) != (t > 0)).sum())
    if loss == "binary_cross_entropy":
        return int(((y > 0) != (t > 0.5)).any(axis=1).sum())
    return int((y.argmax(axis=1) != t.argmax(axis=1)).sum()) if loss == "softmax_cross_entropy" else 0


def one_hot(labels, outputs):
    if outputs == 1:
        return labels[:, None].astype(np.float64)
    return np.eye(outputs)[labels]


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
        return self._forward(np.asarray(x, np.float64), masks or {})[-1]

    def _forward(self, x, masks):
        self.inputs, self.z = [], []
        for index, layer in enumerate(self.layers):
            self.inputs.append(x)
            z = x @ layer.w + (0 if layer.b is None else layer.b)
            self.z.append(z)
            x = ACTIVATIONS[layer.activation][0](z, layer.slope) * masks.get(index, 1.0)
        return [*self.inputs, x]

    def evaluate(self, x, t, weights=None, masks=None):
        """Weighted mean loss, its gradient with respect to the outputs, wrong rows."""
        y = self.outputs(x, masks)
        t = np.asarray(t)
        targets = one_hot(t, y.shape[1]) if t.ndim == 1 and t.dtype.kind != "f" else t.reshape(y.shape)
        weights = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
        total = weights.sum()
        scale = 1 / total if total > 0 else 0.0
        rows, dy = LOSSES[self.loss](y, targets.astype(np.float64))
        errors = count_errors(self.loss, y, t if t.ndim == 1 and t.dtype.kind != "f" else targets)
        return scale * (weights * rows).sum(), scale * weights[:, None] * dy, errors

    def gradients(self, x, t, weights=None, masks=None):
        """Loss, gradients in parameters() order, dx."""
        masks = masks or {}
        loss, delta, _ = self.evaluate(x, t, weights, masks)
        found = []
        for index in reversed(range(len(self.layers))):
            layer = self.layers[index]
            delta = (
                delta * masks.get(index, 1.0) * ACTIVATIONS[layer.activation][1](self.z[index], layer.slope)
            )
            found[:0] = [self.inputs[index].T @ delta] + ([] if layer.b is None else [delta.sum(axis=0)])
            delta = delta @ layer.w.T
        return loss, found, delta


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
    m: list = field(default_factory=list)
    v: list = field(default_factory=list)
    t: int = 0

    def settings(self):
        names = ("lr", "momentum", "beta1", "beta2", "eps", "weight_decay", "clip_norm")
        return {name: getattr(self, name) for name in names}

    def update(self, parameters, gradients):
        """In place; weight decay for matrices, not for biases."""
        if not self.m:
            self.m, self.v = ([np.zeros_like(p) for p in parameters] for _ in range(2))
        self.t += 1
        norm = math.sqrt(sum((g**2).sum() for g in gradients))
        scale = self.clip_norm / norm if 0 < self.clip_norm < norm else 1.0
        for w, g, m, v in zip(parameters, gradients, self.m, self.v, strict=True):
            self._one(w, scale * g, m, v, self.weight_decay if w.ndim == 2 else 0.0)

    def _one(self, w, g, m, v, decay):
        if self.kind == "adamw":
            w *= 1 - self.lr * decay
        else:
            g = g + decay * w
        if self.kind == "sgd":
            w -= self.lr * g
        elif self.kind in ("momentum", "nesterov"):
            m[:] = self.momentum * m + g
            w -= self.lr * (m if self.kind == "momentum" else g + self.momentum * m)
        else:
            m[:] = self.beta1 * m + (1 - self.beta1) * g
            v[:] = self.beta2 * v + (1 - self.beta2) * g**2
            unbiased_m, unbiased_v = m / (1 - self.beta1**self.t), v / (1 - self.beta2**self.t)
            w -= self.lr * unbiased_m / (np.sqrt(unbiased_v) + self.eps)


def train(net, optimizer, x, t, order, batch_size, weights=None, masks=None):
    """The steps of one call: losses, weights of the minibatches, errors. masks(step, rows) -> masks."""
    losses, totals, errors = [], [], 0
    for step, start in enumerate(range(0, len(order), batch_size)):
        rows = order[start : start + batch_size]
        w = None if weights is None else weights[rows]
        drawn = masks(step, len(rows)) if masks else None
        errors += net.evaluate(x[rows], t[rows], w, drawn)[2]
        loss, gradients, _ = net.gradients(x[rows], t[rows], w, drawn)
        optimizer.update(net.parameters(), gradients)
        losses.append(loss)
        totals.append(len(rows) if w is None else w.sum())
    return np.array(losses), np.array(totals), errors
