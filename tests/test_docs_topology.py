"""docs/topology.md runs as it stands, and what it says of the search and of pruning is so."""

from __future__ import annotations

import pathlib
import re

import pytest
from test_threads import python

DOCS = pathlib.Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "topology.md").read_text(encoding="utf-8")
SEARCHED = re.compile(r"^ *([\d.]+)% \+- ([\d.]+)%  rate ([\d.]+)  hidden ([\d-]+)$", re.MULTILINE)
PRUNED = re.compile(r"^ *(\d+)% pruned, +([\d,]+) weights: +([\d.]+)%, fine-tuned +([\d.]+)%$", re.MULTILINE)
TEST = re.compile(r"^(\w+): test error ([\d.]+)%$", re.MULTILINE)


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    pytest.importorskip("sklearn", minversion="1.6", reason="the page is about scikit-learn's searches")
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("topology")
    code = "".join(re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))
    done = python(f"import os\nos.chdir({str(folder)!r})\n{code}")
    assert done.returncode == 0, done.stderr
    assert (folder / "pruning.png").stat().st_size > 10_000
    assert (folder / "small.safetensors").exists()
    return done.stdout


def test_what_the_page_shows_is_what_it_prints(printed):
    shown = "".join(re.findall(r"^```text\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))
    for form in (SEARCHED, PRUNED, TEST):
        assert form.findall(shown)
    assert len(SEARCHED.findall(printed)) == 24
    assert len(PRUNED.findall(printed)) == len(PRUNED.findall(shown))
    assert {hidden for *_, hidden in SEARCHED.findall(shown)} <= {
        hidden for *_, hidden in SEARCHED.findall(printed)
    }


def test_width_pays_and_depth_does_not(printed):
    best: dict[str, float] = {}
    for error, _, _, hidden in SEARCHED.findall(printed):
        best[hidden] = min(best.get(hidden, 100.0), float(error))
    wide = {hidden: error for hidden, error in best.items() if int(hidden.split("-")[0]) >= 64}
    assert min(best.values()) == min(wide.values()) <= 3.0
    assert min(error for hidden, error in wide.items() if "-" not in hidden) <= min(best.values()) + 1.0
    assert best["8"] < best["8-8"] < best["8-8-8"]


def test_most_weights_can_go(printed):
    curve = {int(share): (float(before), float(after)) for share, _, before, after in PRUNED.findall(printed)}
    whole = curve[0][1]
    assert curve[50][0] <= whole + 2
    assert curve[90][1] <= whole + 2.5
    assert curve[95][0] > curve[95][1] + 5
    assert curve[99][1] > curve[90][1] + 5
    errors = dict(TEST.findall(printed))
    assert float(errors["whole"]) <= 5
    assert float(errors["pruned"]) <= float(errors["whole"]) + 2


def test_its_picture_is_there():
    for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", PAGE):
        assert (DOCS / name).exists()
