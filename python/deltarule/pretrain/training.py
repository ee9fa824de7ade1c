"""The loop of `greedy`: layer after layer, epochs of minibatches in chunks short enough for Ctrl-C and progress.

As in `nn.fit` the clock, which sizes the chunks, changes no bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core
from .._atomic import PathLike, check_writable
from .._progress import wanted
from ..nn.history import DivergedError, History
from ..nn.interrupt import HeldInterrupt
from ..nn.network import Network
from ..nn.optimizers import Optimizer
from ..nn.progress import Progress
from . import checkpoint as checkpoints
from . import stages
from .methods import Method, Supervised
from .plan import Plan
from .record import PretrainedLayer, Pretraining
from .stages import Stage

CHUNK_SECONDS = 0.05
ENCODE_ROWS = 1000


def greedy(
    net: Network,
    x: Any,
    method: Method | Sequence[Method],
    *,
    y: Any = None,
    layers: int | None = None,
    optimizer: Optimizer | Sequence[Optimizer] | None = None,
    epochs: int | Sequence[int] = 10,
    batch_size: int | None = None,
    seed: int | None = None,
    progress: bool | str = False,
    checkpoint: PathLike | None = None,
    resume: PathLike | None = None,
) -> Pretraining:
    """Train the layers of a net one after the other, each on the frozen codes of those below it.

    Layer k learns from the outputs of layers 1 to k - 1 (dropout left out), from the weights as they are. Its weights
    and biases are the net's own from then on; what it needed besides is in what comes back. Fine-tune with ``net.fit``.

    Parameters
    ----------
    net : nn.Network
    x : array [N, I]
        Samples, no labels needed. uint8 stays uint8 in memory, and is standardised as the net does it.
    method : RBM, AutoEncoder or Supervised, or one for each layer
    y : integer array [N], or array [N, O], optional
        Labels or targets, for `Supervised` alone.
    layers : int, optional
        How many, from the lowest; by default all dense layers but the last.
    optimizer : Optimizer, or one for each layer, optional
        `nn.SGD` (0.1) by default. Those without clipping.
    epochs : int, or one for each layer
    batch_size : int, optional
        100 by default, or N if that is less. The last minibatch of an epoch holds what is left.
    seed : int, optional
        Of orders, samples, corruption and the layers that are thrown away; the net's own by default.
    progress : bool or "always"
        A progress bar on stderr; True shows it on a terminal only.
    checkpoint : path, optional
        Where the state is written after every epoch, at the end, and on Ctrl-C.
    resume : path, optional
        A checkpoint of the same training: goes on from there, to the bits of the uninterrupted run.

    Returns
    -------
    Pretraining

    Raises
    ------
    TypeError, ValueError
        For bad input, before anything has changed.
    nn.DivergedError
        If the loss turns NaN or infinite. The layer's weights are then those of the end of its last good epoch. Where
        a checkpoint's own weights give such a loss, they stay.
    KeyboardInterrupt
        Ctrl-C, after the steps of the native call it came in. The checkpoint is written; the net has the layers as far
        as they are. A second one ends the training at once, and may leave the last checkpoint as it was.

    Notes
    -----
    Memory: the codes of one layer for all samples, on the net's device, besides the data.
    """
    plan = Plan.make(net, x, method, y, layers, optimizer, epochs, batch_size, seed)
    return Training(net, plan, checkpoint).run(progress, resume)


@dataclass
class State:
    """Where it is; with the net and the stage, all that a checkpoint needs."""

    layer: int = 0  # that is learning
    epoch: int = 0  # of it, that are over
    step: int = 0  # done in the next one
    errors: int = 0  # in it
    seconds: float = 0.0  # in it
    losses: list[npt.NDArray[np.float64]] = field(default_factory=list)  # of its steps, by chunks
    weights: list[npt.NDArray[np.float64]] = field(default_factory=list)  # rows of its minibatches
    start: list[Any] = field(default_factory=list)  # the layer's parameters as the epoch began
    before: list[Any] = field(default_factory=list)  # as the one before it began

    def loss(self) -> float:
        """Mean loss of the epoch's samples."""
        losses, weights = np.concatenate(self.losses), np.concatenate(self.weights)
        return math.fsum(losses * weights) / math.fsum(weights)


class Training:
    """One call of `greedy`."""

    stage: Stage

    def __init__(self, net: Network, plan: Plan, path: PathLike | None) -> None:
        self.net, self.plan, self.path = net, plan, path
        self.state = State()
        self.record = Pretraining([PretrainedLayer(method) for method in plan.methods])
        self.chunk_steps = 1
        self.whole = True  # stage, state and record are of one moment: a checkpoint may be written
        self._settings: dict[str, Any] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The plan's settings; they hash the data, so they are made once, and only for checkpoints."""
        if self._settings is None:
            self._settings = self.plan.settings(self.net)
        return self._settings

    def snapshot(self) -> list[Any]:
        """Copies of all that the steps change."""
        return [parameter.copy() for parameter in self.stage.parameters]

    def run(self, progress: bool | str, resume: PathLike | None) -> Pretraining:
        """Train all layers."""
        plan, state = self.plan, self.state
        show = wanted(progress, "greedy")
        if self.path is not None:
            check_writable(self.path)
        saved = None if resume is None else checkpoints.Saved(resume, self)
        if saved is not None:
            saved.restore_net(self)
        bar = Progress(show, len(plan.x), sum(plan.epochs), self._samples_done())
        try:
            with HeldInterrupt() as interrupt:
                codes = self._resident(plan.x)
                y = None if plan.y is None else self._resident(plan.y)
                for index, method in enumerate(plan.methods):
                    if index > 0:
                        codes = self._encode(codes, index - 1)
                        interrupt.release()  # the checkpoint is the one of the last epoch's end
                    if index < state.layer:
                        continue
                    labels = y if isinstance(method, Supervised) else None
                    self.stage = stages.make(
                        self.net,
                        index,
                        codes,
                        labels,
                        method,
                        plan.optimizers[index],
                        plan.batch_size,
                        plan.seed,
                    )
                    self._begin_epoch(index, state.epoch if saved is not None else 0, resumed=saved)
                    saved = None
                    self._layer(interrupt, bar)
        finally:
            bar.close()
        return self.record

    def _samples_done(self) -> int:
        plan, state = self.plan, self.state
        epochs = sum(plan.epochs[: state.layer]) + state.epoch
        return epochs * len(plan.x) + min(state.step * plan.batch_size, len(plan.x))

    def _resident(self, array: Any) -> Any:
        there = array if isinstance(array, _core.Array) else _core.from_numpy(array)
        return there.to(self.net.device)

    def _encode(self, inputs: Any, index: int) -> Any:
        """Outputs [N,O] of layer ``index``, on the device."""
        return stages.part_of(self.net, index, index + 1).engine.outputs(inputs, ENCODE_ROWS, validated=True)

    def _begin_epoch(self, layer: int, epoch: int, resumed: checkpoints.Saved | None = None) -> None:
        state = self.state
        if resumed is not None:
            resumed.restore_stage(self)
            return
        state.before = state.start if epoch > 0 else []
        state.layer, state.epoch, state.step, state.errors, state.seconds = layer, epoch, 0, 0, 0.0
        state.losses, state.weights = [], []
        state.start = self.snapshot()
        state.before = state.before or state.start

    def _layer(self, interrupt: HeldInterrupt, bar: Progress) -> None:
        """The epochs of one layer that are left."""
        plan, state = self.plan, self.state
        layer = self.record.layers[state.layer]
        try:
            while state.epoch < plan.epochs[state.layer]:
                self._epoch(interrupt, bar)
                interrupt.release()
        except KeyboardInterrupt:
            if self.path is not None and self.whole:
                checkpoints.write(self.path, self)
            raise
        finally:
            self.stage.write_back()
        layer.decoder = self.stage.decoder()

    def _epoch(self, interrupt: HeldInterrupt, bar: Progress) -> None:
        plan, state = self.plan, self.state
        samples, block = len(plan.x), self.stage.block_steps
        stream = _core.pretrain_shuffle_stream(state.layer, state.epoch)
        order = _core.permutation(samples, plan.seed, stream, self.net.device)
        while state.step < plan.steps:
            first = state.step
            last = min(first + max(1, self.chunk_steps // block) * block, plan.steps)
            start = time.perf_counter()
            self._steps(order, first, last)
            seconds = time.perf_counter() - start
            state.seconds += seconds
            per_step = max(seconds / (last - first), 1e-9)
            self.chunk_steps = max(1, min(4 * self.chunk_steps, int(CHUNK_SECONDS / per_step)))
            done = min(last * plan.batch_size, samples) - first * plan.batch_size
            epoch = sum(plan.epochs[: state.layer]) + state.epoch + 1
            bar.update(done, epoch, float(state.losses[-1][-1]), History())
            if state.step < plan.steps:
                interrupt.release()
        self._end_epoch()

    def _steps(self, order: _core.Array, first: int, last: int) -> None:
        """Steps first to last - 1 of the epoch."""
        plan, state = self.plan, self.state
        rows = order[first * plan.batch_size : last * plan.batch_size]
        self.whole = False
        result = self.stage.steps(rows, min(plan.batch_size, len(rows)))
        losses = np.asarray(result.losses)
        if not result.finite:
            self._diverged(float(losses[-1]), first + len(losses))
        state.losses.append(losses)
        state.weights.append(np.asarray(result.weight))
        state.errors += result.errors
        state.step = last
        self.whole = last < plan.steps  # after the last one the epoch has to end first

    def _diverged(self, loss: float, step: int) -> None:
        state = self.state
        # The first loss of an epoch is that of the weights it began with: then those are the bad ones.
        good, epoch = (state.before, state.epoch - 1) if step == 1 else (state.start, state.epoch)
        for parameter, value in zip(self.stage.parameters, good, strict=True):
            parameter[...] = value
        rate = self.plan.optimizers[state.layer].lr
        where = f"those of the end of epoch {epoch}" if epoch > 0 else "those before its training"
        if step == 1 and good is state.start and state.epoch > 0:  # resumed: no earlier ones are known
            where = "those of the checkpoint, which give this loss"
        raise DivergedError(
            f"greedy: loss is {loss} in layer {state.layer + 1} at epoch {state.epoch + 1}, step {step} "
            f"(learning rate {rate:g}); the layer's weights are {where}; a smaller learning rate may help",
            epoch=state.epoch + 1,
            step=step,
            learning_rate=rate,
        )

    def _end_epoch(self) -> None:
        plan, state = self.plan, self.state
        layer = self.record.layers[state.layer]
        counts = isinstance(layer.method, Supervised) and self.net.loss != "squared_error"
        layer.epochs.append(
            {
                "layer": state.layer + 1,
                "epoch": state.epoch + 1,
                "loss": state.loss(),
                "error": state.errors / len(plan.x) if counts else None,
                "learning_rate": float(plan.optimizers[state.layer].lr),
                "seconds": state.seconds,
            }
        )
        self._begin_epoch(state.layer, state.epoch + 1)
        self.whole = True
        if self.path is not None:
            checkpoints.write(self.path, self)
