"""The layers a network is built from: plain descriptions, which the engine turns into arithmetic."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from .. import _core
from .._atomic import PathLike
from .._numbers import as_count, as_flag, as_name, as_number
from . import headers


@dataclass(frozen=True)
class Dense:
    """A fully connected layer: y = f(x W + b), x[B,I] W[I,O] b[O] -> y[B,O].

    Parameters
    ----------
    units : int
        Outputs O of the layer.
    activation : str
        f; the names are those of ``_core.activations()``.
    bias : bool
        Whether b is there.
    slope : float, optional
        Parameter of leaky_relu (0.01) and elu (1); the others ignore it.

    Examples
    --------
    >>> Dense(300, "relu")
    Dense(units=300, activation='relu', bias=True, slope=None)
    """

    units: int
    activation: str = "linear"
    bias: bool = True
    slope: float | None = None

    def __post_init__(self) -> None:
        # Python's own numbers: a file's header takes no others.
        slope = None if self.slope is None else as_number(self.slope, "Dense: slope")
        object.__setattr__(self, "units", as_count(self.units, "Dense: units"))
        activation = as_name(self.activation, "Dense: activation")
        choices = _core.activations()
        if activation not in choices:
            raise ValueError(f"Dense: activation is {activation!r}; choose one of: {', '.join(choices)}")
        object.__setattr__(self, "activation", activation)
        object.__setattr__(self, "bias", as_flag(self.bias, "Dense: bias"))
        object.__setattr__(self, "slope", slope)


@dataclass(frozen=True)
class Dropout:
    """Set a share ``rate`` of the values to 0 in training and divide the others by 1 - rate.

    Ref: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014.
    """

    rate: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", as_number(self.rate, "Dropout: rate"))


Layer = Dense | Dropout

# What a file's header has of a layer. A default in place of what is lost would be another layer.
_SETTINGS = {
    "units": headers.COUNT,
    "activation": headers.TEXT,
    "bias": headers.FLAG,
    "slope": headers.optional(headers.NUMBER),
    "rate": headers.NUMBER,
}

_KINDS: dict[str, type[Dense] | type[Dropout]] = {"dense": Dense, "dropout": Dropout}


def to_json(layer: Layer) -> dict[str, Any]:
    """The layer as the header of a file holds it."""
    return {"kind": type(layer).__name__.lower(), **asdict(layer)}


def from_json(description: dict[str, Any], path: PathLike) -> Layer:
    """What `to_json` was given; ValueError where the file at ``path`` holds something else."""
    headers.check(description, {"kind": headers.TEXT}, path, "a layer")
    settings = dict(description)
    kind = settings.pop("kind")
    if kind not in _KINDS:
        raise ValueError(f"layer kind is {kind!r}; choices: {', '.join(_KINDS)}")
    wanted = [field.name for field in fields(_KINDS[kind])]
    headers.check(settings, {name: _SETTINGS[name] for name in wanted}, path, f"a layer {kind}")
    if len(settings) > len(wanted):
        raise ValueError(f"layer {kind} has {', '.join(settings)}; wanted {', '.join(wanted)}")
    return _KINDS[kind](**settings)
