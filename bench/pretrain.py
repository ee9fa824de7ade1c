"""Pre-training steps of one layer, 784-1000 and 1000-1000: contrastive divergence (CD-1) and a denoising auto-encoder.

    python bench/pretrain.py [--threads 1,2] [--json FILE]

Many steps in one call of ours, gathering of the rows and random numbers included, against the same in NumPy and in
PyTorch, each with its own random numbers. "products alone" are the four matrix products of a step in calls of ours,
without random numbers, activations and gathering: what a step would take if it were nothing else; shown, never the
best peer. The weights after two steps without anything random are checked against NumPy in float64 first.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import harness
import numpy as np
from deltarule import _core

LAYERS = ((784, 1000), (1000, 1000))
BATCHES = {10: 100, 100: 20}  # -> steps in one call
LR, CORRUPTION = 0.1, 0.25
PRODUCTS = "products alone"


def sigmoid(z: Any) -> Any:
    np.negative(z, out=z)
    np.exp(z, out=z)
    z += 1
    return np.reciprocal(z, out=z)


class Numpy:
    """By hand. In float64 it is the reference of the check."""

    def __init__(self, parameters: Sequence[np.ndarray], dtype: Any = np.float32) -> None:
        self.w, self.b, self.c = (parameter.astype(dtype) for parameter in parameters)
        self.rng, self.dtype = np.random.default_rng(0), dtype

    def divergence(self, x: np.ndarray) -> None:
        """x[B,I]: one step of CD-1."""
        h0 = sigmoid(x @ self.w + self.b)
        drawn = (self.rng.random(h0.shape, np.float32) <= h0).astype(self.dtype)
        y = sigmoid(drawn @ self.w.T + self.c)
        h1 = sigmoid(y @ self.w + self.b)
        rate = LR / len(x)
        self.w += rate * (x.T @ h0 - y.T @ h1)
        self.b += rate * (h0 - h1).sum(0)
        self.c += rate * (x - y).sum(0)

    def autoencoder(self, x: np.ndarray, corruption: float) -> None:
        """x[B,I]: one step with tied weights and the cross-entropy."""
        seen = x if corruption == 0 else x * (self.rng.random(x.shape, np.float32) >= corruption)
        h = sigmoid(seen @ self.w + self.b)
        dy = sigmoid(h @ self.w.T + self.c) - x
        dh = (dy @ self.w) * h * (1 - h)
        rate = LR / len(x)
        self.w -= rate * (seen.T @ dh + dy.T @ h)
        self.b -= rate * dh.sum(0)
        self.c -= rate * dy.sum(0)

    def samples(self, x: np.ndarray) -> Any:
        return x.astype(self.dtype)

    def steps(self, kind: str, x: Any, rows: np.ndarray, corruption: float = CORRUPTION) -> None:
        for chosen in rows:
            if kind == "divergence":
                self.divergence(x[chosen])
            else:
                self.autoencoder(x[chosen], corruption)

    def weights(self) -> np.ndarray:
        return np.asarray(self.w)


class Torch(Numpy):
    """Eager, without autograd."""

    def __init__(self, parameters: Sequence[np.ndarray]) -> None:
        import torch

        torch.set_num_threads(_core.num_threads())
        self.torch = torch
        self.w, self.b, self.c = (torch.from_numpy(parameter.copy()) for parameter in parameters)

    def samples(self, x: np.ndarray) -> Any:
        return self.torch.from_numpy(x)

    def divergence(self, x: Any) -> None:
        h0 = self.torch.addmm(self.b, x, self.w).sigmoid_()
        y = self.torch.addmm(self.c, h0.bernoulli(), self.w.T).sigmoid_()
        h1 = self.torch.addmm(self.b, y, self.w).sigmoid_()
        rate = LR / len(x)
        self.w.addmm_(x.T, h0, alpha=rate).addmm_(y.T, h1, alpha=-rate)
        self.b.add_((h0 - h1).sum(0), alpha=rate)
        self.c.add_((x - y).sum(0), alpha=rate)

    def autoencoder(self, x: Any, corruption: float) -> None:
        seen = x if corruption == 0 else x * (self.torch.rand(x.shape) >= corruption)
        h = self.torch.addmm(self.b, seen, self.w).sigmoid_()
        dy = self.torch.addmm(self.c, h, self.w.T).sigmoid_() - x
        dh = (dy @ self.w) * h * (1 - h)
        rate = LR / len(x)
        self.w.addmm_(seen.T, dh, alpha=-rate).addmm_(dy.T, h, alpha=-rate)
        self.b.add_(dh.sum(0), alpha=-rate)
        self.c.add_(dy.sum(0), alpha=-rate)


class Ours(Numpy):
    def __init__(self, parameters: Sequence[np.ndarray]) -> None:
        self.arrays = [_core.from_numpy(parameter.copy()) for parameter in parameters]
        self.codec, self.rule = _core.Codec(*self.arrays), _core.Optimizer("sgd", LR)

    def samples(self, x: np.ndarray) -> Any:
        return _core.from_numpy(x)

    def steps(self, kind: str, x: Any, rows: np.ndarray, corruption: float = CORRUPTION) -> None:
        order, size = rows.reshape(-1), rows.shape[1]
        if kind == "divergence":
            self.codec.divergence_steps(x, order, size, self.rule, validated=True)
        else:
            self.codec.autoencoder_steps(x, order, size, self.rule, corruption=corruption, validated=True)

    def weights(self) -> np.ndarray:
        return np.asarray(self.arrays[0])


class Products(Ours):
    """x w, h w^T, x w or its like, and [x; x']^T [h; h'] of 2B rows."""

    def steps(self, kind: str, x: Any, rows: np.ndarray, corruption: float = CORRUPTION) -> None:
        w, size = self.arrays[0], rows.shape[1]
        pair, visible = x[: 2 * size], x[:size]
        both = _core.empty((2 * size, w.shape[1]), "float32", "cpu")
        hidden, back = both[:size], _core.empty(visible.shape, "float32", "cpu")
        gradient = _core.empty(w.shape, "float32", "cpu")
        both[...] = 0.5
        for _ in rows:
            _core.matmul(visible, w, out=hidden)
            _core.matmul(hidden, w.T, out=back)
            _core.matmul(back, w, out=hidden)
            _core.matmul(pair.T, both, out=gradient)


def check(nets: dict[str, Numpy], start: Sequence[np.ndarray], x: np.ndarray, rows: np.ndarray) -> None:
    """Two steps of an auto-encoder that sees all of x are those of float64 NumPy."""
    reference = Numpy(start, np.float64)
    reference.steps("autoencoder", reference.samples(x), rows, 0.0)
    for name, net in nets.items():
        net.steps("autoencoder", net.samples(x), rows, 0.0)
        off = np.linalg.norm(net.weights() - reference.w)
        assert off <= 1e-3 * np.linalg.norm(reference.w - start[0]), f"{name}: wrong weights"


def clock(net: Numpy, kind: str, x: np.ndarray, rows: np.ndarray) -> harness.Clock:
    samples = net.samples(x)
    return harness.clock(lambda: net.steps(kind, samples, rows))


def cases(options: argparse.Namespace) -> Iterator[harness.Case]:
    peers = {"numpy": Numpy, "torch": Torch}
    for inputs, units in ((64, 30),) if options.quick else LAYERS:
        for batch, steps in BATCHES.items():
            rng = np.random.default_rng(0)
            x = rng.random((2000, inputs), np.float32)
            start = [(0.05 * rng.standard_normal((inputs, units))).astype(np.float32)]
            start += [np.zeros(units, np.float32), np.zeros(inputs, np.float32)]
            order = rng.permutation(2000)[: min(2000 // batch, steps) * batch].reshape(-1, batch)
            nets: dict[str, Numpy] = {"deltarule": Ours(start)}
            nets |= {name: peers[name](start) for name in options.peers if name in peers}
            check(nets, start, x, order[:2])
            nets[PRODUCTS] = Products(start)
            for kind, title in (("divergence", "CD-1"), ("autoencoder", "denoising")):
                clocks = {name: clock(net, kind, x, order) for name, net in nets.items()}
                yield harness.Case(
                    f"pretrain {title}",
                    f"{title} {inputs}-{units} b{batch}, {len(order)} in one call",
                    clocks.pop("deltarule"),
                    clocks,
                    flop=10.0 * inputs * units * batch * len(order),
                    steps=len(order),
                    facts={"inputs": inputs, "units": units, "batch": batch, "method": title},
                    beside=(PRODUCTS,),
                )


if __name__ == "__main__":
    harness.main(__doc__, cases)
