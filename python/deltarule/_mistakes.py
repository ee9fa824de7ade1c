"""What was wrong with the arguments of a function of the extension module, in one line.

Called where pybind11 has refused a call, and only there (csrc/bind/mistakes.cpp).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from deltarule import _core
from deltarule._shown import shown


def _whole(value: Any) -> bool:
    return -(2**63) <= operator.index(value) < 2**63


def _shape(value: Any) -> bool:
    return all(map(_whole, value)) if np.iterable(value) else _whole(value)


def _pair(value: Any) -> bool:
    return len(value) == 2 and _shape(value)


def _converted(value: Any) -> bool:
    return value is not None


# pybind11's name of a type -> what is wanted, and whether a value is that (an error says no). int and float
# are its names before version 3.
_INTEGER = ("a whole number", _whole)
_PAIR = ("two whole numbers", _pair)
_NUMBER = ("a number", lambda value: float(value) is not None and not isinstance(value, str))
_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "typing.SupportsInt | typing.SupportsIndex": _INTEGER,
    "int": _INTEGER,
    "tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]": _PAIR,
    "tuple[int, int]": _PAIR,
    "typing.SupportsFloat | typing.SupportsIndex": _NUMBER,
    "float": _NUMBER,
    "str": ("a name", lambda value: isinstance(value, str)),
    "bool": ("True or False", lambda value: isinstance(value, (bool, np.bool_))),
    "deltarule._core.Array": ("an array", _converted),
    "int | collections.abc.Sequence[int]": ("a whole number or several", _shape),
    "numpy.typing.DTypeLike": ("a dtype", _converted),
}


class _Parameter(NamedTuple):
    name: str
    kind: str
    optional: bool  # None is taken
    required: bool

    @property
    def judged(self) -> bool:
        """Whether `takes` knows; what is in brackets, such as a list's kind, is left to pybind11."""
        return self.kind in _KINDS or "[" not in self.kind

    @property
    def wanted(self) -> str:
        known = _KINDS.get(self.kind, (f"a {self.kind.rpartition('.')[2]}",))[0]
        return f"{known}, or None" if self.optional else known

    def takes(self, value: Any) -> bool:
        if value is None and self.optional:
            return True
        if not self.judged:
            return True
        if self.kind not in _KINDS:
            return any(base.__name__ == self.kind.rpartition(".")[2] for base in type(value).__mro__)
        try:
            return _KINDS[self.kind][1](value)
        except (TypeError, ValueError, OverflowError):
            return False


def _parts(text: str) -> list[str]:
    """Split at the commas that are in no bracket and no quotation."""
    parts, depth, quoted = [""], 0, False
    for letter in text:
        quoted ^= letter == "'"
        depth += 0 if quoted else (letter in "[(") - (letter in "])")
        if letter == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _parameters(signature: str) -> list[_Parameter]:
    """Of ``(x: deltarule._core.Array, axis: int | None = None) -> object``."""
    inside = signature[signature.index("(") + 1 : signature.rindex(")")]
    found = []
    for part in _parts(inside):
        name, _, rest = part.partition(":")
        kind, has_default, _ = rest.strip().partition(" = ")
        bare = re.sub(r"^(typing\.)?Optional\[(.*)\]$", r"\2 | None", kind)
        found.append(
            _Parameter(name, bare.removesuffix(" | None"), bare.endswith(" | None"), not has_default)
        )
    return [parameter for parameter in found if parameter.kind]  # a lone * or / has none


def _wrong(parameters: list[_Parameter], args: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    names = [parameter.name for parameter in parameters]
    wanted = f"wanted {', '.join(names) or 'none'}"
    if len(args) > len(parameters):
        return f"arguments are {', '.join(map(shown, args))}; {wanted}"
    given = dict(zip(names, args, strict=False))
    for name, value in named.items():
        if name not in names or name in given:
            return f"{name} is {'named twice' if name in given else 'no argument of it'}; {wanted}"
        given[name] = value
    for parameter in parameters:
        if parameter.name not in given:
            if parameter.required:
                return f"{parameter.name} is missing; {wanted}"
        elif not parameter.takes(given[parameter.name]):
            value = given[parameter.name]
            bound = " below 2^63" if isinstance(value, int) and _KINDS.get(parameter.kind) is _INTEGER else ""
            return f"{parameter.name} is {shown(value)}; wanted {parameter.wanted}{bound}"
    # What is left: a whole number that its C++ type, of fewer bits or without a sign, does not hold; or what was not
    # judged.
    whole = [p.name for p in parameters if p.name in given and _KINDS.get(p.kind) is _INTEGER]
    out = ", ".join(f"{name} is {given[name]}" for name in whole if not 0 <= given[name] < 2**31)
    if out:
        return f"{out}; wanted within its bounds"
    kinds = [f"{p.name}: {_without_modules(p.kind)}" for p in parameters if p.name in given and not p.judged]
    return f"arguments are {', '.join(map(shown, given.values()))}; wanted {', '.join(kinds) or 'others'}"


def _without_modules(kind: str) -> str:
    """``Mapping[str, Array]`` of ``collections.abc.Mapping[str, deltarule._core.Array]``."""
    return re.sub(r"\b(\w+\.)+", "", kind).replace("SupportsInt | SupportsIndex", "int")


def explain(refusal: str, args: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    """One line for pybind11's message of several.

    Parameters
    ----------
    refusal : str
        ``zeros(): incompatible function arguments. ...``, then a line for each signature.
    args, named
        Of the call; a method's begin with the object, a constructor's too.

    Returns
    -------
    str
        ``zeros: shape is None; wanted a whole number or several``
    """
    name = refusal[: refusal.index("(): incompatible ")]
    signatures = re.findall(r"^    \d+\. (.*)$", refusal, re.MULTILINE)
    if name == "__init__":
        name, args = signatures[0].partition("(")[0].rpartition(".")[2], args[1:]
    parameters = _parameters(signatures[0])
    if parameters and parameters[0].name == "self" and args:
        parameters, args = parameters[1:], args[1:]
    elif not name and len(parameters) == 2:  # the function that sets an attribute
        return f"the attribute is {shown(args[1])}; wanted {parameters[1].wanted}"
    return f"{name}: {_wrong(parameters, args, named)}"


_core.set_explanation(explain)
