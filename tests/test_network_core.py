"""The training engine against the float64 oracle: outputs, losses, gradients, steps of every optimiser."""

from __future__ import annotations

import numpy as np
import pytest
import tolerance
from deltarule import _core
from network_cases import DTYPES, copies, data, engine, host, make, masks, network, write
from reference import ACTIVATIONS, LOSSES
from reference_network import Optimizer, train

SIZES = (13, 17, 9, 5)
WIDTH, DEPTH = 17, 3

pytestmark = [pytest.mark.isa, pytest.mark.usefixtures("device")]


def assert_close(got, want, dtype, steps=1, scale=0.0):
    got, want = host(got), np.asarray(want)
    assert got.shape == want.shape
    error = np.abs(got.astype(np.float64) - want)
    assert np.all(error <= tolerance.through_network(want, dtype, WIDTH, DEPTH, steps, scale)), error.max()


def rule(optimizer):
    return _core.Optimizer(optimizer.kind, **optimizer.settings())


def compare_step(net, core, x, t, dtype, weights=None):
    """outputs, evaluate, gradients and one step of a network and its oracle."""
    xs = x.astype(dtype)
    t = np.asarray(t)
    assert_close(core.outputs(xs), net.outputs(x), dtype)
    loss, _, errors = net.evaluate(x, t, weights)
    got_loss, got_errors = core.evaluate(xs, t, sample_weight=weights)
    assert_close(got_loss, loss, dtype, scale=1.0)
    assert got_errors == errors

    loss, gradients, dx = net.gradients(x, t, weights)
    got_loss, got, got_dx = core.gradients(xs, t, weights)
    assert_close(got_loss, loss, dtype, scale=1.0)
    largest = max(np.abs(g).max() for g in gradients)
    for mine, wanted in zip(got, gradients, strict=True):
        assert host(mine).dtype == dtype
        assert_close(mine, wanted, dtype, scale=largest)
    assert_close(got_dx, dx, dtype)

    optimizer = Optimizer("sgd", lr=0.5)
    losses, totals, errors = train(net, optimizer, x, t, np.arange(len(x)), len(x), weights)
    done = core.train_steps(xs, t, None, len(x), rule(optimizer), weights)
    assert_close(done.losses, losses, dtype, scale=1.0)
    assert_close(done.weight, totals, dtype)
    assert (done.errors, done.finite, core.step) == (errors, True, 1)
    for mine, wanted in zip(core.parameters(), net.parameters(), strict=True):
        assert_close(mine, wanted, dtype, scale=largest)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", _core.losses())
@pytest.mark.parametrize("activation", _core.activations())
def test_every_activation_with_every_loss(activation, loss, dtype):
    net = make(SIZES, activation, loss, dtype)
    compare_step(net, engine(net, dtype), *data(23, SIZES[0], SIZES[-1], loss, dtype), dtype)


def test_the_oracle_knows_every_name_of_the_lists():
    assert set(_core.activations()) == set(ACTIVATIONS)
    assert set(_core.losses()) == set(LOSSES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", _core.activations())
def test_every_activation_as_output(activation, dtype):
    net = make(SIZES, "tanh", "squared_error", dtype, last=activation)
    compare_step(net, engine(net, dtype), *data(23, SIZES[0], SIZES[-1], "squared_error", dtype), dtype)


@pytest.mark.parametrize("loss", _core.losses())
@pytest.mark.parametrize("outputs", [1, 2, 5])
@pytest.mark.parametrize("kind", ["labels", "targets"])
def test_labels_and_targets(loss, outputs, kind):
    if loss == "softmax_cross_entropy" and outputs == 1:
        pytest.skip("softmax with one output is refused: see test_network_input.py")
    net = make((*SIZES[:-1], outputs), "tanh", loss)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((19, SIZES[0]))
    t = rng.integers(0, max(outputs, 2), 19)
    if kind == "targets":
        t = rng.random((19, outputs))
    compare_step(net, engine(net), x, t, "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", _core.losses())
def test_sample_weights(loss, dtype):
    net = make(SIZES, "tanh", loss, dtype)
    x, t = data(23, SIZES[0], SIZES[-1], loss, dtype)
    weights = np.random.default_rng(5).random(23).astype(dtype)
    weights[:4] = 0
    compare_step(net, engine(net, dtype), x, t, dtype, weights)


def test_a_minibatch_without_weight_changes_nothing():
    net = make(SIZES)
    core = engine(net)
    x, t = data(6, SIZES[0], SIZES[-1], net.loss)
    before = copies(core.parameters())
    done = core.train_steps(x, t, None, 6, _core.Optimizer("sgd", 0.5), np.zeros(6))
    assert host(done.losses).tolist() == [0.0]
    assert host(done.weight).tolist() == [0.0]
    for mine, wanted in zip(core.parameters(), before, strict=True):
        np.testing.assert_array_equal(host(mine), wanted)


@pytest.mark.parametrize("sizes", [(13, 5), (1, 1, 2), (13, 17, 17, 9, 5)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 23])
def test_shapes(sizes, bias, rows):
    net = make(sizes, "gelu", "softmax_cross_entropy", bias=bias)
    core = engine(net)
    assert len(core.parameters()) == (len(sizes) - 1) * (2 if bias else 1)
    compare_step(net, core, *data(rows, sizes[0], sizes[-1], net.loss), "float64")


OPTIMIZERS = [
    Optimizer("sgd", 0.2),
    Optimizer("sgd", 0.2, weight_decay=0.1),
    Optimizer("momentum", 0.05, momentum=0.9, weight_decay=0.1),
    Optimizer("nesterov", 0.05, momentum=0.9, weight_decay=0.1),
    Optimizer("adam", 0.01, eps=1e-2, weight_decay=0.1),
    Optimizer("adamw", 0.01, eps=1e-2, weight_decay=0.1),
]


def fresh(optimizer, **changes):
    return Optimizer(optimizer.kind, **{**optimizer.settings(), **changes})


def compare_training(optimizer, dtype, dropout=None, clip_norm=0.0, norms=False, weighted=False):
    """Two epochs of 10 steps with a batch tail, shuffled, against the oracle."""
    net = make(SIZES, "tanh", "softmax_cross_entropy", dtype)
    core = engine(net, dtype, dropout, seed=77)
    x, t = data(69, SIZES[0], SIZES[-1], net.loss, dtype)
    weights = np.random.default_rng(5).random(69).astype(dtype) if weighted else None
    optimizer = fresh(optimizer, clip_norm=clip_norm)
    for epoch in range(2):
        order = np.asarray(_core.permutation(69, 77, _core.shuffle_stream(epoch)))

        def drawn(step, rows, done=core.step):
            return {
                i: masks(rows, SIZES[i + 1], p, 2 * i + 1, done + step, 77)
                for i, p in (dropout or {}).items()
            }

        losses, totals, errors = train(net, optimizer, x, t, order, 7, weights, drawn)
        done = core.train_steps(x.astype(dtype), t, order, 7, rule(optimizer), weights, norms)
        assert_close(done.losses, losses, dtype, steps=20, scale=1.0)
        assert_close(done.weight, totals, dtype)
        assert done.errors == errors
    assert core.step == 20
    for mine, wanted in zip(core.parameters(), net.parameters(), strict=True):
        assert_close(mine, wanted, dtype, steps=20, scale=1.0)
    return net, core


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.kind}-{o.weight_decay}")
class TestTwentySteps:
    def test_plain(self, optimizer, dtype):
        compare_training(optimizer, dtype)

    def test_weighted(self, optimizer, dtype):
        compare_training(optimizer, dtype, weighted=True)

    def test_clipped(self, optimizer, dtype):
        compare_training(optimizer, dtype, clip_norm=0.3)

    def test_with_dropout(self, optimizer, dtype):
        compare_training(optimizer, dtype, dropout={0: 0.5, 1: 0.25})

    def test_slots_are_the_oracles(self, optimizer, dtype):
        _, core = compare_training(optimizer, dtype)
        names = {"sgd": "", "momentum": "m", "nesterov": "m"}.get(optimizer.kind, "mv")
        wanted = {f"{name}.{i}" for name in names for i in range(6)} | ({"t"} if len(names) == 2 else set())
        assert set(core.slots()) == wanted


def test_the_list_of_optimizers_is_tested():
    assert {o.kind for o in OPTIMIZERS} == set(_core.optimizers())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["sgd", "momentum", "nesterov"])
def test_fused_and_whole_gradient_updates_agree(kind, dtype):
    """Norms make the last step store its gradient; a clip far away makes every step do so."""
    optimizer = Optimizer(kind, 0.05, momentum=0.9, weight_decay=0.1)
    finals = []
    for clip_norm, norms in [(0.0, False), (0.0, True), (1e6, False)]:
        _, core = compare_training(optimizer, dtype, clip_norm=clip_norm, norms=norms)
        finals.append(copies(core.parameters()))
    for other in finals[1:]:
        for mine, wanted in zip(other, finals[0], strict=True):
            assert_close(mine, wanted, dtype, scale=1.0)


@pytest.mark.parametrize("clip_norm", [0.0, 0.1])
@pytest.mark.parametrize("optimizer", OPTIMIZERS[:1] + OPTIMIZERS[4:5], ids=lambda o: o.kind)
def test_norms_are_those_of_the_last_minibatch(optimizer, clip_norm):
    net = make(SIZES)
    core = engine(net)
    x, t = data(20, SIZES[0], SIZES[-1], net.loss)
    oracle = fresh(optimizer, clip_norm=clip_norm)
    train(net, oracle, x, t, np.arange(16), 8)
    _, gradients, _ = net.gradients(x[16:], t[16:])
    done = core.train_steps(x, t, None, 8, rule(oracle), None, True)
    assert_close(done.norms, [np.linalg.norm(g) for g in gradients[::2]], "float64", steps=3)
    assert core.train_steps(x, t, None, 8, rule(oracle)).norms == []


def test_another_kind_of_optimizer_starts_from_empty_slots():
    net = make(SIZES)
    core = engine(net)
    x, t = data(20, SIZES[0], SIZES[-1], net.loss)
    for kind in ("momentum", "adam"):
        optimizer = Optimizer(kind, 0.05, momentum=0.9)
        train(net, optimizer, x, t, np.arange(20), 5)
        core.train_steps(x, t, None, 5, rule(optimizer))
        for mine, wanted in zip(core.parameters(), net.parameters(), strict=True):
            assert_close(mine, wanted, "float64", steps=8, scale=1.0)
    assert core.step == 8
    assert host(core.slots()["t"]).tolist() == [4]


def test_a_larger_minibatch_after_a_smaller_one_and_back():
    net = make(SIZES, "gelu")
    core = engine(net)
    x, t = data(40, SIZES[0], SIZES[-1], net.loss)
    optimizer = Optimizer("adam", 0.01, eps=1e-3)
    for size in (4, 40, 7):
        train(net, optimizer, x, t, np.arange(40), size)
        core.train_steps(x, t, None, size, rule(optimizer))
        assert_close(core.outputs(x, 11), net.outputs(x), "float64", steps=20, scale=1.0)


def test_a_layer_added_after_training_is_trained_too():
    net = make(SIZES)
    x, t = data(20, SIZES[0], SIZES[-1], net.loss)
    short = engine(make(SIZES[:3]))
    short.train_steps(x, t, None, 20, _core.Optimizer("adam", 0.01, clip_norm=1.0), None, True)
    short.add_dense(SIZES[-1], "linear", 0.0, True)
    net.layers[1].activation = "linear"
    write(short.parameters(), net.parameters())
    optimizer = Optimizer("adam", 0.01, eps=1e-3)
    train(net, optimizer, x, t, np.arange(20), 10)
    short.train_steps(x, t, None, 10, rule(optimizer))
    for mine, wanted in zip(short.parameters(), net.parameters(), strict=True):
        assert_close(mine, wanted, "float64", steps=2, scale=1.0)


def test_dropout_as_first_layer_and_twice_in_a_row():
    net = make((13, 6, 5))
    core = network(13, net.loss, "float64", seed=3)
    core.add_dropout(0.3)
    core.add_dense(6, "tanh", 0.0, True)
    core.add_dropout(0.5)
    core.add_dropout(0.2)
    core.add_dense(5, "linear", 0.0, True)
    write(core.parameters(), net.parameters())
    x, t = data(9, 13, 5, net.loss)
    assert_close(core.gradients(x, t)[2], net.gradients(x, t)[2], "float64")
    both = masks(9, 6, 0.5, 2, 0, 3) * masks(9, 6, 0.2, 3, 0, 3)
    train(
        net,
        Optimizer("sgd", 0.5),
        x * masks(9, 13, 0.3, 0, 0, 3),
        t,
        np.arange(9),
        9,
        None,
        lambda *_: {0: both},
    )
    core.train_steps(x, t, None, 9, _core.Optimizer("sgd", 0.5))
    for mine, wanted in zip(core.parameters(), net.parameters(), strict=True):
        assert_close(mine, wanted, "float64", scale=1.0)
