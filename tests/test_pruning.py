"""Pruned weights: which they are, that no training brings them back, and what keeps them."""

from __future__ import annotations

import copy
import pickle
import signal

import deltarule.nn.fit as fit_module
import network_cases as cases
import numpy as np
import pytest
import tolerance
from deltarule import nn, plots
from deltarule._through import host
from deltarule.nn import files
from reference_network import Optimizer

RNG = np.random.default_rng(11)
X = RNG.standard_normal((60, 6)).astype(np.float32)
Y = (X @ RNG.standard_normal((6, 3)).astype(np.float32)).argmax(1)
XV, YV = X[:20], Y[:20]
RULES = {
    "sgd": {"lr": 0.2},
    "sgd, decay": {"lr": 0.2, "weight_decay": 0.01},
    "sgd, clipped": {"lr": 0.2, "clip_norm": 0.3},
    "momentum": {"lr": 0.05, "momentum": 0.9},
    "nesterov": {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01},
    "adam": {"lr": 0.02, "weight_decay": 0.01},
    "adam, clipped": {"lr": 0.02, "clip_norm": 0.3},
    "adamw": {"lr": 0.02, "weight_decay": 0.1},
}


def rule_of(name):
    from deltarule import _core

    return Optimizer(name.split(",")[0], **RULES[name]), _core.Optimizer(name.split(",")[0], **RULES[name])


def masked(sizes, dtype="float64", share=0.6, **settings):
    """The oracle's net and the engine's, with the same random weights pruned; masks by parameter index."""
    reference = cases.make(sizes, dtype=dtype, **settings)
    masks = {
        index: np.random.default_rng(index).random(weights.shape) >= share
        for index, weights in enumerate(reference.parameters())
        if weights.ndim == 2
    }
    core = cases.engine(reference, dtype)
    core.set_masks(masks)
    for index, mask in masks.items():
        reference.parameters()[index][...] *= mask
    return reference, core, masks


def train_masked(reference, optimizer, masks, x, y, batch):
    """Steps in the order of the rows: pruned weights have no gradient."""
    norms = []
    for start in range(0, len(x), batch):
        _, gradients, _ = reference.gradients(x[start : start + batch], y[start : start + batch])
        for index, mask in masks.items():
            gradients[index] = gradients[index] * mask
        norms = [np.linalg.norm(gradients[index]) for index in masks]
        optimizer.update(reference.parameters(), gradients)
    return norms


def assert_pruned(parameters, masks):
    for index, mask in masks.items():
        weights = host(parameters[index])
        assert not weights[~mask].any()
        assert weights[mask].all()


def assert_trained(core, reference, dtype, steps):
    for got, want in zip(cases.copies(core.parameters()), reference.parameters(), strict=True):
        tolerance.assert_within(got, want, tolerance.through_network(want, dtype, 32, 3, steps, 1.0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 7, 60])
@pytest.mark.parametrize("rule", RULES)
def test_training_is_the_oracle_s(rule, batch, dtype, device):
    reference, core, masks = masked([6, 16, 8, 3], dtype)
    optimizer, own = rule_of(rule)
    x = X.astype(dtype)
    for _ in range(2):
        core.train_steps(x, Y, np.arange(60), batch, own)
        train_masked(reference, optimizer, masks, x.astype(np.float64), Y, batch)
    assert_pruned(core.parameters(), masks)
    assert_trained(core, reference, dtype, 2 * -(-60 // batch))


@pytest.mark.parametrize("batch", [1, 4])
def test_no_blocks_of_steps(batch, device):
    """Plain descent on few rows defers the lowest layer's updates, and may not where it is masked."""
    from deltarule import _core

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((24, 200)), rng.integers(0, 3, 24)
    rule = _core.Optimizer("sgd", lr=0.05)
    reference, core, masks = masked([200, 100, 3], activation="relu")
    assert core.block_steps(batch, rule) == 1
    core.train_steps(x, y, np.arange(24), batch, rule)
    train_masked(reference, Optimizer("sgd", lr=0.05), masks, x, y, batch)
    assert_pruned(core.parameters(), masks)
    assert_trained(core, reference, "float64", 24 // batch)
    core.set_masks({})
    assert core.masks() == {}
    if device == "cpu":
        assert core.block_steps(batch, rule) > 1


def test_gradient_norms_are_of_what_lives(device):
    reference, core, masks = masked([6, 16, 3])
    optimizer, own = rule_of("sgd")
    result = core.train_steps(X.astype(float), Y, np.arange(60), 20, own, norms=True)
    norms = train_masked(reference, optimizer, masks, X.astype(float), Y, 20)
    tolerance.assert_within(result.norms, np.array(norms), 1e-12)


def test_unpruned_again_they_learn(device):
    _, core, masks = masked([6, 16, 3])
    core.set_masks({})
    core.train_steps(X.astype(float), Y, np.arange(60), 20, rule_of("adam")[1])
    for index, mask in masks.items():
        assert host(core.parameters()[index])[~mask].all()


@pytest.mark.parametrize("rule", ["momentum", "adam"])
def test_pruned_in_the_middle_of_a_training(rule, device):
    """The velocity that a weight had must not move it any more."""
    reference, core = cases.make([6, 16, 3]), None
    core = cases.engine(reference)
    optimizer, own = rule_of(rule)
    x = X.astype(float)
    core.train_steps(x, Y, np.arange(60), 20, own)
    train_masked(reference, optimizer, {}, x, Y, 20)
    mask = np.random.default_rng(0).random((6, 16)) > 0.5
    core.set_masks({0: mask})
    reference.parameters()[0][...] *= mask
    optimizer.slots[0] = tuple(slot * mask for slot in optimizer.slots[0])
    core.train_steps(x, Y, np.arange(60), 20, own)
    train_masked(reference, optimizer, {0: mask}, x, Y, 20)
    assert_pruned(core.parameters(), {0: mask})
    assert_trained(core, reference, "float64", 6)


def test_values_written_to_pruned_weights_do_not_last(device):
    _, core, masks = masked([6, 16, 3])
    core.parameters()[0][...] = 1.0
    core.train_step(X.astype(float), Y, rule_of("sgd")[1])
    assert_pruned(core.parameters(), masks)


def test_the_engine_refuses(one_line):
    _, core, masks = masked([6, 16, 3])
    with one_line(ValueError, "set_masks: 4 is no parameter of this network with its 4"):
        core.set_masks({4: np.ones(3)})
    with one_line(ValueError, "set_masks: parameter 1 is a bias"):
        core.set_masks({1: np.ones(16)})
    with one_line(ValueError, r"set_masks: mask 0 is \(16, 6\); its weights are \(6, 16\)"):
        core.set_masks({0: np.ones((16, 6))})
    assert_pruned(core.parameters(), masks)
    assert sorted(core.masks()) == [0, 2]


def smallest(parameters, fraction):
    """Masks of all but the smallest by a sort, which keeps the order of equals: the first ones live."""
    values = np.concatenate([np.abs(w).ravel() for w in parameters])
    order = np.argsort(-values, kind="stable")
    lives = np.zeros(len(values), bool)
    lives[order[: max(1, len(values) - round(fraction * len(values)))]] = True
    return [m.reshape(w.shape) for m, w in
            zip(np.split(lives, np.cumsum([w.size for w in parameters])[:-1]), parameters, strict=True)]  # fmt: skip


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.873, 0.99])
def test_the_smallest_go(fraction, device):
    for scope in ("global", "layer"):
        net = nn.mlp([6, 16, 8, 3], seed=3, device=device)
        net.parameters[0][...] = np.round(host(net.parameters[0]), 1)  # many are equal
        before = [host(p).copy() for p in net.parameters]
        weights = before[::2]
        whole = smallest(weights, fraction)
        own = [smallest([w], fraction)[0] for w in weights]
        net.prune(fraction, scope)
        for w, b, mask in zip(net.parameters[::2], weights, whole if scope == "global" else own, strict=True):
            assert host(w).tolist() == np.where(mask, b, 0).tolist()
        for b, old in zip(net.parameters[1::2], before[1::2], strict=True):
            assert host(b).tobytes() == old.tobytes()
        gone = sum(int((~m).sum()) for m in (whole if scope == "global" else own))
        assert net.sparsity == gone / (96 + 128 + 24)
        assert ("of the weights pruned" in repr(net)) == (gone > 0)


def test_one_weight_lives():
    """A fraction is below 1, whatever it is rounded to."""
    for scope, lives in (("global", [1]), ("layer", [1, 1])):
        net = nn.mlp([4, 16, 4], seed=0)
        for _ in range(2):
            net.prune(0.999, scope)
            assert [int(mask.sum()) for mask in net.masks.values() if mask.any()] == lives
    net = nn.mlp([1, 1])
    net.prune(0.9)
    assert net.sparsity == 0


def test_what_is_pruned_counts_and_stays():
    net = nn.mlp([6, 16, 3], seed=0)
    net.prune(0.5)
    first = net.masks
    net.fit(X, Y, nn.Adam(0.05), epochs=3, batch_size=10)
    assert_pruned(net.parameters, first)
    net.prune(0.8)
    for index, mask in net.masks.items():
        assert not mask[~first[index]].any()
    assert net.sparsity == round(0.8 * 144) / 144


def test_refuses(one_line):
    net = nn.mlp([6, 16, 3])
    for fraction in (-0.1, 1.0, float("nan")):
        with one_line(ValueError, "prune: fraction is .*; wanted 0 or more, below 1"):
            net.prune(fraction)
    with one_line(ValueError, "prune: scope is 'net'; choices: global, layer"):
        net.prune(0.5, "net")
    net.prune(0.5)
    with one_line(ValueError, "prune: fraction is 0.25; 72 of the 144 weights of the net are pruned already"):
        net.prune(0.25)
    assert net.sparsity == 0.5


def test_the_least_fraction_it_names_will_do(one_line):
    net = nn.mlp([300, 98, 6])
    net.prune(20000 / 29988)  # 0.66693; 0.6669 of them are one less
    with one_line(ValueError, "20000 of the 29988 weights") as caught:
        net.prune(0.1)
    net.prune(float(str(caught.value).rsplit(" ", 1)[1]))


@pytest.mark.parametrize("fraction", ["a", None])
def test_a_fraction_is_a_number(fraction, one_line):
    with one_line(TypeError, f"prune: fraction is {fraction!r}; wanted a number"):
        nn.mlp([6, 3]).prune(fraction)
    with one_line(TypeError, f"pruning_curve: a fraction is {fraction!r}; wanted a number"):
        nn.pruning_curve(nn.mlp([6, 3]), X, Y, (XV, YV), [fraction])


def test_files_and_pickles_keep_them(tmp_path, device):
    net = nn.mlp([6, 16, 3], seed=0, device=device)
    net.fit(X, Y, nn.Adam(0.05), epochs=2, batch_size=10)
    net.prune(0.7)
    net.save(tmp_path / "net.safetensors")
    tensors, _ = files.read(tmp_path / "net.safetensors", files.MODEL)
    assert {name for name in tensors if "mask" in name} == {"layer0.mask", "layer1.mask"}
    for same in (
        nn.Network.load(tmp_path / "net.safetensors", device),
        pickle.loads(pickle.dumps(net)),
        copy.deepcopy(net),
    ):
        assert same.sparsity == net.sparsity
        same.fit(X, Y, nn.Adam(0.05), epochs=1, batch_size=10)
        assert_pruned(same.parameters, net.masks)
    plain = nn.mlp([6, 16, 3], seed=0)
    plain.save(tmp_path / "plain.safetensors")
    assert not any("mask" in name for name in files.read(tmp_path / "plain.safetensors", files.MODEL)[0])


def test_a_damaged_mask_is_refused(tmp_path, one_line):
    net = nn.mlp([6, 16, 3])
    net.prune(0.5)
    net.save(tmp_path / "net.safetensors")
    tensors, header = files.read(tmp_path / "net.safetensors", files.MODEL)
    tensors["layer0.mask"] = tensors["layer0.mask"][1:]
    files.write(tmp_path / "net.safetensors", files.MODEL, tensors, header)
    with one_line(ValueError, r"layer0.mask is uint8 \(5, 16\); the architecture wants uint8 \(6, 16\)"):
        nn.Network.load(tmp_path / "net.safetensors")


class Interrupt(nn.Callback):
    def on_epoch_end(self, net, history):
        if len(history) == 2:
            signal.raise_signal(signal.SIGINT)


def test_checkpoints_keep_them(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    settings = {"optimizer": nn.Nesterov(0.05), "batch_size": 9, "validation": (XV, YV)}
    whole = nn.mlp([6, 16, 3], seed=2)
    whole.prune(0.6)
    masks = whole.masks
    part = copy.deepcopy(whole)
    whole.fit(X, Y, epochs=5, **settings)
    with pytest.raises(KeyboardInterrupt):
        part.fit(X, Y, epochs=5, callbacks=[nn.Checkpoint(path), Interrupt()], **settings)
    resumed = nn.mlp([6, 16, 3], seed=2)  # as it was built, not pruned
    resumed.fit(X, Y, epochs=5, resume=path, **settings)
    assert_pruned(resumed.parameters, masks)
    assert resumed.sparsity == whole.sparsity
    for a, b in zip(whole.parameters, resumed.parameters, strict=True):
        assert host(a).tobytes() == host(b).tobytes()


def test_early_stopping_and_divergence_leave_them():
    net = nn.mlp([6, 16, 3], seed=0)
    net.prune(0.6)
    net.fit(X, Y, nn.SGD(0.5), 20, 10, (XV, YV), callbacks=[nn.EarlyStopping(patience=2)])
    assert_pruned(net.parameters, net.masks)
    regression = nn.mlp([6, 16, 2], "relu", "squared_error", seed=0)
    regression.prune(0.6)
    with pytest.raises(nn.DivergedError):
        regression.fit(X, X[:, :2], nn.SGD(1e4), 30, 10)
    assert_pruned(regression.parameters, regression.masks)


class Gradually(nn.Callback):
    """More is pruned after every epoch."""

    def on_epoch_end(self, net, history):
        net.prune(0.1 * len(history))


def test_gradual_pruning_and_early_stopping(tmp_path):
    """The best weights come back with the masks of their epoch, also out of a checkpoint."""
    path = tmp_path / "checkpoint.safetensors"
    nets, best = [nn.mlp([6, 16, 3], seed=0) for _ in range(2)], 2

    class Validation(nn.Callback):
        def on_epoch_end(self, net, history):
            history.epochs[-1]["validation_error"] = abs(len(history) - best) / 10

    def train(net, epochs, **more):
        callbacks = [Gradually(), Validation(), nn.EarlyStopping(patience=9), nn.Checkpoint(path)]
        return net.fit(X, Y, nn.Momentum(0.05), epochs, 10, (XV, YV), callbacks=callbacks, **more)

    history = train(nets[0], 4)
    train(nets[1], 6, resume=path)
    assert history.best["epoch"] == best
    for net in nets:
        assert net.sparsity == pytest.approx(0.2, abs=0.01)
        assert_pruned(net.parameters, net.masks)


def test_gradual_pruning_and_divergence(tmp_path, monkeypatch):
    """Back to the weights before the epoch, and before the pruning at the end of the last one."""
    monkeypatch.setattr(fit_module, "CHUNK_SECONDS", 0.0)
    path = tmp_path / "checkpoint.safetensors"
    x, y = X[:60], X[:60, :2]

    class Rate:
        """The rate goes up in the middle of the third epoch; Ctrl-C before that."""

        press = False

        def __call__(self, epoch):
            if self.press and epoch > 2.3:
                signal.raise_signal(signal.SIGINT)
                self.press = False
            return 1.0 if epoch < 2.6 else 1e30

    for press in (False, True):
        net, rate = nn.mlp([6, 16, 2], "relu", "squared_error", seed=0), Rate()
        rate.press = press
        resume = None
        if press:
            with pytest.raises(KeyboardInterrupt):
                net.fit(
                    x, y, nn.SGD(0.01), 5, 10, schedule=rate, callbacks=[Gradually(), nn.Checkpoint(path)]
                )
            net, resume = nn.mlp([6, 16, 2], "relu", "squared_error", seed=0), path
        with pytest.raises(nn.DivergedError, match="end of epoch 2;"):
            net.fit(x, y, nn.SGD(0.01), 5, 10, schedule=rate, callbacks=[Gradually()], resume=resume)
        assert net.sparsity == pytest.approx(0.1, abs=0.01)
        assert_pruned(net.parameters, net.masks)


def test_the_curve():
    net = nn.mlp([6, 30, 3], seed=0)
    net.fit(X, Y, nn.Adam(0.02), epochs=20, batch_size=10)
    before = [host(p).copy() for p in net.parameters]
    curve = nn.pruning_curve(
        net, X, Y, (XV, YV), [0, 0.5, 0.9], optimizer=nn.Adam(0.02), epochs=5, batch_size=10
    )
    assert [point.weights for point in curve] == [270, 135, 27]
    assert [point.fraction for point in curve] == [0, 0.5, 0.9]
    assert net.sparsity == 0
    assert all(host(p).tobytes() == b.tobytes() for p, b in zip(net.parameters, before, strict=True))
    by_hand = copy.deepcopy(net)
    for point in curve:
        by_hand.prune(point.fraction)
        assert (point.loss_before, point.error_before) == by_hand.evaluate(XV, YV)
        if point.fraction:
            by_hand.fit(X, Y, nn.Adam(0.02), epochs=5, batch_size=10)
        assert (point.loss, point.error) == by_hand.evaluate(XV, YV) == point.net.evaluate(XV, YV)
        assert point.net.sparsity == point.fraction
    assert curve[2].loss < curve[2].loss_before


def test_the_curve_refuses(one_line):
    net = nn.mlp([6, 4, 3])
    for fractions in ([], [0.5, 0.2], [0.5, 0.5]):
        with one_line(ValueError, "pruning_curve: fractions are .*; wanted one or more, rising"):
            nn.pruning_curve(net, X, Y, (XV, YV), fractions)
    with one_line(TypeError, "pruning_curve: fractions is None; wanted a list such as"):
        nn.pruning_curve(net, X, Y, (XV, YV), None)
    with one_line(ValueError, r"pruning_curve: validation is a NoneType; wanted a pair \(x, y\)"):
        nn.pruning_curve(net, X, Y, None)
    with one_line(ValueError, "pruning_curve: no points to draw"):
        plots.pruning_curve([])


@pytest.mark.parametrize("y", [Y, X[:, :2]])
def test_the_picture(y, tmp_path):
    pytest.importorskip("matplotlib")
    net = nn.mlp([6, 8, 3 if y is Y else 2], loss="softmax_cross_entropy" if y is Y else "squared_error")
    curve = nn.pruning_curve(net, X, y, (X, y), [0, 0.5], epochs=1, batch_size=10)
    figure = plots.pruning_curve(curve, "a net")
    (axes,) = figure.axes
    assert [line.get_xdata().tolist() for line in axes.get_lines()] == [
        [point.weights for point in curve]
    ] * 2
    scale, what = (100, "error") if y is Y else (1, "loss")
    assert axes.get_lines()[1].get_ydata().tolist() == [scale * getattr(point, what) for point in curve]
    assert what in axes.get_ylabel()
    assert plots.save(figure, tmp_path / "curve.png").stat().st_size > 1000


def test_curve_of_a_pruned_net_begins_with_it():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 6)).astype(np.float32), rng.integers(0, 3, 60)
    net = nn.mlp([6, 8, 3], seed=0)
    net.prune(0.5)
    curve = nn.pruning_curve(net, x, y, (x, y), [0.0, 0.75], epochs=1, batch_size=10)
    assert [point.weights for point in curve] == [36, 18]


def test_weights_that_are_not_finite_are_refused():
    net = nn.mlp([6, 8, 3], seed=0)
    net.parameters[0][0, 0] = np.nan
    with pytest.raises(ValueError, match="weights 0 hold NaN"):
        net.prune(0.5)
    assert net.sparsity == 0
