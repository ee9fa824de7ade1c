"""Deep auto-encoders: the trained layers, and the way back through all of them (Hinton & Salakhutdinov 2006)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .._core import activate
from .._numbers import as_count
from .._through import host
from ..nn import init
from ..nn.inputs import saying
from ..nn.layers import Dense
from ..nn.network import Network
from .record import Pretraining
from .stages import dense_layers, parameters_of, part_of


def codes(net: Network, x: Any, layers: int) -> npt.NDArray[Any]:
    """Outputs of dense layer ``layers``, counted from 1: x[N,I] -> h[N,O], without dropout.

    Raises
    ------
    ValueError
        If the net has no such layer.
    """
    count = as_count(layers, "codes: layers")
    most = len(dense_layers(net))
    if not 1 <= count <= most:
        raise ValueError(f"codes: layers is {count}; wanted 1 to {most}, the dense layers of the net")
    with saying("codes"):
        return part_of(net, 0, count).forward(x)


def unroll(
    net: Network,
    pretraining: Pretraining | None = None,
    *,
    layers: int | None = None,
    loss: str = "binary_cross_entropy",
    output: str = "sigmoid",
) -> Network:
    """The deep auto-encoder of the lowest layers of a net: up through them, and back down to the inputs.

    Layer l of the way down has the activation of what it gives back. ``fit(x, x)`` fine-tunes it, both ways by
    themselves from then on; of a net that is standardised ``fit(x, (x - shift) * scale)``: what it gives back are
    inputs as the layers see them.

    Parameters
    ----------
    net : nn.Network
        Whose layers are copied, weights and standardisation with them.
    pretraining : Pretraining, optional
        For the weights and biases of the way down; without it (and above layers trained with labels) they are the
        layer's own weights transposed, and 0.
    layers : int, optional
        How many; by default those that were pre-trained, without ``pretraining`` all dense layers but the last.
    loss : "binary_cross_entropy" or "squared_error"
        The first takes inputs in [0, 1] and gives logits: `reconstruct` gives values for both.
    output : str
        Activation of the last layer with the squared error.

    Returns
    -------
    nn.Network
        Of 2 ``layers`` dense layers; `codes` of the first ``layers`` of them are its codes.

    Raises
    ------
    ValueError
        Unknown loss, or not so many layers.
    """
    dense = dense_layers(net)
    count = len(pretraining.layers) if pretraining is not None else len(dense) - 1
    count = count if layers is None else as_count(layers, "unroll: layers")
    if not 1 <= count <= len(dense):
        raise ValueError(f"unroll: layers is {count}; the net has {len(dense)}, wanted 1 or more of them")
    if loss not in ("binary_cross_entropy", "squared_error"):
        raise ValueError(f"unroll: loss is {loss!r}; choices: binary_cross_entropy, squared_error")
    last = Dense(net.inputs, "linear" if loss == "binary_cross_entropy" else output)
    down = [replace(dense[index - 1], bias=True) for index in range(count - 1, 0, -1)]
    deep = Network(
        [*dense[:count], *down, last],
        net.inputs,
        loss,
        init=init.Zeros(),
        device=net.device,
        precision=net.precision,
        dtype=net.dtype,
        seed=net.seed,
    )
    values: list[Any] = [p for index in range(count) for p in parameters_of(net, index)]
    for index in reversed(range(count)):
        w = host(parameters_of(net, index)[0])
        trained = (
            pretraining.layers[index].decoder if pretraining and index < len(pretraining.layers) else None
        )
        values += [np.ascontiguousarray(w.T), np.zeros(len(w), w.dtype)] if trained is None else list(trained)
    for parameter, value in zip(deep.parameters, values, strict=True):
        parameter[...] = value
    if net.standardization is not None:
        deep.standardize(*net.standardization)
    deep.image_shape, deep.pixel_max = net.image_shape, net.pixel_max
    return deep


def reconstruct(net: Network, x: Any) -> npt.NDArray[Any]:
    """What a deep auto-encoder makes of x[N,I]: its outputs [N,I], logits turned into values in [0, 1]."""
    with saying("reconstruct"):
        z = net.forward(x)
    return np.asarray(activate(z, "sigmoid")) if net.loss == "binary_cross_entropy" else z
