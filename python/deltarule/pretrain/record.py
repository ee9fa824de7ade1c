"""What pre-training leaves behind besides the weights in the net."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .methods import Method

Decoder = tuple[npt.NDArray[Any], npt.NDArray[Any]]


@dataclass
class PretrainedLayer:
    """One layer.

    Attributes
    ----------
    method : RBM, AutoEncoder or Supervised
    epochs : list of dict
        One record an epoch: ``layer``, ``epoch`` (both from 1), ``loss`` (mean over the epoch, while the weights
        change), ``error`` (share of wrong samples; None without labels), ``learning_rate``, ``seconds``.
    decoder : (V[H,I], c[I]) or None
        The way back, as it was when the layer was done; None with `Supervised`, or before that.
    """

    method: Method
    epochs: list[dict[str, Any]] = field(default_factory=list)
    decoder: Decoder | None = None


@dataclass
class Pretraining:
    """The layers that were pre-trained, from the lowest.

    Attributes
    ----------
    layers : list of PretrainedLayer
    """

    layers: list[PretrainedLayer]

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The records of all layers, one after the other."""
        return [record for layer in self.layers for record in layer.epochs]

    def __repr__(self) -> str:
        parts = (
            f"{type(layer.method).__name__} {layer.epochs[-1]['loss']:.4g}"
            for layer in self.layers
            if layer.epochs
        )
        return f"Pretraining({', '.join(parts)})"


def as_decoder(weights: npt.NDArray[Any], bias: npt.NDArray[Any]) -> Decoder:
    """Copies of V[H,I] and c[I]."""
    return np.array(weights, order="C"), np.array(bias)
