"""Multi-layer perceptrons as scikit-learn's estimators: `MLPClassifier` and `MLPRegressor` on this engine.

Parameters that scikit-learn's own classes of these names have mean the same here, so the import line is what
changes. They stand in pipelines, searches and ensembles, can be cloned and pickled, and pass every check of
``sklearn.utils.estimator_checks.check_estimator``. scikit-learn 1.6 or newer comes with
``pip install 'deltarule[train]'``.

What differs from scikit-learn's:

- ``solver`` has no "lbfgs"; "momentum", "nesterov" and "adamw" are there besides "sgd" and "adam". X is dense.
  ``MLPRegressor`` has no ``loss``: it is the squared error.
- ``activation`` takes every activation of `deltarule.nn.Dense` besides scikit-learn's four.
- Initial weights are those of `deltarule.nn` (He for rectifiers, Glorot else, biases 0), not its draws.
- ``loss_`` and ``loss_curve_`` are the mean loss without the L2 term, of squared errors half the sum over outputs.
- A changed learning rate acts at once with momentum, where scikit-learn's velocity has the old rate in it.
- ``partial_fit`` takes a changed ``learning_rate_init``; scikit-learn's goes on with the first.
- ``device``, ``precision``, ``dtype``, ``dropout`` and ``class_weight`` are new.
"""

try:
    from sklearn.utils.validation import validate_data as _validate_data  # noqa: F401
except ImportError as error:
    raise ImportError(
        "deltarule.sklearn needs scikit-learn 1.6 or newer; pip install 'deltarule[train]'"
    ) from error

from .classifier import MLPClassifier
from .regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
