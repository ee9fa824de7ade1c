"""Checkpoints of `greedy`: the whole state, so that it goes on to the bits of the uninterrupted run.

Tensors  layerL.weight, layerL.bias of the whole net; stage.* of the layer that is learning; decoderK.weight and .bias
         of those that are done; of the steps since the last epoch's end epoch.losses and epoch.weights, and good.I,
         the layer's parameters at that end
Header   settings (`Plan.settings`), state, epochs of every layer
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from .._atomic import PathLike
from .._through import host
from ..nn import files, headers, model
from ..nn.checkpoint import difference

if TYPE_CHECKING:
    from .training import Training

HEADER = {
    "settings": headers.OBJECT,
    "state": headers.OBJECT,
    "epochs": headers.many(headers.many(headers.OBJECT)),
}
COUNTERS = {
    "layer": headers.COUNT,
    "epoch": headers.COUNT,
    "step": headers.COUNT,
    "errors": headers.NUMBER,
    "seconds": headers.NUMBER,
}
RECORD = {
    "layer": headers.COUNT,
    "epoch": headers.COUNT,
    "loss": headers.NUMBER,
    "error": headers.optional(headers.NUMBER),
    "learning_rate": headers.NUMBER,
    "seconds": headers.NUMBER,
}


def write(path: PathLike, training: Training) -> None:
    """Write the state; OSError leaves an older file as it was."""
    net, state = training.net, training.state
    training.stage.write_back()
    tensors = {
        **model.named(net, net.parameters),
        **{f"stage.{name}": tensor for name, tensor in training.stage.tensors().items()},
        "epoch.losses": np.concatenate([np.empty(0), *state.losses]),
        "epoch.weights": np.concatenate([np.empty(0), *state.weights]),
    }
    if state.step:
        tensors |= {f"good.{i}": host(value) for i, value in enumerate(state.start)}
    for index, layer in enumerate(training.record.layers):
        if layer.decoder is not None:
            tensors[f"decoder{index}.weight"], tensors[f"decoder{index}.bias"] = layer.decoder
    header = {
        "settings": training.settings,
        "state": {**{key: getattr(state, key) for key in COUNTERS}, "updates": training.stage.engine.step},
        "epochs": [layer.epochs for layer in training.record.layers],
    }
    files.write(path, files.PRETRAINING, tensors, header)


class Saved:
    """A checkpoint's content, known to be of this very training.

    Raises
    ------
    OSError, ValueError
        As `nn.files.read`; also, naming the first difference, if the training has other settings.
    """

    def __init__(self, path: PathLike, training: Training) -> None:
        self.path = path
        self.tensors, self.header = files.read(path, files.PRETRAINING)
        headers.check(self.header, HEADER, path)
        now = json.loads(json.dumps(training.settings))
        for key in now:
            before = self.header["settings"].get(key)
            if before != now[key]:
                raise ValueError(f"greedy: cannot resume {path}: {difference(key, before, now[key])}")
        self._check_parts(training)

    def _check_parts(self, training: Training) -> None:
        state, records, plan = self.header["state"], self.header["epochs"], training.plan
        headers.check(state, {**COUNTERS, "updates": headers.COUNT}, self.path, "its state")
        for record in (record for layer in records for record in layer):
            headers.check(record, RECORD, self.path, "its epochs")
        layer, layers = state["layer"], len(training.record.layers)
        if layer >= layers or len(records) != layers or len(records[layer]) != state["epoch"]:
            raise ValueError(
                f"{self.path} is damaged: it is in epoch {state['epoch']} of layer {layer} with records of "
                f"{[len(layer) for layer in records]} epochs; wanted {layers} layers, and as many epochs"
            )
        if state["epoch"] > plan.epochs[layer] or state["step"] >= plan.steps:
            raise ValueError(
                f"{self.path} is damaged: epoch {state['epoch']}, step {state['step']}; "
                f"wanted up to {plan.epochs[layer]}, below {plan.steps}"
            )

    def restore_net(self, training: Training) -> None:
        """The net's weights, the counters and the records, before the stage is made."""
        model.put(training.net, self.tensors, self.path)
        state = training.state
        for key in COUNTERS:
            setattr(state, key, self.header["state"][key])
        for index, layer in enumerate(training.record.layers):
            layer.epochs[:] = self.header["epochs"][index]
            if f"decoder{index}.bias" in self.tensors:
                layer.decoder = self.tensors[f"decoder{index}.weight"], self.tensors[f"decoder{index}.bias"]

    def restore_stage(self, training: Training) -> None:
        """The layer that was learning, and the epoch it was in."""
        with headers.damaged(self.path):
            self._restore_stage(training)

    def _restore_stage(self, training: Training) -> None:
        state = training.state
        training.stage.restore(self._part("stage."), self.header["state"]["updates"])
        state.start = [np.array(host(p)) for p in training.snapshot()]
        if state.step:
            state.losses = [self.tensors["epoch.losses"]]
            state.weights = [self.tensors["epoch.weights"]]
            good = self._part("good.")
            state.start = [good[str(i)] for i in range(len(good))]
        state.before = state.start  # no earlier one is known

    def _part(self, prefix: str) -> dict[str, Any]:
        return {n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)}
