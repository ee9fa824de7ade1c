"""Estimators that go on: partial_fit, warm starts, and either of them after a pickle."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import tolerance

pytest.importorskip("sklearn", minversion="1.6", reason="deltarule.sklearn is for scikit-learn 1.6 and newer")

from deltarule import _core
from deltarule.sklearn import MLPClassifier
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn_cases import X, Y, parameters, same

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw", "momentum", "nesterov"])
def test_partial_fit_goes_on_after_a_pickle(solver):
    settings = {
        "solver": solver,
        "random_state": 3,
        "dropout": 0.2,
        "learning_rate_init": 0.01,
        "batch_size": 32,
    }
    whole = MLPClassifier((8,), **settings)
    for _ in range(4):
        whole.partial_fit(X, Y["many"], classes=[0, 1, 2])
    part = MLPClassifier((8,), **settings)
    for _ in range(2):
        part.partial_fit(X, Y["many"], classes=[0, 1, 2])
    saved = pickle.dumps(part)
    rest = pickle.loads(saved)
    assert same(rest, part)
    for _ in range(2):
        rest.partial_fit(X, Y["many"])
    assert same(rest, whole)
    assert rest.loss_curve_ == whole.loss_curve_
    assert len(rest.loss_curve_) == 4
    assert not same(part, whole)
    assert "engine" not in part.network_.__getstate__()


@pytest.mark.parametrize(("learning_rate", "power_t"), [("constant", 0.0), ("invscaling", 0.5)])
def test_partial_fit_takes_a_changed_rate(learning_rate, power_t):
    net = MLPClassifier(
        (8,), solver="sgd", learning_rate=learning_rate, power_t=power_t, momentum=0, alpha=0,
        learning_rate_init=0.5, batch_size=90, random_state=0,
    )  # fmt: skip
    net.partial_fit(X, Y["many"], classes=[0, 1, 2])
    steps = []
    for rate, copy in ((0.5, pickle.loads(pickle.dumps(net))), (0.125, net)):
        before = [p.copy() for p in parameters(copy)]
        copy.set_params(learning_rate_init=rate).partial_fit(X, Y["many"])
        steps.append([p - q for p, q in zip(parameters(copy), before, strict=True)])
        assert copy._rate == rate / (copy.t_ + 1) ** power_t
    for whole, quarter in zip(*steps, strict=True):
        assert np.abs(whole).max() > 1e-5
        tolerance.assert_within(quarter, whole / 4, 1e-12)


@pytest.mark.parametrize(
    ("x", "y", "classes", "words"),
    [
        (X[:2], [[1], [1, 2]], [0, 1, 2], "sequence"),
        (np.where(X > 2, np.nan, X), Y["many"], [0, 1, 2, 3], "Input X contains NaN"),
        (X, Y["many"], [0, 1], "`y` has classes not in"),
        (X, Y["several"], [0, 1], "wanted the numbers of the labels"),
    ],
)
def test_a_first_partial_fit_that_fails_is_forgotten(x, y, classes, words):
    estimator = MLPClassifier((8,), random_state=0)
    with pytest.raises(ValueError, match=words):
        estimator.partial_fit(x, y, classes=classes)
    estimator.partial_fit(X, Y["many"], classes=[0, 1, 2])
    fresh = MLPClassifier((8,), random_state=0).partial_fit(X, Y["many"], classes=[0, 1, 2])
    assert same(estimator, fresh)


def test_warm_start_goes_on_from_the_weights():
    estimator = MLPClassifier((8,), random_state=0, max_iter=5, warm_start=True).fit(X, Y["many"])
    first = [p.copy() for p in parameters(estimator)]
    estimator.set_params(learning_rate_init=1e-9).fit(X, Y["many"])
    for before, after in zip(first, parameters(estimator), strict=True):
        tolerance.assert_within(after, before, 1e-7)
    assert len(estimator.loss_curve_) == 10
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
        estimator.fit(X, Y["two"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_layer_sizes", (50, 20)),
        ("activation", "tanh"),
        ("dropout", 0.5),
        ("dtype", "float64"),
        ("precision", "medium"),
    ],
)
def test_a_warm_start_keeps_the_net_and_says_so(name, value):
    X, y = make_blobs(60, 4, random_state=0)
    X = X.astype(np.float32)
    net = MLPClassifier((10,), max_iter=2, warm_start=True, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match=f"{name} was .* a warm start and partial_fit keep the net"):
        net.set_params(**{name: value}).fit(X, y)
    assert [w.shape for w in net.coefs_] == [(4, 10), (10, 3)]


def test_a_warm_start_with_early_stopping_keeps_the_best_of_its_own_epochs():
    X, y = make_blobs(300, 4, centers=6, cluster_std=4, random_state=0)
    net = MLPClassifier(
        (10,),
        solver="sgd",
        learning_rate_init=0.5,
        max_iter=6,
        warm_start=True,
        early_stopping=True,
        random_state=0,
    )
    for _ in range(3):
        scores = len(getattr(net, "validation_scores_", []))
        net.fit(X, y)
        assert net.best_validation_score_ == max(net.validation_scores_[scores:])


def test_an_unfitted_one_can_be_pickled_and_cloned():
    estimator = MLPClassifier((8,), "gelu", dropout=0.1)
    for copy in (pickle.loads(pickle.dumps(estimator)), clone(estimator)):
        assert copy.get_params() == estimator.get_params()
        with pytest.raises(NotFittedError):
            copy.predict(X)
    assert not hasattr(estimator, "coefs_")


def test_a_pickle_from_a_device_that_is_not_here(monkeypatch):
    estimator = MLPClassifier((8,), random_state=0, max_iter=3).fit(X, Y["many"])
    estimator._net.device = "cuda:0"  # as if trained there
    saved = pickle.dumps(estimator)
    monkeypatch.setattr(_core, "devices", lambda: ["cpu"])
    with pytest.warns(UserWarning, match="it was on cuda:0, which is not here; now it is on the CPU"):
        loaded = pickle.loads(saved)
    with warnings.catch_warnings():
        assert loaded.predict(X).tolist() == estimator.predict(X).tolist()
    assert loaded.network_.device == "cpu"
