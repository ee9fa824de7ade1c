"""What the JSON headers of files must hold: looked at in one place, before anything is built from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from .._atomic import PathLike
from .._shown import shown

LONGEST = 80  # of a value in a message


class Kind(NamedTuple):
    """A kind of value: what it is called, and whether something is one."""

    wanted: str
    fits: Callable[[Any], bool]


# JSON's own types: true is no whole number.
COUNT = Kind("a whole number, 0 or more", lambda value: type(value) is int and 0 <= value < 2**63)
NUMBER = Kind("a number", lambda value: type(value) in (int, float))
TEXT = Kind("a text", lambda value: isinstance(value, str))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
PAIR = Kind("a pair of whole numbers", lambda value: many(COUNT).fits(value) and len(value) == 2)


def optional(kind: Kind) -> Kind:
    """null, or of this kind."""
    return Kind(f"{kind.wanted}, or null", lambda value: value is None or kind.fits(value))


def many(kind: Kind) -> Kind:
    """A list of such values."""
    return Kind(
        f"a list, each {kind.wanted}", lambda value: isinstance(value, list) and all(map(kind.fits, value))
    )


def one_of(*choices: str) -> Kind:
    """One of these texts."""
    return Kind(f"one of {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices)


def check(
    header: Mapping[str, Any], kinds: Mapping[str, Kind], path: PathLike | str, what: str = "its header"
) -> None:
    """Raise ValueError, naming the first entry, unless ``header`` has all of these ``kinds``; others are left alone."""
    for name, kind in kinds.items():
        if name not in header:
            raise ValueError(f"{path} is damaged: {what} lacks {name!r}")
        if not kind.fits(header[name]):
            came = shown(header[name], LONGEST)
            raise ValueError(f"{path} is damaged: {name} in {what} is {came}; wanted {kind.wanted}")


@contextmanager
def damaged(path: PathLike | str, what: str = "is damaged") -> Iterator[None]:
    """What still goes wrong while a file's content is put to use is one ValueError that names the file."""
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        message = " ".join(str(error).split())
        if isinstance(error, ValueError) and message.startswith(str(path)):
            raise
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{path} {what} ({kind}{message})") from error
