"""Networks and their training.

>>> net = mlp([64, 30, 10], activation="relu", seed=0)
>>> net.inputs, net.outputs, net.loss
(64, 10, 'softmax_cross_entropy')
"""

from . import init
from .callbacks import Callback, Checkpoint, EarlyStopping
from .committee import Committee
from .history import DivergedError, History
from .layers import Dense, Dropout
from .network import Network, mlp
from .optimizers import SGD, Adam, AdamW, Momentum, Nesterov, Optimizer
from .pruning import Pruned, pruning_curve
from .schedules import Constant, Cosine, Exponential, Step, Warmup

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Callback",
    "Checkpoint",
    "Committee",
    "Constant",
    "Cosine",
    "Dense",
    "DivergedError",
    "Dropout",
    "EarlyStopping",
    "Exponential",
    "History",
    "Momentum",
    "Nesterov",
    "Network",
    "Optimizer",
    "Pruned",
    "Step",
    "Warmup",
    "init",
    "mlp",
    "pruning_curve",
]
