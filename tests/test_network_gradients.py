"""The training engine's gradients against differences of its loss; threads, resume, dropout, perceptron."""

from __future__ import annotations

import numpy as np
import pytest
import tolerance
from deltarule import _core
from network_cases import DTYPES, copies, data, engine, host, make, masks, network, same_bits, write

SIZES = (7, 6, 5, 4)
pytestmark = pytest.mark.usefixtures("device")
SMOOTH = [name for name in _core.activations() if name != "threshold"]


def check_by_differences(net, x, t, weights=None):
    """<dL/dp, u> for a random u, for every parameter p and for x."""
    core = engine(net)
    x = x.copy()
    _, gradients, dx = core.gradients(x, t, weights)
    rng, h = np.random.default_rng(11), 1e-5
    for tensor, gradient in [*zip(core.parameters(), gradients, strict=True), (x, dx)]:
        place, gradient = tensor, host(gradient)
        direction, start = rng.standard_normal(place.shape), host(place).copy()
        losses = []
        for sign in (1, -1):
            place[...] = start + sign * h * direction
            losses.append(core.evaluate(x, t, sample_weight=weights)[0])
        place[...] = start
        difference = (losses[0] - losses[1]) / (2 * h)
        projection = float((gradient * direction).sum())
        assert abs(projection - difference) <= tolerance.central_difference(gradient, direction)
        assert np.abs(gradient).max() > 0


@pytest.mark.parametrize("loss", _core.losses())
@pytest.mark.parametrize("activation", SMOOTH)
def test_hidden_layers(activation, loss):
    check_by_differences(make(SIZES, activation, loss), *data(11, SIZES[0], SIZES[-1], loss))


@pytest.mark.parametrize("loss", _core.losses())
@pytest.mark.parametrize("activation", SMOOTH)
def test_output_layer(activation, loss):
    check_by_differences(make(SIZES, "tanh", loss, last=activation), *data(11, SIZES[0], SIZES[-1], loss))


@pytest.mark.parametrize("loss", _core.losses())
@pytest.mark.parametrize("outputs", [1, 4])
def test_labels_and_weights(loss, outputs):
    if loss == "softmax_cross_entropy" and outputs == 1:
        pytest.skip("softmax with one output is refused: see test_network_input.py")
    rng = np.random.default_rng(2)
    x, t = rng.standard_normal((11, 7)), rng.integers(0, max(outputs, 2), 11)
    check_by_differences(make((7, 6, outputs), "tanh", loss), x, t, rng.random(11))


def test_gradients_with_an_input_transform_are_those_of_x():
    net = make(SIZES)
    core = engine(net)
    rng = np.random.default_rng(4)
    shift, scale = rng.standard_normal(7), rng.random(7) + 0.5
    x, t = data(11, 7, 4, net.loss)
    core.set_input_transform(shift, scale)
    _, gradients, dx = core.gradients(x, t)
    _, wanted, wanted_dx = net.gradients((x - shift) * scale, t)
    for mine, other in zip([*gradients, dx], [*wanted, wanted_dx * scale], strict=True):
        error = np.abs(host(mine) - other)
        assert np.all(error <= tolerance.through_network(other, "float64", 7, 3, scale=1.0))


def test_perceptron_rule():
    """Squared error on a threshold unit: w += lr (t - y) x, whole numbers, so exact; it learns AND."""
    core = network(2, "squared_error", "float64")
    core.add_dense(1, "threshold", 0.0, True)
    x = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    t = np.array([0, 0, 0, 1])
    wanted_w, wanted_b = np.zeros((2, 1)), np.zeros(1)
    for _ in range(10):
        for row, target in zip(x, t, strict=True):
            difference = target - float(row @ wanted_w[:, 0] + wanted_b[0] >= 0)
            wanted_w += difference * row[:, None]
            wanted_b += difference
        core.train_steps(x, t, None, 1, _core.Optimizer("sgd", 1.0))
        w, b = copies(core.parameters())
        np.testing.assert_array_equal(w, wanted_w)
        np.testing.assert_array_equal(b, wanted_b)
    assert core.evaluate(x, t) == (0.0, 0)


@pytest.fixture
def threads():
    before = _core.num_threads()
    yield _core.set_num_threads
    _core.set_num_threads(before)


@pytest.mark.isa
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", _core.optimizers())
def test_the_same_bits_with_one_two_and_three_threads(threads, kind, dtype):
    sizes = (97, 130, 65, 10)
    x, t = data(210, 97, 10, "softmax_cross_entropy", dtype)
    finals = []
    for count in (1, 2, 3):
        threads(count)
        core = engine(make(sizes, dtype=dtype), dtype, {0: 0.5})
        optimizer = _core.Optimizer(kind, 0.01, momentum=0.9, clip_norm=1.0 if kind == "adamw" else 0.0)
        order = _core.permutation(210, 0, _core.shuffle_stream(0))
        done = core.train_steps(x.astype(dtype), t, order, 50, optimizer, None, True)
        finals.append([*copies(core.parameters()), np.array(done.losses), np.array(done.norms)])
        finals[-1].append(host(core.outputs(x.astype(dtype))))
    assert same_bits(finals[0], finals[1])
    assert same_bits(finals[0], finals[2])


@pytest.mark.sanitize
@pytest.mark.parametrize("kind", _core.optimizers())
def test_parameters_slots_and_step_are_all_there_is_to_resume(kind):
    x, t = data(60, 7, 4, "softmax_cross_entropy", "float32")
    x = x.astype(np.float32)
    optimizer = _core.Optimizer(kind, 0.05, momentum=0.9)

    def epochs(core, *numbers):
        for epoch in numbers:
            core.train_steps(x, t, _core.permutation(60, 5, _core.shuffle_stream(epoch)), 8, optimizer)

    whole, first, second = (
        engine(make(SIZES, dtype="float32"), "float32", {0: 0.5}, seed=5) for _ in range(3)
    )
    for core in (whole, first):  # a plain step before: Adam's t and the number of updates differ
        core.train_steps(x, t, None, 60, _core.Optimizer("sgd", 0.1))
    epochs(whole, 0, 1, 2)
    epochs(first, 0)
    write(second.parameters(), copies(first.parameters()))
    second.set_slots({name: host(slot).copy() for name, slot in first.slots().items()})
    second.step = first.step
    epochs(second, 1, 2)
    assert second.step == whole.step
    assert same_bits(copies(second.parameters()), copies(whole.parameters()))
    assert same_bits(copies(second.slots().values()), copies(whole.slots().values()))


def test_slots_that_do_not_tell_adams_t_have_that_of_step():
    x, t = data(60, 7, 4, "softmax_cross_entropy")
    whole, resumed = (engine(make(SIZES)) for _ in range(2))
    adam = _core.Optimizer("adam", 0.01)
    whole.train_steps(x, t, None, 8, adam)
    write(resumed.parameters(), copies(whole.parameters()))
    resumed.step = whole.step
    resumed.set_slots({name: host(slot).copy() for name, slot in whole.slots().items() if name != "t"})
    for core in (whole, resumed):
        core.train_steps(x, t, None, 8, adam)
    assert same_bits(copies(resumed.parameters()), copies(whole.parameters()))


def test_empty_slots_and_step_0_start_anew():
    x, t = data(60, 7, 4, "softmax_cross_entropy")
    core, fresh = (engine(make(SIZES), dropout={0: 0.5}) for _ in range(2))
    start = copies(core.parameters())
    for _ in range(2):
        write(core.parameters(), start)
        core.set_slots({})
        core.step = 0
        assert core.slots() == {}
        core.train_steps(x, t, None, 8, _core.Optimizer("adam", 0.01))
    fresh.train_steps(x, t, None, 8, _core.Optimizer("adam", 0.01))
    assert same_bits(copies(core.parameters()), copies(fresh.parameters()))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_the_mean(rate):
    """y = x for an identity net: what comes out of a step's loss shows the mask."""
    units = 2000
    core = network(1, "squared_error", "float64", seed=9)
    core.add_dense(units, "linear", 0.0, True)
    core.add_dropout(rate)
    core.add_dense(1, "linear", 0.0, False)
    core.parameters()[1][...] = 1
    start = host(core.parameters()[2]).copy()
    core.train_steps(np.zeros((1, 1)), np.array([[1.0]]), None, 1, _core.Optimizer("sgd", 1.0))
    _, bias, out = copies(core.parameters())
    kept = (out - start)[:, 0]  # lr * (t - y) * mask, y = 0
    assert set(np.round(kept, 12)) == {0.0, round(1 / (1 - rate), 12)}
    deviation = np.sqrt(rate * (1 - rate) / units)
    assert abs((kept > 0).mean() - (1 - rate)) <= 5 * deviation
    np.testing.assert_array_equal(bias, 1)  # the old weights behind the mask were 0


def test_forward_and_backward_use_the_same_mask():
    """The gradient of a unit that was dropped is 0, of one that was kept is not."""
    core = network(1, "squared_error", "float64", seed=9)
    core.add_dense(100, "linear", 0.0, True)
    core.add_dropout(0.5)
    core.add_dense(1, "linear", 0.0, False)
    core.parameters()[1][...] = 1
    core.parameters()[2][...] = 0.01
    for step in range(3):
        before = copies(core.parameters()[1:])
        core.train_steps(np.zeros((1, 1)), np.array([[100.0]]), None, 1, _core.Optimizer("sgd", 1e-3))
        bias, out = copies(core.parameters()[1:])
        forward = (out != before[1])[:, 0]
        backward = bias != before[0]
        np.testing.assert_array_equal(forward, backward)
        np.testing.assert_array_equal(forward, masks(1, 100, 0.5, 1, step, 9)[0] > 0)
        assert 20 < forward.sum() < 80


def test_no_dropout_outside_training():
    net = make(SIZES)
    core = engine(net, dropout={0: 0.5, 1: 0.9})
    x, t = data(11, 7, 4, net.loss)
    plain = engine(net)
    assert same_bits([host(core.outputs(x))], [host(plain.outputs(x))])
    assert core.evaluate(x, t) == plain.evaluate(x, t)
    error = [
        np.abs(host(a) - b) for a, b in zip(core.gradients(x, t)[1], net.gradients(x, t)[1], strict=True)
    ]
    assert all(np.all(e <= tolerance.through_network(np.ones(1), "float64", 7, 3)) for e in error)


def test_streams_of_one_seed_do_not_meet():
    streams = [0, 1, 2**56 - 1]
    streams += [_core.init_stream(i) for i in (0, 1, 50)]
    streams += [_core.shuffle_stream(e) for e in (0, 1, 10**6)]
    streams += [_core.dropout_stream(layer, step) for layer in (0, 1, 40) for step in (0, 1, 10**9)]
    assert len(set(streams)) == len(streams)


def test_step_is_the_number_of_updates():
    net = make(SIZES)
    core = engine(net)
    x, t = data(20, 7, 4, net.loss)
    core.train_steps(x, t, None, 8, _core.Optimizer("sgd", 0.1))
    assert core.step == 3
    core.step = 100
    core.train_steps(x, t, None, 20, _core.Optimizer("sgd", 0.1))
    assert core.step == 101
