"""The same net and the same SGD step for us and for every peer: tanh layers, softmax cross-entropy.

A net is made of the float32 parameters [W0, b0, W1, b1, ...] with W[I,O]. `batch` turns x[B,I] and labels y[B] into
what `step` takes; `steps` trains on the rows of `samples` in the order rows[S,B], in one call where the peer has such a
thing, gathering included.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from deltarule import nn
from harness import Case, Clock, clock

LR = 0.01
CHECKED_STEPS = 2


class Numpy:
    """By hand. In float64 it is the reference of every check."""

    def __init__(self, parameters: Sequence[np.ndarray], dtype: Any = np.float32) -> None:
        self.dtype = dtype
        self.own = [parameter.astype(dtype) for parameter in parameters]

    def batch(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, ...]:
        return x.astype(self.dtype), y

    samples = batch

    def step(self, x: np.ndarray, y: np.ndarray) -> None:
        """x[B,I] y[B]: forward, backward and update in place."""
        inputs, weights, biases = [x], self.own[::2], self.own[1::2]
        for w, b in zip(weights, biases, strict=True):
            z = inputs[-1] @ w
            z += b
            inputs.append(np.tanh(z, out=z) if w is not weights[-1] else z)
        d = inputs.pop()
        d -= d.max(axis=1, keepdims=True)
        np.exp(d, out=d)
        d /= d.sum(axis=1, keepdims=True)
        d[np.arange(len(y)), y] -= 1
        d *= LR / len(y)
        for layer in reversed(range(len(weights))):
            h = inputs[layer]
            below = d @ weights[layer].T if layer else None
            weights[layer] -= h.T * d if len(h) == 1 else h.T @ d
            biases[layer] -= d.sum(axis=0)
            if below is not None:
                h *= h
                below *= np.subtract(1, h, out=h)
                d = below

    def steps(self, samples: tuple[Any, ...], rows: Any) -> None:
        x, y = samples
        for chosen in rows:
            self.step(x[chosen], y[chosen])

    def rows(self, rows: np.ndarray) -> Any:
        """The order as `steps` takes it."""
        return rows

    def wait(self, _: Any = None) -> None:
        """Until all steps are done."""

    def parameters(self) -> list[np.ndarray]:
        return [np.asarray(parameter) for parameter in self.own]


class Torch(Numpy):
    """Eager autograd; the update is one foreach call, which measured faster than torch.optim.SGD."""

    def __init__(self, parameters: Sequence[np.ndarray], dtype: str = "float32", device: str = "cpu") -> None:
        import torch

        self.torch, self.dtype = torch, getattr(torch, dtype)
        self.linear = torch.nn.functional.linear
        self.loss = torch.nn.functional.cross_entropy
        tensors = [torch.tensor(parameter.T).contiguous().to(device, self.dtype) for parameter in parameters]
        self.own = [tensor.requires_grad_() for tensor in tensors]
        self.layers = list(zip(self.own[::2], self.own[1::2], strict=True))

    def batch(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, ...]:
        return self.torch.from_numpy(x).to(self.dtype), self.torch.from_numpy(y)

    samples = batch

    def rows(self, rows: np.ndarray) -> Any:
        return self.torch.from_numpy(rows)

    def step(self, x: Any, y: Any) -> None:
        for w, b in self.layers[:-1]:
            x = self.torch.tanh(self.linear(x, w, b))
        loss = self.loss(self.linear(x, *self.layers[-1]), y)
        gradients = self.torch.autograd.grad(loss, self.own)
        with self.torch.no_grad():
            self.torch._foreach_add_(self.own, gradients, alpha=-LR)

    def parameters(self) -> list[np.ndarray]:
        return [parameter.detach().float().cpu().numpy().T for parameter in self.own]


class Jax(Numpy):
    """A jitted step that is given its parameters' memory; many steps are one jitted scan."""

    def __init__(self, parameters: Sequence[np.ndarray]) -> None:
        import jax
        import jax.numpy as jnp

        self.jax = jax
        self.own = [jnp.array(parameter) for parameter in parameters]

        def loss(own: list[Any], x: Any, y: Any) -> Any:
            for w, b in zip(own[:-2:2], own[1:-2:2], strict=True):
                x = jnp.tanh(x @ w + b)
            logits = x @ own[-2] + own[-1]
            return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean()

        def step(own: list[Any], x: Any, y: Any) -> list[Any]:
            return [p - LR * g for p, g in zip(own, jax.grad(loss)(own, x, y), strict=True)]

        def steps(own: list[Any], x: Any, y: Any, rows: Any) -> list[Any]:
            return jax.lax.scan(lambda own, chosen: (step(own, x[chosen], y[chosen]), None), own, rows)[0]

        self.one = jax.jit(step, donate_argnums=0)
        self.many = jax.jit(steps, donate_argnums=0)

    def batch(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, ...]:
        return self.jax.device_put(x), self.jax.device_put(y.astype(np.int32))

    samples = batch

    def rows(self, rows: np.ndarray) -> Any:
        return self.jax.device_put(rows.astype(np.int32))

    def step(self, x: Any, y: Any) -> None:
        self.own = self.one(self.own, x, y)

    def steps(self, samples: tuple[Any, ...], rows: Any) -> None:
        self.own = self.many(self.own, *samples, rows)

    def wait(self, _: Any = None) -> None:
        self.jax.block_until_ready(self.own)


class Sklearn(Numpy):
    """MLPClassifier.partial_fit: one step of SGD without momentum or penalty."""

    def __init__(self, parameters: Sequence[np.ndarray]) -> None:
        from sklearn.neural_network import MLPClassifier

        units = [len(bias) for bias in parameters[1::2]]
        settings = {"momentum": 0.0, "nesterovs_momentum": False, "alpha": 0.0, "learning_rate_init": LR}
        self.model = MLPClassifier(units[:-1], activation="tanh", solver="sgd", batch_size=1, **settings)
        classes, inputs = np.arange(units[-1]), len(parameters[0])
        self.model.partial_fit(np.zeros((1, inputs), np.float32), classes[:1], classes=classes)
        for kept, parameter in zip(self.parameters(), parameters, strict=True):
            kept[:] = parameter

    def batch(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, ...]:
        return x, y

    samples = batch

    def step(self, x: np.ndarray, y: np.ndarray) -> None:
        self.model.batch_size = len(x)
        self.model.partial_fit(x, y)

    def parameters(self) -> list[np.ndarray]:
        return [
            array for pair in zip(self.model.coefs_, self.model.intercepts_, strict=True) for array in pair
        ]


class Ours(Numpy):
    """`train_step` called from Python, and the engine's call for many steps, which `fit` is made of."""

    def __init__(self, sizes: Sequence[int], precision: str = "highest") -> None:
        self.net = nn.mlp(sizes, "tanh", precision=precision, seed=0)
        self.rule = nn.SGD(LR)
        self.built = self.rule.build()

    def batch(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, ...]:
        return x, y

    samples = batch

    def rows(self, rows: np.ndarray) -> Any:
        return rows.ravel(), rows.shape[1]

    def step(self, x: Any, y: Any) -> None:
        self.net.train_step(x, y, self.rule)

    def steps(self, samples: tuple[Any, ...], rows: Any) -> None:
        order, size = rows
        self.net.engine.train_steps(*samples, order, size, self.built, validated=True)

    def parameters(self) -> list[np.ndarray]:
        return [np.array(parameter) for parameter in self.net.parameters]


def make_peers(parameters: list[np.ndarray], chosen: list[str], precision: str) -> dict[str, Numpy]:
    """The peers of a precision: for "medium", PyTorch with all parameters in bf16."""
    if precision == "medium":
        return {"torch bf16": Torch(parameters, "bfloat16")} if "torch" in chosen else {}
    classes = {"numpy": Numpy, "torch": Torch, "jax": Jax, "sklearn": Sklearn}
    return {name: classes[name](parameters) for name in chosen}


def check(name: str, net: Numpy, start: list[np.ndarray], exact: list[np.ndarray], precision: str) -> None:
    """The step from `start` is the reference's, up to rounding of the step and of the parameters themselves.

    Of bf16 parameters weights alone are looked at: a bias starts at 0 and moves by a sum that cancels, which PyTorch's
    bf16 has wrong by up to 1.4 times itself (841-2500-...-10, batch 1000). The same code is checked as float32.
    """
    tolerance, unit = (5e-2 if precision == "medium" else 1e-3), 2.0 ** (-8 if "bf16" in name else -21)
    for got, before, wanted in zip(net.parameters(), start, exact, strict=True):
        if "bf16" in name and got.ndim == 1:
            continue
        bound = tolerance * np.linalg.norm(wanted - before) + unit * np.linalg.norm(wanted)
        assert np.linalg.norm(got - wanted) <= bound, f"{name}: wrong parameters after {CHECKED_STEPS} steps"


def cases(
    group: str,
    sizes: Sequence[int],
    batch: int,
    options: argparse.Namespace,
    precision: str = "highest",
    in_one_call: int = 0,
) -> Iterator[Case]:
    """A case of single steps, and with ``in_one_call`` one of that many steps in one call."""
    rng = np.random.default_rng(0)
    pool = max(1000, 2 * batch)
    x, y = rng.random((pool, sizes[0]), np.float32), rng.integers(0, sizes[-1], pool)
    ours = Ours(sizes, precision)
    start = ours.parameters()
    nets = {"deltarule": ours, **make_peers(start, options.peers, precision)}
    reference = Numpy(start, np.float64)
    cuts = [slice(first, first + batch) for first in range(0, min(pool, 8 * batch), batch)]
    checked = rng.permutation(pool)[: CHECKED_STEPS * batch].reshape(CHECKED_STEPS, batch)

    # Two single steps, then two in one call. (Checked before training goes on: near a minimum, gradients are noise.)
    for cut in cuts[:CHECKED_STEPS]:
        reference.step(*reference.batch(x[cut], y[cut]))
    middle = [parameter.copy() for parameter in reference.own]
    reference.steps(reference.samples(x, y), checked)
    for name, net in nets.items():
        for cut in cuts[:CHECKED_STEPS]:
            net.step(*net.batch(x[cut], y[cut]))
        check(name, net, start, middle, precision)
        if in_one_call:
            net.steps(net.samples(x, y), net.rows(checked))
            check(name, net, start, reference.own, precision)
    weights = [len(w) * len(w.T) for w in start[::2]]
    flop = 2.0 * batch * (3 * sum(weights) - weights[0])
    size = "-".join(map(str, sizes))
    facts = {"sizes": list(sizes), "batch": batch, "precision": precision}

    def step_clock(net: Numpy) -> Clock:
        batches = cycle([net.batch(x[cut], y[cut]) for cut in cuts])
        return clock(lambda: net.step(*next(batches)), net.wait)

    clocks = {name: step_clock(net) for name, net in nets.items()}
    suffix = "" if precision == "highest" else f" {precision}"
    yield Case(
        group,
        f"{size} b{batch}{suffix}",
        clocks.pop("deltarule"),
        clocks,
        flop=flop,
        facts={**facts, "how": "step"},
    )
    if not in_one_call:
        return

    order = rng.integers(0, pool, (in_one_call, batch))

    def steps_clock(net: Numpy) -> Clock:
        samples, rows = net.samples(x, y), net.rows(order)
        return clock(lambda: net.steps(samples, rows), net.wait)

    clocks = {name: steps_clock(net) for name, net in nets.items()}
    yield Case(
        group,
        f"{size} b{batch}{suffix}, {in_one_call} in one call",
        clocks.pop("deltarule"),
        clocks,
        flop=flop * in_one_call,
        steps=in_one_call,
        facts={**facts, "how": "steps in one call"},
    )


warnings.filterwarnings("ignore", message="Got `batch_size` less than 1 or larger")
