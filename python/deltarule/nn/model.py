"""Saving and loading a network: what of it goes into a file or a pickle, and back."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _core
from .._atomic import PathLike
from .._through import host
from . import files, headers, init, layers
from .files import Tensors
from .inputs import CLASSIFICATION, MULTI_LABEL, REGRESSION

if TYPE_CHECKING:
    from .network import Network

Masks = Mapping[int, npt.NDArray[Any]]

HEADER = {
    "inputs": headers.COUNT,
    "layers": headers.many(headers.OBJECT),
    "loss": headers.TEXT,
    "dtype": headers.one_of("float32", "float64"),
    "precision": headers.TEXT,
    "seed": headers.COUNT,
    "task": headers.one_of(CLASSIFICATION, MULTI_LABEL, REGRESSION),
    "classes": headers.optional(headers.many(headers.TEXT)),
    "image_shape": headers.optional(headers.PAIR),
    "pixel_max": headers.optional(headers.NUMBER),
}
# What files of older versions do not have.
LATER = {
    "feature_names": headers.optional(headers.many(headers.TEXT)),
    "takes_counts": headers.optional(headers.FLAG),
}


class Like(NamedTuple):
    """Shape and dtype that `files.take` compares with."""

    shape: tuple[int, ...]
    dtype: str


def parameter_names(net: Network) -> list[str]:
    """Tensor names in the order of ``net.parameters``: layer0.weight, layer0.bias, ..."""
    return list(parameter_shapes(net.layers, net.inputs))


def parameter_shapes(stack: Iterable[layers.Layer], inputs: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters by name, in their order."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index, layer in enumerate(stack):
        if isinstance(layer, layers.Dense):
            shapes[f"layer{index}.weight"] = (inputs, layer.units)
            if layer.bias:
                shapes[f"layer{index}.bias"] = (layer.units,)
            inputs = layer.units
    return shapes


def named(net: Network, arrays: Any) -> Tensors:
    """Arrays in the order of ``net.parameters``, by name."""
    return {name: host(array) for name, array in zip(parameter_names(net), arrays, strict=True)}


def masks(net: Network) -> Tensors:
    """Masks of pruned weights by name, layer0.mask, ...: 1 where a weight lives."""
    return named_masks(net, net.masks)


def named_masks(net: Network, values: Masks) -> Tensors:
    """Masks by parameter index, by name."""
    names = parameter_names(net)
    return {_mask(names[index]): mask.astype(np.uint8) for index, mask in values.items()}


def indexed_masks(net: Network, tensors: Tensors, path: PathLike) -> Masks:
    """The masks among ``tensors`` by parameter index; ValueError if one does not fit the net."""
    found = {}
    for index, (name, parameter) in enumerate(zip(parameter_names(net), net.parameters, strict=True)):
        if name.endswith(".weight") and _mask(name) in tensors:
            found[index] = files.take(tensors, _mask(name), np.empty(parameter.shape, np.uint8), path)
    return found


def _mask(weight: str) -> str:
    return f"{weight.removesuffix('.weight')}.mask"


def architecture(net: Network) -> dict[str, Any]:
    """What makes two nets compute the same function of their weights, as JSON."""
    return {
        "inputs": net.inputs,
        "layers": [layers.to_json(layer) for layer in net.layers],
        "loss": net.loss,
        "dtype": net.dtype,
        "precision": net.precision,
    }


def standardization(net: Network) -> Tensors:
    """Shift and scale by name, if the net has them."""
    pair = net.standardization
    return {} if pair is None else {"input.shift": pair[0], "input.scale": pair[1]}


def contents(net: Network) -> tuple[Tensors, dict[str, Any]]:
    """Weights and standardisation; architecture, class names, image shape and so on, as JSON."""
    header = {
        **architecture(net),
        "seed": net.seed,
        "task": net.task,
        "takes_counts": net.takes_counts,
        "classes": as_names(net.classes, "save: classes"),
        "feature_names": as_names(net.feature_names, "save: feature_names"),
        "image_shape": None if net.image_shape is None else list(net.image_shape),
        "pixel_max": net.pixel_max,
    }
    return {**named(net, net.parameters), **masks(net), **standardization(net)}, header


def as_names(names: Any, what: str) -> list[str] | None:
    """A list of names, as texts, or None."""
    if isinstance(names, str) or not isinstance(names, Iterable | None):
        raise TypeError(f"{what} is {names!r}; wanted a list of names")
    return None if names is None else [str(name) for name in names]


def save(path: PathLike, net: Network) -> None:
    """Write weights, masks, architecture, class names, image shape and standardisation."""
    tensors, header = contents(net)
    files.write(path, files.MODEL, tensors, header)


def load(path: PathLike, device: str, network: type[Network]) -> Network:
    """The network of a file that `save` wrote."""
    tensors, header = files.read(path, files.MODEL)
    return restored(tensors, header, path, device, network)


def restored(
    tensors: Tensors, header: dict[str, Any], path: PathLike, device: str, network: type[Network]
) -> Network:
    """The network of these `contents`, which came from ``path``."""
    headers.check(header, HEADER, path)
    headers.check({**dict.fromkeys(LATER), **header}, LATER, path)
    try:
        stack = [layers.from_json(layer, path) for layer in header["layers"]]
        # Before the net is built: a damaged size would ask for all memory.
        for name, shape in parameter_shapes(stack, header["inputs"]).items():
            files.take(tensors, name, Like(shape, header["dtype"]), path)
        net = network(
            stack,
            inputs=header["inputs"],
            loss=header["loss"],
            init=init.Zeros(),
            device=device,
            precision=header["precision"],
            dtype=header["dtype"],
            seed=header["seed"],
        )
        net.task = header["task"]
        if header.get("takes_counts") is False:  # by its loss alone: whole numbers are labels still
            net.takes_counts = False
        net.classes = header["classes"]
        net.feature_names = header.get("feature_names")
        net.image_shape = header["image_shape"]
        net.pixel_max = header["pixel_max"]
    except (ValueError, TypeError) as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path} cannot be loaded: {error}") from error
    put(net, tensors, path)
    if any(name.startswith("input.") for name in tensors):
        like = np.empty(net.inputs, net.dtype)
        net.standardize(*(files.take(tensors, name, like, path) for name in ("input.shift", "input.scale")))
    return net


def put(net: Network, tensors: Tensors, path: PathLike) -> None:
    """Give the net parameters and masks among ``tensors``; changes nothing if one is missing or does not fit."""
    named_parameters = zip(parameter_names(net), net.parameters, strict=True)
    values = [files.take(tensors, name, parameter, path) for name, parameter in named_parameters]
    assign(net, values, indexed_masks(net, tensors, path))


def assign(net: Network, values: Sequence[Any], masks: Masks | None = None) -> None:
    """Give the net values in the order of ``net.parameters``, and the masks they were pruned by; None: as now."""
    if masks is not None:
        net.engine.set_masks({})
    for parameter, value in zip(net.parameters, values, strict=True):
        parameter[...] = value
    if masks is not None:
        net.engine.set_masks(masks)


LIVE = ("engine", "_rule")  # what `restore` makes anew


def state(net: Network) -> dict[str, Any]:
    """All that makes the net, as NumPy arrays and plain values: its parameters, and how training would go on."""
    return {
        **{name: value for name, value in vars(net).items() if name not in LIVE},
        "parameters": [host(parameter) for parameter in net.parameters],
        "masks": net.masks,
        "slots": {name: host(slot) for name, slot in net.engine.slots().items()},
        "step": net.engine.step,
    }


def restore(net: Network, state: dict[str, Any]) -> None:
    """Make ``net``, which has nothing yet, the one that `state` was taken of."""
    own = dict(state)
    parameters, masks, slots, step = (own.pop(name) for name in ("parameters", "masks", "slots", "step"))
    vars(net).update(own)
    if net.device not in _core.devices():
        warnings.warn(
            f"Network: it was on {net.device}, which is not here; now it is on the CPU", stacklevel=3
        )
        net.device = "cpu"
    net._rule = None
    net.engine = net._new_engine(net.device)
    assign(net, parameters, masks)
    if net.standardization is not None:
        net.engine.set_input_transform(*net.standardization)
    net.engine.set_slots(slots)
    net.engine.step = step
