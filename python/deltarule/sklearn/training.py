"""One pass of an estimator over its samples, and the optimiser that its parameters describe."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _core, nn

CHUNK_SECONDS = 0.05  # between two moments at which Ctrl-C is seen
SOLVERS = ("sgd", "momentum", "nesterov", "adam", "adamw")
OF_DESCENT = ("sgd", "momentum", "nesterov")  # those whose learning rate ``learning_rate`` lets fall


def optimizer(estimator: Any, rate: float, weight_decay: float) -> nn.Optimizer:
    """The optimiser of ``solver``, with scikit-learn's reading of "sgd": with momentum, unless that is 0."""
    solver, momentum = estimator.solver, float(estimator.momentum)
    if solver == "sgd" and momentum > 0:
        solver = "nesterov" if estimator.nesterovs_momentum else "momentum"
    if solver == "sgd":
        return nn.SGD(rate, weight_decay)
    if solver in ("momentum", "nesterov"):
        return (nn.Momentum if solver == "momentum" else nn.Nesterov)(rate, momentum, weight_decay)
    betas = float(estimator.beta_1), float(estimator.beta_2)
    return (nn.AdamW if solver == "adamw" else nn.Adam)(rate, *betas, float(estimator.epsilon), weight_decay)


def resident(array: Any, device: str) -> Any:
    """``array``, or a copy of it on the device where that is not the CPU."""
    return array if array is None or device == "cpu" else _core.from_numpy(array).to(device)


@dataclass
class Samples:
    """Checked samples on the net's device: x[N,I], y[N] or [N,O], weights[N] or None."""

    x: Any
    y: Any
    weights: Any
    mean_weight: float = 1.0

    @classmethod
    def on(cls, net: nn.Network, x: Any, y: Any, weights: Any) -> Samples:
        """The samples where the net is."""
        mean = 1.0 if weights is None else float(np.mean(weights, dtype=np.float64))
        return cls(resident(x, net.device), resident(y, net.device), resident(weights, net.device), mean)


@dataclass
class HeldOut:
    """Samples kept for early stopping, and the weights of the best epoch by them."""

    x: Any
    y: Any
    weights: Any
    best: list[Any]


class Pass:
    """Passes over samples in minibatches of ``batch_size`` rows, shuffled by the net's seed or not at all."""

    def __init__(self, net: nn.Network, samples: Samples, batch_size: int, shuffle: bool) -> None:
        self.net = net
        self.samples = samples
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.steps = 1  # of the next call

    def run(self, estimator: Any, rate: float, epoch: int) -> float:
        """Every sample once, at this learning rate: the mean loss of the minibatches, by their weight.

        Raises
        ------
        DivergedError
            If the loss is not finite; the weights are those before that step.
        """
        n, batch = len(self.samples.x), self.batch_size
        order = self._order(n, epoch)
        whole = n // batch * batch
        losses: list[Any] = []
        weights: list[Any] = []
        # The last minibatch holds what is left, and has scikit-learn's share of the penalty: alpha / its rows.
        for begin, end, size in ((0, whole, batch), (whole, n, n - whole)):
            if begin == end:
                continue
            rule = self._rule(estimator, rate, size)
            blocks = self.net.engine.block_steps(size, rule)
            while begin < end:
                stop = min(end, begin + max(1, self.steps // blocks) * blocks * size)
                start = time.perf_counter()
                result = self._steps(order[begin:stop], size, rule)
                per_step = (time.perf_counter() - start) / -(-(stop - begin) // size)
                self.steps = max(1, min(4 * self.steps, int(CHUNK_SECONDS / max(per_step, 1e-9))))
                losses.append(np.asarray(result.losses))
                weights.append(np.asarray(result.weight))
                if not result.finite:
                    self._diverged(losses, epoch, rate)
                begin = stop
        loss, weight = np.concatenate(losses), np.concatenate(weights)
        total = math.fsum(weight)
        return math.fsum(loss * weight) / total if total > 0 else 0.0

    def _rule(self, estimator: Any, rate: float, rows: int) -> _core.Optimizer:
        # AdamW's decay stands outside of the gradient and is no penalty on a mean over samples.
        share = 1.0 if estimator.solver == "adamw" else rows * self.samples.mean_weight
        return optimizer(estimator, rate, float(estimator.alpha) / share).build()

    def _order(self, n: int, epoch: int) -> _core.Array:
        if not self.shuffle:
            return _core.from_numpy(np.arange(n, dtype=np.int64)).to(self.net.device)
        return _core.permutation(n, self.net.seed, _core.shuffle_stream(epoch), self.net.device)

    def _steps(self, rows: _core.Array, size: int, rule: _core.Optimizer) -> _core.StepsResult:
        samples = self.samples
        return self.net.engine.train_steps(
            samples.x, samples.y, rows, size, rule, samples.weights, validated=True
        )

    def _diverged(self, losses: list[Any], epoch: int, rate: float) -> None:
        step = sum(map(len, losses))
        raise nn.DivergedError(
            f"Solver produced non-finite parameter weights: the loss is {losses[-1][-1]} at epoch {epoch + 1}, "
            f"step {step} (learning rate {rate:g}). The input data may contain large values and need to be "
            "preprocessed, or learning_rate_init is too large",
            epoch=epoch + 1,
            step=step,
            learning_rate=rate,
        )
