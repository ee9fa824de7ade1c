"""What passes through a net's layers, activations and back-propagated gradients, against the float64 oracle."""

from __future__ import annotations

import numpy as np
import pytest
import tolerance
from deltarule import _core, nn
from network_cases import DTYPES, copies, data, engine, host, make, oracle, same_bits
from reference import activation as f
from reference import activation_derivative

SIZES = (13, 17, 9, 5)
pytestmark = [pytest.mark.isa, pytest.mark.usefixtures("device")]


def close(got, want, dtype):
    got = host(got)
    assert got.dtype == dtype
    tolerance.assert_within(got, want, tolerance.through_network(want, dtype, 17, 3))


def layer_outputs(net, x):
    net.outputs(x)
    return [
        f(layer.activation, z, layer.slope).astype(np.float64)
        for layer, z in zip(net.layers, net.z, strict=True)
    ]


def deltas(net, x, t, weights=None):
    """dz of every layer, from its definition: dy at the top, then f'(z) (dz W^T)."""
    _, dy, _ = net.evaluate(x, t, weights)
    found = []
    for layer, z in zip(reversed(net.layers), reversed(net.z), strict=True):
        dz = dy * activation_derivative(layer.activation, z, layer.slope).astype(np.float64)
        found.insert(0, dz)
        dy = dz @ layer.w.T
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dropout", [None, {0: 0.5, 1: 0.5}], ids=["dense", "dropout"])
@pytest.mark.parametrize("kind", _core.activations())
def test_every_activation(kind, dropout, dtype):
    net = make(SIZES, kind, dtype=dtype)
    core = engine(net, dtype, dropout)
    x, t = data(23, SIZES[0], SIZES[-1], net.loss, dtype)
    for mine, wanted in zip(core.activations(x.astype(dtype), 10), layer_outputs(net, x), strict=True):
        close(mine, wanted, dtype)
    for mine, wanted in zip(core.deltas(x.astype(dtype), t), deltas(net, x, t), strict=True):
        close(mine, wanted, dtype)


@pytest.mark.parametrize("loss", _core.losses())
def test_losses_weights_and_an_activation_at_the_top(loss):
    net = make(SIZES, "gelu", loss, last="tanh")
    x, t = data(23, SIZES[0], SIZES[-1], loss)
    weights = np.random.default_rng(3).random(23)
    for mine, wanted in zip(engine(net).deltas(x, t, weights), deltas(net, x, t, weights), strict=True):
        close(mine, wanted, "float64")


def test_the_methods_of_a_network_with_standardised_inputs(device):
    net = nn.Network(
        [nn.Dense(7, "tanh", bias=False), nn.Dropout(0.5), nn.Dense(3)], 5, device=device, seed=4
    )
    rng = np.random.default_rng(4)
    shift, scale = rng.standard_normal(5).astype(np.float32), rng.random(5).astype(np.float32) + 0.5
    net.standardize(shift, scale)
    x, t = rng.integers(0, 9, (11, 5)).astype(np.uint8), rng.integers(0, 3, 11)
    reference, seen = (
        oracle(nn.Network([nn.Dense(7, "tanh", bias=False), nn.Dense(3)], 5, seed=4)),
        (x - shift) * scale,
    )
    for layer, parameter in zip(reference.layers, (0, 1), strict=True):
        layer.w = np.array(host(net.parameters[parameter]), np.float64)
    before = copies(net.parameters)
    for mine, wanted in zip(net.activations(x), layer_outputs(reference, seen), strict=True):
        close(mine, wanted, "float32")
    for mine, wanted in zip(net.deltas(x, t), deltas(reference, seen, t), strict=True):
        close(mine, wanted, "float32")
    for mine, wanted in zip(net.gradients(x, t), reference.gradients(seen, t)[1], strict=True):
        close(mine, wanted, "float32")
    assert {array.device for array in net.deltas(x, t)} == {net.device}
    assert same_bits(copies(net.parameters), before)


def test_looking_inside_changes_no_bit_of_a_training():
    x, t = data(60, 7, 4, "softmax_cross_entropy")
    plain, watched = (engine(make((7, 6, 5, 4)), dropout={0: 0.5}) for _ in range(2))
    for _ in range(3):
        for core in (plain, watched):
            core.train_steps(x, t, None, 8, _core.Optimizer("momentum", 0.1, momentum=0.9))
        watched.activations(np.tile(x, (3, 1)))
        watched.deltas(np.tile(x, (3, 1)), np.tile(t, 3))
        watched.gradients(x, t)
    assert same_bits(copies(plain.parameters()), copies(watched.parameters()))


def test_no_rows():
    net = nn.mlp([5, 4, 3])
    assert [y.shape for y in net.activations(np.empty((0, 5)))] == [(0, 4), (0, 3)]
    for method in (net.deltas, net.gradients):
        with pytest.raises(ValueError, match=f"{method.__name__}: x has no rows"):
            method(np.empty((0, 5)), np.empty(0, np.int64))


def test_bad_input():
    net = nn.mlp([5, 4, 3])
    with pytest.raises(ValueError, match="activations: x has 4 features, the network has 5 inputs"):
        net.activations(np.zeros((2, 4)))
    for method in (net.deltas, net.gradients):
        with pytest.raises(ValueError, match=f"{method.__name__}: y"):
            method(np.zeros((2, 5)), np.array([0, 3]))
        with pytest.raises(ValueError, match=f"{method.__name__}: y goes from 2"):
            method(np.zeros((2, 5)), np.full((2, 3), 2.0))
