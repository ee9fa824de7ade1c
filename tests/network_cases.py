"""Networks and data that several tests of the training engine share."""

from __future__ import annotations

import itertools

import numpy as np
from deltarule import _core
from reference_network import SLOPES, Dense, Network

DTYPES = ["float32", "float64"]
DEVICE = "cpu"  # of the networks made here; the fixture `device` changes it


def host(array):
    """As a NumPy array, wherever it is."""
    return array.to("cpu").numpy() if isinstance(array, _core.Array) else np.asarray(array)


def network(inputs, loss, dtype="float32", precision="highest", seed=0):
    """An empty network on DEVICE."""
    return _core.Network(inputs, loss, dtype, precision, DEVICE, seed)


def normal(rng, shape, scale, dtype):
    """Normal numbers that the dtype holds exactly, as float64."""
    return (scale * rng.standard_normal(shape)).astype(dtype).astype(np.float64)


def make(
    sizes, activation="tanh", loss="softmax_cross_entropy", dtype="float64", last="linear", bias=True, seed=0
):
    """The oracle's network with random weights and biases."""
    rng = np.random.default_rng(seed)
    layers = []
    for index, (inputs, units) in enumerate(itertools.pairwise(sizes)):
        kind = last if index == len(sizes) - 2 else activation
        w = normal(rng, (inputs, units), inputs**-0.5, dtype)
        b = normal(rng, units, 0.3, dtype) if bias else None
        layers.append(Dense(w, b, kind, SLOPES.get(kind, 0.0)))
    return Network(layers, loss)


def oracle(net):
    """The oracle's network with the weights of an nn.Network, as they are now; without dropout."""
    values = iter(net.parameters)
    layers = [
        Dense(
            np.array(host(next(values)), np.float64),
            np.array(host(next(values)), np.float64) if layer.bias else None,
            layer.activation,
            SLOPES.get(layer.activation, 0.0) if layer.slope is None else layer.slope,
        )
        for layer in net.layers
    ]
    return Network(layers, net.loss)


def engine(net, dtype="float64", dropout=None, precision="highest", seed=0):
    """The library's network with the oracle's weights; dropout: {index of a Dense: rate behind it}."""
    core = network(net.layers[0].w.shape[0], net.loss, dtype, precision, seed)
    for index, layer in enumerate(net.layers):
        core.add_dense(layer.w.shape[1], layer.activation, layer.slope, layer.b is not None)
        if index in (dropout or {}):
            core.add_dropout(dropout[index])
    write(core.parameters(), net.parameters())
    return core


def write(arrays, values):
    for array, value in zip(arrays, values, strict=True):
        array[...] = value


def copies(arrays):
    return [host(array).copy() for array in arrays]


def same_bits(a, b):
    return len(a) == len(b) and all(
        x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        for x, y in zip(a, b, strict=True)
    )


def data(rows, inputs, outputs, loss, dtype="float64", seed=1):
    """x and y of the kind the loss is mostly used with."""
    rng = np.random.default_rng(seed)
    x = normal(rng, (rows, inputs), 1.0, dtype)
    if loss == "softmax_cross_entropy":
        return x, rng.integers(0, outputs, rows)
    if loss == "binary_cross_entropy":
        return x, rng.integers(0, 2, (rows, outputs)).astype(np.float64)
    return x, normal(rng, (rows, outputs), 1.0, dtype)


def masks(rows, units, rate, layer, step, seed=0):
    """What dropout multiplies by, from its documented random stream. layer counts Dropout layers too."""
    u = np.empty(rows * units, np.float32)
    _core.fill_uniform(u, seed, _core.dropout_stream(layer, step), 0.0, 1.0)
    return np.where(u >= rate, 1 / (1 - rate), 0.0).reshape(rows, units)
