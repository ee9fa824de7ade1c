"""Print wheel size and import time, two figures that stand in README.

python bench/facts.py [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import harness


def wheel_bytes() -> int:
    """Size of the wheel that `pip wheel .` makes from this checkout."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "-w",
            folder,
            str(harness.REPOSITORY),
        ]
        subprocess.run(command, check=True)
        (wheel,) = pathlib.Path(folder).glob("deltarule-*.whl")
        return wheel.stat().st_size


def import_seconds(runs: int = 9) -> float:
    """Median time of `import deltarule` in a fresh interpreter, NumPy's own import included."""
    code = "import time; t = time.perf_counter(); import deltarule; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    times = [float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(runs)]
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here as well")
    arguments = parser.parse_args()
    figures = {"wheel_bytes": wheel_bytes(), "import_seconds": import_seconds()}
    print(f"wheel               {figures['wheel_bytes'] / 1e6:.2f} MB")
    print(f"import deltarule    {figures['import_seconds'] * 1e3:.0f} ms, NumPy's import included")
    if arguments.json:
        arguments.json.write_text(json.dumps({**harness.facts(), **figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
