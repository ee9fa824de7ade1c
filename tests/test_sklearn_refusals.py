"""What deltarule.sklearn refuses, and that a fit which cannot begin leaves the estimator as it was."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6", reason="deltarule.sklearn is for scikit-learn 1.6 and newer")

from deltarule import DeviceError, nn
from deltarule.sklearn import MLPClassifier, MLPRegressor
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn_cases import X, Y

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_refuses_what_makes_no_sense(one_line):
    with one_line(ValueError, "hidden_layer_sizes must be > 0, got"):
        MLPClassifier((3, 0)).fit(X, Y["many"])
    with pytest.raises(ValueError, match=r"The 'activation' parameter of MLPClassifier must be a str among"):
        MLPClassifier(activation="rleu").fit(X, Y["many"])
    with pytest.raises(ValueError, match=r"The 'solver' parameter of MLPRegressor must be a str among"):
        MLPRegressor(solver="lbfgs").fit(X, Y["number"])
    with one_line(ValueError, "Found input variables with inconsistent numbers of samples"):
        MLPClassifier().fit(X, Y["many"][1:])
    with pytest.raises(ValueError, match="Input X contains NaN"):
        MLPClassifier().fit(np.where(X > 2, np.nan, X), Y["many"])
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        MLPClassifier().fit(X, Y["number"])
    with one_line(ValueError, "Multioutput target data is not supported"):
        MLPClassifier().fit(X, Y["several"] + (X[:, :4] > 1))
    with one_line(ValueError, r"y has the values \[1, 2\]; wanted 0 and 1 where a sample has several labels"):
        MLPClassifier().fit(X, Y["several"] + 1)
    with one_line(ValueError, "X has 5 features, but MLPClassifier is expecting 6"):
        MLPClassifier(max_iter=1).fit(X, Y["many"]).predict(X[:, :5])
    with one_line(ValueError, "y has 2 outputs; this MLPRegressor was trained on 1"):
        MLPRegressor().partial_fit(X, Y["number"]).partial_fit(X, Y["numbers"])
    with one_line(ValueError, "y is multilabel-indicator; this MLPClassifier was trained on one label"):
        MLPClassifier().partial_fit(X, Y["many"], classes=[0, 1, 2]).partial_fit(X, Y["several"])
    with one_line(ValueError, "partial_fit does not support early_stopping=True"):
        MLPClassifier(early_stopping=True).partial_fit(X, Y["many"], classes=[0, 1, 2])
    with one_line(ValueError, "Negative values in data passed to `sample_weight`"):
        MLPClassifier().fit(X, Y["many"], -np.ones(90))
    with one_line(DeviceError, "cuda:77"):
        MLPClassifier(device="cuda:77").fit(X, Y["many"])
    with pytest.raises(nn.DivergedError, match="Solver produced non-finite parameter weights"):
        MLPRegressor(activation="identity", solver="sgd", learning_rate_init=1e6).fit(1e6 * X, Y["number"])


def test_weights_that_are_zero_in_the_net_s_dtype_are_refused(one_line):
    with one_line(ValueError, "Sample weights must contain at least one non-zero number"):
        MLPRegressor((8,), dtype="float32").fit(X, Y["number"], np.full(90, 1e-60))


def test_a_fit_that_cannot_begin_leaves_the_estimator_as_it_was():
    X, y = make_blobs(60, 4, random_state=0)
    net = MLPClassifier((10,), max_iter=2, random_state=0).fit(X, y)
    before = net.predict_proba(X)
    with pytest.raises(DeviceError):
        net.set_params(device="cuda:99").fit(X, (y > 0).astype(int))
    assert net.classes_.tolist() == [0, 1, 2]
    assert np.array_equal(net.predict_proba(X), before)


@pytest.mark.parametrize(
    ("settings", "y", "words"),
    [
        ({}, np.where(np.arange(90) == 0, 3, Y["many"]), "least populated class"),
        ({"validation_fraction": 0.0}, Y["many"], "test_size"),
        ({"validation_fraction": 0.01}, Y["several"], "validation set is too small"),
        ({"class_weight": {0: -1.0}}, Y["many"], "class_weight of 0 is -1.0; wanted a finite number"),
    ],
)
def test_an_early_stopping_that_cannot_begin_leaves_the_estimator_as_it_was(settings, y, words):
    kept = MLPClassifier((8,), max_iter=2, random_state=0).fit(X, Y["two"])
    before = kept.predict_proba(X)
    for estimator in (kept, MLPClassifier((8,), random_state=0)):
        with pytest.raises(ValueError, match=words):
            estimator.set_params(early_stopping=True, **settings).fit(X, y)
    with pytest.raises(NotFittedError):
        estimator.predict(X)
    assert kept.n_iter_ == 2
    assert np.array_equal(kept.predict_proba(X), before)


def test_early_stopping_wants_weight_in_both_parts():
    estimator = MLPClassifier((8,), early_stopping=True, random_state=0)
    empty = []
    for weights in np.eye(90):
        with pytest.raises(ValueError, match="Sample weights are all zero in the") as caught:
            estimator.fit(X, Y["many"], weights)
        empty.append(str(caught.value).split("all zero in the ")[1].split()[0])
    assert (empty.count("validation"), empty.count("training")) == (81, 9)  # where the one sample is not


def test_held_out_targets_are_checked_before_training(one_line):
    kept = MLPRegressor((8,), max_iter=2, random_state=0, early_stopping=True, dtype="float32").fit(
        X, Y["number"]
    )
    before = kept.predict(X)
    for row in range(30):  # in either part
        y = Y["number"].copy()
        y[row] = 1e39
        with np.errstate(over="ignore"), one_line(ValueError, rf"fit: y\[{row}, 0\] is inf; wanted finite"):
            kept.fit(X, y)
    assert np.array_equal(kept.predict(X), before)


@pytest.mark.parametrize(
    ("weight", "shown"), [("a", "'a'"), (-1, "-1"), (float("nan"), "nan"), (None, "None")]
)
def test_a_class_weight_that_is_none_is_named(weight, shown, one_line):
    X, y = make_blobs(60, 4, random_state=0)
    with one_line(ValueError, f"class_weight of 1 is {shown}; wanted a finite number, 0 or more"):
        MLPClassifier((4,), class_weight={0: 1.0, 1: weight}).fit(X, y)
