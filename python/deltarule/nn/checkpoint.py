"""Checkpoints: the whole state of a training, so that it goes on to the bits of the uninterrupted run.

Tensors  layerL.weight, layerL.bias, layerL.mask where weights are pruned; slots.m.0, ...; callbackI.*; and of the steps
         done since the last epoch's end epoch.losses, epoch.weights and, if there are any, parameters and masks at that
         end, good.layerL.weight
Header   settings (`Plan.settings`), state, history, callbacks
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._atomic import PathLike
from .._shown import shown
from .._through import host
from . import files, headers, model
from .files import Tensors
from .history import COLUMNS

if TYPE_CHECKING:
    from .fit import Training

HEADER = {
    "settings": headers.OBJECT,
    "state": headers.OBJECT,
    "history": headers.many(headers.OBJECT),
    "callbacks": headers.many(headers.OBJECT),
}
COUNTERS = {
    "epoch": headers.COUNT,
    "step": headers.COUNT,
    "errors": headers.NUMBER,
    "seconds": headers.NUMBER,
    "stopped": headers.FLAG,
}


def write(path: PathLike, training: Training) -> None:
    """Write the state of a training; OSError leaves an older file as it was."""
    net, state = training.net, training.state
    tensors = {
        **model.named(net, net.parameters),
        **model.masks(net),
        **{f"slots.{name}": host(slot) for name, slot in net.engine.slots().items()},
        "epoch.losses": np.concatenate([np.empty(0), *state.losses]),
        "epoch.weights": np.concatenate([np.empty(0), *state.weights]),
    }
    if state.step:
        good = model.named(net, state.start.parameters) | model.named_masks(net, state.start.masks)
        tensors |= {f"good.{name}": array for name, array in good.items()}
    callbacks = []
    for index, callback in enumerate(training.plan.stateful()):
        values = callback.state()
        arrays = {key: value for key, value in values.items() if isinstance(value, np.ndarray)}
        tensors |= {f"callback{index}.{key}": array for key, array in arrays.items()}
        callbacks.append({key: value for key, value in values.items() if key not in arrays})
    header = {
        "settings": training.settings,
        "state": {**{key: getattr(state, key) for key in COUNTERS}, "updates": net.engine.step},
        "history": training.history.epochs,
        "callbacks": callbacks,
    }
    files.write(path, files.CHECKPOINT, tensors, header)


def read(path: PathLike, training: Training) -> SavedState:
    """The checkpoint at ``path``, if it is one of this very training; changes nothing.

    Raises
    ------
    OSError, ValueError
        As `files.read`; also, naming the first difference, if the training has other settings.
    """
    tensors, header = files.read(path, files.CHECKPOINT)
    headers.check(header, HEADER, path)
    now = json.loads(json.dumps(training.settings))
    for key in now:
        before = header["settings"].get(key)
        if before != now[key]:
            raise ValueError(f"fit: cannot resume {path}: {difference(key, before, now[key])}")
    _check_parts(header, training, path)
    step = header["state"]["step"]
    done = header["state"]["epoch"] + (step > 0)
    if training.plan.epochs < done:
        raise ValueError(
            f"fit: cannot resume {path}: epochs is {training.plan.epochs}, it is in epoch {done}"
        )
    net = training.net
    names = model.parameter_names(net)
    wanted = [*names, *(f"good.{name}" for name in names if step)]
    for name in wanted:
        files.take(tensors, name, net.parameters[names.index(name.removeprefix("good."))], path)
    for name in ("epoch.losses", "epoch.weights") if step else ():
        files.take(tensors, name, model.Like((step,), "float64"), path)
    return SavedState(path, tensors, header)


def _check_parts(header: dict[str, Any], training: Training, path: PathLike) -> None:
    """The state, the records and the callbacks are whole, and agree."""
    state, history, callbacks = header["state"], header["history"], header["callbacks"]
    headers.check(state, {**COUNTERS, "updates": headers.COUNT}, path, "its state")
    for record in history:
        headers.check(record, COLUMNS, path, "its history")
    steps, stateful = training.plan.steps, len(training.plan.stateful())
    if len(history) != state["epoch"] or state["step"] >= steps or len(callbacks) != stateful:
        raise ValueError(
            f"{path} is damaged: {len(history)} records of {state['epoch']} epochs, step {state['step']} of {steps}, "
            f"states of {len(callbacks)} callbacks; wanted as many records, a step below, and {stateful} states"
        )


def difference(key: str, before: Any, now: Any) -> str:
    """In words, how the setting ``key`` of a checkpoint differs from this training's."""
    if isinstance(before, dict) and isinstance(now, dict):
        for part in now:
            if before.get(part) != now[part]:
                return f"{key} had {part} {before.get(part)!r}, now {now[part]!r}"
    if isinstance(now, str) and isinstance(before, str) and key in ("data", "validation", "sample_weight"):
        return f"the {key} are not the same numbers"
    if key == "standardization":
        return "the standardization is not the same"
    return f"{key} was {shown(before, 200)}, is now {shown(now, 200)}"


@dataclass
class SavedState:
    """A checkpoint's content, known to fit the training."""

    path: PathLike
    tensors: Tensors
    header: dict[str, Any]

    def restore(self, training: Training) -> None:
        """Put the training, its net and its callbacks where the checkpoint was written.

        Raises
        ------
        ValueError
            If what is left to be found out does not fit; the net has its weights still.
        """
        with headers.damaged(self.path):
            # First, for a callback may refuse its state.
            for index, callback in enumerate(training.plan.stateful()):
                with headers.damaged(self.path, f"cannot be restored by {type(callback).__name__}"):
                    callback.restore({**self.header["callbacks"][index], **self._part(f"callback{index}.")})
            self._restore(training)

    def _restore(self, training: Training) -> None:
        net, state, saved = training.net, training.state, self.header["state"]
        net.engine.set_slots(self._part("slots."))
        model.put(net, self.tensors, self.path)
        net.engine.step = saved["updates"]
        state.begin_epoch(saved["epoch"], net)
        for key in COUNTERS:
            setattr(state, key, saved[key])
        if state.step:
            state.losses = [self.tensors["epoch.losses"]]
            state.weights = [self.tensors["epoch.weights"]]
            good = self._part("good.")
            values = [good[name] for name in model.parameter_names(net)]
            masks = model.indexed_masks(net, good, self.path)
            state.start = replace(state.start, parameters=values, masks=masks)
        state.before = state.start  # no earlier one is known
        training.history.epochs.extend(self.header["history"])

    def _part(self, prefix: str) -> Tensors:
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }
