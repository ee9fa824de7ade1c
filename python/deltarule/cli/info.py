"""``deltarule info``: what this machine offers and what is installed."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import click

from .. import __version__, _core
from .files import check_writable, write_json

# package -> what it is used for
OPTIONAL_PACKAGES = {
    "click": "command line",
    "tqdm": "progress bar",
    "matplotlib": "figures",
    "pooch": "downloads",
    "scikit-learn": "the digits data set",
    "pillow": "png images at predict",
}


@click.command(short_help="Print devices, instruction sets, packages.")
@click.option("--json", "json_path", metavar="FILE", help="Write the facts to FILE as JSON ('-': stdout).")
def info(json_path: str | None) -> None:
    """Print version, devices, instruction sets, threads, caches and optional packages."""
    if json_path is not None:
        check_writable(json_path, "--json")
    facts = collect()
    if json_path != "-":
        click.echo(render(facts))
    if json_path is not None:
        write_json(json_path, facts)


def collect() -> dict[str, Any]:
    """All facts that ``deltarule info`` prints, as a dictionary that JSON can hold."""
    packages = {name: _version(name) for name in OPTIONAL_PACKAGES}
    facts: dict[str, Any] = {
        "version": __version__,
        "python": platform.python_version(),
        "numpy": _version("numpy"),
        "machine": f"{platform.system()} {platform.machine()}",
        "devices": list(_core.devices()),
        "isa": _core.isa(),
        "isas": [dict(isa) for isa in _core.isas()],
        "threads": _core.num_threads(),
        "packages": packages,
    }
    for key, value in dict(_core.info()).items():
        facts.setdefault(key, value)
    return facts


def render(facts: dict[str, Any]) -> str:
    """The facts as lines of text, one subject a line."""
    lines = [
        f"deltarule {facts['version']}, Python {facts['python']}, NumPy {facts['numpy']}, {facts['machine']}",
        f"devices   {', '.join(facts['devices'])}",
        f"cuda      {_cuda_line(facts['cuda'])}",
        "isas      * in use; another is chosen with DELTARULE_ISA=NAME",
    ]
    for isa in facts["isas"]:
        mark = "*" if isa["name"] == facts["isa"] else " "
        support = "" if isa["supported"] else "  (not on this machine)"
        lines.append(f"        {mark} {isa['name']:<11} needs {isa['needs']}{support}")
    lines.append(f"threads   {facts['threads']}; changed with DELTARULE_NUM_THREADS=N or --threads N")
    shown = {"version", "python", "numpy", "machine", "devices", "isa", "isas", "threads", "packages", "cuda"}
    for key, value in facts.items():
        if key not in shown:
            lines.append(f"{key:<9} {_plain(value)}")
    lines.append("packages")
    for name, version in facts["packages"].items():
        state = version or "missing: pip install 'deltarule[train]'"
        lines.append(f"          {name:<13} {OPTIONAL_PACKAGES[name]:<22} {state}")
    return "\n".join(lines)


def _cuda_line(cuda: dict[str, Any]) -> str:
    """The cards, or why there are none."""
    if not cuda["available"]:
        return f"none: {cuda['missing']}"
    cards = [
        f"{card['name']} ({card['memory'] / 2**30:.0f} GiB, {card['multiprocessors']} multiprocessors, "
        f"compute capability {'.'.join(map(str, card['capability']))})"
        for card in cuda["devices"]
    ]
    emulated = "; emulated" if cuda["emulated"] else ""
    return f"{', '.join(cards)}; runtime {cuda['runtime']}, driver {cuda['driver']}{emulated}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return str(value)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
