"""The stub of the extension module names what the module has, and its signatures the same arguments."""

from __future__ import annotations

import ast
import pathlib
import re

import deltarule
import pytest
from deltarule import _core

STUB = ast.parse((pathlib.Path(deltarule.__file__).parent / "_core.pyi").read_text(encoding="utf-8"))
INHERITED = {"__doc__", "__module__", "__weakref__", "__init__", "__firstlineno__", "__static_attributes__"}
INHERITED |= {"__buffer__", "__release_buffer__"}  # what Python 3.12 and later show of the buffer protocol


def defined(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    names: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names[node.target.id] = node
    return names


NAMES = defined(STUB.body)
CLASSES = {
    name: node for name, node in NAMES.items() if isinstance(node, ast.ClassDef) and not name.startswith("_")
}


def test_the_module_s_names():
    module = {name for name in dir(_core) if not name.startswith("__")} | {"__version__"}
    assert module == {name for name in NAMES if name == "__version__" or not name.startswith("_")}


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_s_names(name):
    there = {entry for entry in vars(getattr(_core, name)) if not entry.startswith("_pybind11_")}
    assert there - INHERITED == set(defined(CLASSES[name].body)) - INHERITED


def arguments(node: ast.FunctionDef) -> list[str]:
    given = node.args
    return [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]


def signatures() -> list[tuple[str, str, ast.FunctionDef]]:
    """Bound functions and methods: name, first line of what pybind11 documents, stub."""
    found = []
    for owner, scope in [
        (_core, NAMES),
        *((getattr(_core, name), defined(node.body)) for name, node in CLASSES.items()),
    ]:
        for name, node in scope.items():
            doc = getattr(getattr(owner, name, None), "__doc__", None) or ""
            if isinstance(node, ast.FunctionDef) and doc.startswith(f"{name}("):
                found.append((f"{owner.__name__}.{name}", doc.splitlines()[0], node))
    return found


@pytest.mark.parametrize(
    ("name", "signature", "node"), signatures(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_arguments(name, signature, node):
    inside = re.sub(
        r"\[[^\[\]]*(\[[^\[\]]*\][^\[\]]*)*\]",
        "",
        signature[signature.index("(") + 1 : signature.rindex(") ->")],
    )
    bound = [part.split(":")[0].strip() for part in inside.split(", ") if part and not part.startswith("*")]
    assert bound == arguments(node)


def test_there_are_signatures():
    assert len(signatures()) > 80
