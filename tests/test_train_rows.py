"""train_rows: on-line training of a whole network in one call of the slot, against the float64 oracle."""

from __future__ import annotations

import numpy as np
import pytest
import tolerance
from conftest import GPUS
from deltarule import _core
from kernel_cases import CANARY, Guarded, bits, moved
from network_cases import DTYPES, copies, data, engine, make
from reference_network import Optimizer

pytestmark = pytest.mark.gpu

SIZES = (13, 17, 9, 5)
STEPS = 30


@pytest.fixture(autouse=True, params=GPUS)
def device(request):
    """Each device that may have the slot."""
    _core.kernels.set_device(request.param)
    net = make((2, 2))
    if Run(net, *data(1, 2, 2, net.loss), "float64", 1).state is None:
        pytest.skip("no such kernel on this device")
    yield request.param
    _core.kernels.set_device("cpu")


class Run:
    """One call of the slot on copies of a network's parameters, `offset` elements off a border of memory."""

    def __init__(self, net, x, t, dtype, steps, rates=0.01, spare=0, offset=0, **options):
        t = np.asarray(t)
        kind = {"targets": t.astype(dtype)} if t.dtype.kind == "f" else {"labels": t}
        slot = options.get("slot", 0)
        self.rates = np.broadcast_to(np.asarray(rates, np.float64), slot + steps + spare).copy()
        self.layers = []
        for layer in net.layers:
            w = Guarded(layer.w.shape, dtype, offset)
            b = None if layer.b is None else Guarded(layer.b.shape, dtype, offset)
            w.array[...] = layer.w
            if b:
                b.array[...] = layer.b
            self.layers.append((w, b))
        given = [
            (w.array, b.array if b else None, layer.activation, layer.slope)
            for (w, b), layer in zip(self.layers, net.layers, strict=True)
        ]
        self.value = np.full(slot + steps, CANARY, np.float64)
        self.state = _core.kernels.train_rows(
            x, given, net.loss, rates=self.rates, value=self.value, steps=steps, **kind, **options
        )

    @property
    def parameters(self):
        return [p.check() for layer in self.layers for p in layer if p is not None]

    @property
    def bits(self):
        return b"".join(bits(p) for p in (*self.parameters, self.value)) + repr(self.state).encode()


def expected(net, x, t, rows, rates, weight_decay=0.0):
    """The oracle trained on these rows, in place: losses and errors."""
    optimizer = Optimizer("sgd", 0.0, weight_decay=weight_decay)
    losses, errors = [], 0
    for row, rate in zip(rows, rates, strict=True):
        one, target = x[row : row + 1], np.asarray(t)[row : row + 1]
        errors += net.evaluate(one, target)[2]
        value, gradients, _ = net.gradients(one, target)
        optimizer.lr = rate
        optimizer.update(net.parameters(), gradients)
        losses.append(value)
    return np.array(losses), errors


def compare(net, x, t, dtype, steps=STEPS, rates=0.01, weight_decay=0.0, xs=None, **options):
    """The slot against the oracle, twice; the same bits both times."""
    given = x.astype(dtype) if xs is None else xs
    options["weight_decay"] = weight_decay
    runs = [Run(net, given, t, dtype, steps, rates, offset=offset, **options) for offset in (0, 3)]
    assert runs[0].bits == runs[1].bits
    run, start, slot = runs[0], options.get("start", 0), options.get("slot", 0)
    rows = np.arange(start, start + steps)
    rows = options["index"][rows] if options.get("index") is not None else rows
    losses, errors = expected(net, x, t, rows, run.rates[slot : slot + steps], weight_decay)
    assert run.state == (start + steps, slot + steps, steps, steps, 0, run.rates[-1], errors)
    assert np.all(run.value[:slot] == CANARY)
    width = max(max(layer.w.shape) for layer in net.layers)

    def close(got, want):
        bound = tolerance.through_network(want, dtype, width, len(net.layers), steps, 1.0)
        tolerance.assert_within(got, want, bound)

    close(run.value[slot:], losses)
    for mine, wanted in zip(run.parameters, net.parameters(), strict=True):
        close(mine, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", _core.losses())
@pytest.mark.parametrize("activation", _core.activations())
def test_every_activation_with_every_loss(activation, loss, dtype):
    net = make(SIZES, activation, loss, dtype)
    compare(net, *data(STEPS, SIZES[0], SIZES[-1], loss, dtype), dtype, blocks=2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", _core.activations())
def test_every_activation_as_output(activation, dtype):
    net = make(SIZES, "tanh", "squared_error", dtype, last=activation)
    compare(net, *data(STEPS, SIZES[0], SIZES[-1], "squared_error", dtype), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("blocks", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(
    "sizes",
    [(5, 4), (1, 1, 2), (300, 3), (30, 20, 10), (9, 270, 33), (40, 70, 30, 50, 20, 10), (6, 5, 4, 3, 2, 2)],
    ids=str,
)
def test_shapes_and_numbers_of_blocks(sizes, blocks, dtype):
    net = make(sizes, "scaled_tanh", "softmax_cross_entropy", dtype)
    compare(net, *data(12, sizes[0], sizes[-1], net.loss, dtype), dtype, 12, blocks=blocks)


@pytest.mark.parametrize("loss", _core.losses())
@pytest.mark.parametrize("outputs", [1, 2, 5, 70])
@pytest.mark.parametrize("kind", ["labels", "targets"])
def test_labels_and_targets(loss, outputs, kind):
    if loss == "softmax_cross_entropy" and outputs == 1:
        pytest.skip("softmax with one output is refused by the engine")
    rng = np.random.default_rng(3)
    x, t = rng.standard_normal((STEPS, SIZES[0])), rng.integers(0, max(outputs, 2), STEPS)
    if kind == "targets":
        t = rng.random((STEPS, outputs))
    for blocks in (0, 1, 3):
        compare(make((*SIZES[:-1], outputs), "tanh", loss), x, t, "float64", blocks=blocks)


# So wide an output layer is split among blocks; every block gets all outputs for the loss.
@pytest.mark.parametrize("loss", _core.losses())
def test_many_outputs(loss):
    net = make((20, 30, 64, 900), "tanh", loss, "float32")
    x, t = data(8, 20, 900, loss, "float32")
    compare(net, x, t, "float32", 8, blocks=4)


# On blocks of 227 KiB: weights in registers too, then in scratch memory; of the lowest layer, of one above, of whole
# layers on one block.
@pytest.mark.parametrize(
    ("sizes", "blocks", "dtype"),
    [
        ((300, 200, 10), 1, "float32"),
        ((1030, 40, 10), 1, "float64"),
        ((2100, 20, 10), 1, "float32"),
        ((20, 300, 501, 10), 1, "float32"),
        ((20, 200, 301, 10), 1, "float64"),
        ((700, 600, 10), 4, "float32"),
        ((20, 1100, 400, 10), 4, "float32"),
        ((20, 500, 400, 30, 10), 4, "float64"),
    ],
    ids=str,
)
def test_weights_in_registers_and_scratch_memory(sizes, blocks, dtype):
    net = make(sizes, "tanh", "softmax_cross_entropy", dtype)
    x, t = data(6, sizes[0], sizes[-1], net.loss, dtype)
    compare(net, x, t, dtype, 6, blocks=blocks, weight_decay=0.01)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("blocks", [1, 3])
def test_weight_decay_and_bias(blocks, bias, dtype):
    net = make(SIZES, "relu", "softmax_cross_entropy", dtype, bias=bias)
    x, t = data(STEPS, SIZES[0], SIZES[-1], net.loss, dtype)
    compare(net, x, t, dtype, weight_decay=0.1, rates=np.linspace(0.1, 0.01, STEPS), blocks=blocks)


@pytest.mark.parametrize("source", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("standardised", [True, False])
@pytest.mark.parametrize("inputs", [13, 1100])
def test_input(source, dtype, standardised, inputs):
    """Any dtype, rows apart, in an order, standardised, from some row of a call on."""
    rng = np.random.default_rng(7)
    whole = rng.integers(0, 5, (40, inputs + 3)).astype(source)
    if source != "uint8":
        whole += rng.random(whole.shape).astype(source)
    xs = moved(whole, 1)[:, 2 : inputs + 2]
    options, x = {}, xs.astype(dtype).astype(np.float64)
    if standardised:
        shift, scale = rng.random(inputs).astype(dtype), rng.random(inputs).astype(dtype)
        options = {"shift": shift, "scale": scale}
        x = ((xs.astype(dtype) - shift) * scale).astype(np.float64)
    t, index = rng.integers(0, 4, 40), rng.permutation(40).astype(np.int64)
    for order in (None, index):
        for blocks in (1, 2):
            net = make((inputs, 9, 4), "tanh", "softmax_cross_entropy", dtype)
            compare(net, x, t, dtype, 8, 0.01, xs=xs, index=order, start=5, slot=3, blocks=blocks, **options)


@pytest.mark.parametrize("bad", [0, 1, 17])
@pytest.mark.parametrize("blocks", [1, 2, 4])
@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_ends_it(bad, blocks, what):
    """Its row changes nothing, the rows before it do."""
    net = make(SIZES, "relu", "softmax_cross_entropy", "float32")
    x, t = data(STEPS, SIZES[0], SIZES[-1], net.loss, "float32")
    x = x.astype(np.float32)
    good = Run(net, x, t, "float32", bad, spare=1, blocks=blocks)
    x[bad, 4] = what
    run = Run(net, x, t, "float32", STEPS, blocks=blocks)
    assert run.state[:6] == (bad, bad, bad, bad, 1, 0.01)
    assert good.state[6] <= run.state[6] <= good.state[6] + 1
    assert bits(run.value[:bad]) == bits(good.value)
    assert not np.isfinite(run.value[bad])
    assert np.all(run.value[bad + 1 :] == CANARY)
    assert b"".join(map(bits, run.parameters)) == b"".join(map(bits, good.parameters))


def test_what_is_stopped_stays():
    net = make(SIZES)
    run = Run(net, *data(STEPS, SIZES[0], SIZES[-1], net.loss), "float64", STEPS, stopped=1, slot=2)
    assert run.state == (0, 2, 0, 0, 1, 0.01, 0)
    assert np.all(run.value == CANARY)
    for mine, before in zip(run.parameters, net.parameters(), strict=True):
        np.testing.assert_array_equal(mine, before)


@pytest.mark.parametrize("blocks", [1, 4])
def test_two_calls_are_one(blocks):
    """The state leads from one call to the next, to the rate of its first row."""
    net = make(SIZES, dtype="float32")
    x, t = data(STEPS, SIZES[0], SIZES[-1], net.loss, "float32")
    x, rates = x.astype(np.float32), np.linspace(0.1, 0.01, STEPS)
    whole = Run(net, x, t, "float32", STEPS, rates, blocks=blocks)
    first = Run(net, x, t, "float32", 11, rates, spare=STEPS - 11, blocks=blocks)
    assert first.state[:6] == (11, 11, 11, 11, 0, rates[11])
    half = make(SIZES, dtype="float32")
    for parameter, value in zip(half.parameters(), copies(first.parameters), strict=True):
        parameter[...] = value
    second = Run(half, x, t, "float32", STEPS - 11, rates, start=11, slot=11, blocks=blocks)
    assert second.state[6] + first.state[6] == whole.state[6]
    assert bits(second.value[11:]) == bits(whole.value[11:])
    assert b"".join(map(bits, second.parameters)) == b"".join(map(bits, whole.parameters))


@pytest.mark.parametrize("norms", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_through_the_engine(device, dtype, norms, monkeypatch):
    """Steps of one row in an order, by rates; the last is a step of its own where norms are wanted."""
    monkeypatch.setattr("network_cases.DEVICE", device)
    net = make(SIZES, dtype=dtype)
    core = engine(net, dtype)
    x, t = data(STEPS, SIZES[0], SIZES[-1], net.loss, dtype)
    order, rates = np.random.default_rng(4).permutation(STEPS), np.linspace(0.1, 0.01, STEPS)
    rule = _core.Optimizer("sgd", 0.1, weight_decay=0.01)
    done = core.train_steps(x.astype(dtype), t, order, 1, rule, None, norms, rates=rates)
    losses, errors = expected(net, x, t, order, rates, 0.01)
    assert (done.errors, done.finite, core.step) == (errors, True, STEPS)
    bound = tolerance.through_network(losses, dtype, max(SIZES), len(SIZES), STEPS, 1.0)
    tolerance.assert_within(np.asarray(done.losses), losses, bound)
    for mine, wanted in zip(copies(core.parameters()), net.parameters(), strict=True):
        tolerance.assert_within(
            mine, wanted, tolerance.through_network(wanted, dtype, max(SIZES), len(SIZES), STEPS, 1.0)
        )


def test_no_rows():
    net = make(SIZES)
    run = Run(net, *data(3, SIZES[0], SIZES[-1], net.loss), "float64", 0, spare=1)
    assert run.state == (0, 0, 0, 0, 0, 0.01, 0)


def test_raw_binding_refuses_what_would_leave_the_arrays(one_line):
    net = make(SIZES)
    x, t = data(3, SIZES[0], SIZES[-1], net.loss)
    with one_line(ValueError, "train_rows: x is not"):
        Run(net, x, t, "float64", 4)
    with one_line(ValueError, r"train_rows: labels\[0\] is 9, wanted one below 5"):
        Run(net, x, [9, 0, 0], "float64", 3)
    with one_line(ValueError, r"train_rows: index\[1\] is 3, wanted one below 3"):
        Run(net, x, t, "float64", 2, index=np.array([0, 3]))
