"""What both estimators share: parameters, the training loop with scikit-learn's rules, what was learned."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .. import _core, nn
from .._through import host
from ..nn import model
from .training import OF_DESCENT, SOLVERS, HeldOut, Pass, Samples

ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid"}  # scikit-learn's names for ours
X_DTYPES = (np.float64, np.float32, np.uint8)  # others become the first
LEAST_RATE = 1e-6  # below it "adaptive" stops


class BaseMLP(BaseEstimator):  # type: ignore[misc]
    """A multi-layer perceptron; `MLPClassifier` and `MLPRegressor` say what its targets are."""

    _parameter_constraints: dict[str, Any] = {  # noqa: RUF012
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({*ACTIVATIONS, *_core.activations()})],
        "solver": [StrOptions(set(SOLVERS))],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "dtype": [StrOptions({"auto", "float32", "float64"})],
        "precision": [StrOptions({"highest", "high", "medium"})],
        "device": [str],
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
        dropout: float = 0.0,
        dtype: str = "auto",
        precision: str = "highest",
        device: str = "cpu",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.dropout = dropout
        self.dtype = dtype
        self.precision = precision
        self.device = device

    # What a subclass adds: its targets.

    def _targets(
        self, y: Any, weights: Any, *, first: bool, incremental: bool, classes: Any
    ) -> tuple[Any, Any, str]:
        """y as scikit-learn has it -> y as the engine has it, sample weights, the loss; classes of partial_fit."""
        raise NotImplementedError

    def _outputs(self, y: Any) -> int:
        """How many outputs targets want that `_targets` gave."""
        raise NotImplementedError

    def _score(self, x: Any, y: Any, weights: Any) -> float:
        """Accuracy or R^2 of the held-out part; x and y as the engine has them."""
        raise NotImplementedError

    # Learning.

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train until the loss (or the score of the part held out) does not improve any more.

        Parameters
        ----------
        X : array [N, I]
            Features. uint8 stays uint8 in memory.
        y : array [N] or [N, O]
            Targets.
        sample_weight : array [N], optional

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For bad input, in scikit-learn's words.
        DivergedError
            If the loss turns NaN or infinite; it is a ValueError.
        DeviceError
            If ``device`` is not there.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    def _fit(self, X: Any, y: Any, sample_weight: Any, incremental: bool, classes: Any = None) -> Any:
        self._validate_params()
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "_net") or not (self.warm_start or incremental)
        before = self.__dict__.copy()
        try:
            prepared = self._prepare(X, y, sample_weight, first, incremental, classes)
        except BaseException:  # the estimator is what it was
            self.__dict__ = before
            raise
        self._train(*prepared, incremental)
        return self

    def _prepare(
        self, X: Any, y: Any, sample_weight: Any, first: bool, incremental: bool, classes: Any
    ) -> tuple[Pass, HeldOut | None]:
        """A net, the pass over its samples and what early stopping holds out: all that can be refused is, here."""
        x, y = validate_data(
            self, X, y, multi_output=True, y_numeric=not is_classifier(self), dtype=X_DTYPES, reset=first
        )
        weights = None if sample_weight is None else _check_sample_weight(
            sample_weight, x, dtype=np.float64, ensure_non_negative=True
        )  # fmt: skip
        targets, weights, loss = self._targets(
            y, weights, first=first, incremental=incremental, classes=classes
        )
        if first:
            self._start(x, self._outputs(targets), loss)
        else:
            self._check_same_net(x)
        if self._outputs(targets) != self.n_outputs_:
            raise ValueError(f"y has {self._outputs(targets)} outputs; this {type(self).__name__} was trained on "
                             f"{self.n_outputs_}")  # fmt: skip
        if targets.dtype.kind == "f":
            targets = targets.astype(self._net.dtype, copy=False)
        if weights is not None:
            weights = weights.astype(self._net.dtype)
            if not weights.any():
                raise ValueError("Sample weights must contain at least one non-zero number.")
        x, targets = np.ascontiguousarray(x), np.ascontiguousarray(targets)
        self._net.engine.check_samples("fit", x, targets, weights)
        held_out: HeldOut | None = None
        if self.early_stopping:
            x, targets, weights, held_out = self._split(x, targets, weights)
        samples = Samples.on(self._net, x, targets, weights)
        return Pass(self._net, samples, self._rows(len(x)), bool(self.shuffle)), held_out

    def _hidden(self) -> list[int]:
        """Units of the hidden layers."""
        sizes = self.hidden_layer_sizes
        hidden = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(isinstance(units, bool) or not hasattr(units, "__index__") or units <= 0 for units in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        return [int(units) for units in hidden]

    def _check_same_net(self, x: Any) -> None:
        """That a warm start or partial_fit goes on with the net that the parameters name."""
        net, hidden = self._net, [layer for layer in self._net.layers if isinstance(layer, nn.Dense)][:-1]
        wanted: dict[str, tuple[Any, Any]] = {
            "hidden_layer_sizes": (self._hidden(), [layer.units for layer in hidden]),
            "dtype": (net.dtype if self.dtype == "auto" else self.dtype, net.dtype),
            "device": (self.device, self._device),
            "precision": (self.precision, net.precision),
        }
        if hidden:
            wanted["activation"] = (ACTIVATIONS.get(self.activation, self.activation), hidden[0].activation)
            wanted["dropout"] = (float(self.dropout), self._dropout)
        for name, (now, was) in wanted.items():
            if now != was:
                raise ValueError(
                    f"{name} was {was} when the net was made, is now {now}; a warm start and partial_fit keep the net"
                )

    def _start(self, x: Any, outputs: int, loss: str) -> None:
        """A new net, and nothing learned yet."""
        hidden = self._hidden()
        own = "float64" if x.dtype == np.float64 else "float32"
        self._net = nn.mlp(
            [x.shape[1], *hidden, outputs],
            ACTIVATIONS.get(self.activation, self.activation),
            loss,
            float(self.dropout),
            device=self.device,
            precision=self.precision,
            dtype=own if self.dtype == "auto" else self.dtype,
            seed=int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max)),
        )
        self._device, self._dropout = self.device, float(self.dropout)
        self._rate = self._rate_init = float(self.learning_rate_init)
        self._epochs = 0
        self._no_improvement_count = 0
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(hidden) + 2
        self.n_outputs_ = outputs
        self.loss_curve_: list[float] = []
        self.validation_scores_: Any = [] if self.early_stopping else None
        self.best_validation_score_: Any = -np.inf if self.early_stopping else None
        self.best_loss_: Any = None if self.early_stopping else np.inf

    def _train(self, passes: Pass, held_out: HeldOut | None, incremental: bool) -> None:
        net, rate = self._net, float(self.learning_rate_init)
        if not incremental:  # a warm start keeps the weights, partial_fit the optimiser's state too
            net.engine.set_slots({})
            self._rate = rate
        elif rate != self._rate_init:  # keeps the share that it has fallen to
            self._rate = rate * (self._rate / self._rate_init)
        self._rate_init = rate
        if held_out is not None:
            if self.validation_scores_ is None:  # a warm start of what was trained without
                self.validation_scores_ = []
            self.best_validation_score_ = -np.inf  # of this fit, whose best weights are kept
        elif self.best_loss_ is None:
            self.best_loss_ = np.inf
        self.n_iter_ = 0
        try:
            while True:
                self.loss_ = passes.run(self, self._rate, self._epochs)
                self._epochs += 1
                self.n_iter_ += 1
                self.t_ += len(passes.samples.x)
                self.loss_curve_.append(self.loss_)
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                if self._stops(held_out) or incremental:
                    break
                if self.n_iter_ == self.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization "
                        "hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=4,
                    )
                    break
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        finally:
            if held_out is not None and held_out.best:
                model.assign(net, held_out.best)

    def _rows(self, n: int) -> int:
        """Samples of a minibatch."""
        if self.batch_size == "auto":
            return min(200, n)
        if self.batch_size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                stacklevel=5,
            )
        return min(int(self.batch_size), n)

    def _split(self, x: Any, y: Any, weights: Any) -> tuple[Any, Any, Any, HeldOut]:
        """Set ``validation_fraction`` aside: of one-column classes the same share of each."""
        arrays = [x, y] if weights is None else [x, y, weights]
        stratify = y if is_classifier(self) and y.ndim == 1 and y.dtype.kind == "i" else None
        parts = train_test_split(
            *arrays, random_state=self._net.seed, test_size=self.validation_fraction, stratify=stratify
        )
        if len(parts[1]) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        if weights is None:
            parts += [None, None]
        elif not (parts[4].any() and parts[5].any()):
            raise ValueError(
                f"Sample weights are all zero in the {'validation' if parts[4].any() else 'training'} part that "
                "early_stopping splits off; leave out samples of weight 0 or change 'validation_fraction'"
            )
        return parts[0], parts[2], parts[4], HeldOut(parts[1], parts[3], parts[5], [])

    def _stops(self, held_out: HeldOut | None) -> bool:
        """scikit-learn's rule for the end, and for the learning rate of the next epoch."""
        if held_out is not None:
            score = self._score(held_out.x, held_out.y, held_out.weights)
            self.validation_scores_.append(score)
            if self.verbose:
                print(f"Validation score: {score:f}")
            self._count(better=not score < self.best_validation_score_ + self.tol)
            if score > self.best_validation_score_:
                self.best_validation_score_ = score
                held_out.best = [parameter.copy() for parameter in self._net.parameters]
        else:
            self._count(better=not self.loss_ > self.best_loss_ - self.tol)
            self.best_loss_ = min(self.best_loss_, self.loss_)
        falls = self.solver in OF_DESCENT
        if falls and self.learning_rate == "invscaling":
            self._rate = float(self.learning_rate_init) / (self.t_ + 1) ** float(self.power_t)
        if self._no_improvement_count <= self.n_iter_no_change:
            return False
        what = "Training loss" if held_out is None else "Validation score"
        told = f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs."
        if not falls or self.learning_rate != "adaptive":
            return self._say(f"{told} Stopping.", True)
        if self._rate <= LEAST_RATE:
            return self._say(f"{told} Learning rate too small. Stopping.", True)
        self._rate /= 5.0
        self._no_improvement_count = 0
        return self._say(f"{told} Setting learning rate to {self._rate:f}", False)

    def _count(self, better: bool) -> None:
        self._no_improvement_count = 0 if better else self._no_improvement_count + 1

    def _say(self, text: str, stops: bool) -> bool:
        if self.verbose:
            print(text)
        return stops

    # What was learned.

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_net")

    @property
    def network_(self) -> nn.Network:
        """The trained `deltarule.nn.Network` itself: to save, to prune, to look into."""
        check_is_fitted(self)
        return self._net

    def _parameters(self, dimensions: int) -> list[npt.NDArray[Any]]:
        if not hasattr(self, "_net"):
            raise AttributeError(f"{type(self).__name__} is not fitted yet")
        return [host(parameter) for parameter in self._net.parameters if len(parameter.shape) == dimensions]

    @property
    def coefs_(self) -> list[npt.NDArray[Any]]:
        """Weights [I,O] of every layer; on the CPU the net's own memory."""
        return self._parameters(2)

    @property
    def intercepts_(self) -> list[npt.NDArray[Any]]:
        """Biases [O] of every layer; on the CPU the net's own memory."""
        return self._parameters(1)

    def _features(self, X: Any) -> Any:
        """X[N,I], checked against what was trained on."""
        check_is_fitted(self)
        return validate_data(self, X, dtype=X_DTYPES, reset=False)
