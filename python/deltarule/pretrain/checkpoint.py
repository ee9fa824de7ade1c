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
from ..nn import files, model
from ..nn.checkpoint import difference

if TYPE_CHECKING:
    from .training import Training

COUNTERS = ("layer", "epoch", "step", "errors", "seconds")


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
        missing = {"settings", "state", "epochs"} - set(self.header)
        if missing:
            raise ValueError(f"{path} is damaged: its header lacks {', '.join(sorted(missing))}")
        now = json.loads(json.dumps(training.settings))
        for key in now:
            before = self.header["settings"].get(key)
            if before != now[key]:
                raise ValueError(f"greedy: cannot resume {path}: {difference(key, before, now[key])}")

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
