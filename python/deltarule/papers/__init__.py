"""Results that made deep learning, redone by ``deltarule reproduce NAME``: one package each, with its EXPERIMENT."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .experiment import Experiment

__all__ = ["NAMES", "load"]

NAMES = tuple(
    name
    for name in ("lecture", "glorot2010", "bengio2006", "ciresan2010")
    if importlib.util.find_spec(f"{__name__}.{name}") is not None
)


def load(name: str) -> Experiment:
    """The experiment ``name``; its module is imported now.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists the choices.
    """
    if name not in NAMES:
        raise ValueError(f"reproduce: {name!r} is no experiment; choices: {', '.join(NAMES)}")
    experiment: Experiment = importlib.import_module(f"{__name__}.{name}").EXPERIMENT
    return experiment
