"""fit that ends before its time: a loss that diverges, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from deltarule import nn
from test_fit import XV, YV, Count, X, Y, new_net, timeless
from test_nn import same, weights


class Interrupt(nn.Callback):
    """Ctrl-C at the end of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, history):
        if len(history) == self.epoch:
            signal.raise_signal(signal.SIGINT)


class Raise(nn.Callback):
    """Multiply the learning rate by `factor` from the end of an epoch on."""

    def __init__(self, epoch):
        self.epoch = epoch
        self.kept = None

    def __call__(self, epoch):
        return 1e30 if epoch >= self.epoch else 1.0

    def on_epoch_end(self, net, history):
        self.kept = weights(net)


@pytest.mark.parametrize("optimizer", [nn.SGD(0.01), nn.Adam(0.01)], ids=lambda o: o.kind)
def test_divergence_keeps_the_last_good_epoch(optimizer):
    net = nn.mlp([6, 8, 1], loss="squared_error")
    jump = Raise(epoch=2)
    with pytest.raises(
        nn.DivergedError, match=r"fit: loss is (inf|nan) at epoch 3, step \d+ \(learning rate 1e\+28\)"
    ) as caught:
        net.fit(X, X[:, :1], optimizer, epochs=5, batch_size=20, schedule=jump, callbacks=[jump])
    assert "those of the end of epoch 2" in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert (caught.value.epoch, caught.value.learning_rate) == (3, pytest.approx(1e28))
    assert caught.value.step >= 2  # the first bad update is seen one step later
    assert len(net.history) == 2
    assert same(weights(net), jump.kept)
    assert not net.engine.slots()
    net.fit(X, X[:, :1], optimizer, epochs=1)  # usable


def test_an_update_that_ruins_the_weights_does_not_count_as_a_good_epoch():
    """With one minibatch an epoch, its loss is finite, its end is not: the next one's first loss says so."""
    net = nn.mlp([6, 8, 1], loss="squared_error")
    jump = Raise(epoch=2)
    kept = []
    jump.on_epoch_end = lambda net, history: kept.append(weights(net))
    with pytest.raises(nn.DivergedError, match=r"epoch 4, step 1 .*end of epoch 2;"):
        net.fit(X, X[:, :1], nn.SGD(0.01), epochs=5, batch_size=200, schedule=jump, callbacks=[jump])
    assert same(weights(net), kept[1])
    assert not same(weights(net), kept[2])


def test_divergence_in_the_first_epoch_and_with_early_stopping():
    net = nn.mlp([6, 8, 1], loss="squared_error")
    before = weights(net)
    with pytest.raises(nn.DivergedError, match="those before the training"):
        net.fit(X, X[:, :1], nn.SGD(1e30), epochs=5, batch_size=20)
    assert same(weights(net), before)
    jump = Raise(epoch=3)
    with pytest.raises(nn.DivergedError):
        net.fit(X, X[:, :1], nn.SGD(0.01), epochs=5, batch_size=20, schedule=jump, validation=(XV, XV[:, :1]),
                callbacks=[nn.EarlyStopping()])  # fmt: skip
    assert (
        net.history.best["validation_loss"]
        == net.evaluate(XV, XV[:, :1])[0]
        == min(net.history["validation_loss"])
    )


# Ctrl-C


def test_ctrl_c_leaves_the_net_usable_and_the_handler_as_it_was():
    handler = signal.getsignal(signal.SIGINT)
    net, count = new_net(), Count()
    with pytest.raises(KeyboardInterrupt):
        net.fit(
            X,
            Y,
            epochs=50,
            validation=(XV, YV),
            callbacks=[count, Interrupt(4), nn.EarlyStopping("validation_loss")],
        )
    assert signal.getsignal(signal.SIGINT) is handler
    assert count.calls == ["begin", 1, 2, 3, 4, "end"]
    best = int(np.argmin(net.history["validation_loss"]))
    assert net.history.best is net.history.epochs[best]
    assert net.evaluate(XV, YV)[0] == net.history["validation_loss"][best]
    net.fit(X, Y, epochs=1)


class InterruptEnd(nn.Callback):
    """Ctrl-C while the training ends."""

    def on_train_end(self, net, history):
        os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_while_fit_ends_comes_after_its_end(tmp_path):
    path, count = tmp_path / "checkpoint", Count()
    stopping = nn.EarlyStopping("validation_loss", patience=99)

    def train(net, epochs, *more, **settings):
        callbacks = [*more, stopping, nn.Checkpoint(path, every=9)]
        return net.fit(X, Y, nn.Adam(0.05), epochs, 20, (XV, YV), callbacks=callbacks, **settings)

    whole, part, resumed = new_net(), new_net(), new_net()
    expected = train(whole, 6)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(part, 4, InterruptEnd(), count)
    assert signal.getsignal(signal.SIGINT) is handler
    assert count.calls == ["begin", 1, 2, 3, 4, "end"]
    assert part.history.best["validation_loss"] == min(part.history["validation_loss"])
    assert part.evaluate(XV, YV)[0] == part.history.best["validation_loss"]
    assert timeless(train(resumed, 6, resume=path)) == timeless(expected)
    assert same(weights(whole), weights(resumed))


def test_ctrl_c_while_a_fit_that_has_failed_ends():
    with pytest.raises(KeyboardInterrupt) as caught:
        nn.mlp([6, 8, 1], loss="squared_error").fit(
            X, X[:, :1], nn.SGD(1e30), epochs=5, batch_size=20, callbacks=[InterruptEnd()]
        )
    assert isinstance(caught.value.__context__, nn.DivergedError)


def test_two_ctrl_c_make_one_interrupt():
    with pytest.raises(KeyboardInterrupt) as caught:
        new_net().fit(X, Y, epochs=9, callbacks=[Interrupt(2), InterruptEnd()])
    assert caught.value.__context__ is None


def test_a_handler_that_raises_nothing_gets_every_ctrl_c():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append("Ctrl-C"))
    try:
        history = new_net().fit(X, Y, epochs=5, callbacks=[Interrupt(2), InterruptEnd()])
    finally:
        signal.signal(signal.SIGINT, before)
    assert (len(history), heard) == (5, ["Ctrl-C"] * 2)


def test_ctrl_c_in_a_real_process(tmp_path):
    code = f"""
import os, signal, threading
import numpy as np
from deltarule import nn
x = np.random.default_rng(0).random((2000, 50), np.float32)
y = np.arange(2000) % 10
net = nn.mlp([50, 200, 200, 10])
path = {str(tmp_path / "checkpoint")!r}
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    net.fit(x, y, epochs=10**9, batch_size=10, callbacks=[nn.Checkpoint(path, every=10**9)])
except KeyboardInterrupt:
    print("interrupted", np.isfinite(net.forward(x)).all(), os.path.exists(path))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["interrupted", "True", "True"], done.stderr
