"""Greedy pre-training of a net: what it learns, on which codes, and that nothing stops it or loses any of it."""

from __future__ import annotations

import signal

import deltarule.pretrain.training as training_module
import numpy as np
import pytest
import tolerance
from deltarule import _core, data, nn, plots, pretrain
from deltarule.nn import files
from network_cases import copies, host, oracle, same_bits
from reference_network import Optimizer, train
from reference_pretrain import Codec, sigmoid

RNG = np.random.default_rng(3)
X = RNG.random((60, 12)).astype(np.float32)
Y = (X[:, :4]).argmax(1)
SIZES = [12, 8, 6, 4]


def new_net(device="cpu", sizes=SIZES, activation="sigmoid", **settings):
    return nn.mlp(sizes, activation, device=device, **{"seed": 7, **settings})


def bars(count=400, side=6, seed=0):
    """Images of side x side with random bars, rows or columns, in them."""
    rng = np.random.default_rng(seed)
    across = rng.random((count, side, 1)) < 0.25
    return (across | (rng.random((count, 1, side)) < 0.15)).reshape(count, -1).astype(np.float32)


def order_of(layer, epoch, count=60, seed=7):
    return np.asarray(_core.permutation(count, seed, _core.pretrain_shuffle_stream(layer, epoch)))


def timeless(trained):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in trained.epochs]


def test_each_layer_is_the_oracle_s_rbm_on_the_codes_below(device):
    """Two layers, two epochs each; the second learns from the first one's probabilities, as they are at its end."""
    net = new_net(device, dtype="float64")
    layers = oracle(net).layers
    trained = pretrain.greedy(net, X, pretrain.RBM(cd=2), optimizer=nn.SGD(0.3), epochs=2, batch_size=25)
    x = X.astype(np.float64)
    for index in (0, 1):
        w, b = layers[index].w, layers[index].b
        codec, rule, step = Codec(w, b, np.zeros(len(w))), Optimizer("sgd", 0.3), 0
        for epoch in range(2):
            order, losses = order_of(index, epoch), []
            for start in (0, 25, 50):
                rows = order[start : start + 25]
                drawn = []
                for k in range(2):
                    u = np.empty((len(rows), w.shape[1]))
                    _core.fill_uniform(u, 7, _core.gibbs_stream(index, k, step), 0.0, 1.0)
                    drawn.append(u)
                loss, gradients = codec.divergence(x[rows], drawn)
                rule.update(codec.parameters(), gradients)
                losses.append(loss * len(rows))
                step += 1
            record = trained.layers[index].epochs[epoch]
            assert (record["layer"], record["epoch"], record["error"]) == (index + 1, epoch + 1, None)
            assert record["loss"] == pytest.approx(sum(losses) / 60, rel=1e-10)
        for got, want in zip(net.parameters[2 * index : 2 * index + 2], (w, b), strict=True):
            tolerance.assert_within(
                host(got), want, tolerance.through_network(want, "float64", 50, 6, 6, 1.0)
            )
        weights, bias = trained.layers[index].decoder
        assert np.array_equal(weights, host(net.parameters[2 * index]).T)
        tolerance.assert_within(bias, codec.c, tolerance.through_network(codec.c, "float64", 50, 6, 6, 1.0))
        x = sigmoid(x @ w + b)


def test_supervised_is_the_oracle_s_training_of_a_net_with_one_hidden_layer(device):
    net = new_net(device, dtype="float64")
    first = oracle(net)
    pretrain.greedy(
        net, X, pretrain.Supervised(), y=Y, layers=1, optimizer=nn.SGD(0.5), epochs=2, batch_size=20
    )
    stub = nn.Network([nn.Dense(8, "sigmoid"), nn.Dense(4)], 12, dtype="float64", seed=7)
    reference = oracle(stub)
    reference.layers[0] = first.layers[0]
    for epoch in range(2):
        train(reference, Optimizer("sgd", 0.5), X.astype(np.float64), Y, order_of(0, epoch), 20)
    for got, want in zip(net.parameters[:2], reference.parameters()[:2], strict=True):
        tolerance.assert_within(host(got), want, tolerance.through_network(want, "float64", 20, 4, 6, 1.0))
    for got, want in zip(net.parameters[2:], first.parameters()[2:], strict=True):
        assert np.array_equal(host(got), want)  # the layers above are as they were


METHODS = {
    "rbm": {"method": pretrain.RBM(cd=2)},
    "tied": {"method": pretrain.AutoEncoder(corruption=0.2), "optimizer": nn.Momentum(0.05)},
    "free": {"method": pretrain.AutoEncoder(tied=False, loss="squared_error"), "optimizer": nn.Adam(0.01)},
    "supervised": {"method": pretrain.Supervised(), "y": Y, "optimizer": nn.Nesterov(0.02)},
    "mixed": {"method": [pretrain.Supervised(), pretrain.RBM()], "y": Y, "epochs": [2, 3]},
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("interrupted", [1, 4, 5, 9, 13, 17])
def test_resume_gives_the_bits_of_the_uninterrupted_run(name, interrupted, tmp_path, monkeypatch):
    """Ctrl-C in the steps of the first layer or the second, in the middle or at the end of an epoch."""
    monkeypatch.setattr(training_module, "CHUNK_SECONDS", 0.0)  # a chunk a step, but for blocks of steps
    path = tmp_path / "checkpoint.safetensors"
    settings = {"epochs": 2, "batch_size": 13, **METHODS[name]}
    whole = new_net()
    expected = pretrain.greedy(whole, X, **settings)
    calls = []
    steps = training_module.Training._steps

    def counted(self, order, first, last):
        steps(self, order, first, last)
        calls.append(last)
        if len(calls) == interrupted:
            signal.raise_signal(signal.SIGINT)

    part = new_net()
    with monkeypatch.context() as patch:
        patch.setattr(training_module.Training, "_steps", counted)
        with pytest.raises(KeyboardInterrupt):
            pretrain.greedy(part, X, **settings, checkpoint=path)
    resumed = new_net(seed=7)
    trained = pretrain.greedy(resumed, X, **settings, checkpoint=path, resume=path)
    assert same_bits(copies(whole.parameters), copies(resumed.parameters))
    assert timeless(trained) == timeless(expected)
    for got, want in zip(trained.layers, expected.layers, strict=True):
        assert (got.decoder is None) == (want.decoder is None)
        if want.decoder is not None:
            assert same_bits(got.decoder, want.decoder)
    again = pretrain.greedy(
        new_net(), X, **settings, resume=path
    )  # of one that is over: nothing more happens
    assert timeless(again) == timeless(expected)


@pytest.mark.parametrize("calls", [14, 18])  # of 2 epochs of 5 steps, 2 layers: in the third, and at its end
@pytest.mark.parametrize("name", ["rbm", "supervised"])
def test_a_second_ctrl_c_leaves_the_last_checkpoint(name, calls, tmp_path, monkeypatch):
    """Steps were made that no book knows of."""
    monkeypatch.setattr(training_module, "CHUNK_SECONDS", 0.0)
    path = tmp_path / "checkpoint"
    settings = {"epochs": 2, "batch_size": 13, "optimizer": nn.Momentum(0.05), **METHODS[name]}
    whole = new_net()
    expected = pretrain.greedy(whole, X, **settings)
    kind = type(pretrain.stages.make(whole, 0, X, Y, settings["method"], nn.SGD(0.1), 13, 0))
    steps, left = kind.steps, [calls]

    def interrupted(self, *arguments):
        result = steps(self, *arguments)
        left[0] -= 1
        if left[0] == 0:
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(kind, "steps", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrain.greedy(new_net(), X, **settings, checkpoint=path)
    state = files.read(path, files.PRETRAINING)[1]["state"]
    assert state["step"] == 0
    resumed = new_net()
    assert timeless(pretrain.greedy(resumed, X, **settings, resume=path)) == timeless(expected)
    assert same_bits(copies(whole.parameters), copies(resumed.parameters))


def test_ctrl_c_while_codes_are_made(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint"
    settings = {"method": pretrain.RBM(), "epochs": 1, "batch_size": 20}
    whole, part, resumed = new_net(), new_net(), new_net()
    pretrain.greedy(whole, X, **settings)
    second = copies(part.parameters[2:])
    encode = training_module.Training._encode

    def interrupted(self, *arguments):
        signal.raise_signal(signal.SIGINT)
        return encode(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training_module.Training, "_encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrain.greedy(part, X, **settings, checkpoint=path)
    assert same_bits(copies(part.parameters[2:]), second)
    pretrain.greedy(resumed, X, **settings, resume=path)
    assert same_bits(copies(whole.parameters), copies(resumed.parameters))


def test_ctrl_c_while_the_last_layer_ends(tmp_path, monkeypatch):
    """The net has its layers, the checkpoint the end of the last epoch."""
    path = tmp_path / "checkpoint"
    settings = {"method": pretrain.RBM(), "epochs": 2, "batch_size": 20}
    whole, part, resumed = new_net(), new_net(), new_net()
    pretrain.greedy(whole, X, **settings)

    def interrupted(self, *arguments):
        layer(self, *arguments)
        if self.state.layer == len(self.plan.methods) - 1:
            signal.raise_signal(signal.SIGINT)

    layer = training_module.Training._layer
    with monkeypatch.context() as patch:
        patch.setattr(training_module.Training, "_layer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrain.greedy(part, X, **settings, checkpoint=path)
    pretrain.greedy(resumed, X, **settings, resume=path)
    for net in (part, resumed):
        assert same_bits(copies(whole.parameters), copies(net.parameters))


def test_divergence_right_after_a_resume_says_whose_the_weights_are(tmp_path, monkeypatch, one_line):
    """With one step an epoch the checkpoint may hold what the last update ruined; nothing better is known."""
    path = tmp_path / "checkpoint"
    settings = {
        "method": pretrain.AutoEncoder(loss="squared_error", output="linear"),
        "optimizer": nn.SGD(1e25), "epochs": 3, "batch_size": 60, "layers": 1,
    }  # fmt: skip
    end = training_module.Training._end_epoch

    def interrupted(self):
        end(self)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(training_module.Training, "_end_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrain.greedy(new_net(activation="tanh"), X, **settings, checkpoint=path)
    net = new_net(activation="tanh")
    with one_line(nn.DivergedError, "epoch 2, step 1 .*weights are those of the checkpoint, which give this"):
        pretrain.greedy(net, X, **settings, resume=path)
    assert np.abs(host(net.parameters[0])).max() > 1e15


def test_the_seed_decides_all_that_is_drawn():
    """Also the output layer of `Supervised`, which is thrown away: what is compared on a resume decides the bits."""
    trained = []
    for own in (7, 8):
        net = new_net(seed=own)
        for parameter, value in zip(net.parameters, new_net().parameters, strict=True):
            parameter[...] = value
        pretrain.greedy(net, X, pretrain.Supervised(), y=Y, epochs=1, batch_size=20, seed=3)
        trained.append(copies(net.parameters))
    assert same_bits(*trained)


OTHERS = {
    "method": ({"method": pretrain.RBM(cd=3)}, "methods was"),
    "optimizer": ({"optimizer": nn.SGD(0.2)}, "optimizers was"),
    "epochs": ({"epochs": 3}, r"epochs was \[1, 1\], is now \[3, 3\]"),
    "batch_size": ({"batch_size": 20}, "batch_size was 30, is now 20"),
    "seed": ({"seed": 8}, "seed was 7, is now 8"),
    "data": ({"x": X[::-1]}, "the data are not the same numbers"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_resume_with_other_settings_is_refused(name, tmp_path, one_line):
    path = tmp_path / "checkpoint"
    usual = {"x": X, "method": pretrain.RBM(), "epochs": 1, "batch_size": 30}
    pretrain.greedy(new_net(), **usual, checkpoint=path)
    change, message = OTHERS[name]
    net = new_net()
    before = copies(net.parameters)
    with one_line(ValueError, f"greedy: cannot resume .*{message}"):
        pretrain.greedy(net, **{**usual, **change}, resume=path)
    assert same_bits(copies(net.parameters), before)


def test_files_of_other_kinds_are_refused(tmp_path, one_line):
    path = tmp_path / "file"
    new_net().save(path)
    with one_line(ValueError, "is a deltarule model; wanted a deltarule pretraining"):
        pretrain.greedy(new_net(), X, pretrain.RBM(), resume=path, batch_size=10)
    pretrain.greedy(new_net(), X, pretrain.RBM(), checkpoint=path, epochs=1, batch_size=10)
    with one_line(ValueError, "is a deltarule pretraining; wanted a deltarule checkpoint"):
        new_net().fit(X, Y, resume=path, batch_size=10)


@pytest.mark.parametrize("name", METHODS)
def test_chunks_and_threads_change_no_bit(name, threads, monkeypatch):
    trained = []
    for seconds, count in ((0.0, 1), (0.0, 2), (1.0, 2)):
        monkeypatch.setattr(training_module, "CHUNK_SECONDS", seconds)
        threads(count)
        net = new_net(sizes=[12, 80, 70, 4])
        pretrain.greedy(net, X, **{"epochs": 2, "batch_size": 7, **METHODS[name]})
        trained.append(copies(net.parameters))
    assert same_bits(trained[0], trained[1])
    assert same_bits(trained[0], trained[2])


def test_data_stay_where_they_are(device):
    """Bytes, floats that say the same, and arrays on the device: the same bits, and standardised alike."""
    raw = np.round(255 * X).astype(np.uint8)
    there = _core.from_numpy(raw).to(device)
    trained = []
    for x in (raw, there, raw.astype(np.float32)):
        net = new_net(device)
        net.standardize(np.zeros(12), np.full(12, 1 / 255))
        pretrain.greedy(net, x, pretrain.RBM(), epochs=1, batch_size=10)
        trained.append(copies(net.parameters))
    assert same_bits(trained[0], trained[1])
    assert same_bits(trained[0], trained[2])


def test_divergence_keeps_the_last_good_epoch(one_line):
    net = new_net(activation="tanh")
    method = pretrain.AutoEncoder(loss="squared_error", output="linear")
    with one_line(nn.DivergedError, r"greedy: loss is (inf|nan) in layer 1 at epoch 1, step [23] "):
        before = copies(net.parameters)
        pretrain.greedy(net, 1e4 * X, method, optimizer=nn.SGD(1e30), epochs=3, batch_size=20)
    assert same_bits(copies(net.parameters), before)


def test_a_boltzmann_machine_learns_bars(device):
    x = bars()
    net = new_net(device, [36, 24, 2])
    trained = pretrain.greedy(
        net, x, pretrain.RBM(), optimizer=nn.Momentum(0.1, 0.5), epochs=40, batch_size=20
    )
    losses = [record["loss"] for record in trained.epochs]
    assert losses[-1] < 0.35 * losses[0]
    deep = pretrain.unroll(net, trained)
    share = np.mean((pretrain.reconstruct(deep, x) > 0.5) != (x > 0.5))
    assert share < 0.5 * min(x.mean(), 1 - x.mean())  # of pixels; a constant image leaves the mean wrong


def test_denoising_learns_to_fill_in_what_is_missing():
    x = bars(1000)
    net = new_net(sizes=[36, 40, 2])
    method = pretrain.AutoEncoder(corruption=0.3)
    trained = pretrain.greedy(net, x, method, optimizer=nn.Momentum(0.1), epochs=60, batch_size=20)
    deep = pretrain.unroll(net, trained)
    seen = bars(200, seed=1)
    holes = np.where(np.random.default_rng(5).random(seen.shape) < 0.3, 0, seen).astype(np.float32)
    lost = (seen == 1) & (holes == 0)
    assert (pretrain.reconstruct(deep, holes)[lost] > 0.5).mean() > 0.7  # of the pixels that were put out


def test_unroll_is_the_way_up_and_down(device):
    net = new_net(device, activation="tanh", dtype="float64")
    method = [pretrain.AutoEncoder(False, 0.1), pretrain.AutoEncoder(True, 0, "squared_error", "tanh")]
    trained = pretrain.greedy(net, X, method, epochs=1, batch_size=20)
    deep = pretrain.unroll(net, trained)
    assert [layer.activation for layer in deep.layers] == ["tanh", "tanh", "tanh", "linear"]
    assert (deep.inputs, deep.outputs, deep.device) == (12, 12, net.device)
    w0, b0, w1, b1 = map(host, net.parameters[:4])
    (v0, c0), (v1, c1) = (layer.decoder for layer in trained.layers)
    h = np.tanh(np.tanh(X @ w0 + b0) @ w1 + b1)
    z = np.tanh(h @ v1 + c1) @ v0 + c0
    tolerance.assert_within(pretrain.codes(net, X, 2), h, tolerance.through_network(h, "float64", 12, 2))
    tolerance.assert_within(pretrain.codes(deep, X, 2), h, tolerance.through_network(h, "float64", 12, 2))
    want = sigmoid(z)
    got = pretrain.reconstruct(deep, X)
    tolerance.assert_within(got, want, tolerance.through_network(want, "float64", 12, 4, scale=1.0))
    assert not np.array_equal(v0, w0.T)
    assert np.array_equal(v1, w1.T)
    loss = deep.fit(X, X, nn.Adam(0.01), epochs=20, batch_size=20)["train_loss"]
    assert loss[-1] < loss[0]


def test_unroll_without_pretraining_takes_the_weights_transposed():
    net = new_net()
    net.standardize(np.full(12, 0.5), np.full(12, 2.0))
    deep = pretrain.unroll(net, layers=1, loss="squared_error")
    w, b = map(host, net.parameters[:2])
    want = sigmoid(sigmoid((2 * X - 1.0) @ w.astype(np.float64) + b) @ w.T.astype(np.float64))
    got = pretrain.reconstruct(deep, X)
    tolerance.assert_within(got, want, tolerance.through_network(want, "float32", 12, 2, scale=1.0))


def test_dropout_is_left_out():
    plain, dropped = new_net(), new_net(dropout=0.5)
    for net in (plain, dropped):
        pretrain.greedy(net, X, pretrain.RBM(), epochs=1, batch_size=20)
    assert same_bits(copies(plain.parameters), copies(dropped.parameters))


def test_pretraining_helps_with_few_labels():
    """On digits with 50 labels, a deep net of sigmoid units is better for what it learned from all the images."""
    digits = data.load("digits")
    order = np.random.default_rng(0).permutation(len(digits.train.x))[:50]
    errors = []
    for trained in (False, True):
        net = new_net(sizes=[64, 100, 100, 10])
        net.standardize(np.zeros(64), np.full(64, 1 / 16))
        if trained:
            pretrain.greedy(
                net, digits.train.x, pretrain.RBM(), optimizer=nn.SGD(0.1), epochs=20, batch_size=20
            )
        net.fit(digits.train.x[order], digits.train.y[order], nn.SGD(0.2), epochs=100, batch_size=10)
        errors.append(1 - net.score(digits.test.x, digits.test.y))
    assert errors[1] < 0.75 * errors[0]


MISTAKES = {
    "method": ({"method": "rbm"}, TypeError, "a method is 'rbm'; wanted one of pretrain.RBM"),
    "methods": ({"method": [pretrain.RBM()]}, ValueError, "method has 1 entries; wanted 2, one for each"),
    "loss": ({"method": pretrain.AutoEncoder(loss="mse")}, ValueError, "loss is 'mse'; choices: binary_"),
    "output": (
        {"method": pretrain.AutoEncoder(output="tanh")},
        ValueError,
        "output is 'tanh'; binary_cross_entropy wants 'sigmoid'",
    ),
    "no such output": (
        {"method": pretrain.AutoEncoder(loss="squared_error", output="step")},
        ValueError,
        "output is 'step'; choices: elu, ",
    ),
    "range": ({"x": 2 * X - 1}, ValueError, r"layer 1, RBM: x goes from -[\d.]+ to [\d.]+; wanted 0 to 1"),
    "nan": ({"x": np.where(X > 0.5, np.nan, X)}, ValueError, "x has values that are not finite"),
    "too large": ({"x": 1e300 * X.astype(np.float64)}, ValueError, "wanted finite numbers of float32"),
    "columns": ({"x": X[:, 1:]}, ValueError, r"x is \(60, 11\); wanted \(samples, 12\)"),
    "empty": ({"x": X[:0]}, ValueError, r"x is \(0, 12\); wanted \(samples, 12\), one or more"),
    "labels": ({"method": pretrain.Supervised()}, ValueError, "y is None; Supervised wants labels"),
    "unwanted labels": ({"y": Y}, ValueError, "y came, but no method is Supervised"),
    "bad labels": (
        {"method": pretrain.Supervised(), "y": Y + 1},
        ValueError,
        "is 4; wanted labels from 0 to 3",
    ),
    "output layer": (
        {"method": pretrain.Supervised(), "y": Y, "layers": 3},
        ValueError,
        "layer 3, Supervised: it is the output layer",
    ),
    "layers": ({"layers": 4}, ValueError, "layers is 4; the net has 3"),
    "linear": (
        {"layers": 3},
        ValueError,
        "layer 3, RBM: activation is 'linear'; an RBM is a layer of 'sigmoid'",
    ),
    "batch_size": ({"batch_size": 61}, ValueError, "batch_size is 61; wanted 1 to 60"),
    "optimizer": ({"optimizer": 0.1}, TypeError, "optimizer is 0.1; wanted one of nn.SGD"),
    "clipping": ({"optimizer": nn.SGD(0.1, clip_norm=1)}, ValueError, "clip_norm is 1; wanted None"),
    "epochs": ({"epochs": 1.5}, TypeError, "epochs is 1.5; wanted a whole number"),
    "net": ({"net": 3}, TypeError, "net is 3; wanted an nn.Network"),
    "bias": (
        {"net": nn.Network([nn.Dense(3, "sigmoid", bias=False), nn.Dense(4)], 12)},
        ValueError,
        "layer 1, RBM: the layer has no bias",
    ),
    "below": (
        {
            "net": new_net(activation="tanh"),
            "method": [pretrain.AutoEncoder(loss="squared_error"), pretrain.AutoEncoder()],
        },
        ValueError,
        r"layer 2, AutoEncoder: the layer below is 'tanh'; wanted values in \[0, 1\]",
    ),
}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: pretrain.RBM(0), ValueError, "RBM: cd is 0; wanted 1 or more"),
        (lambda: pretrain.RBM(256), ValueError, "RBM: cd is 256; wanted 1 to 255 Gibbs steps"),
        (lambda: pretrain.RBM(1.5), TypeError, "RBM: cd is 1.5; wanted a whole number"),
        (lambda: pretrain.AutoEncoder(corruption=1), ValueError, "corruption is 1; wanted a number in"),
        (lambda: pretrain.AutoEncoder(corruption="x"), TypeError, "corruption is 'x'; wanted a number"),
        (lambda: pretrain.AutoEncoder(tied="no"), TypeError, "tied is 'no'; wanted True or False"),
    ],
)
def test_methods_with_bad_settings(make, error, message, one_line):
    with one_line(error, message):
        make()


def test_numpy_s_numbers_are_numbers(tmp_path):
    methods = [pretrain.RBM(cd=np.int64(2)), pretrain.AutoEncoder(corruption=np.float32(0.5))]
    assert methods == [pretrain.RBM(cd=2), pretrain.AutoEncoder(corruption=0.5)]
    path = tmp_path / "checkpoint"
    settings = {"optimizer": nn.SGD(np.float32(0.5)), "epochs": 1, "batch_size": 20}
    pretrain.greedy(new_net(), X, methods, **settings, checkpoint=path)
    assert path.exists()


@pytest.mark.parametrize("name", MISTAKES)
def test_bad_input_changes_nothing(name, one_line):
    change, kind, message = MISTAKES[name]
    arguments = {"net": new_net(), "x": X, "method": pretrain.RBM(), "batch_size": 20, "epochs": 1, **change}
    before = copies(getattr(arguments["net"], "parameters", []))
    with one_line(kind, message):
        pretrain.greedy(**arguments)
    assert same_bits(copies(getattr(arguments["net"], "parameters", [])), before)


def test_a_pruned_net_is_refused(one_line):
    net = new_net()
    net.prune(0.5)
    with one_line(ValueError, "greedy: weights of the net are pruned"):
        pretrain.greedy(net, X, pretrain.RBM(), batch_size=20)


def test_unroll_and_codes_of_what_is_not_there(one_line):
    for call, arguments in ((pretrain.codes, (1,)), (pretrain.reconstruct, ())):
        with one_line(ValueError, f"^{call.__name__}: x has 5 features, the network has 12 inputs"):
            call(new_net(), X[:, :5], *arguments)
    with one_line(ValueError, "codes: layers is 4; wanted 1 to 3"):
        pretrain.codes(new_net(), X, 4)
    with one_line(ValueError, "unroll: layers is 4; the net has 3"):
        pretrain.unroll(new_net(), layers=4)
    with one_line(ValueError, "unroll: loss is 'softmax_cross_entropy'; choices: binary_cross_entropy, "):
        pretrain.unroll(new_net(), loss="softmax_cross_entropy")


def test_progress_of_another_kind_names_the_call(one_line):
    with one_line(ValueError, "^greedy: progress is 'alway'; choices: False, True, 'always'$"):
        pretrain.greedy(new_net(), X, pretrain.RBM(), progress="alway")


def test_progress(capsys):
    pytest.importorskip("tqdm")
    pretrain.greedy(new_net(), X, pretrain.RBM(), epochs=2, batch_size=20, progress="always")
    error = capsys.readouterr().err
    assert "epoch 4/4" in error
    assert "240/240" in error


def test_reconstructions_stand_below_their_originals():
    x = bars(5)
    figure = plots.reconstructions(x, 1 - x, (6, 6), most=4)
    panels = figure.get_axes()
    assert len(panels) == 8
    for index in range(4):
        above, below = (panels[row * 4 + index].get_images()[0].get_array() for row in (0, 1))
        assert np.array_equal(above, x[index].reshape(6, 6))
        assert np.array_equal(below, 1 - x[index].reshape(6, 6))


def test_code_plane_has_a_colour_a_class():
    codes = RNG.random((60, 2))
    (axes,) = plots.code_plane(codes, Y, ["a", "b", "c", "d"]).get_axes()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b", "c", "d"]
    for label, points in enumerate(axes.collections):
        assert np.array_equal(points.get_offsets(), codes[label == Y])


def test_plots_of_what_does_not_fit(one_line):
    with one_line(ValueError, r"reconstructions: reconstructions are \(5, 35\), originals \(5, 36\)"):
        plots.reconstructions(bars(5), bars(5)[:, 1:], (6, 6))
    with one_line(ValueError, r"code_plane: codes are \(60, 3\); wanted \(n, 2\)"):
        plots.code_plane(RNG.random((60, 3)))


def test_supervised_targets_are_checked_as_by_fit():
    net = nn.mlp([12, 8, 4], "sigmoid", "binary_cross_entropy")
    x = np.random.default_rng(0).random((50, 12)).astype(np.float32)
    with pytest.raises(ValueError, match="greedy: y goes from 50 to 50"):
        pretrain.greedy(net, x, pretrain.Supervised(), y=np.full((50, 4), 50.0), epochs=1)


def test_labels_that_change_meanwhile_are_those_of_the_beginning(monkeypatch):
    method, y = [pretrain.RBM(), pretrain.Supervised()], Y.copy()
    settings = {"epochs": 2, "batch_size": 20}
    want = pretrain.greedy(new_net(), X, method, y=y, **settings)
    encode = training_module.Training._encode

    def change(training, inputs, index):
        y[:] = 1
        return encode(training, inputs, index)

    monkeypatch.setattr(training_module.Training, "_encode", change)
    assert timeless(pretrain.greedy(new_net(), X, method, y=y, **settings)) == timeless(want)
    assert (y == 1).all()


def test_minibatches_are_of_100_samples_or_all_there_are():
    for samples, rows in ((60, 60), (120, 100)):
        nets = [new_net(), new_net()]
        for net, batch_size in zip(nets, ({}, {"batch_size": rows}), strict=True):
            pretrain.greedy(net, np.tile(X, (2, 1))[:samples], pretrain.RBM(), epochs=1, **batch_size)
        assert same_bits(*(copies(net.parameters) for net in nets))
