"""nn.Network on a GPU: the oracle's training, resuming, saving, the CPU's files and the other way round."""

from __future__ import annotations

from dataclasses import replace

import deltarule as dr
import network_cases as cases
import numpy as np
import pytest
import tolerance
from conftest import GPUS
from deltarule import _core, nn
from reference_network import Optimizer, train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPUS, reason="no GPU")]
RNG = np.random.default_rng(8)
X = RNG.standard_normal((90, 6)).astype(np.float32)
Y = (X @ RNG.standard_normal((6, 3)).astype(np.float32)).argmax(1)
XV, YV = X[:30], Y[:30]
SIZES = [6, 16, 3]


def new_net(device="cuda", **settings):
    return nn.mlp(SIZES, device=device, **{"seed": 5, **settings})


def weights(net):
    return cases.copies(net.parameters)


def assert_trained(net, reference, steps):
    for got, want in zip(weights(net), reference.parameters(), strict=True):
        bound = tolerance.through_network(want, net.dtype, 32, 2, steps, 1.0)
        tolerance.assert_within(got, want, bound)


def test_the_net_knows_where_it_is():
    net = new_net()
    assert net.device == "cuda:0"
    assert {p.device for p in net.parameters} == {"cuda:0"}
    for got, want in zip(weights(net), weights(new_net("cpu")), strict=True):
        assert got.tobytes() == want.tobytes()  # the same seed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 9, 40, 90])
def test_fit_is_the_oracle_s_training(batch, dtype):
    net = new_net(dtype=dtype)
    reference = cases.oracle(net)
    history = net.fit(X, Y, nn.SGD(0.1), epochs=3, batch_size=batch, schedule=nn.Exponential(0.5))
    losses = []
    for epoch in range(3):
        order = np.asarray(_core.permutation(90, 5, _core.shuffle_stream(epoch)))
        steps = -(-90 // batch)
        for step in range(steps):
            rows = order[step * batch : (step + 1) * batch]
            rule = Optimizer("sgd", 0.1 * 0.5 ** (epoch + step / steps))
            losses.append(train(reference, rule, X.astype(np.float64), Y, rows, batch)[0])
    assert_trained(net, reference, 3 * steps)
    assert len(history) == 3


@pytest.mark.parametrize("batch", [1, 9])
def test_layers_without_bias(batch):
    layers = [nn.Dense(16, "tanh", bias=False), nn.Dense(3, bias=False)]
    net = nn.Network(layers, inputs=6, device="cuda", seed=5)
    reference = cases.oracle(net)
    net.fit(X, Y, nn.SGD(0.1), epochs=1, batch_size=batch, shuffle=False)
    train(reference, Optimizer("sgd", 0.1), X.astype(np.float64), Y, np.arange(90), batch)
    assert_trained(net, reference, -(-90 // batch))


def test_data_already_on_the_device():
    seen = []
    for x, y in ((X, Y), (dr.asarray(X, device="cuda"), dr.asarray(Y, device="cuda")), (dr.asarray(X), Y)):
        net = new_net()
        history = net.fit(x, y, nn.Momentum(0.05), epochs=2, batch_size=20, validation=(x, y))
        seen.append((weights(net), history["train_loss"], history["validation_error"]))
        assert net.evaluate(x, y) == net.evaluate(X, Y)
        assert net.predict(x).tolist() == net.predict(X).tolist()
        assert net.train_step(x[:10], y[:10], nn.SGD(0.1)) > 0
    for other in seen[1:]:
        assert cases.same_bits(seen[0][0], other[0])
        assert seen[0][1:] == other[1:]


def test_uint8_images_and_standardization():
    images = RNG.integers(0, 256, (90, 6)).astype(np.uint8)
    shift, scale = np.linspace(0, 100, 6), np.linspace(0.001, 0.01, 6)
    seen = []
    for x, transform in (
        (images, (shift, scale)),
        (((images - shift.astype("f4")) * scale.astype("f4")), None),
    ):
        net = new_net()
        if transform:
            net.standardize(*transform)
        net.fit(x, Y, nn.SGD(0.1), epochs=2, batch_size=32)
        seen.append(weights(net))
    assert cases.same_bits(*seen)


@pytest.mark.parametrize("optimizer", [nn.SGD(0.1), nn.Adam(0.01, clip_norm=0.5)], ids=lambda o: o.kind)
def test_steps_run_again_are_the_steps_called_one_by_one(optimizer):
    whole, single = (new_net(dropout=0.3) for _ in range(2))
    rule = optimizer.build()
    for _ in range(3):
        done = whole.engine.train_steps(X, Y, None, 10, rule)
        losses = [single.train_step(X[i : i + 10], Y[i : i + 10], optimizer) for i in range(0, 90, 10)]
        assert np.asarray(done.losses).tolist() == losses
    assert cases.same_bits(weights(whole), weights(single))
    assert whole.engine.step == single.engine.step == 27


def test_what_changes_between_calls_is_seen():
    """The same shapes with another rate, other data, larger minibatches in between."""
    net = new_net(dtype="float64")
    reference = cases.oracle(net)
    x = X.astype(np.float64)
    for lr, rows, batch in ((0.1, 90, 10), (0.02, 90, 10), (0.1, 45, 45), (0.05, 90, 10), (0.05, 80, 10)):
        data = x[:rows] * (1 + lr)
        train(reference, Optimizer("sgd", lr), data, Y[:rows], np.arange(rows), batch)
        net.engine.train_steps(data, Y[:rows], None, batch, nn.SGD(lr).build())
        assert_trained(net, reference, 40)


def test_the_updates_of_a_step_are_one_launch(launches):
    """Of biases alone, or of all parameters: a layer more is a product forward, one backward, one for its weights."""

    def of_a_step(rule, layers):
        net = nn.mlp([6, *range(7, 6 + layers), 3], device="cuda", seed=5)

        def of(steps):
            x, y = X[: 9 * steps], Y[: 9 * steps]
            return launches(lambda: net.engine.train_steps(x, y, None, 9, rule.build()))

        of(2)
        return of(5) - of(4)

    rules = [nn.SGD(0.1), nn.Momentum(0.1), nn.Adam(0.01)]
    few, many = of_a_step(rules[0], 2), of_a_step(rules[0], 7)
    assert many == few + 5 * 3
    for rule in rules:
        assert of_a_step(rule, 7) == many
        assert of_a_step(replace(rule, clip_norm=0.5), 7) == many + 1


@pytest.mark.parametrize("kind", [nn.SGD(0.1), nn.Adam(0.01)], ids=lambda o: o.kind)
@pytest.mark.parametrize("batch", [1, 9])
def test_resume_gives_the_bits_of_the_uninterrupted_run(kind, batch, tmp_path):
    path = tmp_path / "checkpoint.safetensors"

    class Interrupt(nn.Callback):
        def on_epoch_end(self, net, history):
            if len(history) == 2:
                raise KeyboardInterrupt

    def train_net(net, epochs, *more, **options):
        stopping = nn.EarlyStopping("validation_loss", patience=9)
        callbacks = [nn.Checkpoint(path), stopping, *more]
        return net.fit(X, Y, kind, epochs, batch, validation=(XV, YV), callbacks=callbacks, **options)

    whole = new_net(dropout=0.3)
    train_net(whole, 4)
    with pytest.raises(KeyboardInterrupt):
        train_net(new_net(dropout=0.3), 4, Interrupt())
    resumed = nn.mlp(SIZES, dropout=0.3, seed=5, device="cuda")
    train_net(resumed, 4, resume=path)
    assert cases.same_bits(weights(whole), weights(resumed))


def test_a_loss_that_diverges_leaves_the_last_good_weights():
    net = nn.mlp([6, 8, 1], "linear", loss="squared_error", device="cuda")
    before = weights(net)
    with pytest.raises(nn.DivergedError, match="those before the training"):
        net.fit(X, X[:, :1], nn.SGD(1e30), epochs=3, batch_size=20)
    assert cases.same_bits(weights(net), before)
    x = X.copy()
    x[3] = 1e30
    with pytest.raises(nn.DivergedError, match="the weights are as before"):
        net.train_step(x, X[:, :1], nn.SGD(0.1))
    assert cases.same_bits(weights(net), before)


def test_files_go_both_ways(tmp_path):
    net = new_net()
    net.standardize(np.ones(6), np.full(6, 0.5))
    net.fit(X, Y, nn.SGD(0.1), epochs=1, batch_size=30)
    net.save(tmp_path / "gpu")
    here = nn.Network.load(tmp_path / "gpu")
    assert here.device == "cpu"
    assert cases.same_bits(weights(here), weights(net))
    bound = tolerance.through_network(here.forward(X), "float32", 16, 2)
    tolerance.assert_within(net.forward(X), here.forward(X).astype(np.float64), bound)
    here.save(tmp_path / "cpu")
    assert (tmp_path / "cpu").read_bytes() == (tmp_path / "gpu").read_bytes()
    again = nn.Network.load(tmp_path / "cpu", device="cuda")
    assert cases.same_bits([again.forward(X)], [net.forward(X)])
    assert again.score(X, Y) == net.score(X, Y)
    assert again.predict_proba(X).shape == (90, 3)


def test_two_runs_have_the_same_bits():
    runs = []
    for _ in range(2):
        net = new_net(dropout=0.2)
        net.fit(X, Y, nn.Adam(0.01), epochs=2, batch_size=16)
        runs.append(weights(net))
    assert cases.same_bits(*runs)


def test_bad_labels_are_named_before_anything_runs(one_line):
    net = new_net()
    bad = Y.copy()
    bad[7] = 3
    with one_line(ValueError, r"y\[7\] is 3; wanted labels from 0 to 2"):
        net.fit(dr.asarray(X, device="cuda"), dr.asarray(bad, device="cuda"), nn.SGD(0.1))
    x = X.copy()
    x[5, 2] = np.nan
    with one_line(ValueError, r"x\[5, 2\] is nan; wanted finite numbers"):
        net.train_step(dr.asarray(x, device="cuda"), Y, nn.SGD(0.1))
