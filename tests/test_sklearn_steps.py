"""deltarule.sklearn beside scikit-learn's own perceptron: the same steps, stops and scores from the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import tolerance

pytest.importorskip("sklearn", minversion="1.6", reason="deltarule.sklearn is for scikit-learn 1.6 and newer")

import sklearn.neural_network
from deltarule import nn
from deltarule.sklearn import MLPClassifier, MLPRegressor
from sklearn.datasets import load_digits
from sklearn_cases import X, Y, parameters

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
OURS = {True: MLPRegressor, False: MLPClassifier}
THEIRS = {True: sklearn.neural_network.MLPRegressor, False: sklearn.neural_network.MLPClassifier}
SETTINGS = {
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.05},
    "momentum": {"solver": "sgd", "learning_rate_init": 0.05, "nesterovs_momentum": False},
    "plain": {"solver": "sgd", "learning_rate_init": 0.2, "momentum": 0},
    "invscaling": {"solver": "sgd", "momentum": 0, "learning_rate": "invscaling", "learning_rate_init": 0.5},
    "logistic": {"solver": "adam", "activation": "logistic", "beta_1": 0.8, "beta_2": 0.99},
}


def beside_scikit_learn(task, weights=None, epochs=6, **settings):
    """Our estimator and scikit-learn's after the same steps from the same weights, not shuffled."""
    y = Y[task]
    regression = y.dtype.kind == "f"
    # scikit-learn's Adam adds epsilon before it corrects v, ours as the paper's first formula: here it is next to 0.
    settings = {"activation": "tanh", "epsilon": 1e-30, **settings}
    ours = OURS[regression](
        hidden_layer_sizes=(7, 5), shuffle=False, random_state=0, max_iter=epochs, **settings
    ).fit(X, y, weights)
    start = OURS[regression](hidden_layer_sizes=(7, 5), random_state=0, **settings)
    start._validate_params()
    start.set_params(learning_rate_init=1e-300, max_iter=1).fit(
        X, y
    )  # a step of no size: the initial weights
    theirs = THEIRS[regression](
        hidden_layer_sizes=(7, 5), shuffle=False, warm_start=True, max_iter=1, **settings
    ).fit(X, y)
    for theirs_, ours_ in zip(parameters(theirs), parameters(start), strict=True):
        theirs_[...] = ours_
    theirs.t_, theirs.best_loss_, theirs._no_improvement_count = 0, np.inf, 0
    theirs.set_params(max_iter=epochs).fit(X, y, *([] if weights is None else [weights]))
    return ours, theirs


def assert_same_training(ours, theirs, steps):
    for got, want in zip(parameters(ours), parameters(theirs), strict=True):
        tolerance.assert_within(got, want, tolerance.through_network(want, "float64", 7, 3, steps, 1.0))


@pytest.mark.parametrize("task", Y)
@pytest.mark.parametrize("settings", SETTINGS)
def test_same_steps_as_scikit_learn(settings, task):
    ours, theirs = beside_scikit_learn(task, batch_size=20, alpha=0.02, **SETTINGS[settings])
    assert_same_training(ours, theirs, 30)
    assert (ours.n_layers_, ours.n_outputs_, ours.out_activation_, ours.t_) == (
        theirs.n_layers_, theirs.n_outputs_, theirs.out_activation_, theirs.t_,
    )  # fmt: skip
    bound = tolerance.through_network(np.ones(1), "float64", 7, 3, 30, 20.0)
    tolerance.assert_within(ours.predict(X), theirs.predict(X), bound)
    if task in ("many", "two", "several"):
        tolerance.assert_within(ours.predict_proba(X), theirs.predict_proba(X), bound)
        tolerance.assert_within(ours.predict_log_proba(X), theirs.predict_log_proba(X), bound)
    assert ours.score(X, Y[task]) == pytest.approx(theirs.score(X, Y[task]), rel=1e-9)


def test_defaults_are_scikit_learn_s():
    for regression in (False, True):
        ours, theirs = OURS[regression]().get_params(), THEIRS[regression]().get_params()
        assert set(theirs) - set(ours) <= {"max_fun", "loss"}  # of L-BFGS, and of the Poisson deviance
        assert {name: ours[name] for name in theirs if name in ours} == {
            name: value for name, value in theirs.items() if name in ours
        }


def test_losses_are_scikit_learn_s_without_penalty():
    ours, theirs = beside_scikit_learn("many", batch_size=20, alpha=0)
    tolerance.assert_within(ours.loss_curve_, np.array(theirs.loss_curve_[1:]), 1e-12)
    assert ours.loss_ == ours.loss_curve_[-1]
    assert ours.best_loss_ == min(ours.loss_curve_)


def test_weights_are_scikit_learn_s():
    if sklearn.__version__ < "1.7":
        pytest.skip("scikit-learn's own takes sample_weight from 1.7 on")
    weights = np.random.default_rng(0).integers(0, 4, len(X)).astype(float)
    ours, theirs = beside_scikit_learn("many", weights, batch_size=len(X), alpha=0.5)
    assert_same_training(ours, theirs, 6)


@pytest.mark.parametrize(
    "settings",
    [
        {"solver": "adam"},
        {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.3, "momentum": 0},
    ],
)
def test_stops_where_scikit_learn_stops(settings):
    ours, theirs = beside_scikit_learn(
        "many", epochs=400, batch_size=30, alpha=0, tol=2e-3, n_iter_no_change=3, **settings
    )
    assert ours.n_iter_ == theirs.n_iter_ < 400
    if settings["solver"] == "sgd":
        assert 0 < ours._rate == theirs._optimizer.learning_rate < 0.3


def test_adamw_decays_by_alpha_itself():
    ours = MLPClassifier(
        (), solver="adamw", alpha=0.5, learning_rate_init=0.1, max_iter=1, batch_size=90, random_state=0
    )
    net = nn.mlp([6, 3], seed=int(np.random.RandomState(0).randint(2**31 - 1)), dtype="float64")
    net.train_step(X, Y["many"], nn.AdamW(0.1, weight_decay=0.5))
    got = ours.fit(X, Y["many"]).coefs_[0]
    tolerance.assert_within(got, np.asarray(net.parameters[0]), 1e-12)  # the order of the rows differs


def test_accuracy_on_digits_is_scikit_learn_s():
    x, y = load_digits(return_X_y=True)
    x, scores = x / 16, {}
    for kind in (MLPClassifier, sklearn.neural_network.MLPClassifier):
        fits = [kind((50,), random_state=seed, max_iter=30, learning_rate_init=0.01) for seed in range(3)]
        scores[kind] = np.mean([fit.fit(x[:1200], y[:1200]).score(x[1200:], y[1200:]) for fit in fits])
    ours, theirs = scores.values()
    assert ours >= theirs - 0.01
    assert ours >= 0.91
