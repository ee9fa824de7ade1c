"""What the training engine takes as data, and what it says to what it does not take."""

from __future__ import annotations

import network_cases
import numpy as np
import pytest
from deltarule import _core
from network_cases import DTYPES, copies, data, engine, host, make, same_bits, write

pytestmark = pytest.mark.usefixtures("device")
SIZES = (7, 6, 5)
SGD = _core.Optimizer("sgd", 0.1)


def trained(x, t, order=None, dtype="float32", weights=None, transform=None, size=4, **kwargs):
    core = engine(make(SIZES, loss=kwargs.pop("loss", "softmax_cross_entropy"), dtype=dtype), dtype)
    if transform:
        core.set_input_transform(*transform)
    done = core.train_steps(x, t, order, size, SGD, weights, **kwargs)
    return [*copies(core.parameters()), np.array(done.losses), np.array(done.weight), np.array(done.errors)]


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (18, 7)).astype(np.uint8), rng.integers(0, 5, 18)


@pytest.mark.isa
@pytest.mark.sanitize
@pytest.mark.parametrize("dtype", DTYPES)
class TestTheSameSamplesInAnotherForm:
    def test_uint8_with_transform(self, samples, dtype):
        x, t = samples
        shift, scale = np.linspace(0, 100, 7).astype(dtype), np.linspace(0.001, 0.01, 7).astype(dtype)
        wanted = trained((x.astype(dtype) - shift) * scale, t, dtype=dtype)
        assert same_bits(trained(x, t, dtype=dtype, transform=(shift, scale)), wanted)

    def test_half_a_transform(self, samples, dtype):
        x, t = samples
        shift, scale = np.full(7, 100, dtype), np.full(7, 0.01, dtype)
        wanted = trained(x.astype(dtype) - shift, t, dtype=dtype)
        assert same_bits(trained(x, t, dtype=dtype, transform=(shift, None)), wanted)
        wanted = trained(x.astype(dtype) * scale, t, dtype=dtype)
        assert same_bits(trained(x, t, dtype=dtype, transform=(None, scale)), wanted)

    def test_transform_taken_back(self, samples, dtype):
        x, _ = samples
        core = engine(make(SIZES, dtype=dtype), dtype)
        before = host(core.outputs(x))
        core.set_input_transform(np.ones(7, dtype), np.ones(7, dtype))
        assert not same_bits([host(core.outputs(x))], [before])
        core.set_input_transform(None, None)
        assert same_bits([host(core.outputs(x))], [before])

    def test_other_dtypes(self, samples, dtype):
        x, t = samples
        wanted = trained(x.astype(dtype), t, dtype=dtype)
        for other in (np.uint8, np.float32, np.float64):
            assert same_bits(trained(x.astype(other), t, dtype=dtype), wanted)
        for other in (np.int32, np.uint8):
            assert same_bits(trained(x, t.astype(other), dtype=dtype), wanted)

    def test_strided(self, samples, dtype):
        x, t = samples
        x = x.astype(dtype)
        wanted = trained(x, t, dtype=dtype)
        wide = np.repeat(x, 2, axis=1)
        padded = np.hstack([x, x])
        for view in (np.asfortranarray(x), wide[:, ::2], padded[:, :7], x[::-1][::-1]):
            assert same_bits(trained(view, t, dtype=dtype), wanted)
            assert same_bits(trained(view, t, np.arange(18), dtype=dtype), wanted)
        assert same_bits(trained(x, np.repeat(t, 2)[::2], dtype=dtype), wanted)

    def test_by_order(self, samples, dtype):
        x, t = samples
        order = np.array([3, 3, 17, 0, 5, 6, 7, 1, 2])
        weights = np.linspace(0, 1, 18)
        wanted = trained(x[order].astype(dtype), t[order], None, dtype, weights[order])
        assert same_bits(trained(x, t, order, dtype, weights), wanted)
        assert same_bits(trained(x, t, order.astype(np.int32), dtype, weights.astype(dtype)), wanted)

    def test_float_targets(self, samples, dtype):
        x, _ = samples
        targets = np.random.default_rng(1).random((18, 5)).astype(np.float32)
        order = np.arange(18)[::-1]
        wanted = trained(x[order], targets[order].astype(dtype), dtype=dtype, loss="squared_error")
        for other in (np.float32, np.float64):
            assert same_bits(trained(x, targets.astype(other), order, dtype, loss="squared_error"), wanted)

    def test_targets_of_one_column(self, samples, dtype):
        x, t = samples
        core = network_cases.network(7, "squared_error", dtype)
        core.add_dense(1, "linear", 0.0, True)
        y = t.astype(dtype)
        assert core.evaluate(x, y) == core.evaluate(x, y[:, None])

    def test_checked_before(self, samples, dtype):
        x, t = samples
        x = x.astype(dtype)
        assert same_bits(trained(x, t, dtype=dtype, validated=True), trained(x, t, dtype=dtype))


def test_evaluate_and_outputs_do_not_depend_on_the_batches():
    net = make((7, 6, 5), "relu")
    core = engine(net)
    x, t = data(23, 7, 5, net.loss)
    weights = np.random.default_rng(3).random(23)
    wanted = core.evaluate(x, t, 23, weights)
    outputs = host(core.outputs(x))
    for size in (1, 5, 22, 1000):
        loss, errors = core.evaluate(x, t, size, weights)
        assert errors == wanted[1]
        assert abs(loss - wanted[0]) <= 1e-14
        assert np.all(np.abs(host(core.outputs(x, size)) - outputs) <= 1e-14)
    assert host(core.outputs(x[:0])).shape == (0, 5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", _core.optimizers())
def test_a_step_whose_loss_is_not_finite_is_not_applied(kind, dtype):
    """The third minibatch overflows: two steps are made, the weights are theirs."""
    x, t = data(20, 7, 5, "squared_error", dtype)
    x, t = x.astype(dtype), t.astype(dtype)
    huge = x.copy()
    huge[9] = np.finfo(dtype).max
    optimizer = _core.Optimizer(kind, 0.01, momentum=0.9)
    stopped, good = (engine(make(SIZES, "linear", "squared_error", dtype), dtype) for _ in range(2))
    done = stopped.train_steps(huge, t, None, 4, optimizer, None, True)
    assert not done.finite
    assert host(done.losses).shape == host(done.weight).shape == (3,)
    assert np.isfinite(done.losses).tolist() == [True, True, False]
    assert done.norms == []
    assert stopped.step == 2
    good.train_steps(x[:8], t[:8], None, 4, optimizer)
    assert same_bits(copies(stopped.parameters()), copies(good.parameters()))
    assert same_bits(copies(stopped.slots().values()), copies(good.slots().values()))


def network(inputs=7, units=5, **kwargs):
    core = _core.Network(
        inputs, **{"loss": "softmax_cross_entropy", "device": network_cases.DEVICE, **kwargs}
    )
    core.add_dense(units, "linear", 0.0, True)
    return core


X = np.zeros((10, 7), np.float32)
Y = np.zeros(10, np.int64)


def spoilt(array, at, value):
    array = array.copy()
    array[at] = value
    return array


BAD_STEPS = [
    (dict(x=X[:, :6]), ValueError, "x has 6 features, the network has 7 inputs"),
    (dict(x=X[0]), ValueError, r"x is \(7,\); wanted \(rows, 7\)"),
    (dict(x=X.astype(np.int32)), TypeError, "x is int32; wanted uint8, float32 or float64"),
    (dict(x=spoilt(X, (3, 2), np.nan)), ValueError, r"x\[3, 2\] is nan; wanted finite numbers"),
    (dict(x=spoilt(X.astype(np.float64), (9, 6), -np.inf)), ValueError, r"x\[9, 6\] is -inf; wanted finite"),
    (dict(x=spoilt(np.hstack([X, X]), (4, 5), np.nan)[:, :7]), ValueError, r"x\[4, 5\] is nan"),
    (dict(y=Y[:9]), ValueError, "y has 9 rows, x has 10"),
    (dict(y=spoilt(Y, 4, 5)), ValueError, r"y\[4\] is 5; wanted labels from 0 to 4"),
    (dict(y=spoilt(Y, 0, -1)), ValueError, r"y\[0\] is -1; wanted labels from 0 to 4"),
    (
        dict(y=np.zeros((10, 5), np.int64)),
        ValueError,
        r"y is \(10, 5\) int64; wanted labels \(rows,\) or float",
    ),
    (dict(y=np.zeros((10, 4))), ValueError, "y has 4 float targets a row, the network has 5 outputs"),
    (dict(y=np.zeros(10)), ValueError, "y has 1 float targets .* 5 outputs; labels must be integers"),
    (
        dict(y=spoilt(np.zeros((10, 5)), (2, 1), np.inf)),
        ValueError,
        r"y\[2, 1\] is inf; wanted finite numbers",
    ),
    (dict(order=np.array([0, 10])), ValueError, r"order\[1\] is 10; x has 10 rows"),
    (dict(order=np.array([-1, 1])), ValueError, r"order\[0\] is -1; x has 10 rows"),
    (dict(order=np.array([0.0, 1.0])), TypeError, "order is float64; wanted int64"),
    (dict(order=np.array([[0, 1]])), ValueError, r"order is \(1, 2\); wanted \(n,\)"),
    (
        dict(order=np.array([0, 1]), batch_size=3),
        ValueError,
        "batch_size is 3; wanted 1 to 2, the number of samples",
    ),
    (dict(batch_size=0), ValueError, "batch_size is 0; wanted 1 to 10, the number of samples"),
    (dict(batch_size=11), ValueError, "batch_size is 11; wanted 1 to 10, the number of samples"),
    (dict(x=X[:0], y=Y[:0]), ValueError, "batch_size is 2; wanted 1 to 0"),
    (
        dict(sample_weight=np.ones(9)),
        ValueError,
        r"sample_weight is \(9,\); wanted \(10,\), one for each row",
    ),
    (
        dict(sample_weight=spoilt(np.ones(10), 3, -0.5)),
        ValueError,
        r"sample_weight\[3\] is -0.5; wanted finite",
    ),
    (
        dict(sample_weight=spoilt(np.ones(10), 3, np.nan)),
        ValueError,
        r"sample_weight\[3\] is nan; wanted finite",
    ),
]


@pytest.mark.sanitize
@pytest.mark.parametrize(("change", "error", "match"), BAD_STEPS)
def test_train_steps_says_what_is_wrong(one_line, change, error, match):
    core = network()
    before = copies(core.parameters())
    arguments = {"x": X, "y": Y, "order": None, "batch_size": 2, "optimizer": SGD, **change}
    with one_line(error, f"^train_steps: {match}"):
        core.train_steps(**arguments)
    assert core.step == 0
    assert same_bits(copies(core.parameters()), before)


@pytest.mark.parametrize("method", ["evaluate", "outputs", "gradients"])
def test_the_other_methods_say_it_too(one_line, method):
    y, name = ({}, "forward") if method == "outputs" else ({"y": Y}, method)
    with one_line(ValueError, f"^{name}: x has 6 features, the network has 7 inputs"):
        getattr(network(), method)(X[:, :6], **y)
    with one_line(ValueError, rf"^{name}: x\[1, 0\] is nan"):
        getattr(network(), method)(spoilt(X, (1, 0), np.nan), **y)
    if method != "outputs":
        with one_line(ValueError, f"^{name}: x has no rows"):
            getattr(network(), method)(X[:0], Y[:0])
    if method != "gradients":
        with one_line(ValueError, f"^{name}: batch_size is 0; wanted at least 1"):
            getattr(network(), method)(X, **y, batch_size=0)


def test_samples_checked_ahead(one_line):
    core = network()
    core.check_samples("fit: validation", X, Y, np.ones(10))
    with one_line(ValueError, r"^fit: validation: x\[3, 2\] is nan; wanted finite numbers"):
        core.check_samples("fit: validation", spoilt(X, (3, 2), np.nan), Y)


@pytest.mark.parametrize("activation", ["leaky_relu", "elu"])
def test_without_a_slope_the_activation_has_its_own(activation):
    net = make(SIZES, activation)
    given, default = engine(net), network_cases.network(7, net.loss, "float64")
    default.add_dense(6, activation)
    default.add_dense(5, "linear")
    write(default.parameters(), net.parameters())
    x = data(9, 7, 5, net.loss)[0]
    assert same_bits([host(default.outputs(x))], [host(given.outputs(x))])


NAMES = [
    (dict(loss="mse"), "Network: loss is 'mse'; choose one of: squared_error, "),
    (dict(dtype="float16"), "Network: dtype is 'float16'; choose one of: float32, float64"),
    (dict(precision="low"), "Network: precision is 'low'; choose one of: highest, high, medium"),
    (dict(inputs=0), "Network: inputs is 0; wanted at least 1"),
    (dict(units=0), "Dense: units is 0; wanted at least 1"),
]


@pytest.mark.parametrize(("change", "match"), NAMES)
def test_building_says_what_is_wrong(one_line, change, match):
    with one_line(ValueError, f"^{match}"):
        network(**change)


def test_building_lists_the_choices(one_line):
    core = network()
    with one_line(ValueError, "^Dense: activation is 'swish'; choose one of: linear, threshold, sigmoid"):
        core.add_dense(3, "swish", 0.0, True)
    with one_line(ValueError, r"^Dropout: rate is 1; wanted a number in \[0, 1\)"):
        core.add_dropout(1.0)
    with one_line(_core.DeviceError, "^device is 'tpu'; this machine and build have: cpu"):
        network(device="tpu")
    with one_line(ValueError, "^Optimizer: kind is 'rmsprop'; choose one of: sgd, momentum"):
        _core.Optimizer("rmsprop", 0.1)


@pytest.mark.parametrize("name", ["lr", "momentum", "beta1", "beta2", "eps", "weight_decay", "clip_norm"])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_settings_out_of_range(one_line, name, value):
    settings = {"lr": 0.1, name: value}
    with one_line(ValueError, f"^Optimizer: {name} is .*; wanted"):
        _core.Optimizer("adam", **settings)
    optimizer = _core.Optimizer("adam", 0.1)
    setattr(optimizer, name, value)
    with one_line(ValueError, f"^train_steps: the optimizer's {name} is .*; wanted"):
        network().train_steps(X, Y, None, 2, optimizer)


def test_optimizers_attributes():
    optimizer = _core.Optimizer("adam", lr=0.1, weight_decay=0.5)
    optimizer.lr, optimizer.kind = 0.2, "sgd"
    assert (optimizer.kind, optimizer.lr, optimizer.beta1, optimizer.beta2) == ("sgd", 0.2, 0.9, 0.999)
    assert (optimizer.momentum, optimizer.eps, optimizer.clip_norm) == (0.0, 1e-8, 0.0)
    with pytest.raises(ValueError, match="choose one of"):
        optimizer.kind = "lbfgs"


def test_networks_that_cannot_be_trained(one_line):
    empty = _core.Network(7, "softmax_cross_entropy")
    with one_line(ValueError, "^forward: the network's last layer must be a dense one"):
        empty.outputs(X)
    last = network()
    last.add_dropout(0.5)
    with one_line(ValueError, "^evaluate: the network's last layer must be a dense one"):
        last.evaluate(X, Y)
    with one_line(
        ValueError, "^train_steps: softmax_cross_entropy with 1 output is always 0; wanted at least 2"
    ):
        network(units=1).train_steps(X, Y, None, 2, SGD)


def test_slots_that_do_not_fit(one_line):
    core = network()
    m = {"m.0": np.zeros((7, 5)), "m.1": np.zeros(5)}
    v = {"v.0": np.zeros((7, 5)), "v.1": np.zeros(5)}
    for slots, match in [
        ({"m.0": m["m.0"]}, "1 slots came; wanted 1 for each of the 2 parameters"),
        ({**m, "v.1": v["v.1"]}, "'v.1' is no slot of this network with its 2 parameters"),
        ({**m, "v.0": v["v.0"]}, "3 slots came; wanted 2 for each of the 2 parameters"),
        ({**m, "m.2": m["m.1"]}, "'m.2' is no slot of this network"),
        ({**m, "m.0": np.zeros((5, 7))}, r"'m.0' is \(5, 7\); its parameter is \(7, 5\)"),
        ({**m, **v, "t": np.zeros(2, np.int64)}, r"'t' is \(2,\); wanted \(1,\)"),
    ]:
        with one_line(ValueError, f"^set_slots: {match}"):
            core.set_slots(slots)
    with one_line(ValueError, "^step: -1 is negative"):
        core.step = -1


def test_transforms_that_do_not_fit(one_line):
    with one_line(ValueError, r"^standardize: shift is \(6,\); wanted \(7,\)"):
        network().set_input_transform(np.zeros(6), None)
    with one_line(ValueError, r"^standardize: scale\[2\] is nan; wanted finite numbers"):
        network().set_input_transform(None, spoilt(np.ones(7), 2, np.nan))


@pytest.mark.parametrize("fill", ["fill_uniform", "fill_normal"])
def test_random_arrays(one_line, fill):
    fill = getattr(_core, fill)
    whole, part = np.zeros((6, 4)), np.zeros((6, 8))
    fill(whole, 1, 2, 0.0, 1.0)
    fill(part[:, ::2], 1, 2, 0.0, 1.0)
    np.testing.assert_array_equal(part[:, ::2], whole)
    assert not part[:, 1::2].any()
    with one_line(TypeError, f"^{fill.__name__}: array is int64; wanted float32 or float64"):
        fill(Y, 0, 0, 0.0, 1.0)
    with one_line(ValueError, f"^{fill.__name__}: parameters are nan and 1"):
        fill(whole, 0, 0, np.nan, 1.0)
    whole.flags.writeable = False
    with one_line(ValueError, f"^{fill.__name__}: the array is read-only"):
        fill(whole, 0, 0, 0.0, 1.0)


def test_permutation():
    order = np.asarray(_core.permutation(100, 3, 4))
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(100))
    assert not np.array_equal(order, np.asarray(_core.permutation(100, 3, 5)))
    assert np.asarray(_core.permutation(0, 3, 4)).shape == (0,)
