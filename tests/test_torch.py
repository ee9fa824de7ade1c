"""The same net in PyTorch: after every step the same weights and loss, for every optimiser and activation.

PyTorch runs in float64 and is the reference; both our dtypes are held against it, and so is PyTorch's own
float32, which shows that the bound is one that float32 training keeps.
"""

from __future__ import annotations

import numpy as np
import pytest
from deltarule import nn
from tolerance import trajectory

torch = pytest.importorskip("torch")
F = torch.nn.functional

STEPS = 12
SIZES = (7, 12, 9, 4)
ROWS = 24  # more than any width: the longest sum of a step

ACTIVATIONS = {
    "linear": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "scaled_tanh": lambda z: 1.7159 * torch.tanh(z * (2 / 3)),
    "relu": torch.relu,
    "leaky_relu": lambda z: F.leaky_relu(z, 0.01),
    "elu": F.elu,
    "gelu": F.gelu,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "gaussian": lambda z: torch.exp(-z * z),
}

LOSSES = {
    "softmax_cross_entropy": F.cross_entropy,
    "binary_cross_entropy": lambda z, t: F.binary_cross_entropy_with_logits(z, t, reduction="sum") / len(z),
    "squared_error": lambda z, t: 0.5 * ((z - t) ** 2).sum() / len(z),
}

SGD = torch.optim.SGD
OPTIMIZERS = {
    "sgd": (nn.SGD(0.1), SGD, {"lr": 0.1}),
    "sgd, decay": (nn.SGD(0.1, weight_decay=0.01), SGD, {"lr": 0.1}),
    "momentum": (nn.Momentum(0.05), SGD, {"lr": 0.05, "momentum": 0.9}),
    "momentum, decay": (nn.Momentum(0.05, weight_decay=0.01), SGD, {"lr": 0.05, "momentum": 0.9}),
    "nesterov": (nn.Nesterov(0.05), SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "nesterov, decay": (
        nn.Nesterov(0.05, momentum=0.8, weight_decay=0.01),
        SGD,
        {"lr": 0.05, "momentum": 0.8, "nesterov": True},
    ),
    "adam": (nn.Adam(0.01), torch.optim.Adam, {"lr": 0.01}),
    "adam, decay": (
        nn.Adam(0.01, beta1=0.8, beta2=0.99, eps=1e-6, weight_decay=0.01),
        torch.optim.Adam,
        {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6},
    ),
    "adamw": (nn.AdamW(0.01), torch.optim.AdamW, {"lr": 0.01}),
    "clipped": (nn.SGD(0.1, clip_norm=0.05), SGD, {"lr": 0.1}),
}


class TorchNet:
    """A net of ours in PyTorch: its weights, as ``dtype``."""

    def __init__(self, net, activation, optimizer, dtype):
        ours, rule, settings = optimizer
        self.dtype = dtype
        self.activation, self.loss = ACTIVATIONS[activation], LOSSES[net.loss]
        self.parameters = [torch.tensor(np.array(p), dtype=dtype, requires_grad=True) for p in net.parameters]
        # Decay is for weights, here as there.
        groups = [
            {"params": self.parameters[0::2], "weight_decay": ours.weight_decay},
            {"params": self.parameters[1::2], "weight_decay": 0.0},
        ]
        self.rule = rule(groups, **settings)
        self.clip_norm = ours.clip_norm

    def step(self, x, y):
        z = torch.tensor(x, dtype=self.dtype)
        t = torch.tensor(y) if y.dtype == np.int64 else torch.tensor(y, dtype=self.dtype)
        pairs = list(zip(self.parameters[0::2], self.parameters[1::2], strict=True))
        for w, b in pairs[:-1]:
            z = self.activation(z @ w + b)
        loss = self.loss(z @ pairs[-1][0] + pairs[-1][1], t)
        self.rule.zero_grad()
        loss.backward()
        if self.clip_norm is not None:  # torch's own clipping adds 1e-6 to the norm
            norm = torch.sqrt(sum((p.grad**2).sum() for p in self.parameters))
            assert norm > self.clip_norm
            for p in self.parameters:
                p.grad *= self.clip_norm / norm
        self.rule.step()
        return loss.item()

    def weights(self):
        return [p.detach().double().numpy() for p in self.parameters]


def minibatches(loss):
    rng = np.random.default_rng(7)
    for _ in range(STEPS):
        x = rng.standard_normal((ROWS, SIZES[0])).astype(np.float32)
        if loss == "softmax_cross_entropy":
            yield x, rng.integers(0, SIZES[-1], ROWS)
        elif loss == "binary_cross_entropy":
            yield x, rng.integers(0, 2, (ROWS, SIZES[-1])).astype(np.float32)
        else:
            yield x, rng.standard_normal((ROWS, SIZES[-1])).astype(np.float32)


def check(dtype, activation, loss, optimizer):
    net = nn.mlp(SIZES, activation, loss, dtype=dtype, seed=2)
    reference = TorchNet(net, activation, OPTIMIZERS[optimizer], torch.float64)
    peer = TorchNet(net, activation, OPTIMIZERS[optimizer], getattr(torch, dtype))
    for step, (x, y) in enumerate(minibatches(loss), start=1):
        ours = net.train_step(x, y, OPTIMIZERS[optimizer][0])
        exact, _ = reference.step(x, y), peer.step(x, y)
        assert abs(ours - exact) <= trajectory(exact, step, ROWS, dtype)
        expected = reference.weights()
        for name, found in (("ours", [np.array(p) for p in net.parameters]), ("torch", peer.weights())):
            for got, want in zip(found, expected, strict=True):
                assert got.shape == want.shape
                error = np.abs(got.astype(np.float64) - want)
                assert np.all(error <= trajectory(want, step, ROWS, dtype)), (name, step, error.max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_optimizers_and_losses(dtype, optimizer, loss):
    check(dtype, "tanh", loss, optimizer)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(dtype, activation):
    check(dtype, activation, "softmax_cross_entropy", "momentum")


def test_every_activation_is_here():
    from deltarule import _core

    # threshold has no derivative; its rule is tested in test_nn.py.
    assert set(_core.activations()) == {*ACTIVATIONS, "threshold"}


def test_a_wrong_rate_is_noticed():
    net = nn.mlp(SIZES, "tanh", "squared_error", seed=2)
    reference = TorchNet(net, "tanh", OPTIMIZERS["sgd"], torch.float64)
    x, y = next(minibatches("squared_error"))
    net.train_step(x, y, nn.SGD(0.1001))
    reference.step(x, y)
    pairs = zip(net.parameters, reference.weights(), strict=True)
    assert any((np.abs(np.array(p) - w) > trajectory(w, 1, ROWS, "float32")).any() for p, w in pairs)
