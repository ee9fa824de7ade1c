"""Checkpoints: a resumed training gives the bits of the uninterrupted one, and no other training resumes."""

from __future__ import annotations

import math
import signal

import deltarule.nn.fit as fit_module
import numpy as np
import pytest
from deltarule import nn
from deltarule.nn import files
from test_fit import XV, YV, X, Y, new_net, timeless
from test_fit_stops import Interrupt
from test_nn import same, weights


class InterruptAtStep(nn.Callback):
    """Ctrl-C as it comes in the middle of an epoch: a schedule is asked before every step."""

    def __init__(self, schedule, epoch):
        self.schedule, self.epoch, self.done = schedule, epoch, False

    def __call__(self, epoch):
        if epoch >= self.epoch and not self.done:
            self.done = True
            signal.raise_signal(signal.SIGINT)
        return self.schedule(epoch)


SETTINGS = {
    "sgd": (nn.SGD(0.5), nn.Constant()),
    "nesterov": (nn.Nesterov(0.05, weight_decay=1e-3), nn.Exponential(0.8)),
    "adam": (nn.Adam(0.02), nn.Cosine(8)),
    "adamw": (nn.AdamW(0.02, clip_norm=1.0), nn.Warmup(2, nn.Step(3, 0.5))),
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("where", [2, 2.5, 4.9])
def test_resume_gives_the_bits_of_the_uninterrupted_run(settings, where, tmp_path, monkeypatch):
    monkeypatch.setattr(
        fit_module, "CHUNK_SECONDS", 0.0
    )  # a chunk a step, so that the middle of an epoch is one
    optimizer, schedule = SETTINGS[settings]
    path = tmp_path / "checkpoint.safetensors"

    def train(net, schedule, **more):
        stopping = nn.EarlyStopping("validation_loss", patience=4)
        callbacks = [nn.Checkpoint(path, every=3), stopping, *more.pop("callbacks", ())]
        return net.fit(
            X, Y, optimizer, batch_size=9, validation=(XV, YV), callbacks=callbacks, schedule=schedule, **more
        )

    whole = new_net(dropout=0.3)
    expected = train(whole, schedule, epochs=8)

    part = new_net(dropout=0.3)
    if where == int(where):
        with pytest.raises(KeyboardInterrupt):
            train(part, schedule, epochs=5, callbacks=[Interrupt(where)])
    else:
        with monkeypatch.context() as patch:
            # The interrupting schedule must pass for the one it wraps.
            patch.setattr("deltarule.nn.plan.describe", lambda _: repr(schedule))
            with pytest.raises(KeyboardInterrupt):
                train(part, InterruptAtStep(schedule, where), epochs=5)

    resumed = nn.mlp([6, 16, 3], seed=5, dropout=0.3)
    history = train(resumed, schedule, epochs=8, resume=path)
    assert same(weights(whole), weights(resumed))
    assert timeless(history) == timeless(expected)
    assert history.best["epoch"] == expected.best["epoch"]
    slots = [
        {name: np.asarray(slot).tobytes() for name, slot in net.engine.slots().items()}
        for net in (whole, resumed)
    ]
    assert slots[0] == slots[1]


def test_resume_in_the_middle_of_an_epoch_of_blocks(tmp_path, monkeypatch):
    """On-line steps are taken in blocks; an interrupt waits for the end of one."""
    monkeypatch.setattr(fit_module, "CHUNK_SECONDS", 0.0)
    x, path = np.repeat(X, 50, axis=1), tmp_path / "checkpoint"

    def train(net, schedule, **more):
        assert net.engine.block_steps(1, nn.SGD(0.01).build()) == 16
        checkpoint = nn.Checkpoint(path, every=9)
        return net.fit(x, Y, nn.SGD(0.01), 2, 1, schedule=schedule, callbacks=[checkpoint], **more)

    schedule = nn.Cosine(2)
    whole, part, resumed = (nn.mlp([300, 64, 3], seed=5) for _ in range(3))
    expected = train(whole, schedule)
    with monkeypatch.context() as patch:
        patch.setattr("deltarule.nn.plan.describe", lambda _: repr(schedule))
        with pytest.raises(KeyboardInterrupt):
            train(part, InterruptAtStep(schedule, 0.6))
    assert part.engine.step == 128  # the first multiple of 16 after 0.6 of 200
    assert timeless(train(resumed, schedule, resume=path)) == timeless(expected)
    assert same(weights(whole), weights(resumed))


class RaiseFirst(nn.Callback):
    """A callback that itself raises, before the others have seen the epoch."""

    def on_epoch_end(self, net, history):
        if len(history) == 2:
            raise KeyboardInterrupt


class SignalInside:
    """The engine, with Ctrl-C between a step and its entry in the books; a second one goes through at once."""

    OWN = ("engine", "calls", "times")

    def __init__(self, engine, calls, times=1):
        self.engine, self.calls, self.times = engine, calls, times

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def __setattr__(self, name, value):
        if name in self.OWN:
            vars(self)[name] = value
        else:
            setattr(self.engine, name, value)

    def train_steps(self, *arguments, **settings):
        done = self.engine.train_steps(*arguments, **settings)
        self.calls -= 1
        if self.calls == 0:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)
        return done


@pytest.mark.parametrize("calls", [14, 20])  # in the second epoch, and after its last step
def test_a_second_ctrl_c_leaves_the_last_checkpoint(calls, tmp_path, monkeypatch):
    """Steps were made that no book knows of."""
    monkeypatch.setattr(fit_module, "CHUNK_SECONDS", 0.0)
    path = tmp_path / "checkpoint"

    def train(net, **more):
        return net.fit(X, Y, nn.Adam(0.05), 4, 20, callbacks=[nn.Checkpoint(path)], **more)

    whole, part, resumed = new_net(), new_net(), new_net()
    expected = train(whole)
    part.engine = SignalInside(part.engine, calls, times=2)
    with pytest.raises(KeyboardInterrupt):
        train(part)
    state = files.read(path, files.CHECKPOINT)[1]["state"]
    assert (state["epoch"], state["step"], state["updates"]) == (1, 0, 10)
    assert timeless(train(resumed, resume=path)) == timeless(expected)
    assert same(weights(whole), weights(resumed))


class Losses(nn.Callback):
    """One entry an epoch; an interrupt in the middle of it leaves one out. Known by its class: it has no repr."""

    def __init__(self, interrupt=0):
        self.interrupt, self.losses = interrupt, []

    def on_epoch_end(self, net, history):
        if len(history) == self.interrupt:
            raise KeyboardInterrupt
        self.losses.append(history["train_loss"][-1])

    def state(self):
        return {"losses": list(self.losses)}

    def restore(self, state):
        self.losses = list(state["losses"])


def test_an_epoch_that_a_callback_missed_is_not_written(tmp_path):
    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        new_net().fit(X, Y, nn.Adam(), 5, callbacks=[Losses(interrupt=3), nn.Checkpoint(path)])
    assert files.read(path, files.CHECKPOINT)[1]["settings"]["callbacks"] == ["test_resume.Losses"]
    losses = Losses()
    history = new_net().fit(X, Y, nn.Adam(), 5, callbacks=[losses], resume=path)
    assert losses.losses == history["train_loss"]
    assert len(history) == 5


def test_resume_of_a_net_that_is_pruned_takes_the_checkpoint_s_blocks(tmp_path, monkeypatch):
    """Without masks steps are taken in blocks, whose bits differ from those of single steps."""
    monkeypatch.setattr(fit_module, "CHUNK_SECONDS", 0.0)
    x, path = np.repeat(X, 50, axis=1), tmp_path / "checkpoint"
    whole, resumed = (nn.mlp([300, 64, 3], seed=5) for _ in range(2))
    whole.fit(x, Y, nn.SGD(0.01), 1, 1, callbacks=[nn.Checkpoint(path)])
    whole = nn.mlp([300, 64, 3], seed=5)
    expected = whole.fit(x, Y, nn.SGD(0.01), 2, 1)
    resumed.prune(0.5)
    assert timeless(resumed.fit(x, Y, nn.SGD(0.01), 2, 1, resume=path)) == timeless(expected)
    assert same(weights(whole), weights(resumed))


@pytest.mark.parametrize("kind", ["callback", "between"])
def test_awkward_interrupts_resume_as_well(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_module, "CHUNK_SECONDS", 0.0)
    path = tmp_path / "checkpoint"

    def train(net, **more):
        first = [RaiseFirst()] if more.pop("broken", False) else []
        callbacks = [*first, nn.EarlyStopping("validation_loss", patience=2), nn.Checkpoint(path, every=9)]
        return net.fit(X, Y, nn.Adam(0.05), 6, 20, (XV, YV), callbacks=callbacks, **more)

    whole, part, resumed = new_net(), new_net(), new_net()
    expected = train(whole)
    if kind == "between":
        part.engine = SignalInside(part.engine, calls=14)
    with pytest.raises(KeyboardInterrupt):
        train(part, broken=kind == "callback")
    assert timeless(train(resumed, resume=path)) == timeless(expected)
    assert same(weights(whole), weights(resumed))


def test_divergence_after_a_resume_keeps_the_last_good_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(fit_module, "CHUNK_SECONDS", 0.0)
    path = tmp_path / "checkpoint"
    net, kept = new_net(), []

    class Keep(nn.Callback):
        def on_epoch_end(self, net, history):
            kept.append(weights(net))

    net.engine = SignalInside(net.engine, calls=25)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, nn.SGD(0.1), epochs=9, batch_size=20, callbacks=[nn.Checkpoint(path), Keep()])
    saved = files.read(path, files.CHECKPOINT)
    assert (saved[1]["state"]["epoch"], saved[1]["state"]["step"]) == (2, 5)
    files.write(
        path, files.CHECKPOINT, {**saved[0], "layer0.weight": np.full((6, 16), np.inf, np.float32)}, saved[1]
    )
    resumed = new_net()
    with pytest.raises(nn.DivergedError, match=r"epoch 3, step 6 .*end of epoch 2;"):
        resumed.fit(X, Y, nn.SGD(0.1), epochs=9, batch_size=20, resume=path)
    assert same(weights(resumed), kept[1])


def test_divergence_right_after_a_resume_says_whose_the_weights_are(tmp_path):
    """With one step an epoch the checkpoint may hold what the last update ruined; nothing better is known."""
    path = tmp_path / "checkpoint"
    x, y = X[:20], X[:20, :1]
    net = nn.mlp([6, 8, 1], loss="squared_error")
    net.fit(x, y, nn.SGD(1e30), epochs=1, batch_size=20, callbacks=[nn.Checkpoint(path)])
    ruined = weights(net)
    resumed = nn.mlp([6, 8, 1], loss="squared_error")
    with pytest.raises(nn.DivergedError, match=r"epoch 2, step 1 .*the weights are those of the checkpoint"):
        resumed.fit(x, y, nn.SGD(1e30), epochs=3, batch_size=20, resume=path)
    assert same(weights(resumed), ruined)


def test_resume_of_a_finished_run_goes_on_with_more_epochs(tmp_path):
    path = tmp_path / "checkpoint"
    whole, part = new_net(), new_net()
    whole.fit(X, Y, nn.Adam(), epochs=6)
    part.fit(X, Y, nn.Adam(), epochs=4, callbacks=[nn.Checkpoint(path, every=100)])
    again = new_net()
    assert len(again.fit(X, Y, nn.Adam(), epochs=4, resume=path)) == 4
    assert same(weights(again), weights(part))
    again.fit(X, Y, nn.Adam(), epochs=6, resume=path)
    assert same(weights(again), weights(whole))


def test_resume_knows_that_early_stopping_has_stopped(tmp_path):
    path = tmp_path / "checkpoint"
    nets, histories = [new_net(), new_net()], []
    for net, resume in zip(nets, (None, path), strict=True):
        callbacks = [nn.Checkpoint(path), nn.EarlyStopping(patience=2)]
        histories.append(
            net.fit(X, Y, nn.SGD(2.0), epochs=100, validation=(XV, YV), callbacks=callbacks, resume=resume)
        )
    assert len(histories[0]) < 100
    assert timeless(histories[0]) == timeless(histories[1])
    assert same(*(weights(net) for net in nets))


DIFFERENT = {
    "optimizer": ({"optimizer": nn.SGD(0.1)}, "optimizer had kind 'adam', now 'sgd'"),
    "lr": ({"optimizer": nn.Adam(0.5)}, "optimizer had lr 0.001, now 0.5"),
    "batch_size": ({"batch_size": 20}, "batch_size was 10, is now 20"),
    "schedule": ({"schedule": nn.Cosine(3)}, r"schedule was 'Constant\(\)', is now 'Cosine"),
    "shuffle": ({"shuffle": False}, "shuffle was True, is now False"),
    "samples": ({"x": X[:100], "y": Y[:100]}, "samples was 200, is now 100"),
    "data": ({"x": X[::-1]}, "the data are not the same numbers"),
    "validation": ({"validation": (X, Y)}, "validation"),
    "weights": ({"sample_weight": np.ones(200)}, "sample_weight"),
    "callbacks": ({"callbacks": [nn.EarlyStopping()]}, r"callbacks was \[\], is now \['EarlyStopping"),
    "epochs": ({"epochs": 1}, "epochs is 1, it is in epoch 2"),
    "seed": ({"net": {"seed": 1}}, "seed was 0, is now 1"),
    "layers": ({"net": {"activation": "relu"}}, "layers was"),
    "dtype": ({"net": {"dtype": "float64"}}, "dtype was 'float32', is now 'float64'"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_resume_with_other_settings_is_refused(name, tmp_path):
    path = tmp_path / "checkpoint"
    usual = {"x": X, "y": Y, "optimizer": nn.Adam(), "epochs": 2, "batch_size": 10, "validation": (XV, YV)}
    nn.mlp([6, 4, 3]).fit(**usual, callbacks=[nn.Checkpoint(path)])
    change, message = DIFFERENT[name]
    change = dict(change)
    net = nn.mlp([6, 4, 3], **change.pop("net", {}))
    before = weights(net)
    with pytest.raises(ValueError, match=message) as caught:
        net.fit(**{**usual, **change}, resume=path)
    assert "\n" not in str(caught.value)
    assert same(weights(net), before)


def test_resume_with_another_standardisation_is_refused(tmp_path):
    path = tmp_path / "checkpoint"
    new_net().fit(X, Y, epochs=1, callbacks=[nn.Checkpoint(path)])
    net = new_net()
    net.standardize(np.zeros(6), np.full(6, 2.0))
    with pytest.raises(ValueError, match="the standardization is not the same"):
        net.fit(X, Y, epochs=1, resume=path)


def test_callbacks_with_a_state_resume(tmp_path):
    class Total(nn.Callback):
        total = 0.0

        def __repr__(self):
            return "Total()"

        def on_epoch_end(self, net, history):
            self.total += history.epochs[-1]["train_loss"]

        def state(self):
            return {"total": self.total, "array": np.arange(3)}

        def restore(self, state):
            assert state["array"].tolist() == [0, 1, 2]
            self.total = state["total"]

    path = tmp_path / "checkpoint"
    new_net().fit(X, Y, epochs=2, callbacks=[Total(), nn.Checkpoint(path)])
    total = Total()
    history = new_net().fit(X, Y, epochs=3, callbacks=[total], resume=path)
    assert total.total == pytest.approx(math.fsum(history["train_loss"]), rel=1e-14)
