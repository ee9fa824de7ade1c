"""MLPRegressor: real numbers, one or several a sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d

from .base import BaseMLP


class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """A multi-layer perceptron that minimises the squared error, 1/2 |z - y|^2 of a sample.

    Parameters and attributes are those of `MLPClassifier`, without ``class_weight`` and what is about classes;
    with ``early_stopping`` the score is R^2. Targets of a size other than 1 train better when they are scaled,
    as by ``sklearn.compose.TransformedTargetRegressor``.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> reg = MLPRegressor((30,), "tanh", batch_size=10, learning_rate_init=0.01, tol=1e-6, random_state=0)
    >>> bool(reg.fit(X, np.sin(3 * X[:, 0])).score(X, np.sin(3 * X[:, 0])) > 0.95)
    True
    """

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """One epoch over these samples, from the weights and the optimiser's state as they are.

        Parameters
        ----------
        X : array [N, I]
        y : array [N] or [N, O]
        sample_weight : array [N], optional

        Returns
        -------
        self
        """
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def _targets(
        self, y: Any, weights: Any, *, first: bool, incremental: bool, classes: Any
    ) -> tuple[Any, Any, str]:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self.out_activation_ = "identity"
        return np.asarray(y, np.float64).reshape(len(y), -1), weights, "squared_error"

    def _outputs(self, y: Any) -> int:
        return int(y.shape[1])

    def _score(self, x: Any, y: Any, weights: Any) -> float:
        values = self._net.forward(x)
        return (
            float(r2_score(y, values, sample_weight=weights)) if np.isfinite(values).all() else float("nan")
        )

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """X[N,I] -> values [N], or [N,O] where y had columns."""
        x = self._features(X)
        values = self._net.forward(x)
        return values.ravel() if self.n_outputs_ == 1 else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
