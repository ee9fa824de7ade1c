"""MLPClassifier's labels of any kind, and what class_weight makes of them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6", reason="deltarule.sklearn is for scikit-learn 1.6 and newer")

from deltarule.sklearn import MLPClassifier
from sklearn_cases import X, Y, same

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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


@pytest.mark.parametrize(
    ("weights", "came"), [([{0: 1.0}, {1: 2.0}], r"\[{0: 1.0}, {1: 2.0}\]"), (np.ones(3), r"array\(\[1")]
)
@pytest.mark.parametrize("labels", ["many", "several"])
def test_class_weight_is_one_dict_or_a_name(weights, came, labels, one_line):
    """A list of dicts is for several outputs of classes each, which scikit-learn's trees have."""
    wanted = r"a str among {'balanced'}, an instance of 'dict' or None\. Got "
    with one_line(ValueError, wanted + came):
        MLPClassifier(class_weight=weights).fit(X, Y[labels])
    with one_line(ValueError, wanted + came):
        MLPClassifier(class_weight=weights).partial_fit(X, Y[labels], classes=np.unique(Y["many"]))
