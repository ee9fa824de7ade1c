"""The benches: what the harness and the report make of times, and that every bench runs with NumPy alone."""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

BENCH = pathlib.Path(__file__).parent.parent / "bench"
BENCHES = (
    "gemm", "step", "online", "tiny", "elementwise", "overhead", "fit", "deform", "pretrain", "sklearn_mlp",
)  # fmt: skip


@pytest.fixture
def harness(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import harness

    return harness


@pytest.fixture
def report(harness):
    import report

    return report


def run(script, *arguments):
    command = [sys.executable, str(BENCH / f"{script}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def fake_clock(seconds):
    """Each call takes the next of these seconds, then the last for ever."""
    left = list(seconds)
    return lambda calls: calls * (left.pop(0) if len(left) > 1 else left[0])


def fake_row(name="784-800-10 b100", threads=1, ratio=2.0, group="step minibatch 100"):
    peers = {
        "numpy": {"seconds": 3e-3, "ratio": 3.0, "quartiles": [2.9, 3.0, 3.1]},
        "jax": {"seconds": 1e-3 * ratio, "ratio": ratio, "quartiles": [ratio] * 3},
    }
    row = {
        "group": group,
        "name": name,
        "device": "cpu",
        "isa": "avx512",
        "threads": threads,
        "seconds": 1e-3,
    }
    row |= {"quartiles": [0.9e-3, 1.1e-3], "rounds": 7, "peers": peers, "best_peer": "jax", "ratio": ratio}
    return row | {"gflops": 50.0, "percent_of_peak": 40.0}


def fake_bench(rows):
    machine = {"model": "a CPU", "cores": 2, "flags": ["avx512f"], "family": "1/2/3", "caches": {}}
    bench = {
        "bench": "step",
        "machine": machine,
        "versions": {"numpy": "2"},
        "commit": "abc",
        "absent": ["torch"],
    }
    peaks = [{"threads": n, "isa": "avx512", "gflops": 100.0 * n, "gbytes": 20.0} for n in (1, 2)]
    return {
        **bench,
        "command": "python bench/step.py",
        "date": "2026-01-01T00:00:00",
        "peaks": peaks,
        "rows": rows,
    }


def test_ratios_are_taken_pair_by_pair(harness):
    # The machine slows down by ten half-way: medians of each would say anything, the pairs all say 2.
    own = [1.0, 1.0, 1.0, 1.0, 10.0, 10.0, 10.0]
    assert harness.ratios(own, [2 * seconds for seconds in own]) == [2.0, 2.0, 2.0]
    low, median, high = harness.ratios([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert (low, median, high) == (2.0, 3.0, 4.0)


def test_rounds_are_at_least_seven_whatever_is_asked(harness):
    times = harness.interleaved(
        {"a": fake_clock([0.5]), "b": fake_clock([1.0])}, rounds=1, block=0.01, budget=0.0
    )
    assert [len(seconds) for seconds in times.values()] == [7, 7]


def test_every_round_has_everybody_once_in_an_order_of_its_own(harness):
    seen = []

    def clock(name):
        return lambda calls: seen.append(name) or 1.0

    harness.interleaved({name: clock(name) for name in "abc"}, rounds=20, block=0.01, budget=1.0)
    rounds = ["".join(seen[at : at + 3]) for at in range(3, 63, 3)]  # after one call each to count calls
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len(set(rounds)) > 3  # turned only, there would be three


def test_calls_are_estimated_without_the_first(harness):
    assert harness.seconds_a_call(fake_clock([1.0, 1e-4]), 0.01) == 1.0  # slower than the block: called once
    assert harness.seconds_a_call(fake_clock([1e-3, 1e-4]), 0.01) == pytest.approx(1e-4)


def test_blocks_are_warmed_up_before_they_are_timed(harness):
    seen = []

    def clock(calls):
        seen.append(calls)
        return calls * 1e-3

    harness.interleaved({"a": clock}, rounds=7, block=0.01, budget=1.0, warm=0.005)
    assert seen == [1, 10, *[5, 10] * 7]


def test_measure_names_the_best_peer_and_counts_steps(harness):
    peers = {"slow": fake_clock([0.4]), "fast": fake_clock([0.3])}
    case = harness.Case("group", "name", fake_clock([0.1]), peers, flop=1e9, steps=10, facts={"batch": 5})
    row = harness.measure(case, argparse.Namespace(rounds=7, block=0.01, budget=1.0, warm=0.0, threads=1))
    assert row["best_peer"] == "fast"
    assert row["ratio"] == pytest.approx(3.0)
    assert row["peers"]["slow"]["ratio"] == pytest.approx(4.0)
    assert row["seconds"] == pytest.approx(0.01)
    assert row["gflops"] == pytest.approx(10.0)
    assert row["batch"] == 5
    assert "3.00 x fast" in harness.line(row)


def test_machine_and_versions(harness):
    assert harness.machine()["model"]
    assert harness.machine()["cores"] >= 1
    assert harness.versions()["numpy"] == np.__version__
    assert re.fullmatch(r"unknown|[0-9a-f]+\+?", harness.commit())


def test_peaks_are_measured(harness):
    from deltarule import _core

    assert harness.fma_peak(_core.isa(), 1, tries=2) > 0.1
    assert _core.kernels.peak(3) % 6 == 0


def test_tables_between_markers_are_replaced_and_twice_is_once(report):
    text = "a\n<!-- bench:step -->\nold\n<!-- /bench:step -->\nb\n<!-- bench:fit -->\n<!-- /bench:fit -->\n"
    once = report.fill(text, {"step": "new \\1"})
    assert once == text.replace("old", "new \\1")
    assert report.fill(once, {"step": "new \\1"}) == once


def test_readme_table_has_a_line_a_row_and_a_column_pair_per_number_of_threads(report):
    rows = [fake_row(threads=1), fake_row(threads=2, ratio=1.5), fake_row(name="not a key row")]
    table = report.key_table("step", fake_bench(rows))
    assert table.startswith("`python bench/step.py`\n")
    assert table.count("\n| 784") == 1
    assert "2.00 jax" in table
    assert "1.50 jax" in table
    assert "not a key row" not in table


def test_targets_are_judged_by_every_row(report):
    rows = report.all_rows({"step": fake_bench([fake_row(ratio=2.0), fake_row(name="other", ratio=1.0)])})
    target = report.Target("steps", "step minibatch", 1.3)
    cells = report.judge(target, rows, 1)
    assert cells[-1] == "missed"
    assert cells[4] == "1 of 2"
    assert cells[5] == f"{2**0.5:.2f}"
    assert cells[6] == "1.00 (other)"
    assert report.judge(report.Target("steps", "step minibatch", 1.0), rows, 1)[-1] == "hit"
    assert report.judge(report.Target("steps", "step minibatch", 3.0, peer="numpy"), rows, 1)[-1] == "hit"
    assert report.judge(target, rows, 2) is None
    assert report.judge(report.Target("steps", "step minibatch 10", 1.0), rows, 1) is None  # not 100


def test_report_writes_everything_from_json(tmp_path):
    (tmp_path / "step.json").write_text(json.dumps(fake_bench([fake_row(), fake_row(threads=2)])))
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bench:step -->\n<!-- /bench:step -->\n")
    for _ in range(2):
        done = run("report", "--results", tmp_path, "--readme", readme)
        assert done.returncode == 0, done.stderr
    assert readme.read_text().count("784-800-10 b100") == 1
    text = (tmp_path / "REPORT.md").read_text()
    assert "absent: torch" in text
    assert "| step minibatch 100 | 1 | best | 1.30 | 1 of 1 |" in text


def test_report_without_figures_says_so(tmp_path):
    done = run("report", "--results", tmp_path, "--readme", tmp_path / "README.md")
    assert done.returncode == 1
    assert "run with --all" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threads", "0"], "numbers from 1"),
        (["--peers", "numpi"], "'numpi'; wanted some of numpy,torch,jax,sklearn"),
    ],
)
def test_wrong_options(arguments, message):
    done = run("tiny", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_absent_peers_are_named(tmp_path, harness, monkeypatch, capsys):
    out = tmp_path / "rows.json"
    monkeypatch.setattr(harness, "installed", lambda peer: peer == "numpy")
    monkeypatch.setattr(
        harness, "in_child", lambda command, threads: pathlib.Path(command[-1]).write_text("{}")
    )
    monkeypatch.setattr(sys, "argv", ["tiny.py", "--peers", "numpy,torch", "--json", str(out)])
    harness.main("A bench.", lambda options: iter(()))
    assert "absent: torch" in capsys.readouterr().out
    assert json.loads(out.read_text())["absent"] == ["torch"]


@pytest.mark.slow
@pytest.mark.parametrize("bench", BENCHES)
def test_bench_runs(bench, tmp_path):
    out = tmp_path / "rows.json"
    done = run(bench, "--quick", "--peers", "numpy", "--threads", "1,2", "--json", out)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert result.keys() >= {
        "bench",
        "machine",
        "versions",
        "commit",
        "command",
        "date",
        "absent",
        "peaks",
        "rows",
    }
    assert [peak["threads"] for peak in result["peaks"]] == [1, 2]
    assert {row["threads"] for row in result["rows"]} == {1, 2}
    for row in result["rows"]:
        assert row["rounds"] >= 7
        assert row["seconds"] > 0
        assert row["name"] in done.stdout


@pytest.mark.slow
def test_report_runs_benches(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bench:overhead -->\n<!-- /bench:overhead -->\n")
    options = ["--all", "--only", "overhead", "--quick", "--peers", "numpy", "--threads", "1"]
    done = run("report", *options, "--results", tmp_path, "--readme", readme)
    assert done.returncode == 0, done.stderr
    assert "`m.add(a, b)`" in readme.read_text()
    assert (tmp_path / "REPORT.md").exists()
    assert (tmp_path / "overhead.json").exists()


# On GPUs.

GPU_BENCHES = ("gemm", "step", "online", "tiny", "elementwise", "fit", "deform")
STAND_IN = """
import runpy, sys
sys.path.insert(0, {folder!r})
import gpu
gpu.DEVICE = "cpu"
gpu.usable = lambda peer: False
gpu.card = lambda: {{"name": "a stand-in"}}
gpu.copy_peak = lambda size: 10.0
gpu.main = gpu.run
sys.argv = [{script!r}, "--device", "cuda", "--quick", "--json", {out!r}]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def fake_gpu_row(name="841-2500-10 b512", group="step highest", seconds=1e-3, **peers):
    row = {
        "group": group,
        "name": name,
        "device": "a GPU",
        "timing": {"deltarule": "events"},
        "seconds": seconds,
    }
    made = {
        peer.replace("_", " "): {"seconds": seconds * ratio, "ratio": ratio, "quartiles": [ratio] * 3}
        for peer, ratio in peers.items()
    }
    row |= {"quartiles": [seconds, seconds], "rounds": 7, "peers": made}
    row |= {"best_peer": "torch", "ratio": peers.get("torch"), "gflops": 5e4, "percent_of_peak": 80.0}
    return row | {"sizes": [841, 2500, 10], "batch": 512, "precision": "highest"}


def fake_gpu_bench(rows, **more):
    bench = fake_bench(rows)
    bench["machine"]["gpu"] = {"name": "a GPU", "L2": 1}
    bench["peaks"] = [{"device": "a GPU", "gflops": 6e4, "gbytes": 3e3}]
    return {**bench, "failed": [], "left_out": [], **more}


@pytest.fixture
def gpu_report(harness):
    import gpu_report

    return gpu_report


def test_peers_of_lower_precision_are_shown_and_never_the_best(harness):
    peers = {"torch": fake_clock([0.4]), "torch tf32": fake_clock([0.2])}
    case = harness.Case("group", "name", fake_clock([0.1]), peers, beside=("torch tf32",))
    row = harness.compare(case, argparse.Namespace(rounds=7, block=0.01, budget=1.0, warm=0.0))
    assert row["best_peer"] == "torch"
    assert row["peers"]["torch tf32"]["ratio"] == pytest.approx(2.0)
    only = harness.Case(
        "group", "name", fake_clock([0.1]), {"torch tf32": fake_clock([0.2])}, beside=("torch tf32",)
    )
    assert (
        harness.compare(only, argparse.Namespace(rounds=7, block=0.01, budget=1.0, warm=0.0))["ratio"] is None
    )


def test_gpu_targets_are_judged_by_the_best_of_their_peers(gpu_report):
    rows = [fake_gpu_row(torch=4.0, torch_graph=2.5, torch_tf32=1.5), fake_gpu_row(name="other", torch=1.9)]
    target = gpu_report.Target("steps", "step highest", gpu_report.TORCH, 2.0)
    cells = gpu_report.judge(target, rows)
    assert cells[2] == "1 of 2"
    assert cells[-2:] == ["1.90 (other)", "missed"]
    assert gpu_report.judge(target, rows[:1])[-1] == "hit"
    assert gpu_report.judge(target, rows[:1], whole=False)[-1] == "hit by those measured"
    tf32 = gpu_report.Target("steps", "step highest", gpu_report.TF32, 1.2)
    assert gpu_report.judge(tf32, rows)[2:4] == ["1 of 1", "1.50"]
    long = gpu_report.Target("steps", "step highest", most=0.5e-3)
    assert gpu_report.judge(long, rows)[-2:] == ["1.00 ms (841-2500-10 b512)", "missed"]
    assert gpu_report.judge(gpu_report.Target("steps", "fit", most=1.0), rows)[-1] == "not measured"


def test_report_of_gpus_takes_single_and_joined_files(tmp_path):
    (tmp_path / "cuda").mkdir()
    step = fake_gpu_bench([fake_gpu_row(torch=4.0, torch_tf32=2.0)], left_out=["841-1000-10"])
    failed = fake_gpu_bench(
        [fake_gpu_row(group="step tiny", torch=6.0)], failed=[{"name": "x", "error": "boom"}]
    )
    (tmp_path / "cuda" / "step.json").write_text(json.dumps(step))
    (tmp_path / "cuda" / "other.json").write_text(json.dumps({"tiny": failed}))
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bench:cuda -->\nnot yet\n<!-- /bench:cuda -->\n")
    for _ in range(2):
        done = run("report", "--device", "cuda", "--results", tmp_path, "--readme", readme)
        assert done.returncode == 0, done.stderr
    assert "4.00 torch; 2.00 torch tf32" in readme.read_text()
    assert "not yet" not in readme.read_text()
    text = (tmp_path / "REPORT_CUDA.md").read_text()
    assert "**failed**: x (boom)" in text
    assert "no time for: 841-1000-10" in text
    assert "| hit by those measured |" in text


def test_report_of_gpus_without_figures_leaves_the_readme_alone(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bench:cuda -->\nnot yet\n<!-- /bench:cuda -->\n")
    done = run("report", "--device", "cuda", "--results", tmp_path, "--readme", readme)
    assert done.returncode == 1
    assert "not yet" in readme.read_text()


def test_no_bench_of_a_gpu_without_one(harness, monkeypatch):
    import gpu

    monkeypatch.setenv(harness.CHILD, "1")
    monkeypatch.setattr(gpu.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no GPU"):
        gpu.main(argparse.Namespace(), lambda options: iter(()))


def test_an_entry_that_fails_is_named_and_the_next_one_goes_on(harness, monkeypatch, tmp_path, capsys):
    import gpu

    def good():
        yield harness.Case("group", "fine", fake_clock([0.1]), {"torch": fake_clock([0.3])}, flop=1e9)

    def bad():
        raise AssertionError("deltarule is wrong")

    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    monkeypatch.setattr(gpu, "card", lambda: {"name": "a stand-in"})
    monkeypatch.setattr(gpu, "usable", lambda peer: False)
    monkeypatch.setattr(gpu, "fma_peak", lambda: 100.0)
    monkeypatch.setattr(gpu, "copy_peak", lambda size: 10.0)
    out = tmp_path / "rows.json"
    options = argparse.Namespace(peers=None, quick=True, seconds=0.0, json=str(out), rounds=7)
    with pytest.raises(SystemExit, match="1 of the entries failed"):
        gpu.run(options, lambda options: iter([("bad", bad), ("good", good)]))
    result = json.loads(out.read_text())
    assert [row["name"] for row in result["rows"]] == ["fine"]
    assert result["failed"] == [{"name": "bad", "error": "AssertionError: deltarule is wrong"}]
    assert "bad: FAILED" in capsys.readouterr().out
    options = argparse.Namespace(peers=[], quick=True, seconds=1e-9, json=str(out), rounds=7)
    gpu.run(options, lambda options: iter([("good", good)]))
    assert json.loads(out.read_text())["left_out"] == ["good"]


@pytest.mark.slow
@pytest.mark.parametrize("bench", GPU_BENCHES)
def test_bench_of_gpus_runs_with_the_cpu_standing_in(bench, tmp_path):
    out = tmp_path / "rows.json"
    code = STAND_IN.format(folder=str(BENCH), script=str(BENCH / f"{bench}.py"), out=str(out))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_text())
    assert result["rows"]
    assert result["absent"] == ["cupy", "torch", "jax"]
    for row in result["rows"]:
        assert row["timing"]["deltarule"] == "wall clock"
        assert row["name"] in done.stdout
