"""deltarule.sklearn: scikit-learn's own perceptron as the oracle, what goes on after a pickle, what is refused."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import tolerance

pytest.importorskip("sklearn", minversion="1.6", reason="deltarule.sklearn is for scikit-learn 1.6 and newer")

import sklearn.neural_network
from deltarule import DeviceError, _core, nn
from deltarule.sklearn import MLPClassifier, MLPRegressor
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(4)
X = RNG.standard_normal((90, 6))
Y = {
    "many": (X @ RNG.standard_normal((6, 3))).argmax(1),
    "two": (X[:, 0] * X[:, 1] > 0).astype(int),
    "several": (X @ RNG.standard_normal((6, 4)) > 0).astype(int),
    "number": np.sin(X[:, 0]) + X[:, 1] ** 2,
    "numbers": X[:, :2] * X[:, 2:4],
}
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


def parameters(estimator):
    return [*estimator.coefs_, *estimator.intercepts_]


def same(a, b):
    return all(p.tobytes() == q.tobytes() for p, q in zip(parameters(a), parameters(b), strict=True))


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
    weights = RNG.integers(0, 4, len(X)).astype(float)
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


def test_an_unfitted_one_can_be_pickled_and_cloned():
    estimator = MLPClassifier((8,), "gelu", dropout=0.1)
    for copy in (pickle.loads(pickle.dumps(estimator)), clone(estimator)):
        assert copy.get_params() == estimator.get_params()
        with pytest.raises(NotFittedError):
            copy.predict(X)
    assert not hasattr(estimator, "coefs_")


def test_same_random_state_same_bits(threads):
    fits = []
    for count in (1, 2):
        threads(count)
        fits.append(MLPClassifier((30,), random_state=5, max_iter=3).fit(X, Y["many"]))
    assert same(*fits)
    assert not same(fits[0], MLPClassifier((30,), random_state=6, max_iter=3).fit(X, Y["many"]))
    generator = np.random.RandomState(5)
    assert same(fits[0], MLPClassifier((30,), random_state=generator, max_iter=3).fit(X, Y["many"]))


def test_warm_start_goes_on_from_the_weights():
    estimator = MLPClassifier((8,), random_state=0, max_iter=5, warm_start=True).fit(X, Y["many"])
    first = [p.copy() for p in parameters(estimator)]
    estimator.set_params(learning_rate_init=1e-9).fit(X, Y["many"])
    for before, after in zip(first, parameters(estimator), strict=True):
        tolerance.assert_within(after, before, 1e-7)
    assert len(estimator.loss_curve_) == 10
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
        estimator.fit(X, Y["two"])


def test_labels_of_any_kind():
    names = np.array(["ash", "birch", "cedar"], dtype=object)[Y["many"]]
    estimator = MLPClassifier((8,), random_state=0).fit(X, names)
    assert estimator.classes_.tolist() == ["ash", "birch", "cedar"]
    assert set(estimator.predict(X)) <= set(names)
    numbers = MLPClassifier((8,), random_state=0).fit(X, 10 * Y["many"] - 5)
    assert numbers.classes_.tolist() == [-5, 5, 15]
    assert same(estimator, numbers)
    assert (
        numbers.predict(X)
        == 10 * np.searchsorted(names[np.unique(names, return_index=True)[1]], estimator.predict(X)) - 5
    ).all()


def test_partial_fit_of_labels_that_come_later():
    estimator = MLPClassifier((8,), random_state=0).partial_fit(
        X[:9], np.repeat("b", 9), classes=["a", "b", "c"]
    )
    assert estimator.predict_proba(X).shape == (90, 3)
    estimator.partial_fit(X, np.array(["a", "b", "c"])[Y["many"]])
    with pytest.raises(ValueError, match="`y` has classes not in"):
        estimator.partial_fit(X, np.array(["a", "b", "d"])[Y["many"]])
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        MLPClassifier().partial_fit(X, Y["many"])
    several = MLPClassifier((8,), random_state=0).partial_fit(X, Y["several"], classes=[0, 1, 2, 3])
    assert several.partial_fit(X, Y["several"], classes=[0, 1, 2, 3]).predict(X).shape == (90, 4)
    with pytest.raises(ValueError, match=r"classes is \[0, 1\]; wanted the numbers of the labels, 0 to 3"):
        MLPClassifier().partial_fit(X, Y["several"], classes=[0, 1])


def test_class_weight_is_sample_weight():
    weights = np.where(Y["many"] == 1, 5.0, 1.0)
    by_class = MLPClassifier((8,), random_state=0, max_iter=5, class_weight={1: 5.0}).fit(X, Y["many"])
    assert same(by_class, MLPClassifier((8,), random_state=0, max_iter=5).fit(X, Y["many"], weights))
    assert not same(by_class, MLPClassifier((8,), random_state=0, max_iter=5).fit(X, Y["many"]))
    balanced = MLPClassifier((8,), random_state=0, max_iter=5, class_weight="balanced").fit(X, Y["two"])
    counts = np.bincount(Y["two"])
    own = (90 / (2 * counts))[Y["two"]]
    assert same(balanced, MLPClassifier((8,), random_state=0, max_iter=5).fit(X, Y["two"], own))
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        balanced.partial_fit(X, Y["two"])


def test_class_weight_of_a_class_that_a_minibatch_lacks():
    some = Y["many"] != 1
    weighted = MLPClassifier((8,), random_state=0, class_weight={1: 5.0, 2: 2.0})
    by_sample = MLPClassifier((8,), random_state=0)
    for rows in (some, Y["many"] == 0, slice(None)):
        x, y = X[rows], Y["many"][rows]
        weighted.partial_fit(x, y, classes=[0, 1, 2])
        by_sample.partial_fit(x, y, np.array([1.0, 5.0, 2.0])[y], classes=[0, 1, 2])
    assert same(weighted, by_sample)


def test_class_weight_with_several_labels(one_line):
    own = np.ones(90)
    for label in Y["several"].T:
        own *= (90 / (2 * np.bincount(label)))[label]
    settings = {"hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 3}
    balanced = MLPClassifier(class_weight="balanced", **settings).fit(X, Y["several"])
    assert same(balanced, MLPClassifier(**settings).fit(X, Y["several"], own))
    with one_line(ValueError, "class_weight is a dict; wanted 'balanced' or None where a sample has several"):
        MLPClassifier(class_weight={1: 2.0}).fit(X, Y["several"])


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
    bytes_ = RNG.integers(0, 256, X.shape).astype(np.uint8)
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


def test_accuracy_on_digits_is_scikit_learn_s():
    x, y = load_digits(return_X_y=True)
    x, scores = x / 16, {}
    for kind in (MLPClassifier, sklearn.neural_network.MLPClassifier):
        fits = [kind((50,), random_state=seed, max_iter=30, learning_rate_init=0.01) for seed in range(3)]
        scores[kind] = np.mean([fit.fit(x[:1200], y[:1200]).score(x[1200:], y[1200:]) for fit in fits])
    ours, theirs = scores.values()
    assert ours >= theirs - 0.01
    assert ours >= 0.91


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
        ({"class_weight": {0: -1.0}}, Y["many"], "sample_weight.* is -1; wanted finite numbers"),
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


def test_weights_that_are_zero_in_the_net_s_dtype_are_refused(one_line):
    with one_line(ValueError, "Sample weights must contain at least one non-zero number"):
        MLPRegressor((8,), dtype="float32").fit(X, Y["number"], np.full(90, 1e-60))


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
