"""The engine of pre-training, step by step, against the oracle given the same random numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tolerance
from deltarule import _core
from network_cases import copies, host, same_bits
from reference_network import Optimizer
from reference_pretrain import Codec

INPUTS, UNITS, ROWS = 13, 9, 23
DTYPES = ["float32", "float64"]
OPTIMIZERS = {
    "sgd": {"lr": 0.2, "weight_decay": 1e-2},
    "momentum": {"lr": 0.1, "momentum": 0.7, "weight_decay": 1e-2},
    "nesterov": {"lr": 0.1, "momentum": 0.7},
    "adam": {"lr": 0.02, "weight_decay": 1e-2},
}


def samples(dtype, seed=1):
    return np.random.default_rng(seed).random((ROWS, INPUTS)).astype(dtype)


def oracle(dtype, own=False, seed=0):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return (0.5 * rng.standard_normal(shape)).astype(dtype).astype(np.float64)

    return Codec(normal(INPUTS, UNITS), normal(UNITS), normal(INPUTS), normal(UNITS, INPUTS) if own else None)


def engine(reference, dtype, device, seed=5, index=2):
    arrays = [_core.from_numpy(p.astype(dtype)).to(device) for p in reference.parameters()]
    return _core.Codec(*arrays, seed=seed, index=index), arrays


def uniforms(shape, stream, dtype, seed=5):
    u = np.empty(int(np.prod(shape)), dtype)
    _core.fill_uniform(u, seed, stream, 0.0, 1.0)
    return u.reshape(shape).astype(np.float64)


def batches(order, size):
    return [order[start : start + size] for start in range(0, len(order), size)]


def assert_trained(arrays, reference, steps):
    for got, want in zip(arrays, reference.parameters(), strict=True):
        got = host(got)
        bound = tolerance.through_network(want, got.dtype, 2 * ROWS, 3, steps, 1.0)
        tolerance.assert_within(got, want, bound)


def assert_losses(result, losses, dtype):
    bound = tolerance.through_network(np.array(losses), dtype, INPUTS, 3, len(losses), 1.0)
    tolerance.assert_within(np.asarray(result.losses), np.array(losses), bound)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("gibbs_steps", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_contrastive_divergence_is_the_oracle_s(device, dtype, gibbs_steps, kind):
    reference, x = oracle(dtype), samples(dtype)
    codec, arrays = engine(reference, dtype, device)
    order = np.random.default_rng(2).permutation(ROWS)
    rule, losses = Optimizer(kind, **OPTIMIZERS[kind]), []
    for step, rows in enumerate(batches(order, 10)):
        shape = len(rows), UNITS
        drawn = [uniforms(shape, _core.gibbs_stream(2, k, step), dtype) for k in range(gibbs_steps)]
        loss, gradients = reference.divergence(x[rows].astype(np.float64), drawn)
        rule.update(reference.parameters(), gradients)
        losses.append(loss)
    result = codec.divergence_steps(x, order, 10, _core.Optimizer(kind, **OPTIMIZERS[kind]), gibbs_steps)
    assert result.finite
    assert codec.step == 3
    assert np.asarray(result.weight).tolist() == [10, 10, 3]
    assert_losses(result, losses, dtype)
    assert_trained(arrays, reference, 3)


CASES = {
    "cross-entropy": ("sigmoid", "binary_cross_entropy", "linear"),
    "squared": ("sigmoid", "squared_error", "sigmoid"),
    "linear": ("tanh", "squared_error", "linear"),
    "keeps z": ("gelu", "squared_error", "gelu"),
    "slopes": ("elu", "squared_error", "leaky_relu"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("own", [False, True], ids=["tied", "free"])
@pytest.mark.parametrize("corruption", [0.0, 0.4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_autoencoder_is_the_oracle_s(device, dtype, corruption, own, case):
    f, loss, g = CASES[case]
    reference, x = oracle(dtype, own), samples(dtype)
    codec, arrays = engine(reference, dtype, device)
    order = np.random.default_rng(2).permutation(ROWS)
    rule, losses = Optimizer("sgd", 0.1, weight_decay=1e-2), []
    for step, rows in enumerate(batches(order, 10)):
        u = uniforms((len(rows), INPUTS), _core.corruption_stream(2, step), dtype)
        kept = (u >= np.dtype(dtype).type(corruption)).astype(np.float64)
        losses.append(reference.loss(x[rows].astype(np.float64), kept, f, loss, g))
        rule.update(reference.parameters(), reference.gradients(x[rows].astype(np.float64), kept, f, loss, g))
    result = codec.autoencoder_steps(
        x, order, 10, _core.Optimizer("sgd", 0.1, weight_decay=1e-2), f, None, g, loss, corruption
    )
    assert result.finite
    assert_losses(result, losses, dtype)
    assert_trained(arrays, reference, 3)


@pytest.mark.parametrize("kind", ["momentum", "adam"])
@pytest.mark.parametrize("own", [False, True], ids=["tied", "free"])
def test_autoencoder_with_slots(device, own, kind):
    reference, x = oracle("float64", own), samples("float64")
    codec, arrays = engine(reference, "float64", device)
    rule, ones = Optimizer(kind, **OPTIMIZERS[kind]), np.ones((1, INPUTS))
    for rows in batches(np.arange(ROWS), 10):
        rule.update(
            reference.parameters(),
            reference.gradients(x[rows], ones, "sigmoid", "binary_cross_entropy", "linear"),
        )
    codec.autoencoder_steps(x, np.arange(ROWS), 10, _core.Optimizer(kind, **OPTIMIZERS[kind]))
    assert_trained(arrays, reference, 3)
    slots = codec.slots()
    assert len(slots) == (1 if kind == "momentum" else 2) * len(arrays)
    for index, slot in enumerate(rule.slots):
        bound = tolerance.through_network(slot[0], "float64", 2 * ROWS, 3, 3, 1.0)
        tolerance.assert_within(host(slots[f"m.{index}"]), slot[0], bound)


@pytest.mark.parametrize("own", [False, True], ids=["tied", "free"])
@pytest.mark.parametrize("case", CASES)
def test_the_oracle_s_gradients_are_those_of_its_loss(case, own):
    f, loss, g = CASES[case]
    reference, x = oracle("float64", own), samples("float64")
    rng = np.random.default_rng(3)
    kept = (rng.random(x.shape) >= 0.3).astype(np.float64)
    for parameter, gradient in zip(
        reference.parameters(), reference.gradients(x, kept, f, loss, g), strict=True
    ):
        direction, before, h = rng.standard_normal(parameter.shape), parameter.copy(), 1e-5
        ends = []
        for sign in (1, -1):
            parameter[...] = before + sign * h * direction
            ends.append(reference.loss(x, kept, f, loss, g))
        parameter[...] = before
        numeric = (ends[0] - ends[1]) / (2 * h)
        exact = (gradient * direction).sum()
        assert abs(numeric - exact) <= tolerance.central_difference(gradient, direction)


def test_bytes_are_standardised_on_the_way(device):
    """Rows of bytes, each by its own shift and scale, are as those rows in floating point."""
    rng = np.random.default_rng(4)
    raw = rng.integers(0, 256, (ROWS, INPUTS)).astype(np.uint8)
    shift = rng.integers(0, 3, INPUTS).astype(np.float64)
    scale = rng.uniform(0.5, 1, INPUTS) / 255
    trained = []
    for x, transform in ((raw, (shift, scale)), ((raw - shift) * scale, (None, None))):
        reference = oracle("float64")
        codec, arrays = engine(reference, "float64", device)
        codec.set_input_transform(*transform)
        codec.autoencoder_steps(x, np.arange(ROWS), 5, _core.Optimizer("sgd", 0.1), corruption=0.25)
        trained.append(copies(arrays))
    assert same_bits(*trained)


METHODS = {
    "divergence": lambda codec, x, order, rule, size=7: codec.divergence_steps(x, order, size, rule, 2),
    "autoencoder": lambda codec, x, order, rule, size=7: codec.autoencoder_steps(
        x, order, size, rule, corruption=0.3
    ),
}


@pytest.mark.parametrize("method", METHODS)
def test_calls_may_be_cut_anywhere(device, method):
    """Many steps in one call are those of many calls, to the bit, with slots and step carried over by hand."""
    x, order, trained = samples("float32"), np.arange(ROWS)[::-1].copy(), []
    rule = _core.Optimizer("momentum", 0.1, momentum=0.5)
    for cuts in ([0, ROWS], [0, 7, 21, ROWS]):
        codec, arrays = engine(oracle("float32"), "float32", device)
        losses = []
        for start, end in itertools.pairwise(cuts):
            step, slots = codec.step, codec.slots()
            codec = _core.Codec(*arrays, seed=5, index=2)
            codec.step = step
            codec.set_slots(slots)
            result = METHODS[method](codec, x, order[start:end], rule, min(7, end - start))
            losses += np.asarray(result.losses).tolist()
        trained.append([*copies(arrays), np.array(losses)])
    assert same_bits(*trained)


@pytest.mark.parametrize("method", METHODS)
def test_bits_do_not_depend_on_threads(threads, method):
    rng, trained = np.random.default_rng(0), []
    x = rng.random((300, 200)).astype(np.float32)
    w = (0.1 * rng.standard_normal((200, 150))).astype(np.float32)
    for count in (1, 2, 3):
        threads(count)
        arrays = [_core.from_numpy(a.copy()) for a in (w, np.zeros(150, "float32"), np.zeros(200, "float32"))]
        METHODS[method](_core.Codec(*arrays), x, np.arange(300), _core.Optimizer("sgd", 0.1))
        trained.append(copies(arrays))
    assert same_bits(trained[0], trained[1])
    assert same_bits(trained[0], trained[2])
    assert not np.array_equal(trained[0][0], w)


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_that_is_not_finite_stops_before_it_is_learned(device, method):
    codec, arrays = engine(oracle("float32"), "float32", device)
    rule, x = _core.Optimizer("sgd", 0.1), samples("float32")
    METHODS[method](codec, x, np.arange(14), rule)
    arrays[2][...] = np.full(INPUTS, np.nan, np.float32)
    before = copies(arrays)
    result = METHODS[method](codec, x, np.arange(ROWS), rule)
    assert not result.finite
    assert codec.step == 2
    assert np.isnan(np.asarray(result.losses)).tolist() == [True]
    assert same_bits(copies(arrays), before)


def test_bad_input(device, one_line):
    reference = oracle("float32")
    codec, arrays = engine(reference, "float32", device)
    w, b, c = arrays
    x, order, rule = samples("float32"), np.arange(ROWS), _core.Optimizer("sgd", 0.1)
    with one_line(ValueError, r"Codec: b is \(13,\); wanted \(9,\)"):
        _core.Codec(w, c, c)
    with one_line(ValueError, r"Codec: v is \(13, 9\); wanted \(9, 13\)"):
        _core.Codec(w, b, c, w)
    with one_line(ValueError, "Codec: index is 256; wanted 0 to 255"):
        _core.Codec(w, b, c, index=256)
    with one_line(TypeError, "Codec: b is float64, w is float32"):
        _core.Codec(w, b.astype("float64"), c)
    with one_line(ValueError, "Codec: w is read-only or not contiguous"):
        _core.Codec(w.T, c, b)
    with one_line(ValueError, "divergence_steps: gibbs_steps is 0; wanted 1 to 255"):
        codec.divergence_steps(x, order, 5, rule, 0)
    with one_line(ValueError, "divergence_steps: batch_size is 24; wanted 1 to 23"):
        codec.divergence_steps(x, order, 24, rule)
    with one_line(ValueError, r"divergence_steps: order\[0\] is 23; x has 23 rows"):
        codec.divergence_steps(x, order + 23, 5, rule)
    with one_line(ValueError, "divergence_steps: x has 12 features, the network has 13"):
        codec.divergence_steps(x[:, 1:].copy(), order, 5, rule)
    with one_line(ValueError, "clip_norm is 1; wanted 0"):
        codec.divergence_steps(x, order, 5, _core.Optimizer("sgd", 0.1, clip_norm=1.0))
    with one_line(ValueError, r"autoencoder_steps: corruption is 1; wanted a number in \[0, 1\)"):
        codec.autoencoder_steps(x, order, 5, rule, corruption=1.0)
    with one_line(ValueError, "autoencoder_steps: output is 'sigmoid'; binary_cross_entropy takes logits"):
        codec.autoencoder_steps(x, order, 5, rule, output="sigmoid")
    with one_line(ValueError, "autoencoder_steps: loss is 'mse'; choose one of: squared_error"):
        codec.autoencoder_steps(x, order, 5, rule, loss="mse")
    with one_line(ValueError, "set_slots: 'm.1' is missing"):
        codec.set_slots({"m.0": w})
    with one_line(ValueError, r"standardize: scale is \(9,\); wanted \(13,\)"):
        codec.set_input_transform(None, np.zeros(9))
    own, _ = engine(oracle("float32", own=True), "float32", device)
    with one_line(ValueError, "the codec has v of its own; wanted w transposed"):
        own.divergence_steps(x, order, 5, rule)


def test_a_transform_that_is_not_finite_is_refused():
    codec = _core.Codec(*(np.zeros(shape, np.float32) for shape in ((3, 2), (2,), (3,))))
    with pytest.raises(ValueError, match=r"standardize: scale\[1\] is nan"):
        codec.set_input_transform(np.zeros(3, np.float32), np.array([1, np.nan, 1], np.float32))
