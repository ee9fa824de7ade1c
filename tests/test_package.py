"""What is installed: content, size, import time, symbols, stub, documentation examples."""

from __future__ import annotations

import doctest
import importlib
import importlib.metadata
import pathlib
import pkgutil
import re
import shutil
import subprocess
import sys

import deltarule
import pytest
from conftest import BFLOAT16
from deltarule import _core
from test_threads import python

PACKAGE = pathlib.Path(deltarule.__file__).parent
REPOSITORY = pathlib.Path(__file__).parent.parent
MAX_BYTES = 5_000_000


def test_package_is_small_and_typed():
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert (PACKAGE / "py.typed") in files
    assert (PACKAGE / "_core.pyi") in files
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES


def test_version_is_the_distribution_s():
    assert deltarule.__version__ == importlib.metadata.version("deltarule")


def test_import_brings_numpy_alone():
    code = "import sys, numpy; before = set(sys.modules); import deltarule; print(*sorted(set(sys.modules) - before))"
    done = python(code)
    names = {name.split(".")[0] for name in done.stdout.split()}
    assert names - set(sys.stdlib_module_names) <= {"deltarule", "numpy"}, done.stdout + done.stderr


def test_import_is_quick():
    """At most 150 ms on top of NumPy's own import, best of five."""
    code = "import numpy, time; t = time.perf_counter(); import deltarule; print(time.perf_counter() - t)"
    assert min(float(python(code).stdout) for _ in range(5)) <= 0.150


def test_extension_exports_one_symbol():
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm is not installed")
    done = subprocess.run(
        [nm, "-D", "--defined-only", _core.__file__], capture_output=True, text=True, check=True
    )
    names = {line.split()[-1] for line in done.stdout.splitlines() if " T " in line}
    assert names == {"PyInit__core"}


def test_extension_needs_no_foreign_library():
    """No BLAS, no OpenMP runtime, no CUDA: the C and C++ libraries only."""
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("readelf is not installed")
    done = subprocess.run([readelf, "-d", _core.__file__], capture_output=True, text=True, check=True)
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", done.stdout))
    allowed = ("libstdc++", "libm.", "libgcc_s", "libc.", "libpthread", "ld-linux", "libasan", "libubsan")
    assert all(name.startswith(allowed) for name in needed), needed


def fenced_sources() -> list[tuple[str, list[str]]]:
    avx512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]
    return [
        ("scalar", []),
        ("avx2", ["-mavx2", "-mfma"]),
        ("avx512", avx512),
        ("avx512_bf16", [*avx512, "-mavx512bf16"]),
        ("amx", [*avx512, "-mavx512bf16"]),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("isa", "flags"), fenced_sources(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_isa_objects_have_no_weak_symbols(isa, flags, tmp_path):
    """A weak symbol could be merged with the baseline's and run AVX-512 code on a machine without it."""
    compiler, nm = shutil.which("g++"), shutil.which("nm")
    if compiler is None or nm is None:
        pytest.skip("g++ or nm is not installed")
    if isa != "scalar" and not any(entry["name"] == isa for entry in _core.isas()):
        pytest.skip(f"{isa} is not of this architecture")
    target = tmp_path / f"{isa}.o"
    source = REPOSITORY / "csrc" / "cpu" / f"{isa}.cpp"
    command = [
        compiler,
        "-std=c++20",
        "-O1",
        "-fPIC",
        "-fvisibility=hidden",
        "-ffp-contract=off",
        "-fno-exceptions",
        *flags,
    ]
    subprocess.run([*command, f"-I{REPOSITORY / 'csrc'}", "-c", str(source), "-o", str(target)], check=True)
    lines = subprocess.run(
        [nm, "-C", str(target)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    weak = [line for line in lines if re.search(r" [WVu] ", line)]
    assert weak == []
    outside = [line for line in lines if re.search(r" [TDRB] ", line)]
    symbol = f"{isa}::gemm(deltarule::GemmArgs const&)" if isa in BFLOAT16 else f"{isa}_table"
    assert [line.split(" ", 2)[2] for line in outside] == [f"deltarule::cpu::{symbol}"]


def modules() -> list[str]:
    found = [info.name for info in pkgutil.walk_packages(deltarule.__path__, "deltarule.")]
    return sorted(name for name in found if name != "deltarule.__main__")


@pytest.mark.parametrize("name", modules())
def test_doctests(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_there_are_doctests():
    finder = doctest.DocTestFinder()
    examples = [
        test for name in modules() for test in finder.find(importlib.import_module(name)) if test.examples
    ]
    assert len(examples) >= 10


def test_public_names_exist_and_are_documented():
    missing = [name for name in deltarule.__all__ if not hasattr(deltarule, name)]
    assert missing == []
    assert sorted(deltarule.__all__) == sorted(set(deltarule.__all__))
    undocumented = [
        name
        for name in deltarule.__all__
        if callable(getattr(deltarule, name)) and not getattr(deltarule, name).__doc__
    ]
    assert undocumented == []
