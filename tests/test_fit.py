"""fit: history, chunks, schedules, callbacks, early stopping, progress, threads."""

from __future__ import annotations

import math
import os
import sys

import deltarule as dr
import deltarule.nn.fit as fit_module
import numpy as np
import pytest
import tolerance
from deltarule import asarray, nn
from network_cases import oracle
from reference_network import Optimizer, train
from test_nn import same, weights

ROWS = np.random.default_rng(1)
X = ROWS.standard_normal((200, 6)).astype(np.float32)
Y = (X[:, 0] > 0) + (X[:, 1] * X[:, 2] > 0).astype(np.int64)
XV = ROWS.standard_normal((50, 6)).astype(np.float32)
YV = (XV[:, 0] > 0) + (XV[:, 1] * XV[:, 2] > 0).astype(np.int64)
TIMES = ("seconds", "samples_per_second")


def new_net(**settings):
    return nn.mlp([6, 16, 3], seed=5, **settings)


def timeless(history):
    return [{key: value for key, value in record.items() if key not in TIMES} for record in history.epochs]


class Count(nn.Callback):
    def __init__(self, stop_at=None):
        self.calls = []
        self.stop_at = stop_at

    def on_train_begin(self, net, history):
        self.calls.append("begin")

    def on_epoch_end(self, net, history):
        self.calls.append(history.epochs[-1]["epoch"])
        return len(history) == self.stop_at

    def on_train_end(self, net, history):
        self.calls.append("end")


# History


def test_history_has_every_number():
    net = new_net()
    history = net.fit(X, Y, nn.SGD(0.1), epochs=3, batch_size=32, validation=(XV, YV))
    assert history is net.history
    assert history["epoch"] == [1, 2, 3]
    last = history.epochs[-1]
    assert (last["validation_loss"], last["validation_error"]) == net.evaluate(XV, YV)
    assert last["seconds"] > 0
    assert last["samples_per_second"] > 0
    assert last["learning_rate"] == 0.1
    assert len(last["gradient_norms"]) == 2
    assert all(norm > 0 for norm in last["gradient_norms"])
    assert history.best is None


def test_a_history_is_a_table_of_columns():
    empty = nn.History()
    history = new_net().fit(X, Y, epochs=2)
    assert list(empty) == list(history) == list(history.epochs[0])
    assert empty["train_loss"] == []
    assert dict(history) == {key: [record[key] for record in history.epochs] for key in history.epochs[0]}
    assert "validation_loss" in history
    assert not any(key in table for key in ("val_loss", 0, None) for table in (history, empty))
    for key in ("val_loss", 0):
        with pytest.raises(
            KeyError, match=r"History: there is no .*; choices: epoch, train_loss, "
        ) as caught:
            history[key]
        assert "\n" not in str(caught.value)
    history.epochs[1]["mine"] = 3
    assert history["mine"] == [None, 3]
    assert len(history) == 2


def test_train_loss_and_error_are_means_over_the_samples():
    net = new_net(dtype="float64")
    history = net.fit(X, Y, nn.SGD(0.0), epochs=1, batch_size=64)  # the last minibatch has 8 samples
    loss, _, errors = oracle(net).evaluate(X, Y)
    assert_one_pass(history["train_loss"][0], loss)
    assert history["train_error"][0] == errors / 200
    assert history["validation_loss"] == history["validation_error"] == [None]


def assert_one_pass(got, want, rows=64):
    """A number of a float64 net of `new_net`'s sizes; the longest sum is over the rows of a minibatch."""
    tolerance.assert_within(
        got, want, tolerance.through_network(np.asarray(want), "float64", rows, 2, scale=1.0)
    )


def assert_trained(net, reference, steps, rows):
    for got, want in zip(weights(net), reference.parameters(), strict=True):
        tolerance.assert_within(got, want, tolerance.trajectory(want, steps, rows, net.dtype))


def test_sample_weights_weigh():
    w = ROWS.uniform(0.1, 2, 200)
    net = new_net(dtype="float64")
    history = net.fit(X, Y, nn.SGD(0.0), epochs=1, batch_size=64, sample_weight=w)
    assert_one_pass(history["train_loss"][0], oracle(net).evaluate(X, Y, w)[0])
    doubled, repeated = new_net(dtype="float64"), new_net(dtype="float64")
    reference = oracle(doubled)
    w = np.where(np.arange(10) < 5, 2.0, 1.0)
    train(reference, Optimizer("sgd", 0.1), X, Y, np.tile(np.arange(10), 3), 10, np.tile(w, 20))
    doubled.fit(X[:10], Y[:10], nn.SGD(0.1), epochs=3, batch_size=10, sample_weight=w)
    repeated.fit(np.vstack([X[:10], X[:5]]), np.hstack([Y[:10], Y[:5]]), nn.SGD(0.1), epochs=3, batch_size=15)
    for net in (doubled, repeated):
        assert_trained(net, reference, steps=3, rows=15)


def test_gradient_norms_are_those_of_the_last_minibatch():
    net = new_net(dtype="float64")
    history = net.fit(X[:100], Y[:100], nn.SGD(0.0), epochs=1, batch_size=40, shuffle=False)
    _, gradients, _ = oracle(net).gradients(X[80:100], Y[80:100])
    assert_one_pass(history["gradient_norms"][0], [np.linalg.norm(g) for g in gradients[::2]], rows=20)


def test_epochs_differ_in_order_and_a_seed_decides_it():
    seen = []
    for shuffle in (True, True, False):
        net = new_net()
        net.fit(X, Y, nn.SGD(0.1), epochs=2, batch_size=32, shuffle=shuffle)
        seen.append(weights(net))
    assert same(seen[0], seen[1])
    assert not same(seen[0], seen[2])


def test_fit_starts_anew_from_the_weights_as_they_are():
    """Optimiser state and step count of an earlier fit have no say."""
    used, fresh = new_net(dropout=0.2), new_net(dropout=0.2)
    used.fit(X, Y, nn.Adam(0.01), epochs=2, batch_size=50)
    for parameter, value in zip(fresh.parameters, weights(used), strict=True):
        parameter[...] = value
    for net in (used, fresh):
        net.fit(X, Y, nn.Adam(0.01), epochs=2, batch_size=50)
    assert same(weights(used), weights(fresh))


@pytest.mark.isa
@pytest.mark.sanitize
@pytest.mark.parametrize("optimizer", [nn.SGD(0.1), nn.Momentum(0.05), nn.Adam(0.01)], ids=lambda o: o.kind)
@pytest.mark.parametrize("schedule", [None, nn.Cosine(3)], ids=["constant", "cosine"])
def test_chunks_change_no_bit(optimizer, schedule, monkeypatch):
    results = []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(fit_module, "CHUNK_SECONDS", seconds)
        net = new_net(dropout=0.1)
        history = net.fit(X, Y, optimizer, epochs=3, batch_size=7, schedule=schedule, validation=(XV, YV))
        results.append((weights(net), timeless(history)))
    assert same(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


@pytest.mark.isa
def test_chunks_are_whole_blocks_of_steps(monkeypatch):
    """Where the engine takes steps in blocks, a chunk that cut one would show in the bits."""
    x = np.repeat(X, 50, axis=1)
    results = []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(fit_module, "CHUNK_SECONDS", seconds)
        net = nn.mlp([300, 64, 3], seed=5)
        assert net.engine.block_steps(3, nn.SGD(0.01).build()) == 5
        net.fit(x, Y, nn.SGD(0.01), epochs=2, batch_size=3, schedule=nn.Cosine(3))
        results.append(weights(net))
    assert same(results[0], results[1])


def test_schedule_sets_the_rate_of_every_step():
    scheduled = new_net()
    reference, optimizer = oracle(scheduled), Optimizer("sgd", 0.2)
    schedule = nn.Cosine(2)
    history = scheduled.fit(X, Y, nn.SGD(0.2), epochs=2, batch_size=50, schedule=schedule, shuffle=False)
    for step in range(8):
        optimizer.lr = 0.2 * schedule(step / 4)
        train(reference, optimizer, X, Y, np.arange(step % 4 * 50, step % 4 * 50 + 50), 50)
    assert_trained(scheduled, reference, steps=8, rows=50)
    assert history["learning_rate"] == [0.2 * schedule(0.75), 0.2 * schedule(1.75)]


@pytest.mark.parametrize("late", [-1, math.inf, None, "a"])
def test_a_schedule_that_goes_wrong_late_says_when(late):
    net, count = new_net(), Count()
    with pytest.raises(
        (TypeError, ValueError), match=r"^fit: schedule\(2\) gave .*; wanted a finite"
    ) as caught:
        net.fit(X, Y, epochs=4, callbacks=[count], schedule=lambda epoch: 1 if epoch < 2 else late)
    assert count.calls == ["begin", 1, 2, "end"]
    assert "\n" not in str(caught.value)


def test_numbers_of_every_kind_are_factors():
    losses = [
        new_net().fit(X, Y, epochs=1, schedule=lambda epoch, one=one: one)["train_loss"]
        for one in (1.0, 1, True, np.float32(1), np.array(1.0), np.int64(1), dr.array(1.0), dr.array(1))
    ]
    assert losses == losses[:1] * len(losses)


# Callbacks and early stopping


def test_callbacks_are_called_in_order_and_can_stop():
    count = Count(stop_at=2)
    history = new_net().fit(X, Y, epochs=9, callbacks=[count])
    assert count.calls == ["begin", 1, 2, "end"]
    assert len(history) == 2


@pytest.mark.parametrize("epochs", [400, 3])
def test_early_stopping_restores_the_best_weights(epochs):
    net, stopping = new_net(), nn.EarlyStopping(patience=3)
    history = net.fit(X, Y, nn.SGD(2.0), epochs=epochs, validation=(XV, YV), callbacks=[stopping])
    errors = history["validation_error"]
    best = int(np.argmin(errors))  # the first of equals
    assert history.best is history.epochs[best]
    assert net.evaluate(XV, YV)[1] == errors[best]
    if epochs == 400:
        assert len(history) < 400
        first_of_wait = max(
            i for i in range(len(errors)) if errors[i] == min(errors[: i + 1]) and errors[i] not in errors[:i]
        )
        assert len(history) == first_of_wait + 1 + 3


def test_early_stopping_by_loss_and_for_regression():
    y, yv = X @ np.ones((6, 1)), XV @ np.ones((6, 1))
    net = nn.mlp([6, 8, 1], loss="squared_error")
    history = net.fit(X, y, nn.SGD(0.05), epochs=30, validation=(XV, yv), callbacks=[nn.EarlyStopping()])
    assert history.best["validation_loss"] == min(history["validation_loss"]) == net.evaluate(XV, yv)[0]
    assert history["validation_error"] == [None] * len(history)


def test_min_delta_counts_for_patience_but_not_for_the_weights():
    net = new_net()
    stopping = nn.EarlyStopping("validation_loss", patience=2, min_delta=1e9)
    history = net.fit(X, Y, nn.SGD(0.01), epochs=50, validation=(XV, YV), callbacks=[stopping])
    assert len(history) == 3
    assert history.best["epoch"] == 1 + int(np.argmin(history["validation_loss"])) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size is 0; wanted 1 to 200"),
        ({"batch_size": 201}, ValueError, "batch_size is 201; wanted 1 to 200"),
        ({"batch_size": 2.5}, TypeError, "batch_size is 2.5; wanted a whole number"),
        ({"epochs": -1}, ValueError, "epochs is -1"),
        ({"validation": XV}, ValueError, r"validation is a ndarray; wanted a pair \(x, y\)"),
        ({"validation": (XV,)}, ValueError, "validation is a tuple of 1; wanted a pair"),
        ({"validation": (XV, YV[:9])}, ValueError, "validation: y"),
        ({"validation": (XV[:, :3], YV)}, ValueError, "validation: x"),
        ({"validation": (XV[:0], YV[:0])}, ValueError, "validation: x has no samples"),
        ({"validation": (XV, np.eye(3)[YV])}, None, ""),
        ({"sample_weight": np.ones(3)}, ValueError, r"sample_weight is \(3,\)"),
        ({"sample_weight": -np.ones(200)}, ValueError, r"sample_weight\[0\] is -1"),
        ({"schedule": lambda epoch: math.nan}, ValueError, r"fit: schedule\(0\) gave nan; wanted a finite"),
        (
            {"schedule": lambda epoch: -1},
            ValueError,
            r"schedule\(0\) gave -1; wanted a finite number, at least 0",
        ),
        ({"schedule": lambda epoch: None}, TypeError, r"schedule\(0\) gave None; wanted a finite number"),
        ({"schedule": lambda epoch: "a"}, TypeError, r"schedule\(0\) gave 'a'; wanted a finite number"),
        ({"schedule": lambda epoch: np.ones(1)}, TypeError, r"schedule\(0\) gave array\(\[1.\]\); wanted"),
        (
            {"schedule": nn.Cosine},
            TypeError,
            "fit: schedule is the class Cosine; wanted a function of the epoch",
        ),
        ({"shuffle": "no"}, TypeError, "fit: shuffle is 'no'; wanted True or False"),
        ({"schedule": 0.5}, TypeError, "schedule is 0.5; wanted a function"),
        ({"callbacks": nn.EarlyStopping()}, TypeError, r"callbacks is Early.*; wanted a list of nn.Callback"),
        ({"callbacks": None}, TypeError, "callbacks is None; wanted a list of nn.Callback"),
        ({"callbacks": [print]}, TypeError, "a callback is .*; wanted an nn.Callback"),
        ({"callbacks": [nn.EarlyStopping()]}, ValueError, r"EarlyStopping needs validation=\(x, y\)"),
        ({"progress": "sometimes"}, ValueError, "progress is 'sometimes'; choices: False, True, 'always'"),
        ({"resume": "/nowhere/at/all"}, OSError, "/nowhere/at/all"),
        ({"callbacks": [nn.Checkpoint("/nowhere/at/all")]}, OSError, "/nowhere/at"),
    ],
)
def test_bad_arguments_change_nothing(arguments, error, message):
    net = new_net()
    if error is None:
        net.fit(X, Y, epochs=1, **arguments)
        return
    before = weights(net)
    with pytest.raises(error, match=message) as caught:
        net.fit(X, Y, **{"epochs": 1, **arguments})
    assert "\n" not in str(caught.value)
    assert same(weights(net), before)
    assert not net.history


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: nn.EarlyStopping("loss"),
            ValueError,
            "monitor is 'loss'; choices: validation_error, validation_loss",
        ),
        (lambda: nn.EarlyStopping(patience=0), ValueError, "patience is 0; wanted 1 or more"),
        (lambda: nn.EarlyStopping(patience="3"), TypeError, "patience is '3'; wanted a whole number"),
        (lambda: nn.EarlyStopping(min_delta=-1), ValueError, "min_delta is -1"),
        (lambda: nn.EarlyStopping(min_delta="0"), TypeError, "min_delta is '0'; wanted a number"),
        (lambda: nn.Checkpoint("x", every=0), ValueError, "every is 0; wanted 1 or more"),
        (lambda: nn.Checkpoint("x", every=1.5), TypeError, "every is 1.5; wanted a whole number"),
    ],
)
def test_bad_callbacks_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_validation_error_does_not_exist_for_regression():
    net = nn.mlp([6, 1], loss="squared_error")
    with pytest.raises(ValueError, match="which regression does not have; wanted validation_loss"):
        net.fit(X, X[:, :1], validation=(XV, XV[:, :1]), callbacks=[nn.EarlyStopping("validation_error")])


@pytest.mark.parametrize(("samples", "rows"), [(1, 1), (99, 99), (101, 100), (200, 100)])
def test_minibatches_are_of_100_samples_or_all_there_are(samples, rows):
    nets = [new_net(), new_net()]
    for net, batch_size in zip(nets, ({}, {"batch_size": rows}), strict=True):
        net.fit(X[:samples], Y[:samples], nn.SGD(0.1), epochs=2, **batch_size)
    assert same(*map(weights, nets))


class Change(nn.Callback):
    """Give all labels another value after the first epoch."""

    def __init__(self, *labels):
        self.labels = labels

    def on_epoch_end(self, net, history):
        for labels in self.labels:
            labels[:] = 1


@pytest.mark.parametrize("kind", [np.asarray, asarray], ids=["numpy", "array"])
def test_labels_that_change_meanwhile_are_those_of_the_beginning(kind):
    """They are looked at once: a label out of range would be a write out of bounds."""
    want = new_net().fit(X, Y, epochs=3, batch_size=50, validation=(XV, YV))
    y, yv = Y.copy(), YV.copy()
    net = new_net()
    got = net.fit(X, kind(y), epochs=3, batch_size=50, validation=(XV, kind(yv)), callbacks=[Change(y, yv)])
    assert timeless(got) == timeless(want)
    assert (y == 1).all()
    assert (yv == 1).all()


class Fail(nn.Callback):
    """Raises at the begin or the end of the training."""

    def __init__(self, begin=None, end=None):
        self.begin, self.end = begin, end

    def on_train_begin(self, net, history):
        if self.begin is not None:
            raise self.begin

    def on_train_end(self, net, history):
        if self.end is not None:
            raise self.end


def test_the_best_weights_come_back_whatever_another_callback_raises():
    net, count = new_net(), Count()
    first, second = OSError("the log is full"), OSError("so is the other")
    callbacks = [Fail(end=first), nn.EarlyStopping("validation_loss"), Fail(end=second), count]
    with pytest.raises(OSError, match="the log is full") as caught:
        net.fit(X, Y, nn.SGD(2.0), epochs=30, batch_size=50, validation=(XV, YV), callbacks=callbacks)
    assert caught.value is first
    if sys.version_info >= (3, 11):
        assert first.__notes__ == ["fit: then Fail.on_train_end raised OSError('so is the other')"]
    assert net.evaluate(XV, YV)[0] == min(net.history["validation_loss"]) < net.history["validation_loss"][-1]
    assert net.history.best["validation_loss"] == min(net.history["validation_loss"])
    assert count.calls[-1] == "end"
    net = nn.mlp([6, 8, 1], loss="squared_error")
    with pytest.raises(nn.DivergedError):  # what ended the training goes before what came at its end
        net.fit(X, X[:, :1], nn.SGD(1e30), epochs=5, batch_size=20, callbacks=[Fail(end=OSError())])


@pytest.mark.parametrize("stop", [KeyboardInterrupt("now"), SystemExit(3)], ids=repr)
def test_an_interrupt_at_the_end_goes_before_errors(stop):
    count = Count()
    ends = [Fail(end=OSError("full")), Fail(end=stop), Fail(end=OSError("later")), count]
    with pytest.raises(type(stop)) as caught:
        new_net().fit(X, Y, epochs=1, callbacks=ends)
    assert caught.value is stop
    assert count.calls[-1] == "end"
    if sys.version_info >= (3, 11):
        assert stop.__notes__[0] == "fit: before that came OSError('full')"
    with pytest.raises(type(stop)) as caught:
        nn.mlp([6, 8, 1], loss="squared_error").fit(
            X, X[:, :1], nn.SGD(1e30), epochs=5, batch_size=20, callbacks=[Fail(end=stop)]
        )
    assert isinstance(caught.value.__context__, nn.DivergedError)


def test_callbacks_that_have_begun_have_an_end():
    before, after = Count(), Count()
    net = new_net()
    start = weights(net)
    with pytest.raises(OSError, match="no room"):
        net.fit(X, Y, epochs=1, callbacks=[before, Fail(begin=OSError("no room")), after])
    assert (before.calls, after.calls) == (["begin", "end"], [])
    assert same(weights(net), start)


# Progress


def test_progress_is_quiet_unless_asked_for(capsys):
    new_net().fit(X, Y, epochs=2, progress=True)  # stderr is no terminal here
    assert capsys.readouterr().err == ""
    pytest.importorskip("tqdm")
    new_net().fit(X, Y, epochs=2, validation=(XV, YV), progress="always")
    shown = capsys.readouterr().err
    for part in ("epoch 2/2", "loss=", "validation error=", "samples/s", "400/400"):
        assert part in shown


def test_the_design_s_example_runs(tmp_path):
    rows = np.random.default_rng(2)
    x, y = rows.integers(0, 256, (300, 784)).astype(np.uint8), rows.integers(0, 10, 300)
    xv, yv = x[:100], y[:100]
    net = nn.Network(
        [nn.Dense(1000, "scaled_tanh"), nn.Dense(500, "scaled_tanh"), nn.Dense(10)],
        inputs=784, loss="softmax_cross_entropy", init=nn.init.Uniform(0.05),
        device="cpu", precision="highest", seed=0,
    )  # fmt: skip
    net = nn.mlp([784, 1000, 500, 10], activation="tanh")
    net.standardize(np.full(784, 128), np.full(784, 1 / 128))
    loss = net.train_step(x[:100], y[:100], nn.SGD(1e-3))
    assert 0 < loss < 10
    history = net.fit(x, y, optimizer=nn.SGD(1e-3), epochs=3, batch_size=100, validation=(xv, yv),
                      schedule=nn.Exponential(0.99), callbacks=[nn.EarlyStopping()], progress=True,
    )  # fmt: skip
    assert len(history) == 3
    assert net.predict(x).shape == (300,)
    assert net.predict_proba(x).shape == (300, 10)
    assert 0 <= net.score(x, y) <= 1
    net.save(tmp_path / "digits.safetensors")
    same = nn.Network.load(tmp_path / "digits.safetensors", device="cpu")
    assert same.predict_proba(x).tobytes() == net.predict_proba(x).tobytes()


def test_threads_without_signals_can_train():
    import threading

    nets = [new_net(), new_net()]
    thread = threading.Thread(target=nets[0].fit, args=(X, Y), kwargs={"epochs": 2})
    thread.start()
    thread.join()
    nets[1].fit(X, Y, epochs=2)
    assert same(*(weights(net) for net in nets))


@pytest.mark.isa
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_thread_count_changes_no_bit():
    from deltarule import _core

    before = _core.num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            _core.set_num_threads(threads)
            net = nn.mlp([60, 300, 100, 10], "relu", dropout=0.2, seed=1)
            x = np.random.default_rng(0).random((500, 60), np.float32)
            history = net.fit(x, np.arange(500) % 10, nn.Adam(), epochs=2, batch_size=128)
            results.append((weights(net), timeless(history)))
    finally:
        _core.set_num_threads(before)
    for found, record in results[1:]:
        assert same(found, results[0][0])
        assert record == results[0][1]
