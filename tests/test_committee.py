"""nn.Committee: members trained side by side, averaging, what is refused, files."""

from __future__ import annotations

import signal
import threading

import numpy as np
import pytest
import tolerance
from deltarule import _core, nn
from deltarule.nn import files
from network_cases import copies, oracle, same_bits

ROWS = np.random.default_rng(0)
X = ROWS.standard_normal((120, 5)).astype(np.float32)
LABELS = ROWS.integers(0, 3, 120)
YES_NO = ROWS.integers(0, 2, (120, 4))
VALUES = ROWS.standard_normal((120, 2)).astype(np.float32)

pytestmark = pytest.mark.usefixtures("threads")


def nets(count=3, sizes=(5, 8, 3), **settings):
    return [nn.mlp(sizes, seed=seed, **settings) for seed in range(count)]


def weights(committee):
    return [array for net in committee.members for array in copies(net.parameters)]


@pytest.mark.parametrize("at_once", [None, 1, 2, 8])
def test_members_have_the_bits_of_a_training_alone(at_once, threads):
    threads(3)
    settings = {
        "optimizer": nn.Momentum(0.05),
        "epochs": 4,
        "batch_size": 7,
        "validation": (X[:20], LABELS[:20]),
    }
    alone = nets(5, dropout=0.2)
    wanted = [net.fit(X, LABELS, callbacks=[nn.EarlyStopping(patience=2)], **settings) for net in alone]
    committee = nn.Committee(nets(5, dropout=0.2))
    got = committee.fit(
        X, LABELS, callbacks=lambda k: [nn.EarlyStopping(patience=2)], threads=at_once, **settings
    )
    assert same_bits(weights(committee), weights(nn.Committee(alone)))
    assert [history["validation_loss"] for history in got] == [
        history["validation_loss"] for history in wanted
    ]
    assert [history.best["epoch"] for history in got] == [history.best["epoch"] for history in wanted]
    assert _core.num_threads() == 3


def test_so_many_at_a_time(threads):
    """As many as there are threads, on one thread each; more never."""
    threads(2)
    running, most, kernels, lock = 0, [], set(), threading.Lock()
    both = threading.Barrier(2)

    class Count(nn.Callback):
        def on_train_begin(self, net, history):
            nonlocal running
            with lock:
                running += 1
                most.append(running)
                kernels.add(_core.num_threads())
            both.wait(timeout=30)  # breaks if members come one by one

        def on_train_end(self, net, history):
            nonlocal running
            with lock:
                running -= 1

    nn.Committee(nets(4)).fit(X, LABELS, callbacks=lambda k: [Count()], epochs=1)
    assert len(most) == 4
    assert max(most) == 2
    assert kernels == {1}
    assert _core.num_threads() == 2


def test_on_every_device(device):
    alone = nets(2, device=device)
    for net in alone:
        net.fit(X, LABELS, optimizer=nn.SGD(0.1), epochs=2)
    committee = nn.Committee(nets(2, device=device))
    committee.fit(X, LABELS, optimizer=nn.SGD(0.1), epochs=2)
    assert same_bits(weights(committee), weights(nn.Committee(alone)))
    mean = np.mean([probabilities(net, X, "softmax_cross_entropy") for net in alone], axis=0)
    np.testing.assert_allclose(committee.predict_proba(X), mean, atol=tolerance.PROBABILITY)


def probabilities(net, x, loss):
    z = oracle(net).outputs(x)
    if loss == "binary_cross_entropy":
        return 1 / (1 + np.exp(-z))
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_classification_is_by_the_mean_probability():
    committee = nn.Committee([*nets(3), nn.mlp([5, 20, 20, 3], "relu", seed=9)])
    for net in committee.members:
        net.parameters[-2][...] *= 4
    mean = np.mean([probabilities(net, X, "softmax_cross_entropy") for net in committee.members], axis=0)
    found = committee.predict_proba(X)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, mean, atol=tolerance.PROBABILITY)
    np.testing.assert_array_equal(committee.predict(X), mean.argmax(axis=1))
    assert committee.predict(X).dtype == np.int64
    assert committee.score(X, LABELS) == pytest.approx((mean.argmax(axis=1) == LABELS).mean())
    assert committee.score(X, np.eye(3)[LABELS]) == committee.score(X, LABELS)
    # Not by the mean of the logits, and not by votes.
    assert np.any(committee.predict(X) != committee.forward(X).argmax(axis=1))
    np.testing.assert_allclose(
        committee.forward(X),
        np.mean([oracle(net).outputs(X) for net in committee.members], axis=0),
        atol=tolerance.OUTPUT,
    )


def test_multi_label():
    committee = nn.Committee(nets(3, (5, 8, 4), loss="binary_cross_entropy"))
    mean = np.mean([probabilities(net, X, "binary_cross_entropy") for net in committee.members], axis=0)
    np.testing.assert_array_equal(committee.predict(X), mean > 0.5)
    assert committee.score(X, YES_NO) == pytest.approx(((mean > 0.5) == YES_NO).all(axis=1).mean())


@pytest.mark.parametrize("task", ["softmax_cross_entropy", "binary_cross_entropy", "squared_error"])
@pytest.mark.parametrize("y", [LABELS, np.eye(3)[LABELS]], ids=["labels", "targets"])
@pytest.mark.parametrize("trained", [False, True], ids=["as built", "on labels"])
def test_one_member_scores_as_it_does_alone(task, y, trained):
    """Labels and targets mean the same to both, whatever the loss."""
    (net,) = nets(1, (5, 8, 3), loss=task)
    if trained:
        net.fit(X, LABELS, optimizer=nn.SGD(0.1), epochs=20, batch_size=10)
    committee = nn.Committee([net])
    if net.task == "regression" and y is LABELS:
        for found in (net, committee):
            with pytest.raises(ValueError, match=r"score: y is \(120,\); wanted \(120, 3\)"):
                found.score(X, y)
        return
    assert committee.score(X, y) == pytest.approx(net.score(X, y))
    if trained:
        assert net.score(X, y) == pytest.approx((net.predict(X) == LABELS).mean())
        assert 0.2 < net.score(X, y) < 1


def test_one_output_of_yes_and_no():
    committee = nn.Committee(nets(3, (5, 8, 1), loss="binary_cross_entropy"))
    mean = np.mean([probabilities(net, X, "binary_cross_entropy")[:, 0] for net in committee.members], axis=0)
    np.testing.assert_allclose(
        committee.predict_proba(X), np.stack([1 - mean, mean], axis=1), atol=tolerance.PROBABILITY
    )
    np.testing.assert_array_equal(committee.predict(X), mean > 0.5)
    yes_no = YES_NO[:, 0]
    assert committee.score(X, yes_no) == pytest.approx(((mean > 0.5) == yes_no).mean())
    assert committee.score(X, yes_no.astype(float)) == committee.score(X, yes_no)


@pytest.mark.parametrize("outputs", [1, 3])
def test_labels_learned_by_squared_error(outputs):
    labels = LABELS if outputs == 3 else LABELS % 2
    committee = nn.Committee(nets(3, (5, 8, outputs), loss="squared_error"))
    committee.fit(X, labels, optimizer=nn.SGD(0.1), epochs=2)
    mean = np.mean([oracle(net).outputs(X) for net in committee.members], axis=0)
    wanted = mean.argmax(axis=1) if outputs == 3 else mean[:, 0] > 0.5
    np.testing.assert_array_equal(committee.predict(X), wanted)
    assert committee.score(X, labels) == pytest.approx((wanted == labels).mean())
    with pytest.raises(ValueError, match="predict_proba: loss is squared_error"):
        committee.predict_proba(X)


def test_regression():
    committee = nn.Committee(nets(3, (5, 8, 2), loss="squared_error"))
    committee.fit(X, VALUES, optimizer=nn.SGD(0.1), epochs=2)
    mean = np.mean([oracle(net).outputs(X) for net in committee.members], axis=0)
    np.testing.assert_allclose(committee.predict(X), mean, atol=tolerance.OUTPUT)
    r2 = 1 - ((mean - VALUES) ** 2).sum(axis=0) / ((VALUES - VALUES.mean(axis=0)) ** 2).sum(axis=0)
    assert committee.score(X, VALUES) == pytest.approx(r2.mean(), abs=1e-4)
    counts = np.rint(3 + 2 * X[:, 0]).astype(np.int64)
    one = nn.Committee(nets(2, (5, 8, 1), loss="squared_error"))
    one.fit(X, counts.astype(float), optimizer=nn.SGD(0.1), epochs=2)
    assert one.score(X, counts) == one.score(X, counts.astype(float))


def test_a_committee_beats_its_members():
    """Labels with noise: the mean of overfitted nets errs less than they do."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((600, 5)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] * x[:, 2] + 0.5 * rng.standard_normal(600) > 0).astype(np.int64)
    committee = nn.Committee(nets(8, (5, 40, 2)))
    committee.fit(x[:200], y[:200], optimizer=nn.Momentum(0.1), epochs=60, batch_size=10)
    alone = [net.score(x[200:], y[200:]) for net in committee.members]
    assert committee.score(x[200:], y[200:]) > np.mean(alone)


def named(classes=None):
    net = nn.mlp([5, 3])
    net.classes = classes if classes is None else list(classes)
    return net


def test_bad_members():
    for members, error, match in (
        ([], ValueError, "no members"),
        (nn.mlp([5, 3]), TypeError, r"^Committee: members is Network\(.*; wanted a list of nn.Network$"),
        ([nn.mlp([5, 3]), "net"], TypeError, "member 1 is 'net'"),
        ([nn.mlp([5, 3]), nn.mlp([6, 3])], ValueError, "member 1 has inputs 6, member 0 5"),
        ([nn.mlp([5, 3]), nn.mlp([5, 4])], ValueError, "member 1 has outputs 4, member 0 3"),
        (
            [nn.mlp([5, 3]), nn.mlp([5, 3], loss="squared_error")],
            ValueError,
            "member 1 has loss 'squared_error'",
        ),
        (
            [named(), named("abc"), named("acb")],
            ValueError,
            "member 2 has other classes or another order than member 1",
        ),
        ([nn.mlp([5, 3])] * 2, ValueError, "member 1 is there twice"),
    ):
        with pytest.raises(error, match=match):
            nn.Committee(members)


def test_bad_settings_change_nothing(threads):
    threads(2)
    committee = nn.Committee(nets())
    before = weights(committee)
    for settings, error, match in (
        ({"threads": 0}, ValueError, "threads is 0; wanted 1 or more"),
        ({"progress": True}, TypeError, "progress came"),
        ({"resume": "x"}, TypeError, "resume came"),
        ({"batch_size": 0}, ValueError, "fit: batch_size is 0"),
        ({"rate": 1}, TypeError, "rate"),
    ):
        with pytest.raises(error, match=match):
            committee.fit(X, LABELS, **settings)
    assert same_bits(weights(committee), before)
    assert _core.num_threads() == 2
    with pytest.raises(ValueError, match="score: x has 4 features"):
        committee.score(X[:, :4], LABELS)
    with pytest.raises(ValueError, match="score: y"):
        committee.score(X, np.full(120, 3))


def test_members_of_two_minds():
    committee = nn.Committee(nets(2, loss="squared_error"))
    committee.members[0].fit(X, LABELS, epochs=1, optimizer=nn.SGD(0.01))
    with pytest.raises(ValueError, match="members were trained for classification and regression"):
        committee.predict(X)


def test_an_error_of_one_member_ends_the_others(threads):
    threads(2)

    class Fail(nn.Callback):
        def on_epoch_end(self, net, history):
            raise OSError("disk full")

    committee = nn.Committee(nets(3))
    with pytest.raises(OSError, match="disk full"):
        committee.fit(X, LABELS, epochs=10**7, callbacks=lambda k: [Fail()] if k == 1 else [])
    assert len(committee.members[0].history) < 10**7
    assert _core.num_threads() == 2


def test_committees_at_the_same_time_give_the_threads_back(threads):
    """The second one finds a single thread and must not leave that behind, whichever ends last."""
    threads(3)
    inside, ended = threading.Barrier(2), threading.Event()

    class Wait(nn.Callback):
        def __init__(self, last):
            self.last = last

        def on_epoch_end(self, net, history):
            inside.wait(timeout=30)
            if self.last:
                assert ended.wait(timeout=30)
                assert _core.num_threads() == 1

    def train(last):
        committee = nn.Committee(nets(2))
        callbacks = {0: [Wait(last)], 1: []}
        committee.fit(X, LABELS, callbacks=callbacks.get, threads=2, epochs=1)

    second = threading.Thread(target=train, args=(True,))
    second.start()
    train(False)
    ended.set()
    second.join()
    assert _core.num_threads() == 3


def test_ctrl_c(threads):
    threads(2)

    class Press(nn.Callback):
        def on_epoch_end(self, net, history):
            if len(history) == 3:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    committee = nn.Committee(nets(3))
    with pytest.raises(KeyboardInterrupt):
        committee.fit(X, LABELS, epochs=20_000, callbacks=lambda k: [Press()] if k == 1 else [])
    assert _core.num_threads() == 2
    assert committee.predict(X).shape == (120,)


def test_a_file_gives_the_same_committee(tmp_path):
    path = tmp_path / "committee.safetensors"
    committee = nn.Committee([*nets(2), nn.mlp([5, 6, 4, 3], "relu", seed=9)])
    committee.members[1].standardize(np.arange(5.0), np.full(5, 0.5))
    committee.members[0].classes = ["a", "b", "c"]
    committee.save(path)
    loaded = nn.Committee.load(path)
    assert same_bits(weights(loaded), weights(committee))
    assert [net.layers for net in loaded.members] == [net.layers for net in committee.members]
    assert loaded.members[0].classes == ["a", "b", "c"]
    assert same_bits([loaded.predict_proba(X)], [committee.predict_proba(X)])
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_bad_files(tmp_path):
    path = tmp_path / "x.safetensors"
    nn.mlp([5, 3]).save(path)
    with pytest.raises(ValueError, match="is a deltarule model; wanted a deltarule committee"):
        nn.Committee.load(path)
    nn.Committee(nets(2)).save(path)
    with pytest.raises(ValueError, match="is a deltarule committee; wanted a deltarule model"):
        nn.Network.load(path)
    tensors, header = files.read(path, files.COMMITTEE)
    files.write(path, files.COMMITTEE, tensors, {})
    with pytest.raises(ValueError, match="its header lacks 'members'"):
        nn.Committee.load(path)
    del tensors["member1.layer0.weight"]
    files.write(path, files.COMMITTEE, tensors, header)
    with pytest.raises(ValueError, match=r"lacks the tensor 'layer0\.weight'"):
        nn.Committee.load(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="truncated"):
        nn.Committee.load(path)
    with pytest.raises(FileNotFoundError):
        nn.Committee.load(tmp_path / "none.safetensors")


def test_what_an_error_elsewhere_ends_goes_on_from_its_checkpoint(tmp_path):
    """Another member's error stops the training after an epoch; resumed, it makes the epochs that were left."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 6)).astype(np.float32), rng.integers(0, 3, 200)

    class Fails(nn.Callback):
        def on_epoch_end(self, net, history):
            raise ValueError("the second member fails")

    committee = nn.Committee([nn.mlp([6, 8, 3], seed=seed) for seed in range(2)])
    path = tmp_path / "member.safetensors"
    settings = {"optimizer": nn.SGD(0.01), "epochs": 100_000, "batch_size": 10}
    with pytest.raises(ValueError, match="the second member fails"):
        committee.fit(
            x, y, callbacks=lambda k: [Fails()] if k else [nn.Checkpoint(path)], threads=2, **settings
        )
    settings["epochs"] = files.read(path, files.CHECKPOINT)[1]["state"]["epoch"] + 1
    history = nn.mlp([6, 8, 3], seed=0).fit(x, y, callbacks=[nn.Checkpoint(path)], resume=path, **settings)
    assert 1 < len(history) == settings["epochs"] < 100_000


def test_bad_arguments_of_fit_and_score():
    committee = nn.Committee([nn.mlp([6, 8, 3])])
    x, y = np.zeros((4, 6), np.float32), np.zeros(4, int)
    with pytest.raises(TypeError, match="wanted a function of the member's index"):
        committee.fit(x, y, callbacks=[nn.EarlyStopping()])
    for own in (None, nn.EarlyStopping()):
        with pytest.raises(TypeError, match=r"callbacks\(0\) gave .*; wanted a list of nn.Callback"):
            committee.fit(x, y, callbacks=lambda k, own=own: own)
    with pytest.raises(TypeError, match="threads"):
        committee.fit(x, y, threads=1.5)
    with pytest.raises(ValueError, match="evaluate: x has no rows"):
        committee.evaluate(x[:0], y[:0])
    with pytest.raises(ValueError, match="x has no rows"):
        committee.score(x[:0], y[:0])


def test_members_by_index_and_in_a_loop():
    members = nets(3)
    committee = nn.Committee(members)
    assert list(committee) == members
    assert committee[1] is members[1]
    assert committee[-1] is members[2]
    assert len(committee) == 3


def test_the_optimizer_may_come_third_as_for_a_network():
    committees = [nn.Committee(nets(2)) for _ in range(2)]
    committees[0].fit(X, LABELS, nn.SGD(0.3), epochs=1)
    committees[1].fit(X, LABELS, optimizer=nn.SGD(0.3), epochs=1)
    assert same_bits(*map(weights, committees))


EVALUATED = {
    "labels": ("softmax_cross_entropy", 3, LABELS),
    "class probabilities": ("softmax_cross_entropy", 3, np.eye(3)[LABELS] * 0.8 + 0.1),
    "yes or no": ("binary_cross_entropy", 1, LABELS % 2),
    "multi-label": ("binary_cross_entropy", 4, YES_NO.astype(float)),
    "labels, squared": ("squared_error", 3, LABELS),
    "values": ("squared_error", 2, VALUES),
}


@pytest.mark.parametrize("name", EVALUATED)
def test_evaluate_is_the_loss_of_the_mean(name):
    loss, outputs, y = EVALUATED[name]
    members = nets(3, (5, 8, outputs), loss=loss)
    w = np.random.default_rng(0).uniform(0.5, 2, len(X))
    for net in members:
        net.fit(X, y, nn.SGD(0.1), epochs=2)
    committee = nn.Committee(members)
    t = np.eye(outputs)[y] if y.ndim == 1 and outputs > 1 else np.reshape(y, (len(X), outputs))
    if loss == "squared_error":
        rows = ((np.mean([oracle(net).outputs(X) for net in members], axis=0) - t) ** 2).sum(axis=1) / 2
    else:
        p = np.mean([probabilities(net, X, loss) for net in members], axis=0)
        rows = -(t * np.log(p)).sum(axis=1)
        if loss == "binary_cross_entropy":
            rows -= ((1 - t) * np.log(1 - p)).sum(axis=1)
    error = None if name == "values" else pytest.approx(1 - committee.score(X, y))
    for weight in (None, w):
        assert committee.evaluate(X, y, weight) == (
            pytest.approx(np.average(rows, weights=weight), rel=1e-5),
            error,
        )
    (one,) = (nn.Committee(members[:1]),)
    assert one.evaluate(X, y, w)[0] == pytest.approx(members[0].evaluate(X, y, w)[0], rel=1e-5)
    assert committee.evaluate(X, y, np.zeros(len(X)))[0] == 0


@pytest.mark.parametrize("name", EVALUATED)
def test_evaluate_asks_every_member_once(name, monkeypatch):
    loss, outputs, y = EVALUATED[name]
    committee = nn.Committee(nets(3, (5, 8, outputs), loss=loss))
    forward, asked = nn.Network.forward, []
    monkeypatch.setattr(nn.Network, "forward", lambda net, x: (asked.append(net), forward(net, x))[1])
    committee.evaluate(X, y)
    assert asked == list(committee)


def test_a_slice_is_no_member(one_line):
    with one_line(TypeError, r"Committee: index is slice\(0, 1, None\); wanted a whole number"):
        nn.Committee(nets(2))[0:1]


def test_a_loss_that_float32_probabilities_do_not_have():
    net = nn.mlp([5, 2], init=nn.init.Zeros())
    net.parameters[1][...] = [200.0, 0.0]
    loss, error = nn.Committee([net]).evaluate(X, np.ones(len(X), int))
    assert (loss, error) == (pytest.approx(200), 1)
