"""deltarule.sklearn: seeds, dtypes, devices and settings; pipelines; what a fit says and leaves."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tolerance

pytest.importorskip("sklearn", minversion="1.6", reason="deltarule.sklearn is for scikit-learn 1.6 and newer")

from deltarule.sklearn import MLPClassifier, MLPRegressor
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn_cases import X, Y, parameters, same

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_same_random_state_same_bits(threads):
    fits = []
    for count in (1, 2):
        threads(count)
        fits.append(MLPClassifier((30,), random_state=5, max_iter=3).fit(X, Y["many"]))
    assert same(*fits)
    assert not same(fits[0], MLPClassifier((30,), random_state=6, max_iter=3).fit(X, Y["many"]))
    generator = np.random.RandomState(5)
    assert same(fits[0], MLPClassifier((30,), random_state=generator, max_iter=3).fit(X, Y["many"]))


def test_early_stopping_keeps_the_best_epoch():
    estimator = MLPClassifier(
        (30,), early_stopping=True, validation_fraction=0.3, n_iter_no_change=4, learning_rate_init=0.02,
        random_state=0,
    ).fit(X, Y["many"])  # fmt: skip
    scores = estimator.validation_scores_
    assert len(scores) == estimator.n_iter_ < 200
    assert estimator.best_validation_score_ == max(scores)
    assert estimator.best_loss_ is None
    best = 1 + scores.index(max(scores))
    short = clone(estimator).set_params(max_iter=best).fit(X, Y["many"])
    assert same(estimator, short)
    regressor = MLPRegressor((30,), early_stopping=True, random_state=0, max_iter=20).fit(X, Y["numbers"])
    assert regressor.best_validation_score_ == max(regressor.validation_scores_)
    several = MLPClassifier((30,), early_stopping=True, random_state=0, max_iter=5).fit(X, Y["several"])
    assert len(several.validation_scores_) == 5


def test_dtypes():
    for x, dtype in (
        (X, "float64"),
        (X.astype(np.float32), "float32"),
        ((X > 0).astype(np.uint8), "float32"),
    ):
        estimator = MLPClassifier((8,), max_iter=2).fit(x, Y["many"])
        assert estimator.network_.dtype == dtype
        assert estimator.predict_proba(x).dtype == dtype
    assert MLPClassifier((8,), max_iter=2, dtype="float32").fit(X, Y["many"]).coefs_[0].dtype == np.float32
    bytes_ = np.random.default_rng(0).integers(0, 256, X.shape).astype(np.uint8)
    whole = MLPClassifier((8,), max_iter=2, random_state=0).fit(bytes_, Y["many"])
    assert same(
        whole, MLPClassifier((8,), max_iter=2, random_state=0).fit(bytes_.astype(np.float32), Y["many"])
    )


def test_in_a_pipeline_with_names_and_a_search():
    import pandas

    frame = pandas.DataFrame(X, columns=list("abcdef"))
    search = GridSearchCV(
        make_pipeline(
            StandardScaler().set_output(transform="pandas"), MLPClassifier(max_iter=5, random_state=0)
        ),
        {"mlpclassifier__hidden_layer_sizes": [(4,), (4, 4)]},
        cv=3,
    ).fit(frame, Y["many"])
    best = search.best_estimator_[-1]
    assert best.feature_names_in_.tolist() == list("abcdef")
    assert best.n_features_in_ == 6
    with pytest.raises(ValueError, match="feature names should match"):
        best.predict(frame[list("bacdef")])


def test_settings_may_be_numpy_s_numbers():
    plain = {
        "learning_rate_init": 0.25,
        "alpha": 0.5,
        "momentum": 0.75,
        "beta_1": 0.5,
        "epsilon": 0.5,
        "dropout": 0.5,
    }
    for solver in ("sgd", "adam"):
        given = {name: np.float32(value) for name, value in plain.items()}
        own = MLPClassifier((4,), solver=solver, max_iter=2, random_state=0, **plain).fit(X, Y["many"])
        theirs = MLPClassifier(np.array([4]), solver=solver, max_iter=np.int64(2), random_state=0, **given)
        assert same(own, theirs.fit(X, Y["many"]))


def test_warns_as_scikit_learn_does():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
        MLPClassifier(max_iter=2).fit(X, Y["many"])
    with pytest.warns(UserWarning, match="It is going to be clipped"):
        MLPClassifier(max_iter=2, batch_size=91).fit(X, Y["many"])


def test_ctrl_c_leaves_what_was_learned(monkeypatch):
    from deltarule.sklearn import training

    run = training.Pass.run

    def interrupted(self, estimator, rate, epoch):
        if epoch == 3:
            raise KeyboardInterrupt
        return run(self, estimator, rate, epoch)

    monkeypatch.setattr(training.Pass, "run", interrupted)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        estimator = MLPClassifier((8,), random_state=0).fit(X, Y["many"])
    monkeypatch.undo()
    assert estimator.n_iter_ == 3
    assert same(estimator, MLPClassifier((8,), random_state=0, max_iter=3).fit(X, Y["many"]))


def test_verbose_says_what_happens(capsys):
    MLPClassifier((8,), verbose=True, tol=10.0, n_iter_no_change=1, early_stopping=True).fit(X, Y["many"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Iteration 1, loss = ")
    assert lines[1].startswith("Validation score: ")
    assert lines[-1].startswith("Validation score did not improve more than tol=10.000000 for 1 consecutive")


def test_on_each_device(device):
    estimator = MLPClassifier((8,), device=device, random_state=0, max_iter=3).fit(X, Y["many"])
    assert estimator.network_.device.split(":")[0] == device.split(":")[0]
    here = MLPClassifier((8,), random_state=0, max_iter=3).fit(X, Y["many"])
    for got, want in zip(parameters(estimator), parameters(here), strict=True):
        tolerance.assert_within(got, want, tolerance.through_network(want, "float64", 8, 2, 3, 1.0))
    again = pickle.loads(pickle.dumps(estimator))
    assert same(again.partial_fit(X, Y["many"]), estimator.partial_fit(X, Y["many"]))
