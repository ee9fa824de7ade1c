"""Steps in blocks, the lowest layer's update deferred to their end, against the float64 oracle step by step."""

from __future__ import annotations

import numpy as np
import pytest
import tolerance
from deltarule import _core
from network_cases import DTYPES, copies, data, engine, make, same_bits
from reference_network import Optimizer, train

SIZES = (300, 70, 20, 5)
SGD = _core.Optimizer("sgd", 0.05)

pytestmark = [pytest.mark.isa, pytest.mark.sanitize]


def assert_close(core, net, dtype, steps):
    for mine, wanted in zip(core.parameters(), net.parameters(), strict=True):
        error = np.abs(np.asarray(mine).astype(np.float64) - wanted)
        bound = tolerance.through_network(wanted, dtype, SIZES[0], len(SIZES) - 1, steps, 1.0)
        assert np.all(error <= bound), error.max() / bound


def rated(net, x, t, batch, rates, weights=None):
    """The oracle's steps, each with a rate of its own: losses, errors."""
    optimizer, losses, errors = Optimizer("sgd", 0.0), [], 0
    for rate, start in zip(rates, range(0, len(x), batch), strict=True):
        rows = np.arange(start, min(start + batch, len(x)))
        optimizer.lr = rate
        loss, _, wrong = train(net, optimizer, x, t, rows, batch, weights)
        losses += list(loss)
        errors += wrong
    return losses, errors


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "block", "rows"), [(1, 16, 37), (2, 8, 33), (3, 5, 50), (4, 4, 31)])
@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_blocks_of_steps(activation, batch, block, rows, dtype):
    """Whole blocks, a block that is cut short, a minibatch that is; rates of their own, weights, no order."""
    net = make(SIZES, activation, "softmax_cross_entropy", dtype, bias=activation == "tanh")
    core = engine(net, dtype)
    assert core.block_steps(batch, SGD) == block
    x, t = data(rows, SIZES[0], SIZES[-1], net.loss, dtype)
    steps = -(-rows // batch)
    rates = 0.05 * 0.9 ** np.arange(steps)
    weights = np.random.default_rng(3).random(rows).astype(dtype)
    losses, errors = rated(net, x, t, batch, rates, weights)
    done = core.train_steps(x.astype(dtype), t, None, batch, SGD, weights, rates=rates)
    bound = tolerance.through_network(np.array(losses), dtype, SIZES[0], 3, steps, 1.0)
    assert np.all(np.abs(np.asarray(done.losses) - losses) <= bound)
    assert (done.errors, core.step) == (errors, steps)
    wide = weights.astype(np.float64)
    assert np.asarray(done.weight).tolist() == [wide[i : i + batch].sum() for i in range(0, rows, batch)]
    assert_close(core, net, dtype, steps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_large_layer_takes_larger_batches_in_blocks(dtype):
    sizes = (720, 740, 5)
    net = make(sizes, "tanh", "squared_error", dtype)
    core = engine(net, dtype)
    assert core.block_steps(10, SGD) == 6
    x, t = data(75, sizes[0], sizes[-1], net.loss, dtype)
    train(net, Optimizer("sgd", 0.05), x, t, np.arange(75), 10)
    core.train_steps(x.astype(dtype), t.astype(dtype), np.arange(75), 10, SGD)
    for mine, wanted in zip(core.parameters(), net.parameters(), strict=True):
        bound = tolerance.through_network(wanted, dtype, sizes[0], 2, 8, 1.0)
        assert np.all(np.abs(np.asarray(mine).astype(np.float64) - wanted) <= bound)


def test_pixels_are_gathered_and_standardized_a_block_at_a_time():
    rng = np.random.default_rng(2)
    pixels, order = rng.integers(0, 256, (60, SIZES[0]), np.uint8), rng.permutation(60)[:50]
    t = rng.integers(0, SIZES[-1], 60)
    shift, scale = rng.random(SIZES[0]) * 255, rng.random(SIZES[0]) / 100
    net = make(SIZES)
    core = engine(net)
    core.set_input_transform(shift, scale)
    train(net, Optimizer("sgd", 0.05), (pixels - shift) * scale, t, order, 1)
    core.train_steps(pixels, t, order, 1, SGD)
    assert_close(core, net, "float64", 50)


def test_norms_are_those_of_the_last_step_alone():
    net = make(SIZES)
    core = engine(net)
    x, t = data(35, SIZES[0], SIZES[-1], net.loss)
    train(net, Optimizer("sgd", 0.05), x, t, np.arange(34), 1)
    _, gradients, _ = net.gradients(x[34:], t[34:])
    train(net, Optimizer("sgd", 0.05), x, t, np.arange(34, 35), 1)
    done = core.train_steps(x, t, None, 1, SGD, None, True)
    want = [np.linalg.norm(g) for g in gradients if g.ndim == 2]
    bound = tolerance.through_network(np.array(want), "float64", SIZES[0], 3, 35, 1.0)
    assert np.all(np.abs(np.array(done.norms) - want) <= bound)
    assert_close(core, net, "float64", 35)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [0, 1, 15, 16, 20])
def test_a_loss_that_is_not_finite_keeps_the_steps_before_it(bad, dtype):
    net = make(SIZES, "linear", "squared_error", dtype)
    core = engine(net, dtype)
    x, t = data(40, SIZES[0], SIZES[-1], net.loss, dtype)
    train(net, Optimizer("sgd", 0.001), x, t, np.arange(bad), 1)
    x[bad] = np.finfo(dtype).max
    done = core.train_steps(x.astype(dtype), t.astype(dtype), None, 1, _core.Optimizer("sgd", 0.001))
    assert not done.finite
    assert np.isfinite(done.losses).tolist() == [True] * bad + [False]
    assert np.asarray(done.weight).shape == (bad + 1,)
    assert core.step == bad
    assert_close(core, net, dtype, bad + 1)
    # The net is as usable as before: a step by itself goes on from there.
    x[bad] = 0
    train(net, Optimizer("sgd", 0.001), x, t, np.arange(40), 40)
    core.train_step(x.astype(dtype), t.astype(dtype), _core.Optimizer("sgd", 0.001))
    assert_close(core, net, dtype, bad + 2)


@pytest.mark.parametrize(("sizes", "batch"), [((300, 170, 10), 1), ((720, 740, 10), 10)])
def test_the_same_bits_for_any_number_of_threads(sizes, batch, threads):
    x, t = data(100, sizes[0], 10, "softmax_cross_entropy", "float32")
    finals = []
    for count in (1, 2, 3):
        threads(count)
        core = engine(make(sizes, dtype="float32"), "float32", {0: 0.5})
        assert core.block_steps(batch, SGD) > 1
        done = core.train_steps(x.astype(np.float32), t, np.arange(100), batch, SGD)
        finals.append([*copies(core.parameters()), np.array(done.losses)])
    assert same_bits(finals[0], finals[1])
    assert same_bits(finals[0], finals[2])


def test_only_plain_descent_of_layers_that_are_worth_it_comes_in_blocks(one_line):
    core = engine(make(SIZES))
    assert core.block_steps(1, SGD) == 16
    for settings in ({"weight_decay": 0.1}, {"clip_norm": 1.0}):
        assert core.block_steps(1, _core.Optimizer("sgd", 0.05, **settings)) == 1
    for kind in set(_core.optimizers()) - {"sgd"}:
        assert core.block_steps(1, _core.Optimizer(kind, 0.05)) == 1
    assert engine(make((100, 100, 5))).block_steps(1, SGD) == 1
    assert core.block_steps(20, SGD) == 1
    masked = _core.Network(300, "softmax_cross_entropy")
    masked.add_dropout(0.5)
    masked.add_dense(100, "tanh")
    assert masked.block_steps(1, SGD) == 1
    with one_line(ValueError, "^block_steps: batch_size is 0; wanted at least 1"):
        core.block_steps(0, SGD)


def test_a_step_of_many_rows_takes_no_memory_for_blocks():
    """x x^T of these rows would be 720 GB."""
    core = engine(make((1, 2)))
    x, t = np.zeros((300_000, 1)), np.zeros(300_000, np.int64)
    assert core.train_steps(x, t, None, len(x), SGD).finite
