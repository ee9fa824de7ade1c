"""The training loop: epochs of minibatches in chunks short enough for Ctrl-C, progress and callbacks.

The clock, which sizes the chunks, changes no bit: losses are summed exactly (math.fsum), and a step's result
depends on its place in a block of steps alone (`block_steps` of the engine), of which a chunk has whole ones. The
gradient norms are taken on the last minibatch of every epoch, which is always a chunk of its own.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import _core
from .._atomic import PathLike
from .._progress import wanted
from . import checkpoint, model
from .callbacks import Callback, Checkpoint
from .history import DivergedError, History
from .inputs import REGRESSION
from .interrupt import HeldInterrupt
from .plan import Plan
from .progress import Progress

if TYPE_CHECKING:
    from .network import Network

CHUNK_SECONDS = 0.05
CHUNK_ROWS = 4096  # of deformed images at a time; on a GPU four times as many: the host waits after each
EVALUATE_ROWS = 1000


def _resident(array: Any, device: str) -> Any:
    """`array`, or a copy on the device where that is not the CPU."""
    if array is None or device == "cpu":
        return array
    return (array if isinstance(array, _core.Array) else _core.from_numpy(array)).to(device)


def _note(error: BaseException, note: str) -> None:
    if sys.version_info >= (3, 11):
        error.add_note(note)


@dataclass(frozen=True)
class Snapshot:
    """Parameters after so many epochs, and the masks of those that were pruned."""

    epoch: int
    parameters: list[Any]  # arrays, on the net's device or the host
    masks: model.Masks = field(default_factory=dict)


@dataclass
class State:
    """Where a training is. With the net and the callbacks' states, all that a checkpoint needs."""

    epoch: int = 0  # that are over
    step: int = 0  # done in the next one
    errors: int = 0  # in it
    seconds: float = 0.0  # in it
    losses: list[npt.NDArray[np.float64]] = field(default_factory=list)  # of its steps, by chunks
    weights: list[npt.NDArray[np.float64]] = field(default_factory=list)  # of its minibatches
    start: Snapshot = field(default_factory=lambda: Snapshot(0, []))  # the net as it began
    before: Snapshot = field(default_factory=lambda: Snapshot(0, []))  # the net as the epoch before it began
    stopped: bool = False  # a callback has ended the training

    def loss(self) -> float:
        """Mean loss of the steps done, weighted by the sample weights of their minibatches."""
        losses, weights = np.concatenate(self.losses), np.concatenate(self.weights)
        total = math.fsum(weights)
        return math.fsum(losses * weights) / total if total > 0 else 0.0

    def begin_epoch(self, epoch: int, net: Network) -> None:
        """After ``epoch`` epochs: forget the steps of the last one."""
        self.epoch, self.step, self.errors, self.seconds = epoch, 0, 0, 0.0
        self.losses, self.weights = [], []
        now = Snapshot(epoch, [parameter.copy() for parameter in net.parameters], net.masks)
        self.before, self.start = self.start if self.start.parameters else now, now


class Training:
    """One call of `fit`."""

    def __init__(self, net: Network, plan: Plan) -> None:
        self.net = net
        self.plan = plan
        self.rule = plan.optimizer.build()
        self.state = State()
        self.whole = True  # net, state and callbacks are of one moment: a checkpoint may be written
        self.history = History()
        self.rate = float(plan.optimizer.lr)  # of the last step
        self.chunk_steps = 1
        self._settings: dict[str, Any] | None = None
        # The data are put on the net's device once.
        self.x, self.y, self.weights = (
            _resident(array, net.device) for array in (plan.x, plan.y, plan.weights)
        )
        self.angle_factor = _resident(plan.angle_factor, net.device)
        self.deformed: _core.Array | None = None  # a chunk's images, with plan.augment
        self.validation: tuple[Any, Any] | None = None
        if plan.validation is not None:
            x, y = plan.validation
            self.validation = _resident(x, net.device), _resident(y, net.device)

    @property
    def settings(self) -> dict[str, Any]:
        """The plan's settings; they hash the data, so they are made once, and only for checkpoints."""
        if self._settings is None:
            self._settings = self.plan.settings(self.net)
        return self._settings

    def run(self, progress: bool | str, resume: PathLike | None) -> History:
        """Train to the end; the history, also kept in the net."""
        show = wanted(progress, "fit")
        saved = None if resume is None else checkpoint.read(resume, self)
        begun: list[Callback] = []
        with HeldInterrupt() as interrupt:
            try:
                for callback in self.plan.callbacks:
                    callback.on_train_begin(self.net, self.history)
                    begun.append(callback)
                    interrupt.release()
                self._train(interrupt, show, saved)
            except BaseException as error:
                self._end(begun, error)
                raise
            self._end(begun, None)
        return self.history

    def _end(self, begun: list[Callback], first: BaseException | None) -> None:
        """Tell every callback, whatever the others raise; raises what goes before ``first``, the training's own error.

        The first error goes before the later ones, but an interrupt or exit before any error.
        """
        raised = first
        for callback in begun:
            try:
                callback.on_train_end(self.net, self.history)
            except BaseException as error:
                if raised is None:
                    raised = error
                elif isinstance(raised, Exception) and not isinstance(error, Exception):
                    _note(error, f"fit: before that came {raised!r}")
                    raised = error
                else:
                    _note(raised, f"fit: then {type(callback).__name__}.on_train_end raised {error!r}")
        if raised is not None and raised is not first:
            raise raised

    def _train(self, interrupt: HeldInterrupt, show: bool, saved: checkpoint.SavedState | None) -> None:
        net, plan = self.net, self.plan
        net.engine.set_slots({})
        net.engine.step = 0
        net.task = plan.task
        net.history = self.history
        self.state.begin_epoch(0, net)
        if saved is not None:
            saved.restore(self)
        done = self.state.epoch * len(plan.x) + min(self.state.step * plan.batch_size, len(plan.x))
        bar = Progress(show, len(plan.x), plan.epochs, done)
        try:
            while self.state.epoch < plan.epochs and not self.state.stopped:
                self._epoch(interrupt, bar)
                interrupt.release()
        except KeyboardInterrupt:
            if self.whole:
                self._write_checkpoints()
            raise
        finally:
            bar.close()

    def _epoch(self, interrupt: HeldInterrupt, bar: Progress) -> None:
        plan, state = self.plan, self.state
        samples = len(plan.x)
        order = self._order()
        norms: list[float] = []
        # Here, for it depends on the masks, which a checkpoint or a callback may have changed.
        block_steps = self.net.engine.block_steps(plan.batch_size, self.rule)
        while state.step < plan.steps:
            first = state.step
            blocks = max(1, self._most_steps() // block_steps)
            last = min(first + blocks * block_steps, max(first + 1, plan.steps - 1))
            start = time.perf_counter()
            norms = self._steps(order, first, last)
            seconds = time.perf_counter() - start
            state.seconds += seconds
            per_step = seconds / (last - first)
            self.chunk_steps = max(1, min(4 * self.chunk_steps, int(CHUNK_SECONDS / max(per_step, 1e-9))))
            done = min(last * plan.batch_size, samples) - first * plan.batch_size
            bar.update(done, state.epoch + 1, float(state.losses[-1][-1]), self.history)
            # After the last step the epoch's end comes first, so that no state lies in between.
            if state.step < plan.steps:
                interrupt.release()
        self._end_epoch(norms)

    def _most_steps(self) -> int:
        """Steps of the next chunk, but for whole blocks."""
        if self.plan.augment is None:
            return self.chunk_steps
        rows = CHUNK_ROWS if self.net.device == "cpu" else 4 * CHUNK_ROWS
        return min(self.chunk_steps, rows // self.plan.batch_size)

    def _order(self) -> _core.Array:
        samples, epoch, device = len(self.plan.x), self.state.epoch, self.net.device
        if not self.plan.shuffle:
            return _core.from_numpy(np.arange(samples, dtype=np.int64)).to(device)
        return _core.permutation(samples, self.net.seed, _core.shuffle_stream(epoch), device)

    def _samples(self, rows: _core.Array) -> tuple[Any, Any, Any, Any]:
        """x, y, weights and the order to take them in, for these rows of the data: deformed ones lie in it already."""
        plan = self.plan
        if plan.augment is None:
            return self.x, self.y, self.weights, rows
        assert plan.image_shape is not None  # Plan.make has seen to it
        if self.deformed is None or len(self.deformed) < len(rows):
            self.deformed = _core.empty((len(rows), self.net.inputs), "float32", self.net.device)
        x = plan.augment.deform(
            self.x,
            plan.image_shape,
            self.net.seed,
            self.state.epoch,
            order=rows,
            factor=self.angle_factor,
            out=self.deformed[: len(rows)],
        )
        y = _core.take_rows(self.y, rows)
        weights = None if self.weights is None else _core.take_rows(self.weights, rows)
        return x, y, weights, None

    def _steps(self, order: _core.Array, first: int, last: int) -> list[float]:
        """Steps first to last - 1 of the epoch, and the gradient norms of its very last one."""
        plan, state = self.plan, self.state
        rows = order[first * plan.batch_size : last * plan.batch_size]
        rates = plan.rates(state.epoch, first, last)
        x, y, weights, order = self._samples(rows)
        self.whole = False
        result = self.net.engine.train_steps(
            x,
            y,
            order,
            min(plan.batch_size, len(rows)),
            self.rule,
            weights,
            norms=last == plan.steps,
            validated=True,
            rates=rates,
        )
        losses = np.asarray(result.losses)
        self.rate = float(plan.optimizer.lr if rates is None else rates[len(losses) - 1])
        if not result.finite:
            self._diverged(float(losses[-1]), first + len(losses))
        state.losses.append(losses)
        state.weights.append(np.asarray(result.weight))
        state.errors += result.errors
        state.step = last
        self.whole = last < plan.steps  # after the last one the epoch has to end first
        return list(result.norms)

    def _diverged(self, loss: float, step: int) -> None:
        epoch = self.state.epoch + 1
        # The first loss of an epoch is that of the weights it began with: then those are the bad ones.
        good = self.state.before if step == 1 else self.state.start
        model.assign(self.net, good.parameters, good.masks)
        self.net.engine.set_slots({})
        where = f"those of the end of epoch {good.epoch}" if good.epoch else "those before the training"
        if step == 1 and good is self.state.start and good.epoch:  # resumed: no earlier ones are known
            where = "those of the checkpoint, which give this loss"
        raise DivergedError(
            f"fit: loss is {loss} at epoch {epoch}, step {step} (learning rate {self.rate:g}); "
            f"the weights are {where}; a smaller learning rate or clip_norm may help",
            epoch=epoch,
            step=step,
            learning_rate=self.rate,
        )

    def _end_epoch(self, norms: list[float]) -> None:
        net, plan, state = self.net, self.plan, self.state
        samples = len(plan.x)
        has_error = plan.task != REGRESSION
        start = time.perf_counter()
        loss = error = None
        if self.validation is not None:
            loss, errors = net.engine.evaluate(*self.validation, EVALUATE_ROWS, validated=True)
            error = errors / len(self.validation[0]) if has_error else None
        self.history.epochs.append(
            {
                "epoch": state.epoch + 1,
                "train_loss": state.loss(),
                "train_error": state.errors / samples if has_error else None,
                "validation_loss": loss,
                "validation_error": error,
                "seconds": state.seconds + time.perf_counter() - start,
                "samples_per_second": samples / state.seconds if state.seconds > 0 else None,
                "learning_rate": self.rate,
                "gradient_norms": norms,
            }
        )
        state.begin_epoch(state.epoch + 1, net)
        interrupt: KeyboardInterrupt | None = None
        whole = True
        for callback in plan.callbacks:
            # All of them see the epoch, or a resumed run would differ in those that did not.
            try:
                state.stopped |= bool(callback.on_epoch_end(net, self.history))
            except KeyboardInterrupt as error_:
                interrupt = error_
                # Its state may lack the epoch: then the last checkpoint stays.
                whole &= callback not in plan.stateful()
        self.whole = whole
        last = state.stopped or state.epoch == plan.epochs
        if whole:
            self._write_checkpoints(state.epoch, last)
        if interrupt is not None:
            raise interrupt

    def _write_checkpoints(self, epoch: int = 0, last: bool = False) -> None:
        """Those due after ``epoch``; all of them after the ``last``, and in the middle of one (0)."""
        for callback in self.plan.callbacks:
            if isinstance(callback, Checkpoint) and (last or epoch % callback.every == 0):
                checkpoint.write(callback.path, self)
