"""README's example runs as it stands, and its commands are the ones CI tries."""

from __future__ import annotations

import pathlib
import re

import pytest
from conftest import GPUS
from test_threads import python

REPOSITORY = pathlib.Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_example_runs_and_learns(tmp_path, monkeypatch):
    pytest.importorskip("sklearn", reason="the example's digits come with scikit-learn")
    monkeypatch.chdir(tmp_path)
    example, _ = blocks("python")
    done = python(example)
    assert done.returncode == 0, done.stderr
    error = re.search(r"test error ([0-9.]+)", done.stdout)
    assert error is not None
    assert float(error.group(1)) <= 0.04
    assert (tmp_path / "digits.safetensors").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not GPUS, reason="no GPU")
def test_example_on_cuda(tmp_path, monkeypatch):
    pytest.importorskip("sklearn", reason="the example's digits come with scikit-learn")
    monkeypatch.chdir(tmp_path)
    example, on_gpu = blocks("python")
    done = python(example.replace("epochs=30", "epochs=1").replace("(1000, 1000)", "(100, 100)") + on_gpu)
    assert done.returncode == 0, done.stderr
    assert "(100, 100) MemoryInfo(used=" in done.stdout
    assert (tmp_path / "gpu.safetensors").exists()


def test_setup_commands_are_what_ci_runs():
    setup = blocks("")[0].splitlines()
    assert setup == [
        'python3 -m venv .venv && .venv/bin/pip install ".[train]" && .venv/bin/deltarule train',
        'python3 -m venv .venv && .venv/bin/pip install ".[test]"  && .venv/bin/pytest',
    ]
    ci = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    for part in ('pip" install -q ".[train]"', "bin/deltarule", 'pip" install -q ".[test]"', "bin/pytest"):
        assert part in ci


def test_files_that_result_pages_name_exist():
    pages = sorted((REPOSITORY / "docs").glob("*.md"))
    assert pages
    for page in pages:
        names = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        assert [name for name in names if not (page.parent / name).exists()] == [], page
    index = (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in pages if page.name != "README.md" and f"]({page.name})" not in index] == []


def test_files_that_readme_names_exist():
    names = re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"python (bench/\w+\.py)", README)
    assert names
    assert [name for name in names if not (REPOSITORY / name).exists()] == []
