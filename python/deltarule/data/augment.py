"""Random deformations of images: a fresh one for every sample in every epoch.

`Affine` and `Elastic` add up: ``Affine(rotation=15) + Elastic(sigma=5, alpha=30)`` looks every pixel up once, at the
affine map of its place plus its displacement. Each is called with images, or handed to ``net.fit(augment=...)``.

What a sample gets depends on seed, epoch and its number in the set alone: not on order, minibatches, threads or device.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core
from .._given import as_array
from .._numbers import as_count, as_number
from .._through import host

Images = npt.NDArray[Any]
Shape = tuple[int, int]


class Augmentation:
    """What `Affine`, `Elastic` and `Compose` have in common."""

    def parts(self) -> Compose:
        """The same as a `Compose`."""
        raise NotImplementedError

    def __add__(self, other: Augmentation) -> Compose:
        if not isinstance(other, Augmentation):
            return NotImplemented
        mine, theirs = self.parts(), other.parts()
        if mine.background and theirs.background and mine.background != theirs.background:
            raise ValueError(
                f"Compose: backgrounds are {mine.background} and {theirs.background}; wanted the same"
            )
        return Compose([*mine.members, *theirs.members], mine.background or theirs.background)

    def __call__(
        self,
        images: npt.ArrayLike,
        seed: int = 0,
        epoch: int = 0,
        labels: npt.ArrayLike | None = None,
        *,
        image_shape: Shape | None = None,
        first: int = 0,
    ) -> npt.NDArray[np.float32]:
        """Deform each image once.

        Parameters
        ----------
        images : array [n, height, width] or [n, height * width]
            uint8, or floating point numbers (taken as float32).
        seed, epoch : int
            The same two, the same bits.
        labels : int array [n], optional
            Classes, for ``per_class``.
        image_shape : (height, width), optional
            Of rows [n, height * width]; by default they are squares.
        first : int
            Number of ``images[0]`` in its set: a part of a set gets what it would get in the whole.

        Returns
        -------
        float32 array of the images' shape

        Raises
        ------
        TypeError, ValueError
            For images of another kind, or labels that do not fit them.

        Examples
        --------
        >>> import numpy as np
        >>> images = np.zeros((3, 8, 8), np.uint8)
        >>> images[:, 3:5, 3:5] = 255
        >>> one, two = (Affine(rotation=30)(images, seed=1, epoch=e) for e in (0, 1))
        >>> one.shape, one.dtype.name, bool((one[0] != two[0]).any()), bool((one[0] != one[1]).any())
        ((3, 8, 8), 'float32', True, True)
        """
        x = as_array(images, "augment: images")
        if x.ndim not in (2, 3):
            raise ValueError(
                f"augment: images are {x.shape}; wanted [n, height, width] or [n, height * width]"
            )
        if x.ndim == 3:
            image_shape = (x.shape[1], x.shape[2])
        rows = as_pixels(x.reshape(len(x), -1 if x.size else math.prod(x.shape[1:])))
        shape = shape_of(rows.shape[1], image_shape, "augment", x.shape)
        factor = self.parts().factors(labels, len(rows), "augment")
        deformed = self.deform(rows, shape, seed, epoch, factor=factor, first=first)
        return np.asarray(deformed).reshape(x.shape)

    def deform(
        self,
        x: Any,
        shape: Shape,
        seed: int,
        epoch: int,
        *,
        order: Any = None,
        factor: Any = None,
        first: int = 0,
        out: _core.Array | None = None,
    ) -> _core.Array:
        """Rows ``order`` of x[n, height * width] deformed, on x's device; all of them without an order."""
        for name, value in (("seed", seed), ("epoch", epoch)):
            if not hasattr(value, "__index__") or value < 0:
                raise ValueError(f"augment: {name} is {value!r}; wanted a whole number, 0 or more")
        stream = _core.deform_stream(epoch)
        rule = self.parts().build()
        return _core.deform(x, *shape, rule, seed, stream, order, factor, first, out)


@dataclass(frozen=True)
class Affine(Augmentation):
    """Rotation or horizontal shear, and scaling, about the middle of the image.

    Parameters
    ----------
    rotation, shear : float
        Largest angle in degrees; the angle is uniform in [-a, a]. Where both are given a coin chooses one of them
        for every sample. Shear by an angle a moves x by tan(a) y.
    scale : float or (horizontal, vertical)
        Largest change of size: each direction is magnified by a factor uniform in [1 - s, 1 + s].
    per_class : {label: factor}, optional
        Multiplies the angles of these classes: a 1 that is turned by 15 degrees is a 7.

    Raises
    ------
    ValueError
        For a rotation beyond 180 degrees, a shear of 90 or more, a scale of 1 or more, or a negative number.

    Examples
    --------
    >>> Affine(rotation=15, scale=0.15, per_class={1: 0.5, 7: 0.5})
    Affine(rotation=15, shear=0.0, scale=0.15, per_class={1: 0.5, 7: 0.5})
    """

    rotation: float = 0.0
    shear: float = 0.0
    scale: float | tuple[float, float] = 0.0
    per_class: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.per_class, Mapping):
            raise TypeError(f"Affine: per_class is {self.per_class!r}; wanted a dict of labels and factors")
        for label, factor in self.per_class.items():
            if isinstance(label, bool) or not hasattr(label, "__index__"):
                raise TypeError(f"Affine: per_class has the label {label!r}; wanted whole numbers")
            if not 0 <= as_number(factor, f"Affine: per_class[{label}]") <= 1:
                raise ValueError(f"Affine: per_class[{label}] is {factor}; wanted 0 to 1")
        as_number(self.rotation, "Affine: rotation")
        as_number(self.shear, "Affine: shear")
        self.parts().build()

    @property
    def scales(self) -> tuple[float, float]:
        """Horizontal and vertical."""
        if isinstance(self.scale, (tuple, list)):
            if len(self.scale) != 2:
                raise ValueError(
                    f"Affine: scale is {self.scale}; wanted one number, or (horizontal, vertical)"
                )
            horizontal, vertical = self.scale
        else:
            horizontal = vertical = self.scale
        return as_number(horizontal, "Affine: scale"), as_number(vertical, "Affine: scale")

    def parts(self) -> Compose:
        """The same as a `Compose`."""
        return Compose([self])


@dataclass(frozen=True)
class Elastic(Augmentation):
    """Elastic displacement of every pixel (Simard, Steinkraus, Platt 2003).

    Displacements in x and y are uniform in (-1, 1), independent from pixel to pixel, smoothed by a Gaussian and
    multiplied by ``alpha``. The Gaussian's taps, e^(-k^2 / 2 sigma^2) for abs(k) <= radius = truncate * sigma + 1/2
    rounded down, **sum to 1** in each direction; outside of the image the noise is 0. That is
    ``alpha * scipy.ndimage.gaussian_filter(noise, sigma, mode="constant", truncate=truncate)``.

    Parameters
    ----------
    sigma : float
        Width of the Gaussian in pixels.
    alpha : float
        Strength. The displacements' standard deviation, away from the border, is about
        alpha / (sqrt(3) * 2 * sqrt(pi) * sigma) pixels: 0.16 alpha / sigma.
    truncate : float
        Where the Gaussian ends, in sigmas. 2 makes 21 taps of sigma 5, as in Ciresan et al. (2010).

    Raises
    ------
    ValueError
        If sigma is not positive, or the Gaussian has more than 63 taps on each side.

    Examples
    --------
    >>> Elastic(sigma=5, alpha=30).radius
    10
    """

    sigma: float
    alpha: float
    truncate: float = 2.0

    def __post_init__(self) -> None:
        for name in ("sigma", "alpha", "truncate"):
            as_number(getattr(self, name), f"Elastic: {name}")
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise ValueError(f"Elastic: sigma is {self.sigma}; wanted more than 0")
        if not (self.truncate > 0 and math.isfinite(self.truncate)):
            raise ValueError(f"Elastic: truncate is {self.truncate}; wanted more than 0")
        self.parts().build()

    @property
    def radius(self) -> int:
        """Taps on each side of the middle."""
        return int(self.truncate * self.sigma + 0.5)

    def parts(self) -> Compose:
        """The same as a `Compose`."""
        return Compose([self])


class Compose(Augmentation):
    """At most one `Affine` and one `Elastic`, in any order: displacements are added to the affine map.

    Parameters
    ----------
    members : iterable of Affine and Elastic
    background : float
        Value of pixels outside of the image.

    Examples
    --------
    >>> Affine(rotation=15) + Elastic(5, 30)
    Compose([Affine(rotation=15, shear=0.0, scale=0.0, per_class={}), Elastic(sigma=5, alpha=30, truncate=2.0)])
    """

    def __init__(self, members: Iterable[Augmentation], background: float = 0.0) -> None:
        self.members = tuple(members)
        self.background = as_number(background, "Compose: background")
        self.affine: Affine | None = None
        self.elastic: Elastic | None = None
        for member in self.members:
            if isinstance(member, Affine) and self.affine is None:
                self.affine = member
            elif isinstance(member, Elastic) and self.elastic is None:
                self.elastic = member
            elif isinstance(member, (Affine, Elastic)):
                raise ValueError(f"Compose: {type(member).__name__} came twice; wanted at most one")
            else:
                raise TypeError(f"Compose: a member is {member!r}; wanted Affine or Elastic")

    def __repr__(self) -> str:
        background = f", background={self.background}" if self.background else ""
        return f"Compose({list(self.members)}{background})"

    def parts(self) -> Compose:
        """Itself."""
        return self

    def build(self) -> _core.Deformation:
        """As the engine takes it."""
        numbers: dict[str, float] = {}
        if self.affine is not None:
            numbers["rotation"], numbers["shear"] = self.affine.rotation, self.affine.shear
            numbers["scale_x"], numbers["scale_y"] = self.affine.scales
        if self.elastic is not None:
            numbers["sigma"], numbers["alpha"] = self.elastic.sigma, self.elastic.alpha
        radius = 0 if self.elastic is None else self.elastic.radius
        return _core.Deformation(**numbers, radius=radius, background=self.background)

    def factors(self, labels: Any, count: int, where: str) -> npt.NDArray[np.float32] | None:
        """labels[n] -> factor of each sample's angles, or None for 1.

        Raises
        ------
        TypeError, ValueError
            If ``per_class`` wants labels and they are missing, of another length, or no whole numbers.
        """
        if self.affine is None or not self.affine.per_class:
            return None
        if labels is None:
            raise ValueError(f"{where}: per_class wants labels; there are none")
        classes = host(labels)
        if classes.dtype.kind not in "iu":
            raise TypeError(f"{where}: labels are {classes.dtype}; per_class wants whole numbers")
        if classes.shape != (count,):
            raise ValueError(f"{where}: labels are {classes.shape}; wanted ({count},), one for each image")
        factor = np.ones(count, np.float32)
        for label, value in self.affine.per_class.items():
            factor[classes == label] = value
        return factor

    def to_json(self) -> dict[str, Any]:
        """Every setting: two that are equal deform alike."""
        settings: dict[str, Any] = {"background": self.background}
        if self.affine is not None:
            factors = {str(label): float(f) for label, f in sorted(self.affine.per_class.items())}
            settings["affine"] = {
                "rotation": float(self.affine.rotation),
                "shear": float(self.affine.shear),
                "scale": list(self.affine.scales),
                "per_class": factors,
            }
        if self.elastic is not None:
            elastic = self.elastic
            settings["elastic"] = {
                "sigma": float(elastic.sigma),
                "alpha": float(elastic.alpha),
                "radius": elastic.radius,
            }
        return settings


def as_pixels(x: Any) -> Any:
    """x[n, d] as kernels take images: uint8 stays, other numbers become float32."""
    if x.dtype.kind not in "biuf":
        raise TypeError(f"augment: images are {x.dtype}; wanted numbers")
    return x if x.dtype.name in ("uint8", "float32") else x.astype("float32")


def shape_of(pixels: int, shape: Shape | None, where: str, came: tuple[int, ...] = ()) -> Shape:
    """Height and width of images of so many pixels a row: as given, else a square's; ``came`` is for the message."""
    if shape is None:
        side = math.isqrt(pixels)
        height, width = side, side
        wanted = "image_shape=(height, width), for a row is no square, or images [n, height, width]"
    else:
        height, width = _pair(shape, f"{where}: image_shape")
        wanted = f"{height} x {width}"
    if height * width != pixels:
        raise ValueError(
            f"{where}: images{f' of shape {came}' if came else ''} have {pixels} pixels; wanted {wanted}"
        )
    return height, width


def _pair(shape: Any, what: str) -> Shape:
    try:
        height, width = shape
    except (TypeError, ValueError):
        raise ValueError(f"{what} is {shape!r}; wanted (height, width)") from None
    return as_count(height, f"{what}[0]"), as_count(width, f"{what}[1]")


def _pixel(background: Any, dtype: np.dtype[Any]) -> float:
    """The background, if images of this dtype can hold it: NumPy would cut 0.7 to 0."""
    value = as_number(background, "pad: background")
    if dtype.kind in "biu":
        least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if not (least <= value <= most and value.is_integer()):
            raise ValueError(
                f"pad: background is {background!r}; wanted a whole number from {least} to {most}, "
                f"for the images are {dtype}"
            )
    return value


def pad(
    images: npt.ArrayLike, shape: Shape, *, image_shape: Shape | None = None, background: float = 0
) -> Images:
    """Images in the middle of larger ones; where that is between two pixels, nearer to the top and left.

    Parameters
    ----------
    images : array [n, height, width] or [n, height * width]
    shape : (height, width)
        Of the result, not smaller.
    image_shape : (height, width), optional
        Of rows [n, height * width]; by default they are squares.
    background : float
        Value of the pixels around; one that the images' dtype has.

    Returns
    -------
    array [n, height, width] or [n, height * width], as the images came; of the same dtype

    Examples
    --------
    >>> pad(np.ones((1, 2, 2), np.uint8), (3, 3)).tolist()
    [[[1, 1, 0], [1, 1, 0], [0, 0, 0]]]
    """
    x = as_array(images, "pad: images")
    if x.ndim not in (2, 3):
        raise ValueError(f"pad: images are {x.shape}; wanted [n, height, width] or [n, height * width]")
    height, width = (
        (x.shape[1], x.shape[2]) if x.ndim == 3 else shape_of(x.shape[1], image_shape, "pad", x.shape)
    )
    high, wide = _pair(shape, "pad: shape")
    if high < height or wide < width:
        raise ValueError(f"pad: shape is {high} x {wide}, images are {height} x {width}")
    top, left = (high - height) // 2, (wide - width) // 2
    out = np.full((len(x), high, wide), _pixel(background, x.dtype), x.dtype)
    out[:, top : top + height, left : left + width] = x.reshape(len(x), height, width)
    return out if x.ndim == 3 else out.reshape(len(x), high * wide)
