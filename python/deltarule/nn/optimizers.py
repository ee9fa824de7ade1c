"""Optimisers: settings here, arithmetic in csrc/formulas/optimizers.h. g is the gradient, w a parameter.

Weight decay is for weights: biases have none, whatever the optimiser.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from .. import _core
from .._numbers import as_number


@dataclass
class Optimizer:
    """What all optimisers have in common.

    Attributes
    ----------
    kind : str
        Name in ``_core.optimizers()``.
    lr : float
        Learning rate; a schedule multiplies it.
    weight_decay : float
        Of all five; of weights alone, not of biases.
    """

    kind: ClassVar[str]
    lr: float

    def build(self) -> _core.Optimizer:
        """The engine's optimiser, which checks the values; TypeError for a setting that there is not."""
        numbers = {name: value or 0.0 for name, value in self._numbers().items()}
        return _core.Optimizer(self.kind, **numbers, name=type(self).__name__)

    def to_json(self) -> dict[str, Any]:
        """Kind and settings, as a checkpoint holds them."""
        return {"kind": self.kind, **self._numbers()}

    def _numbers(self) -> dict[str, float | None]:
        # Here and not where they are set, for a step on a small net takes as long as a look at every assignment.
        names = [setting.name for setting in fields(self)]
        unknown = [name for name in vars(self) if name not in names]
        if unknown and type(self) in OPTIMIZERS:  # a class of one's own may have what it likes
            raise TypeError(f"{type(self).__name__}: there is no {unknown[0]!r}; choices: {', '.join(names)}")
        numbers: dict[str, float | None] = {}
        for name in names:
            value = getattr(self, name)
            optional = value is None and name == "clip_norm"
            numbers[name] = None if optional else as_number(value, f"{type(self).__name__}: {name}")
        return numbers


@dataclass
class SGD(Optimizer):
    """Stochastic gradient descent: w <- w - lr (g + weight_decay w).

    Parameters
    ----------
    lr : float
        Learning rate.
    weight_decay : float
        Factor of the L2 penalty's gradient. Biases do not decay.
    clip_norm : float, optional
        Where the norm of the whole gradient is larger, it is scaled down to this.

    Examples
    --------
    >>> SGD(0.1)
    SGD(lr=0.1, weight_decay=0.0, clip_norm=None)
    """

    kind = "sgd"
    weight_decay: float = 0.0
    clip_norm: float | None = None


@dataclass
class Momentum(Optimizer):
    """Heavy ball: v <- momentum v + g + weight_decay w; w <- w - lr v (Polyak 1964)."""

    kind = "momentum"
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float | None = None


@dataclass
class Nesterov(Optimizer):
    """v <- momentum v + g; w <- w - lr (g + momentum v), g with weight decay (Sutskever et al. 2013)."""

    kind = "nesterov"
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float | None = None


@dataclass
class Adam(Optimizer):
    """m, v: running means of g and g^2; w <- w - lr m' / (sqrt(v') + eps), m' and v' without their bias.

    Weight decay, of weights alone, is added to g. Ref: Kingma & Ba, "Adam", ICLR 2015.
    """

    kind = "adam"
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float | None = None


@dataclass
class AdamW(Optimizer):
    """Adam with the decay outside the means: w <- (1 - lr weight_decay) w (not for biases), then Adam's step.

    Ref: Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    kind = "adamw"
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip_norm: float | None = None


OPTIMIZERS: tuple[type[Optimizer], ...] = (SGD, Momentum, Nesterov, Adam, AdamW)


def check(optimizer: object, where: str) -> Optimizer:
    """`optimizer` if it is one; TypeError with the choices if not."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    choices = ", ".join(f"nn.{cls.__name__}" for cls in OPTIMIZERS)
    raise TypeError(f"{where}: optimizer is {optimizer!r}; wanted one of {choices}")
