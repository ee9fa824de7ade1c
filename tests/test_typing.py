"""What type checkers know of arrays: a name no Array has is an error wherever one is made."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import deltarule

MADE = (
    *("dr.arange(3)", "dr.linspace(0, 1)", "dr.zeros(3)", "dr.asarray([1])", "dr.array([1], ndmin=2)"),
    *("dr.exp(a)", "dr.add(a, 1)", "dr.sum(a)", "dr.sin(a)", "dr.concatenate([a, a])", "dr.matmul(a, a)"),
    *("a.sum()", "a.max(axis=0)", "a.std()", "a + 1", "1 - a", "a @ a", "a < 2", "a == a", "-a", "a[0]"),
    *("a.T", "a.real", "a.reshape(3, order='F')", "dr.softmax(a)", "dr.where(a > 0, a, 0)"),
)


def test_mypy_knows_arrays(tmp_path):
    script = tmp_path / "script.py"
    lines = [
        "import deltarule as dr",
        "a = dr.zeros(3)",
        "a += 1",
        "print(float(a.sum()), dr.allclose(a, a))",
    ]
    script.write_text("\n".join([*lines, *(f"({made}).nonsense()" for made in MADE)]) + "\n")
    house = pathlib.Path(deltarule.__file__).parents[1]
    place = {} if house.name == "site-packages" else {"MYPYPATH": str(house)}
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(script)],
        capture_output=True,
        text=True,
        env=place,
        check=False,
    )
    told = [line for line in run.stdout.splitlines() if ": error:" in line]
    for number, made in enumerate(MADE, len(lines) + 1):
        assert f'script.py:{number}: error: "Array" has no attribute "nonsense"' in run.stdout, made
    assert len(told) == len(MADE), run.stdout + run.stderr
