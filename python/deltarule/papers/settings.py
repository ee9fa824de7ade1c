"""What a run is to do: settings given, those of the run that goes on, and whether they are the same."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__, _core
from .experiment import Experiment
from .records import read_json

SETTINGS = "settings.json"
FULL_SEEDS, QUICK_SEEDS = 3, 1
# Of settings.json: what must be the same when a run goes on.
COMPARED = ("experiment", "quick", "seeds", "device", "precision", "settings")


def saved_settings(folder: Path, resume: bool) -> dict[str, Any] | None:
    """settings.json of the run to go on with; None for a new run, whose folder must be empty."""
    path = folder / SETTINGS
    if not resume:
        if folder.is_dir() and any(folder.iterdir()):
            raise ValueError(
                f"--out {folder} is not empty; go on with the run in it by --resume, or choose another"
            )
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"--out {folder} is a file; wanted a folder")
        return None
    if not path.is_file():
        raise ValueError(f"--resume: {folder} holds no {SETTINGS}; wanted the folder of a run")
    return read_json(path, {*COMPARED, "data", "data_dir"}, "start the run anew in another folder")


def choose(before: dict[str, Any] | None, **given: Any) -> dict[str, Any]:
    """What was given; for the rest what the run was started with, or the defaults."""
    if given["seeds"] is not None and given["seeds"] < 1:
        raise ValueError(f"reproduce: seeds is {given['seeds']}; wanted 1 or more")
    seeds = QUICK_SEEDS if given["quick"] else FULL_SEEDS
    rest: dict[str, Any] = {"quick": False, "seeds": seeds, "device": "cpu", "precision": "highest"}
    rest |= {"data_dir": None, "changes": {}}
    if before is not None:
        rest = {**{key: before.get(key, rest[key]) for key in rest}, "seeds": len(before["seeds"])}
    chosen: dict[str, Any] = {key: rest[key] if value is None else value for key, value in given.items()}
    if chosen["data_dir"] is not None:
        chosen["data_dir"] = str(Path(chosen["data_dir"]).expanduser().absolute())
    return chosen


def new_settings(experiment: Experiment, chosen: dict[str, Any]) -> dict[str, Any]:
    """What settings.json holds, as it is read back from there; the data are not known yet."""
    whole = {
        "experiment": experiment.name,
        **chosen,
        "seeds": list(range(chosen["seeds"])),
        "data": None,
        "settings": _changed(experiment, chosen),
        "command": sys.argv[1:],
        "machine": machine(),
    }
    settings: dict[str, Any] = json.loads(json.dumps(whole))
    return settings


def _changed(experiment: Experiment, chosen: dict[str, Any]) -> dict[str, Any]:
    """The experiment's settings with those in place that are to be others."""
    settings = experiment.settings(chosen["quick"])
    for key in chosen["changes"]:
        if key not in settings:
            raise ValueError(f"{experiment.name}: {key!r} is no setting; choices: {', '.join(settings)}")
    return {**settings, **{key: _fitting(key, settings[key], new) for key, new in chosen["changes"].items()}}


def _fitting(name: str, default: Any, value: Any) -> Any:
    """``value`` for the setting ``name`` if it is of the default's kind; of a dict, the parts that are to be others.

    Counts stay counts: a whole number above 0 is not replaced by one that is not. None stands for a count, too.
    """
    if isinstance(default, Mapping) and isinstance(value, Mapping):
        by_label = all(key.isdigit() for key in default)  # then others may come
        for key in value:
            if key not in default and not (by_label and key.isdigit()):
                raise ValueError(f"--set {name}: {key!r} is no setting; choices: {', '.join(default)}")
        return {**default, **{k: _fitting(f"{name}.{k}", default.get(k, v), v) for k, v in value.items()}}
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = number and isinstance(value, int)
    if default is None:
        fits, wanted = value is None or (whole and value > 0), "null or a whole number above 0"
    elif isinstance(default, bool | str):
        fits, wanted = (
            type(value) is type(default),
            "true or false" if isinstance(default, bool) else "a text",
        )
    elif isinstance(default, int):
        fits, wanted = whole and (value > 0 or default <= 0), "a whole number above 0"
    elif isinstance(default, float):
        fits, wanted = number and value >= 0, "a number, 0 or more"
    elif isinstance(default, Sequence):
        fits = isinstance(value, list | tuple) and len(value) > 0
        wanted = "a list that is not empty"
    else:
        fits, wanted = False, 'names and values, as in {"name": 1}'
    if not fits:
        raise ValueError(f"--set {name}: {value!r} came; wanted {wanted}")
    if isinstance(value, list | tuple) and not isinstance(default[0], list | tuple):
        return [_fitting(name, default[0], item) for item in value]
    return value


def machine() -> dict[str, Any]:
    """Versions and hardware, for the record."""
    facts = _core.info()
    return {
        "deltarule": __version__,
        "python": platform.python_version(),
        "numpy": importlib.metadata.version("numpy"),
        "system": f"{platform.system()} {platform.machine()}",
        **{key: facts[key] for key in ("isa", "threads", "cores")},
        "gpus": [card["name"] for card in facts["cuda"]["devices"]],
    }


def check_same(
    before: dict[str, Any], now: dict[str, Any], folder: Path, keys: Sequence[str] = COMPARED
) -> None:
    """Raise ValueError, naming every difference, unless these settings are those of the run in ``folder``."""
    changes = [change for key in keys for change in differences(before[key], now[key], key)]
    if changes:
        raise ValueError(f"--resume: the run in {folder} has other settings: {', '.join(changes)}")


def differences(before: Any, now: Any, name: str) -> list[str]:
    """How two JSON values differ, in words.

    >>> differences({"epochs": 3, "rate": 1}, {"epochs": 5, "rate": 1}, "settings")
    ['settings.epochs was 3, is now 5']
    """
    if before == now:
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        parts = ((before.get(key, "absent"), now.get(key, "absent"), f"{name}.{key}") for key in keys)
        return [change for part in parts for change in differences(*part)]
    return [f"{name} was {json.dumps(before)}, is now {json.dumps(now)}"]
