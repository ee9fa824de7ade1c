"""Stages: what trains one layer, whatever the method, by many minibatch steps in one native call."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from .. import _core
from .._through import host
from ..nn import init
from ..nn.layers import Dense
from ..nn.network import Network
from ..nn.optimizers import Optimizer
from .methods import RBM, AutoEncoder, Method, Supervised
from .record import Decoder, as_decoder

Tensors = dict[str, npt.NDArray[Any]]


def dense_layers(net: Network) -> list[Dense]:
    """The dense layers of a net, from the lowest."""
    return [layer for layer in net.layers if isinstance(layer, Dense)]


def parameters_of(net: Network, index: int) -> list[_core.Array]:
    """W[I,O] and, if there is one, b[O] of dense layer ``index``: views."""
    layers = dense_layers(net)
    first = sum(1 + layer.bias for layer in layers[:index])
    return net.parameters[first : first + 1 + layers[index].bias]


def part_of(
    net: Network, first: int, last: int, *more: Dense, loss: str = "squared_error", seed: int = 0
) -> Network:
    """Dense layers first to last - 1 as a net of their own, with copies of their weights.

    ``more`` on top, drawn from ``seed``.
    """
    layers = dense_layers(net)
    inputs = net.inputs if first == 0 else layers[first - 1].units
    part = Network(
        [*layers[first:last], *more],
        inputs,
        loss,
        init=None if more else init.Zeros(),
        device=net.device,
        precision=net.precision,
        dtype=net.dtype,
        seed=seed,
    )
    values = [p for index in range(first, last) for p in parameters_of(net, index)]
    for parameter, value in zip(part.parameters, values, strict=False):
        parameter[...] = value
    if first == 0 and net.standardization is not None:
        part.standardize(*net.standardization)
    return part


class Stage:
    """A layer that learns. Subclasses say how.

    Attributes
    ----------
    parameters : list of Array
        All that the steps change, but for the optimiser's slots.
    block_steps : int
        Calls of `steps` have whole blocks of so many, or end the epoch.
    """

    parameters: list[_core.Array]
    block_steps = 1
    engine: _core.Codec | _core.Network

    def steps(self, order: Any, batch_size: int) -> _core.StepsResult:
        """Train on the rows order[n] of the data, ``batch_size`` a step."""
        raise NotImplementedError

    def write_back(self) -> None:
        """Give the net the layer's weights, where it does not have them anyway."""

    def decoder(self) -> Decoder | None:
        """The way back as it is now."""
        return None

    def tensors(self) -> Tensors:
        """State for a checkpoint."""
        values = {f"parameter{i}": host(p).copy() for i, p in enumerate(self.parameters)}
        return values | {f"slots.{name}": host(slot).copy() for name, slot in self.engine.slots().items()}

    def restore(self, tensors: Tensors, updates: int) -> None:
        """Take back what `tensors` gave."""
        for index, parameter in enumerate(self.parameters):
            parameter[...] = tensors[f"parameter{index}"]
        slots = {n.removeprefix("slots."): t for n, t in tensors.items() if n.startswith("slots.")}
        self.engine.set_slots(slots)
        self.engine.step = updates


class CodecStage(Stage):
    """A layer that learns to give its inputs back: `RBM` and `AutoEncoder`. W and b are the net's own arrays."""

    engine: _core.Codec

    def __init__(
        self, net: Network, index: int, x: Any, method: RBM | AutoEncoder, optimizer: Optimizer, seed: int
    ) -> None:
        self.x, self.method, self.rule = x, method, optimizer.build()
        self.layer = dense_layers(net)[index]
        w, b = parameters_of(net, index)
        inputs, units = w.shape
        c = _core.zeros((inputs,), net.dtype, net.device)
        self.parameters = [w, b, c]
        if isinstance(method, AutoEncoder) and not method.tied:
            own = _core.zeros((units, inputs), net.dtype, net.device)
            init.Glorot().fill(own, seed, _core.decoder_init_stream(index))
            self.parameters.append(own)
        v = self.parameters[3] if len(self.parameters) > 3 else None
        self.engine = _core.Codec(w, b, c, v, net.precision, seed, index)
        if index == 0 and net.standardization is not None:
            self.engine.set_input_transform(*net.standardization)

    def steps(self, order: Any, batch_size: int) -> _core.StepsResult:
        """Train on the rows order[n] of the data, ``batch_size`` a step."""
        if isinstance(self.method, RBM):
            return self.engine.divergence_steps(
                self.x, order, batch_size, self.rule, self.method.cd, validated=True
            )
        return self.engine.autoencoder_steps(
            self.x,
            order,
            batch_size,
            self.rule,
            self.layer.activation,
            self.layer.slope,
            self.method.engine_output,
            self.method.loss,
            self.method.corruption,
            validated=True,
        )

    def decoder(self) -> Decoder | None:
        """V, or W^T, and c as they are now."""
        weights = self.parameters[3] if len(self.parameters) > 3 else self.parameters[0]
        values = host(weights)
        return as_decoder(values if len(self.parameters) > 3 else values.T, host(self.parameters[2]))


class SupervisedStage(Stage):
    """A layer and an output layer that is thrown away, as a net of their own."""

    engine: _core.Network

    def __init__(
        self, net: Network, index: int, x: Any, y: Any, optimizer: Optimizer, batch_size: int, seed: int
    ) -> None:
        self.net, self.index, self.x, self.y = net, index, x, y
        self.rule = optimizer.build()
        output = dense_layers(net)[-1]
        self.part = part_of(net, index, index + 1, output, loss=net.loss, seed=seed)
        self.engine = self.part.engine
        self.parameters = self.part.parameters
        self.block_steps = self.engine.block_steps(batch_size, self.rule)

    def steps(self, order: Any, batch_size: int) -> _core.StepsResult:
        """Train on the rows order[n] of the data, ``batch_size`` a step."""
        return self.engine.train_steps(self.x, self.y, order, batch_size, self.rule, validated=True)

    def write_back(self) -> None:
        """Give the net the layer's weights."""
        for own, learned in zip(parameters_of(self.net, self.index), self.parameters, strict=False):
            own[...] = learned


def make(
    net: Network,
    index: int,
    x: Any,
    y: Any,
    method: Method,
    optimizer: Optimizer,
    batch_size: int,
    seed: int,
) -> Stage:
    """The stage of dense layer ``index``, on its inputs x[N,I]."""
    if isinstance(method, Supervised):
        return SupervisedStage(net, index, x, y, optimizer, batch_size, seed)
    assert isinstance(method, (RBM, AutoEncoder))
    return CodecStage(net, index, x, method, optimizer, seed)
