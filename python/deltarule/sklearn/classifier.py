"""MLPClassifier: classes of any dtype, two, many or several at once."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
    unique_labels,
)

from .base import BaseMLP


class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """A multi-layer perceptron that minimises the cross-entropy.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Units of every hidden layer; () is a linear classifier.
    activation : str
        Of the hidden layers: "identity", "logistic", "tanh", "relu", or any other of `deltarule.nn.Dense`.
    solver : "sgd", "momentum", "nesterov", "adam" or "adamw"
        "sgd" has ``momentum``, Nesterov's with ``nesterovs_momentum``, and none where ``momentum`` is 0.
    alpha : float
        L2 penalty: a minibatch of n rows has the loss mean l + alpha / (2 n) sum w^2 over all weights w, biases left
        out. (With sample weights n is the rows times the mean weight of all samples.) With "adamw" it is the
        decoupled decay itself, w <- (1 - lr alpha) w, of weights alone as well.
    batch_size : int or "auto"
        Rows of a minibatch; "auto" is min(200, N).
    learning_rate : "constant", "invscaling" or "adaptive"
        Of the solvers without "adam": "invscaling" divides by (samples seen + 1)^power_t after every epoch,
        "adaptive" by 5 whenever training would stop, until 1e-6.
    learning_rate_init, power_t : float
    max_iter : int
        Epochs at most.
    shuffle : bool
        A new order in every epoch.
    random_state : int, RandomState or None
        Of initial weights, order, dropout and the part held out. The same number, the same bits.
    tol, n_iter_no_change : float, int
        Training ends when the loss (with ``early_stopping`` the score of the part held out) has not improved by
        ``tol`` in more than ``n_iter_no_change`` epochs in a row.
    verbose : bool
    warm_start : bool
        Let `fit` go on from the weights there are.
    momentum, nesterovs_momentum, beta_1, beta_2, epsilon
        Of the solvers.
    early_stopping : bool
        Hold out ``validation_fraction`` of the samples, stop by their accuracy and keep the best epoch's weights.
    validation_fraction : float
    class_weight : dict, "balanced" or None
        Weight of every class, multiplied into ``sample_weight``; "balanced" is N / (classes * samples of the class).
        With several labels a sample no dict, and "balanced" is the product over the labels.
    dropout : float
        Share of every hidden layer's values that is set to 0 in training.
    dtype : "auto", "float32" or "float64"
        Of weights and arithmetic. "auto" is float64 for X in float64 (and for integers other than uint8), else
        float32, which is about twice as fast.
    precision : "highest", "high" or "medium"
        Of float32 products on matrix units, see `deltarule.matmul`.
    device : str
        "cpu", "cuda", "cuda:1"...

    Attributes
    ----------
    classes_ : array [K]
        Sorted labels; 0 to O - 1 where y has columns.
    coefs_, intercepts_ : list of array
        Weights [I,O] and biases [O] of every layer.
    loss_, best_loss_ : float
        Mean loss of the last epoch's minibatches, and the lowest (None with early stopping).
    loss_curve_ : list of float
    validation_scores_, best_validation_score_ : list of float, float
        With early stopping; else None.
    n_iter_, t_ : int
        Epochs of the last call, and samples seen.
    n_features_in_, feature_names_in_, n_layers_, n_outputs_, out_activation_
        As in scikit-learn.
    network_ : deltarule.nn.Network

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    >>> y = ["same", "different", "different", "same"]
    >>> clf = MLPClassifier((8,), "tanh", solver="sgd", learning_rate_init=0.1, max_iter=1000, random_state=1)
    >>> clf.fit(X, y).predict(X).tolist()
    ['same', 'different', 'different', 'same']
    """

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012
        **BaseMLP._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        class_weight: Any = None,
        dropout: float = 0.0,
        dtype: str = "auto",
        precision: str = "highest",
        device: str = "cpu",
    ) -> None:
        given = locals()
        super().__init__(**{name: given[name] for name in BaseMLP._parameter_constraints})
        self.class_weight = class_weight

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> MLPClassifier:
        """One epoch over these samples, from the weights and the optimiser's state as they are.

        Parameters
        ----------
        X : array [N, I]
        y : array [N] or [N, O]
        sample_weight : array [N], optional
        classes : array [K]
            All classes there will be; wanted in the first call, where y need not have them all. With several labels
            a sample the numbers of the labels, 0 to O - 1.

        Returns
        -------
        self
        """
        if (
            isinstance(self.class_weight, str) and self.class_weight == "balanced"
        ):  # arrays compare by element
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit: it needs all of y. Use "
                "sklearn.utils.class_weight.compute_class_weight on all labels and pass the result as a dict"
            )
        self._fit(X, y, sample_weight, incremental=True, classes=classes)
        return self

    def _targets(
        self, y: Any, weights: Any, *, first: bool, incremental: bool, classes: Any
    ) -> tuple[Any, Any, str]:
        if issparse(y):
            y = y.toarray()
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise ValueError("Multioutput target data is not supported with label binarization")
        multilabel = kind == "multilabel-indicator"
        if incremental:
            _check_partial_fit_first_call(self, classes)  # sets classes_ in the first
        elif first:
            self.classes_ = np.arange(y.shape[1]) if multilabel else np.unique(y)
        if first:
            self._multilabel = multilabel
            if multilabel and not np.array_equal(self.classes_, np.arange(y.shape[1])):
                raise ValueError(f"classes is {self.classes_.tolist()}; wanted the numbers of the labels, 0 to "
                                 f"{y.shape[1] - 1}, where a sample has several labels")  # fmt: skip
        elif multilabel != self._multilabel:
            raise ValueError(f"y is {kind}; this MLPClassifier was trained on "
                             f"{'several labels' if self._multilabel else 'one label'} a sample")  # fmt: skip
        if incremental or not first:
            self._check_classes(y, incremental)
        if self.class_weight is not None:
            own = self._class_weights(y)
            weights = own if weights is None else weights * own
        self.out_activation_ = "softmax" if not multilabel and len(self.classes_) > 2 else "logistic"
        if multilabel:
            values = np.unique(y).tolist()
            if not set(values) <= {0, 1}:
                raise ValueError(
                    f"y has the values {values}; wanted 0 and 1 where a sample has several labels"
                )
            return np.asarray(y, np.float64), weights, "binary_cross_entropy"
        codes = np.searchsorted(self.classes_, y).astype(np.int64)
        return codes, weights, ("softmax" if len(self.classes_) > 2 else "binary") + "_cross_entropy"

    def _class_weights(self, y: Any) -> Any:
        """y -> what ``class_weight`` makes of every sample's weight [N]."""
        if isinstance(self.class_weight, dict):
            for label, weight in self.class_weight.items():
                if not isinstance(weight, Real) or not 0 <= float(weight) < math.inf:
                    raise ValueError(
                        f"class_weight of {label!r} is {weight!r}; wanted a finite number, 0 or more"
                    )
        if not self._multilabel:  # by classes_, of which a minibatch need not have all
            weights = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
            return weights[np.searchsorted(self.classes_, y)]
        if isinstance(self.class_weight, dict):
            raise ValueError(
                "class_weight is a dict; wanted 'balanced' or None where a sample has several labels"
            )
        return compute_sample_weight(self.class_weight, y)

    def _check_classes(self, y: Any, incremental: bool) -> None:
        classes = unique_labels(y)
        if not incremental and self.warm_start and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _outputs(self, y: Any) -> int:
        return int(y.shape[1]) if self._multilabel else 1 if len(self.classes_) <= 2 else len(self.classes_)

    def _score(self, x: Any, y: Any, weights: Any) -> float:
        return float(accuracy_score(y, self._net.predict(x), sample_weight=weights))

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """X[N,I] -> labels [N] of `classes_`, or 0 and 1 [N,O]."""
        x = self._features(X)
        codes = self._net.predict(x)
        if self._multilabel:
            return codes
        labels: npt.NDArray[Any] = self.classes_[np.minimum(codes, len(self.classes_) - 1)]
        return labels

    def predict_proba(self, X: Any) -> npt.NDArray[Any]:
        """X[N,I] -> probability of every class [N,K], in the order of `classes_`; of every label [N,O]."""
        x = self._features(X)
        p = self._net.predict_proba(x)
        return np.ones((len(p), 1), p.dtype) if not self._multilabel and len(self.classes_) == 1 else p

    def predict_log_proba(self, X: Any) -> npt.NDArray[Any]:
        """The logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            logarithms: npt.NDArray[Any] = np.log(self.predict_proba(X))
        return logarithms

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
