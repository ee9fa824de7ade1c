"""How a layer is trained by itself: plain descriptions, which `stages` turns into steps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .. import _core
from .._numbers import as_count, as_flag, as_number
from ..nn.layers import Dense

UNIT_ACTIVATIONS = frozenset({"sigmoid", "threshold", "gaussian"})  # whose values are in [0, 1]


@dataclass(frozen=True)
class Method:
    """What all methods have in common."""

    @property
    def takes_units(self) -> bool:
        """Whether inputs must be in [0, 1]."""
        return False

    def to_json(self) -> dict[str, Any]:
        """Name and settings, as a checkpoint holds them."""
        return {"method": type(self).__name__, **asdict(self)}

    def check(self, layer: Dense, where: str) -> None:
        """ValueError if ``layer`` cannot be trained so."""


@dataclass(frozen=True)
class RBM(Method):
    """A restricted Boltzmann machine, trained by contrastive divergence; a stack of them is a deep belief net.

    Energy E(x, h) = -x W h - b h - c x with binary h and x, p(h=1|x) = sigmoid(x W + b), p(x=1|h) = sigmoid(h W^T + c).
    CD-k lets k Gibbs steps run from the data x0: h is drawn (1 where a uniform u <= p), x keeps its probabilities
    (mean field). With h0 and hk the probabilities,

        W += lr (x0^T h0 - xk^T hk) / B      b += lr mean(h0 - hk)      c += lr mean(x0 - xk)

    by the optimiser, of which momentum and weight decay come. Inputs are in [0, 1]; the layer is a sigmoid one.

    Parameters
    ----------
    cd : int
        Gibbs steps k.

    Notes
    -----
    The loss of its epochs is the reconstruction error, 1/2 |xk - x0|^2 a sample, and not what CD descends on.
    Ref: Hinton, "Training products of experts by minimizing contrastive divergence", 2002, and "A practical guide to
    training restricted Boltzmann machines", 2010.
    """

    cd: int = 1

    def __post_init__(self) -> None:
        # Python's own numbers: a checkpoint's header takes no others.
        object.__setattr__(self, "cd", as_count(self.cd, "RBM: cd", least=1))
        if self.cd >= 256:
            raise ValueError(f"RBM: cd is {self.cd}; wanted 1 to 255 Gibbs steps")

    @property
    def takes_units(self) -> bool:
        """Inputs are probabilities."""
        return True

    def check(self, layer: Dense, where: str) -> None:
        """ValueError if ``layer`` cannot be trained so."""
        if layer.activation != "sigmoid":
            raise ValueError(f"{where}: activation is {layer.activation!r}; an RBM is a layer of 'sigmoid'")


@dataclass(frozen=True)
class AutoEncoder(Method):
    """An auto-encoder, by back-propagation: h = f(xc W + b), x' = g(h V + c), f the layer's activation.

    Parameters
    ----------
    tied : bool
        Whether V is W^T; else it is trained by itself.
    corruption : float
        Denoising: each input is set to 0 with this probability, x' has to be the whole x.
    loss : "binary_cross_entropy" or "squared_error"
        Of x' against x: -sum x log x' + (1 - x) log(1 - x') for inputs in [0, 1], g the sigmoid; or 1/2 |x' - x|^2.
    output : str
        g with the squared error: "sigmoid", "linear" or another activation.

    Notes
    -----
    Refs: Bengio et al. 2006; Vincent, Larochelle, Bengio & Manzagol, "Extracting and composing robust features with
    denoising autoencoders", 2008.
    """

    tied: bool = True
    corruption: float = 0.0
    loss: str = "binary_cross_entropy"
    output: str = "sigmoid"

    def __post_init__(self) -> None:
        object.__setattr__(self, "tied", as_flag(self.tied, "AutoEncoder: tied"))
        object.__setattr__(self, "corruption", as_number(self.corruption, "AutoEncoder: corruption"))
        if not 0 <= self.corruption < 1:
            raise ValueError(f"AutoEncoder: corruption is {self.corruption:g}; wanted a number in [0, 1)")

    @property
    def takes_units(self) -> bool:
        """The cross-entropy wants inputs in [0, 1]."""
        return self.loss == "binary_cross_entropy"

    @property
    def engine_output(self) -> str:
        """g for the engine, whose cross-entropy takes logits."""
        return "linear" if self.loss == "binary_cross_entropy" else self.output

    def check(self, layer: Dense, where: str) -> None:
        """ValueError if ``layer`` cannot be trained so."""
        losses = ("binary_cross_entropy", "squared_error")
        if self.loss not in losses:
            raise ValueError(f"{where}: loss is {self.loss!r}; choices: {', '.join(losses)}")
        if self.output not in _core.activations():
            raise ValueError(
                f"{where}: output is {self.output!r}; choices: {', '.join(sorted(_core.activations()))}"
            )
        if self.loss == "binary_cross_entropy" and self.output != "sigmoid":
            raise ValueError(f"{where}: output is {self.output!r}; binary_cross_entropy wants 'sigmoid'")


@dataclass(frozen=True)
class Supervised(Method):
    """The layer as the hidden one of a net with labels; its output layer is thrown away (Bengio et al. 2006).

    The output layer is one of the net's own kind: as many outputs, the same loss.
    """


METHODS: tuple[type[Method], ...] = (RBM, AutoEncoder, Supervised)


def check(method: object, where: str) -> Method:
    """`method` if it is one; TypeError with the choices if not."""
    if isinstance(method, METHODS):
        return method
    choices = ", ".join(f"pretrain.{cls.__name__}" for cls in METHODS)
    raise TypeError(f"{where}: a method is {method!r}; wanted one of {choices}")
