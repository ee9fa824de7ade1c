"""nn.Network: building, initial weights, single steps, predictions, scores, and what is refused."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle

import numpy as np
import pytest
import tolerance
from deltarule import asarray, nn
from network_cases import oracle
from reference_network import Optimizer, train

ROWS = np.random.default_rng(0)
X = ROWS.standard_normal((60, 5)).astype(np.float32)
LABELS = ROWS.integers(0, 3, 60)
TARGETS = ROWS.standard_normal((60, 2))
YES_NO = ROWS.integers(0, 2, (60, 4))


def weights(net):
    return [np.array(parameter) for parameter in net.parameters]


def same(a, b):
    return len(a) == len(b) and all(
        p.dtype == q.dtype and p.tobytes() == q.tobytes() for p, q in zip(a, b, strict=True)
    )


def test_mlp_is_the_short_form():
    short = nn.mlp([5, 7, 4, 3], activation="relu", seed=3)
    whole = nn.Network([nn.Dense(7, "relu"), nn.Dense(4, "relu"), nn.Dense(3)], inputs=5, seed=3)
    assert short.layers == whole.layers
    assert same(weights(short), weights(whole))
    assert (short.inputs, short.outputs, short.loss, short.dtype) == (
        5,
        3,
        "softmax_cross_entropy",
        "float32",
    )
    assert nn.mlp(units for units in (5, 7, 4, 3)).layers == nn.mlp([5, 7, 4, 3]).layers
    assert nn.mlp([5, 7, 3], dropout=0.5).layers == (nn.Dense(7, "tanh"), nn.Dropout(0.5), nn.Dense(3))


def test_numpy_s_numbers_are_numbers(tmp_path):
    """Sizes come as ``y.max() + 1``; every file takes them."""
    sizes = [X.shape[1], np.int32(4), LABELS.max() + 1]
    net = nn.mlp(sizes, "elu", dropout=np.float32(0.5), dtype=np.float32, seed=np.int64(1))
    same_net = nn.mlp([5, 4, 3], "elu", dropout=0.5, seed=1)
    assert (net.dtype, repr(net)) == ("float32", repr(same_net))
    layer = nn.Dense(np.int64(3), bias=np.bool_(True), slope=np.float32(0.5))
    assert repr(layer) == "Dense(units=3, activation='linear', bias=True, slope=0.5)"
    checkpoint = tmp_path / "checkpoint"
    for found in (net, same_net):
        found.fit(X, LABELS, nn.SGD(np.float32(0.5)), 1, 20, callbacks=[nn.Checkpoint(checkpoint)])
        found.fit(X, LABELS, nn.SGD(0.5), 2, 20, resume=checkpoint)
    assert same(weights(net), weights(same_net))
    net.save(tmp_path / "net")
    assert nn.Network.load(tmp_path / "net").layers == net.layers


def test_shapes_dtypes_and_zero_biases():
    net = nn.Network([nn.Dense(7, "tanh", bias=False), nn.Dense(3)], inputs=5, dtype="float64")
    assert [p.shape for p in weights(net)] == [(5, 7), (7, 3), (3,)]
    assert {p.dtype for p in weights(net)} == {np.dtype(np.float64)}
    assert not weights(net)[2].any()


def test_seed_decides_the_weights():
    assert same(weights(nn.mlp([5, 4, 3], seed=1)), weights(nn.mlp([5, 4, 3], seed=1)))
    assert not same(weights(nn.mlp([5, 4, 3], seed=1)), weights(nn.mlp([5, 4, 3], seed=2)))


def test_layers_of_equal_shape_differ():
    net = nn.mlp([6, 6, 6, 6], seed=0)
    assert not same(weights(net)[:1], weights(net)[2:3])


@pytest.mark.parametrize(
    ("init", "deviation"),
    [
        (nn.init.Uniform(0.05), 0.05 / math.sqrt(3)),
        (nn.init.Normal(0.3), 0.3),
        (nn.init.LeCun(), math.sqrt(1 / 400)),
        (nn.init.Glorot(), math.sqrt(2 / 700)),
        (nn.init.Standard(), math.sqrt(1 / 3 / 400)),
        (nn.init.He(), math.sqrt(2 / 400)),
        (nn.init.Zeros(), 0.0),
    ],
)
def test_initialisers_have_their_deviation(init, deviation):
    w = weights(nn.Network([nn.Dense(300)], inputs=400, init=init))[0]
    # Mean and deviation of n = 120,000 draws: 5 standard errors.
    n = w.size
    assert abs(w.mean()) <= 5 * deviation / math.sqrt(n)
    assert abs(w.std() - deviation) <= 5 * deviation / math.sqrt(n)
    if isinstance(init, nn.init.Uniform):
        assert abs(w).max() <= np.float32(0.05)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.init.Uniform(-1), ValueError, "^Uniform: a is -1; wanted a finite number, at least 0"),
        (lambda: nn.init.Uniform("a"), TypeError, "^Uniform: a is 'a'; wanted a number"),
        (lambda: nn.init.Normal(math.inf), ValueError, "^Normal: std is inf; wanted a finite number"),
        (lambda: nn.init.Normal(None), TypeError, "^Normal: std is None; wanted a number"),
    ]
    + [
        (
            lambda init=init: nn.mlp([5, 3], init=init),
            TypeError,
            f"^Network: init is {shown}; wanted an initialiser",
        )
        for init, shown in (
            ("he", "'he'"),
            (nn.init.Zeros, "the class Zeros"),
            (np.zeros, "<built-in function zeros>"),
            (np.zeros((5, 3)), "an array"),
            (asarray(np.zeros((5, 3))), "an array"),
        )
    ],
)
def test_what_is_no_initialiser(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_an_initialiser_of_one_s_own():
    class Sevens:
        def fill(self, weights, seed, stream):
            weights[...] = 7

    assert (weights(nn.mlp([5, 3], init=Sevens()))[0] == 7).all()
    assert (weights(nn.mlp([5, 3], init=nn.init.Uniform(0)))[0] == 0).all()


@pytest.mark.parametrize(
    ("activation", "init"), [("relu", nn.init.He()), ("gelu", nn.init.He()), ("tanh", nn.init.Glorot())]
)
def test_default_initialiser_follows_the_activation(activation, init):
    default = nn.Network([nn.Dense(9, activation), nn.Dense(3)], inputs=5, seed=4)
    chosen = nn.Network([nn.Dense(9, activation), nn.Dense(3)], inputs=5, seed=4, init=init)
    assert same(weights(default)[:2], weights(chosen)[:2])


def test_parameters_are_views():
    net = nn.mlp([5, 3], seed=0)
    reference = oracle(net)
    net.parameters[1][...] = 2.0
    reference.layers[0].b[...] = 2.0
    want = reference.outputs(X)
    tolerance.assert_within(
        net.forward(X), want, tolerance.through_network(want, "float32", width=5, depth=1)
    )


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: nn.mlp([5, 3], loss="mse"),
            ValueError,
            "loss is 'mse'; choose one of: squared_error",
        ),
        (
            lambda: nn.mlp([5, 4, 3], activation="relu6"),
            ValueError,
            "activation is 'relu6'; choose one of: linear",
        ),
        (
            lambda: nn.mlp([5, 3], activation="swish"),
            ValueError,
            "^Dense: activation is 'swish'; choose one of: linear, threshold",
        ),
        (lambda: nn.mlp([5, 3], dropout="0.5"), TypeError, "Dropout: rate is '0.5'; wanted a number"),
        (lambda: nn.mlp(3), TypeError, r"^mlp: sizes is 3; wanted a list such as \[784, 300, 10\]"),
        (lambda: nn.mlp(iter([5])), ValueError, r"mlp: sizes are \[5\]"),
        (lambda: nn.mlp([5, 3], device="tpu"), (ValueError, RuntimeError), "tpu"),
        (
            lambda: nn.mlp([5, 3], dtype="float16"),
            ValueError,
            "dtype is 'float16'; choose one of: float32, float64",
        ),
        (lambda: nn.mlp([5, 3], precision="best"), ValueError, "precision is 'best'; choose one of: highest"),
        (lambda: nn.mlp([5]), ValueError, r"mlp: sizes are \[5\]"),
        (lambda: nn.mlp([0, 3]), ValueError, "inputs is 0; wanted at least 1"),
        (lambda: nn.mlp([5, 0]), ValueError, "units is 0; wanted at least 1"),
        (lambda: nn.mlp([5, 2.5]), TypeError, "units is 2.5; wanted a whole number"),
        (lambda: nn.mlp([5, 3], device=None), TypeError, "device is None; wanted a name"),
        (lambda: nn.mlp([5, 3], precision=None), TypeError, "precision is None; wanted a name"),
        (lambda: nn.mlp([5, 3], dtype=None), TypeError, "dtype is None; wanted a name"),
        (lambda: nn.mlp([5, 3], dtype=np.int64), ValueError, "dtype is 'int64'; choose one of"),
        (lambda: nn.mlp([5, 3], loss=3), TypeError, "loss is 3; wanted a name"),
        (lambda: nn.Dense(3, None), TypeError, "Dense: activation is None; wanted a name"),
        (lambda: nn.Dense(3, bias="no"), TypeError, "Dense: bias is 'no'; wanted True or False"),
        (lambda: nn.Dense(3, slope="1"), TypeError, "Dense: slope is '1'; wanted a number"),
        (lambda: nn.mlp([5, 4, 3], dropout="0.5"), TypeError, "Dropout: rate is '0.5'; wanted a number"),
        (lambda: nn.Network(nn.Dense(3), 6), TypeError, r"layers is Dense\(.*; wanted a list of nn.Dense"),
        (lambda: nn.mlp([5, 3], seed=-1), ValueError, "seed is -1; wanted 0 or more"),
        (lambda: nn.mlp([5, 4, 3], dropout=1.0), ValueError, "rate is 1"),
        (lambda: nn.Network([], inputs=5), ValueError, "wanted one Dense or more"),
        (
            lambda: nn.Network([nn.Dense(3), 4], inputs=5),
            TypeError,
            "a layer is 4; wanted nn.Dense or nn.Dropout",
        ),
        (
            lambda: nn.Network([nn.Dense(3), nn.Dropout(0.5)], inputs=5).forward(X),
            ValueError,
            "last layer must be a dense",
        ),
    ],
)
def test_bad_networks_are_refused(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.isa
@pytest.mark.sanitize
def test_train_step_returns_the_loss_before_the_update():
    net = nn.mlp([5, 4, 3], seed=0, dtype="float64")
    expected, _, _ = oracle(net).evaluate(X, LABELS)
    bound = tolerance.through_network(np.asarray(expected), "float64", width=60, depth=2, scale=1.0)
    tolerance.assert_within(net.train_step(X, LABELS, nn.SGD(0.1)), expected, bound)
    assert net.evaluate(X, LABELS)[0] < expected


def test_fit_is_train_step_by_minibatches():
    fitted, stepped = (nn.mlp([5, 4, 3], seed=0) for _ in range(2))
    fitted.fit(X, LABELS, nn.Adam(0.01), epochs=2, batch_size=25, shuffle=False)
    reference, adam = oracle(stepped), Optimizer("adam", 0.01)
    for _ in range(2):
        train(reference, adam, X, LABELS, np.arange(60), 25)
        for start in range(0, 60, 25):
            stepped.train_step(X[start : start + 25], LABELS[start : start + 25], nn.Adam(0.01))
    for net in (fitted, stepped):
        for got, want in zip(weights(net), reference.parameters(), strict=True):
            tolerance.assert_within(got, want, tolerance.trajectory(want, steps=6, k=25, dtype="float32"))


def test_lists_arrays_and_other_dtypes_are_the_same_samples():
    values = np.arange(60).reshape(12, 5) % 7
    labels = np.arange(12) % 3
    results = []
    for x in (
        values.astype(np.uint8),
        values.astype(np.float32),
        values.astype(np.float64),
        values,
        values.tolist(),
    ):
        for y in (labels, labels.tolist(), labels.astype(np.uint8)):
            net = nn.mlp([5, 4, 3], seed=0)
            net.train_step(x, y, nn.SGD(0.1))
            results.append(weights(net))
    assert all(same(results[0], other) for other in results[1:])


def test_standardize_is_the_affine_map():
    shift, scale = np.arange(5, dtype=np.float32), np.linspace(0.5, 2, 5).astype(np.float32)
    net = nn.mlp([5, 4, 3], seed=0)
    expected = net.forward((X - shift) * scale)
    net.standardize(shift, scale)
    assert net.forward(X).tobytes() == expected.tobytes()
    net.standardize(None, None)
    assert net.standardization is None
    assert net.forward(X).tobytes() == nn.mlp([5, 4, 3], seed=0).forward(X).tobytes()


def test_standardize_refuses():
    net = nn.mlp([5, 3])
    with pytest.raises(ValueError, match="one of shift and scale is None"):
        net.standardize(np.zeros(5), None)
    with pytest.raises(ValueError, match=r"^standardize: shift is \(4,\)"):
        net.standardize(np.zeros(4), np.ones(4))
    with pytest.raises(ValueError, match="finite"):
        net.standardize(np.zeros(5), np.full(5, np.inf))


@pytest.mark.isa
def test_classification():
    net = nn.mlp([5, 8, 3], seed=0)
    net.fit(X, LABELS, nn.Adam(0.02), epochs=300, batch_size=20)
    z = net.forward(X).astype(np.float64)
    labels = net.predict(X)
    assert net.task == "classification"
    assert (labels.dtype, labels.shape) == (np.int64, (60,))
    assert (labels == z.argmax(axis=1)).all()
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    tolerance.assert_within(net.predict_proba(X), p, tolerance.softmax(p, 3, "float32", log=False))
    assert net.score(X, LABELS) == np.mean(labels == LABELS) > 0.9


def test_two_classes_with_one_output():
    y = (X[:, 0] > 0).astype(int)
    net = nn.mlp([5, 1], loss="binary_cross_entropy")
    net.fit(X, y, nn.SGD(1.0), epochs=200, batch_size=60)
    p = net.predict_proba(X)
    assert p.shape == (60, 2)
    tolerance.assert_within(
        p.sum(axis=1), np.ones(60), tolerance.rounded(2, 1, "float32")
    )  # of 1 - p and of the sum
    assert (net.predict(X) == (p[:, 1] > 0.5)).all()
    assert net.score(X, y) == np.mean(net.predict(X) == y) > 0.9


@pytest.mark.isa
def test_multi_label():
    net = nn.mlp([5, 30, 4], loss="binary_cross_entropy")
    net.fit(X, YES_NO, nn.Adam(0.02), epochs=400, batch_size=60)
    found = net.predict(X)
    assert net.task == "multi_label"
    assert found.shape == (60, 4)
    assert set(np.unique(found)) <= {0, 1}
    p = 1 / (1 + np.exp(-net.forward(X).astype(np.float64)))
    assert (tolerance.ulps(net.predict_proba(X), p) <= tolerance.UNARY_ULPS["sigmoid"][2]).all()
    assert net.score(X, YES_NO) == np.mean((found == YES_NO).all(axis=1)) > 0.9


@pytest.mark.isa
def test_regression_with_two_outputs():
    net = nn.mlp([5, 30, 2], loss="squared_error")
    history = net.fit(X, TARGETS, nn.Adam(0.02), epochs=400, batch_size=60)
    values = net.predict(X)
    assert net.task == "regression"
    assert values.shape == (60, 2)
    residual, total = (
        ((values - TARGETS) ** 2).sum(axis=0),
        ((TARGETS - TARGETS.mean(axis=0)) ** 2).sum(axis=0),
    )
    r2 = np.mean(1 - residual / total)  # of at most 1, in float64
    tolerance.assert_within(net.score(X, TARGETS), r2, tolerance.rounded(len(X), 1, "float64"))
    assert net.score(X, TARGETS) > 0.9
    assert history["train_error"] == [None] * 400


def test_regression_with_one_output_takes_y_as_a_row():
    nets = [nn.mlp([5, 4, 1], loss="squared_error", seed=0) for _ in range(2)]
    nets[0].fit(X, TARGETS[:, 0], nn.SGD(0.1), epochs=2, batch_size=20)
    nets[1].fit(X, TARGETS[:, :1], nn.SGD(0.1), epochs=2, batch_size=20)
    assert same(*(weights(net) for net in nets))
    assert nets[0].predict(X).shape == (60, 1)
    assert nets[0].score(X, TARGETS[:, 0]) == nets[0].score(X, TARGETS[:, :1])
    with pytest.raises(ValueError, match=r"score: y is \(60, 2\); wanted \(60, 1\)"):
        nets[0].score(X, TARGETS)


def test_r2_of_a_constant_target():
    net = nn.Network([nn.Dense(2)], inputs=5, loss="squared_error", init=nn.init.Zeros())
    assert net.score(X, np.zeros((60, 2))) == 1
    assert net.score(X, np.ones((60, 2))) == 0


def test_labels_with_squared_error_are_classification():
    net = nn.mlp([5, 8, 3], loss="squared_error")
    history = net.fit(X, LABELS, nn.Adam(0.02), epochs=300, batch_size=20, validation=(X, LABELS))
    assert net.task == "classification"
    assert (net.predict(X) == net.forward(X).argmax(axis=1)).all()
    assert history["validation_error"][-1] == pytest.approx(1 - net.score(X, LABELS))
    with pytest.raises(ValueError, match="predict_proba: loss is squared_error"):
        net.predict_proba(X)


def test_two_classes_with_one_output_and_squared_error():
    y = (X[:, 0] > 0).astype(int)
    net = nn.mlp([5, 1], loss="squared_error")
    net.fit(X, y, nn.SGD(0.1), epochs=100, batch_size=60)
    z = net.forward(X)[:, 0]
    assert ((z > 0) & (z < 0.5)).any()  # where a threshold of 0 would say 1
    assert (net.predict(X) == (z > 0.5)).all()
    assert net.score(X, y) == np.mean((z > 0.5) == y) > 0.9


COUNTS = np.rint(3 + 2 * X[:, 0]).astype(np.int64)


@pytest.mark.parametrize("call", ["fit", "train_step", "evaluate"])
def test_counts_are_no_labels_and_the_error_says_what_to_do(call):
    net = nn.mlp([5, 1], loss="squared_error")
    arguments = () if call == "evaluate" else (nn.SGD(0.01),)
    hint = r"is -?\d; wanted labels from 0 to 1; regression wants floats: y.astype\(float\)$"
    with pytest.raises(ValueError, match=hint):
        getattr(net, call)(X, COUNTS, *arguments)
    with pytest.raises(ValueError, match=r"wanted labels from 0 to 1$"):
        nn.mlp([5, 1], loss="binary_cross_entropy").evaluate(X, COUNTS)


@pytest.mark.parametrize("begin", ["fit", "train_step", "task", "load"])
def test_a_net_of_regression_takes_counts_for_targets(begin, tmp_path):
    nets = [nn.mlp([5, 1], loss="squared_error", seed=2) for _ in range(2)]
    for index, net in enumerate(nets):
        if begin == "task":
            net.task = "regression"
        elif begin == "train_step":
            net.train_step(X, COUNTS.astype(float), nn.SGD(0.1))
        else:
            net.fit(X, COUNTS.astype(float), nn.SGD(0.1), epochs=1)
        if begin == "load":
            net.save(tmp_path / "net")
            nets[index] = nn.Network.load(tmp_path / "net")
    results = []
    for net, y in zip(nets, (COUNTS, COUNTS.astype(float)), strict=True):
        history = net.fit(X, y, nn.SGD(0.1), epochs=2, validation=(X, COUNTS))
        step = net.train_step(X, y, nn.SGD(0.1))
        assert (net.task, history["validation_error"]) == ("regression", [None, None])
        results.append(
            [history["validation_loss"], step, net.evaluate(X, y), net.score(X, y), weights(net)[0]]
        )
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))
    nets[0].task = "classification"
    assert nets[0].evaluate(X, (COUNTS > 3).astype(int))[1] is not None
    with pytest.raises(ValueError, match="task is 'counting'; choices: classification, multi_label, regr"):
        nets[0].task = "counting"


def test_two_outputs_of_regression_still_take_labels():
    net = nn.mlp([5, 2], loss="squared_error")
    net.fit(X, TARGETS, nn.SGD(0.1), epochs=1)
    net.fit(X, LABELS % 2, nn.SGD(0.1), epochs=1)
    assert net.task == "classification"


def test_perceptron_learns_by_its_rule():
    """w <- w + x (t - y), from 0: threshold units and the squared error (Rosenblatt 1958)."""
    y = (X @ np.array([1, -1, 0.5, 0, 2], np.float32) > 0).astype(float)
    net = nn.Network([nn.Dense(1, "threshold")], inputs=5, loss="squared_error", init=nn.init.Zeros())
    w, b, terms = np.zeros(5), 0.0, []
    for row, t in zip(X[:20], y[:20], strict=True):
        net.train_step(row[None], np.array([[t]]), nn.SGD(1.0))
        wrong = t - float(row @ w + b >= 0)
        w, b = w + wrong * row, b + wrong
        terms.append(wrong * row)
    tolerance.assert_within(weights(net)[0][:, 0], w, tolerance.summed(np.array(terms), "float32"))
    net.fit(X, y, nn.SGD(1.0), epochs=200, batch_size=1)
    assert ((net.predict(X)[:, 0] > 0.5) == (y > 0.5)).all()


@pytest.mark.parametrize("call", ["fit", "train_step", "evaluate"])
@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (X[:, :4], LABELS, ValueError, "features|is \\(60, 4\\)"),
        (X[0], LABELS, ValueError, r"x is \(5,\)"),
        (X.astype(str), LABELS, TypeError, "x is <U.*; wanted numbers"),
        (X, LABELS[:59], ValueError, "59"),
        (X, np.where(LABELS == 2, 3, LABELS), ValueError, "is 3; wanted labels from 0 to 2"),
        (X, LABELS - 1, ValueError, "is -1; wanted labels from 0 to 2"),
        (X, TARGETS, ValueError, "3 outputs"),
        (X, LABELS.astype(str), TypeError, "y is <U.*; wanted numbers"),
        (np.where(X[7, 2] == X, np.nan, X), LABELS, ValueError, r"x\[7, 2\] is -?nan"),
        (np.where(X[7, 2] == X, np.inf, X), LABELS, ValueError, r"x\[7, 2\] is inf"),
        (X[:0], LABELS[:0], ValueError, "no samples|no rows|wanted 1 to 0"),
        (5.0, LABELS, ValueError, "x is a single number"),
    ],
)
def test_bad_samples_are_refused(call, x, y, error, message):
    net = nn.mlp([5, 4, 3])
    before = weights(net)
    arguments = {"fit": (nn.SGD(0.1), 1, 1), "train_step": (nn.SGD(0.1),), "evaluate": ()}[call]
    with pytest.raises(error, match=message) as caught:
        getattr(net, call)(x, y, *arguments)
    assert "\n" not in str(caught.value)
    assert same(weights(net), before)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[:, :4], "4 features, the network has 5 inputs"),
        (X[0], r"x is \(5,\)"),
        (np.full((2, 5), np.nan), "nan"),
    ],
)
@pytest.mark.parametrize("call", ["predict", "predict_proba", "forward"])
def test_bad_samples_are_refused_at_predict(call, x, message):
    with pytest.raises(ValueError, match=f"^{call}: .*{message}") as caught:
        getattr(nn.mlp([5, 3]), call)(x)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "squared_error"])
def test_score_speaks_for_itself(loss):
    for x, y, message in (
        (X[:, :4], LABELS, "4 features"),
        (X[:0], LABELS[:0], "no rows|wanted"),
        (X, "ab", "y is"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^score: .*({message})"):
            nn.mlp([5, 3], loss=loss).score(x, y)


@pytest.mark.parametrize("call", ["predict", "predict_proba", "forward", "activations"])
def test_what_float32_does_not_hold_is_refused_at_predict(call):
    x = X.astype(np.float64)
    x[7, 2] = 1e300
    with pytest.raises(ValueError, match=r"x\[7, 2\] is 1e\+300; wanted finite numbers of float32$"):
        getattr(nn.mlp([5, 3]), call)(x)
    getattr(nn.mlp([5, 3], dtype="float64"), call)(x)


@pytest.mark.parametrize(("rows", "columns"), [(20_001, 6), (3, 40_000), (1, 1)])
@pytest.mark.parametrize("spare", [0, 3])
def test_what_float32_does_not_hold_is_found_wherever_it_is(rows, columns, spare):
    net, largest = nn.mlp([columns, 2]), float(np.finfo(np.float32).max)
    x = np.zeros((rows, columns + spare))[:, :columns]
    for row, column in ((0, 0), (rows // 2, columns // 2), (rows - 1, columns - 1)):
        x[row, column] = largest + 2.0**103  # halfway to what would come next; ties go to even, up
        with pytest.raises(ValueError, match=rf"x\[{row}, {column}\] is 3.40282e\+38; wanted finite numbers"):
            net.forward(x)
        x[row, column] = np.nextafter(x[row, column], 0)
        net.activations(x)
        x[row, column] = 0


@pytest.mark.parametrize("call", ["fit", "train_step", "evaluate", "gradients", "deltas"])
def test_what_float32_does_not_hold_is_refused(call):
    x, y, w = X.astype(np.float64), TARGETS.copy(), np.ones(60)
    net = nn.mlp([5, 2], loss="squared_error")
    before = weights(net)
    arguments = {"fit": (nn.SGD(0.1), 1, 1), "train_step": (nn.SGD(0.1),)}.get(call, ())
    for array, name in ((x, "x"), (y, "y"), (w, "sample_weight")):
        was = array.flat[9]
        array.flat[9] = 1e39
        with pytest.raises(ValueError, match=rf"{name}\[.*\] is 1e\+39; wanted finite numbers of float32"):
            getattr(net, call)(x, y, *arguments, sample_weight=w)
        array.flat[9] = was
    assert same(weights(net), before)


@pytest.mark.parametrize(("y", "ends"), [(2 * YES_NO - 1, "-1 to 1"), (2 * YES_NO, "0 to 2")])
def test_targets_of_a_cross_entropy_are_probabilities(y, ends):
    net = nn.mlp([5, 4], loss="binary_cross_entropy")
    with pytest.raises(
        ValueError, match=f"y goes from {ends}; binary_cross_entropy wants targets from 0 to 1"
    ):
        net.fit(X, y, batch_size=10)


@pytest.mark.parametrize(
    ("optimizer", "error", "message"),
    [
        (nn.SGD(-0.1), ValueError, "^SGD: lr is -0.1; wanted a finite number, at least 0"),
        (nn.SGD(math.nan), ValueError, "lr is -?nan"),
        (nn.SGD("fast"), TypeError, "SGD: lr is 'fast'; wanted a number"),
        (nn.SGD(None), TypeError, "SGD: lr is None; wanted a number"),
        (nn.Adam(beta1=None), TypeError, "Adam: beta1 is None; wanted a number"),
        (nn.SGD(0.1, weight_decay=-1), ValueError, "weight_decay is -1"),
        (nn.Momentum(0.1, momentum=1.0), ValueError, "momentum is 1"),
        (nn.Adam(beta1=1.5), ValueError, "beta1 is 1.5"),
        (nn.Adam(eps=0), ValueError, "eps is 0"),
        (
            "adam",
            TypeError,
            "optimizer is 'adam'; wanted one of nn.SGD, nn.Momentum, nn.Nesterov, nn.Adam, nn.AdamW",
        ),
    ],
)
def test_bad_optimizers_are_refused(optimizer, error, message):
    for call in ("fit", "train_step"):
        with pytest.raises(error, match=message):
            getattr(nn.mlp([5, 3]), call)(
                X, LABELS, optimizer, **({"batch_size": 60} if call == "fit" else {})
            )


def test_train_step_that_diverges_keeps_the_weights():
    net = nn.mlp([5, 3], loss="squared_error", seed=0)
    net.parameters[0][...] = 1e30
    before = weights(net)
    with pytest.raises(
        nn.DivergedError, match=r"train_step: loss is inf at step 1 \(learning rate 0.1\)"
    ) as caught:
        net.train_step(X, LABELS, nn.SGD(0.1))
    assert (caught.value.epoch, caught.value.step, caught.value.learning_rate) == (None, 1, 0.1)
    assert same(weights(net), before)


@pytest.mark.parametrize("optimizer", [nn.SGD(0.1), nn.Nesterov(0.05), nn.AdamW(0.02)])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_go_on_to_the_same_bits(copied, optimizer):
    net = nn.mlp([5, 8, 3], dropout=0.3, seed=4, dtype="float64")
    net.standardize(X.mean(axis=0), 1 / X.std(axis=0))
    net.classes, net.image_shape = ["a", "b", "c"], (1, 5)
    net.fit(X, LABELS, optimizer, epochs=2, batch_size=7)
    net.train_step(X, LABELS, optimizer)
    other = copied(net)
    assert other.history.epochs == net.history.epochs
    assert (other.classes, other.image_shape, repr(other)) == (net.classes, net.image_shape, repr(net))
    assert net.train_step(X, LABELS, optimizer) == other.train_step(X, LABELS, optimizer)
    assert same(weights(net), weights(other))
    other.parameters[0][...] = 0  # memory of its own
    assert weights(net)[0].any()


@pytest.mark.parametrize("rule", [nn.SGD, nn.Momentum, nn.Nesterov, nn.Adam, nn.AdamW], ids=lambda r: r.kind)
def test_weights_decay_and_biases_do_not(rule):
    """Where the gradient is 0."""
    net = nn.Network([nn.Dense(2)], inputs=5, loss="squared_error", init=nn.init.Uniform(1.0))
    net.parameters[1][...] = 1.0
    before = weights(net)
    net.train_step(X, net.forward(X), rule(0.1, weight_decay=0.5))
    assert (np.abs(weights(net)[0]) < np.abs(before[0])).all()
    np.testing.assert_array_equal(weights(net)[1], before[1])


def test_settings_that_no_optimizer_has_are_refused():
    net = nn.mlp([5, 3])
    for rule, name in ((nn.Adam(), "learning_rate"), (nn.SGD(0.1), "momentum"), (nn.SGD(0.1), "kind")):
        net.train_step(X, LABELS, rule)
        before = weights(net)
        setattr(rule, name, 0.5)
        message = rf"^{type(rule).__name__}: there is no '{name}'; choices: lr, [a-z0-9_, ]+$"
        for call in (net.train_step, net.fit):
            with pytest.raises(TypeError, match=message):
                call(X, LABELS, rule)
        assert same(weights(net), before)


class Halving(nn.SGD):
    """An optimiser of one's own, with a state of its own."""

    def __init__(self, lr):
        super().__init__(lr)
        self.steps = 0

    def build(self):
        self.steps += 1
        self.lr /= 2
        rule = super().build()
        self.lr *= 2
        return rule


def test_optimizers_can_be_copied_changed_and_derived():
    for rule in (nn.SGD(0.1), nn.Adam(clip_norm=1.0), Halving(0.2)):
        for again in (copy.copy(rule), copy.deepcopy(rule), pickle.loads(pickle.dumps(rule))):
            assert again == rule
            assert vars(again) == vars(rule)
            again.lr = 0.5
            assert again != rule
    assert dataclasses.replace(nn.Adam(0.1), beta1=0.5) == nn.Adam(0.1, 0.5)
    nets = [nn.mlp([5, 3], seed=1) for _ in range(2)]
    for net, rule in zip(nets, (Halving(0.2), nn.SGD(0.1)), strict=True):
        net.fit(X, LABELS, rule, epochs=1)
    assert same(*map(weights, nets))
