"""Every check that scikit-learn has for estimators, and the same for our settings beyond its own."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn", minversion="1.6", reason="deltarule.sklearn is for scikit-learn 1.6 and newer")

from deltarule.sklearn import MLPClassifier, MLPRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

ESTIMATORS = [
    MLPClassifier(),
    MLPRegressor(),
    MLPClassifier(
        (20, 10),
        "logistic",
        solver="sgd",
        learning_rate_init=0.1,
        learning_rate="adaptive",
        max_iter=1000,
    ),
    MLPRegressor((20, 10), "tanh", solver="nesterov", learning_rate_init=0.01, alpha=0, max_iter=300),
]


@parametrize_with_checks(ESTIMATORS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_check_estimator(estimator, check):
    check(estimator)
