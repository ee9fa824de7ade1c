"""Cells side by side: the same bits, resumed with any number of jobs, stopped by Ctrl-C and by each other's errors."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import toy_reproduction as toy
from deltarule import _core, nn, papers
from deltarule.papers import jobs, pool
from deltarule.papers.report import time as time_text
from deltarule.papers.runner import reproduce
from deltarule.papers.worker import Failure
from test_reproduce import results, without_times, write_mnist

EPOCHS = 60  # of the toy where it is to be interrupted: a second


@pytest.fixture(autouse=True)
def toys(monkeypatch, threads):
    """The toy experiments are registered; two threads, whatever the machine has."""
    toy.register(monkeypatch.setattr, lambda name, module: monkeypatch.setitem(sys.modules, name, module))
    monkeypatch.setattr(toy, "SETTINGS", dict(toy.SETTINGS))
    threads(2)


def records(folder):
    return {path.stem: json.loads(path.read_text()) for path in (folder / "cells").glob("*.json")}


# The same result


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Folder and report of the toy with three seeds, one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        toy.register(patch.setattr, lambda name, module: patch.setitem(sys.modules, name, module))
        folder = tmp_path_factory.mktemp("alone")
        return folder, reproduce("toy", folder, jobs=1)


@pytest.mark.parametrize("number", [2, 3])
def test_the_bits_and_the_order_are_those_of_one_job(tmp_path, alone, number):
    lines = []
    report = reproduce("toy", tmp_path, jobs=number, say=lines.append)
    assert results(tmp_path) == results(alone[0])
    assert without_times(report) == without_times(alone[1])
    assert list(report["cells"]) == list(alone[1]["cells"]) == [f"net-seed{seed}" for seed in range(3)]
    assert [line.split()[0] for line in lines] == ["1/3", "2/3", "3/3"]
    assert sorted(re.sub(r"^\S+ |: \d+\.\d s$", "", line) for line in lines) == [
        f"net, seed {s}" for s in range(3)
    ]
    assert not [path for path in (tmp_path / "cells").iterdir() if path.is_dir()]


@pytest.mark.parametrize("numbers", [(1, 2), (2, 1)])
def test_jobs_are_no_setting_of_the_run(tmp_path, alone, numbers):
    reproduce("toy", tmp_path, jobs=numbers[0])
    before = (tmp_path / "settings.json").read_bytes()
    for seed in (0, 2):
        (tmp_path / f"cells/net-seed{seed}.json").unlink()
    report = reproduce("toy", tmp_path, jobs=numbers[1], resume=True)
    assert without_times(report) == without_times(alone[1])
    assert results(tmp_path) == results(alone[0])
    assert (tmp_path / "settings.json").read_bytes() == before
    assert {key: record["jobs"] for key, record in records(tmp_path).items()} == {
        "net-seed0": numbers[1], "net-seed1": numbers[0], "net-seed2": numbers[1],
    }  # fmt: skip
    assert report["jobs"] == 2


def test_images_come_with_the_work(run, tmp_path):
    folder = write_mnist(tmp_path / "mnist")
    code, _, error = run(
        "reproduce", "pictures", "--seeds", 2, "--jobs", 2, "--data-dir", folder, "--out", "a"
    )
    assert (code, error) == (0, "")
    assert [r["result"]["name"] for r in records(tmp_path / "a").values()] == ["mnist", "mnist"]


@pytest.mark.parametrize("name", [name for name in papers.NAMES if name not in ("ends", "toy", "pictures")])
def test_the_cells_of_every_experiment_can_be_sent(name):
    experiment = papers.load(name)
    settings = json.loads(json.dumps(experiment.settings(True))) | {"data": "mnist", "images": 60_000}
    for cell in experiment.cells(settings, [0, 1]):
        copy = pickle.loads(pickle.dumps(cell))
        assert (copy.key, copy.run.func) == (cell.key, cell.run.func)


# Threads and time


def test_threads_are_shared(tmp_path, threads):
    threads(5)
    reproduce("ends", tmp_path, changes={"cells": ["together"] * 3}, jobs=3)
    found = [record["result"]["threads"] for record in records(tmp_path).values()]
    assert sorted(found) == [1, 2, 2]
    assert _core.num_threads() == 5


def test_the_last_cell_gets_the_threads_of_those_that_are_over(tmp_path, threads):
    threads(4)
    changes = {"cells": ["sleep", "all_threads"], "threads": 4}
    reproduce("ends", tmp_path, changes=changes, jobs=2)
    assert {key: r["threads"] for key, r in records(tmp_path).items()} == {"sleep-0": 2, "all_threads-1": 4}


@pytest.mark.parametrize("number", [1, 2])
def test_numpy_s_linear_algebra_has_one_thread(tmp_path, number):
    pools = pytest.importorskip("threadpoolctl")
    with pools.threadpool_limits(2, "blas"):
        reproduce("ends", tmp_path, changes={"cells": ["blas", "blas"]}, jobs=number)
        after = {pool["num_threads"] for pool in pools.threadpool_info() if pool["user_api"] == "blas"}
    for record in records(tmp_path).values():
        assert set(record["result"]["threads"]) == {1}
    assert after == {2}


def test_shares():
    assert pool.shares(5, 3) == [2, 2, 1]
    assert pool.shares(2, 3) == [1, 1, 1]
    assert pool.shares(7, 1) == [7]


def test_how_many_jobs(threads):
    threads(4)
    assert [jobs.count_jobs(None, "cpu", cells) for cells in (1, 3, 9)] == [1, 3, 4]
    assert [jobs.count_jobs(8, "cpu", cells) for cells in (1, 3, 9)] == [1, 3, 8]
    assert jobs.count_jobs(None, "cuda", 9) == 1


def test_those_first_that_take_longest(tmp_path, threads):
    threads(1)
    lines = []
    cells = ["sleep", "sleep", "short", "all_threads"]  # the last ones take longest, by what is expected
    reproduce("ends", tmp_path, changes={"cells": cells}, jobs=2, say=lines.append)
    assert {line.split()[1] for line in lines[:2]} == {"short:", "all_threads:"}


def test_the_clock_goes_on(tmp_path):
    report = reproduce("ends", tmp_path, changes={"cells": ["sleep", "sleep"]}, jobs=2)
    assert report["seconds"] >= 1
    assert report["wall_seconds"] >= 0.5
    page = (tmp_path / "report.md").read_text()
    assert f"time: {report['seconds']:.1f} s of cells, up to 2 side by side, in " in page
    (tmp_path / "cells/sleep-0.json").unlink()
    assert reproduce("ends", tmp_path, resume=True)["wall_seconds"] >= report["wall_seconds"] + 0.5
    assert time_text({"seconds": 1.0, "jobs": 1, "wall_seconds": 9.0}) == "1.0 s"


@pytest.mark.parametrize("content", [b"", b"null", b"[1]", b'"soon"', b"\xff"])
def test_a_damaged_clock_is_named(tmp_path, one_line, content):
    changes = {"cells": ["short", "short"]}
    reproduce("ends", tmp_path, changes=changes, jobs=np.int64(1))
    (tmp_path / "cells/short-0.json").unlink()
    for name in ("seconds.json", "cells/short-0/seconds.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        with one_line(ValueError, f"^{re.escape(str(path))} is damaged .*; delete it: only the time is lost"):
            reproduce("ends", tmp_path, resume=True, jobs=1)
        path.unlink()
    reproduce("ends", tmp_path, resume=True, jobs=1)


def test_a_bar_over_the_cells(tmp_path, capfd):
    reproduce("toy", tmp_path, jobs=2, progress="always")
    drawn = capfd.readouterr().err
    assert "1-2/3 net, seed 0; net, seed 1" in drawn
    assert re.search(r"100%\|", drawn)
    assert "samples/s" not in drawn


# Ctrl-C


class Process:
    """``deltarule reproduce`` in a process, and in a process group, of its own."""

    def __init__(self, folder, *arguments, jobs=2, epochs=EPOCHS):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, toy.__file__, str(epochs), "reproduce", *arguments,
             "--jobs", str(jobs), "--out", folder],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            preexec_fn=os.setpgrp,  # of this session: Ctrl-Z means nothing to a group with nobody to wake it
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "DELTARULE_NUM_THREADS": "2"},
        )  # fmt: skip

    def wait_for(self, *names):
        wait_until(lambda: all((self.folder / "cells" / name).exists() for name in names), self.process)
        self.workers = [number for number in processes() if stat(number)[1:2] == [str(self.process.pid)]]

    def end(self):
        """Exit code and stderr; no worker is left."""
        error = self.process.communicate(timeout=60)[1]
        wait_until(lambda: not [number for number in self.workers if stat(number)[:1] not in ([], ["Z"])])
        return self.process.returncode, error


def wait_until(true, process=None):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.stderr.read()
        time.sleep(0.005)


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def stat(number):
    """State, parent and more of a process; nothing if it is gone."""
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


@pytest.fixture
def start():
    """Start a Process; none is left, however the test ends."""
    started = []

    def call(*arguments, **settings):
        started.append(Process(*arguments, **settings))
        return started[-1]

    yield call
    for one in started:
        one.process.kill()
        one.process.communicate()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder and report of the long toy with two seeds, never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        toy.register(patch.setattr, lambda name, module: patch.setitem(sys.modules, name, module))
        patch.setattr(toy, "SETTINGS", {**toy.SETTINGS, "epochs": EPOCHS})
        return folder, reproduce("toy", folder, seeds=2, jobs=1)


STOPS = {
    "alone": lambda number: os.kill(number, signal.SIGINT),
    "group": lambda number: os.killpg(number, signal.SIGINT),
    "killed": lambda number: os.kill(number, signal.SIGKILL),
}


@pytest.mark.parametrize(
    ("stop", "before", "after"),
    [("alone", 2, 2), ("group", 2, 1), ("killed", 2, 2), ("alone", 1, 2)],
)
def test_interrupted_and_resumed_run_is_the_uninterrupted_one(
    start, run, tmp_path, monkeypatch, whole, stop, before, after
):
    folder = tmp_path / "broken"
    process = start(folder, "toy", "--seeds", "2", jobs=before)
    begun = [f"net-seed{seed}" for seed in range(before)]
    process.wait_for(*(f"{key}/first.safetensors" for key in begun))
    assert len(process.workers) == (2 if before == 2 else 0)
    STOPS[stop](process.process.pid)
    code, error = process.end()
    if stop == "killed":
        assert (code, error) == (-signal.SIGKILL, "")
    else:
        assert code == 130
        lines = error.splitlines()
        assert lines[0].startswith("interrupted; what is done is in")
        assert len(lines) == 2, error
        assert all((folder / "cells" / key / "seconds.json").is_file() for key in begun)
        assert json.loads((folder / "seconds.json").read_text()) > 0
    assert not records(folder)
    monkeypatch.setitem(toy.SETTINGS, "epochs", EPOCHS)
    code, _, error = run("reproduce", "toy", "--out", folder, "--resume", "--jobs", after)
    assert (code, error) == (0, "")
    assert results(folder) == results(whole[0])
    assert without_times(json.loads((folder / "report.json").read_text())) == without_times(whole[1])
    assert not list(folder.rglob("*.tmp"))


def test_ctrl_c_writes_a_checkpoint_within_the_epoch(start, tmp_path):
    process = start(tmp_path, "ends", "--set", 'cells=["long","long"]')
    process.wait_for("long-0/begun", "long-1/begun")
    time.sleep(0.5)
    os.kill(process.process.pid, signal.SIGINT)
    assert process.end()[0] == 130
    assert all((tmp_path / f"cells/long-{place}/fit.safetensors").is_file() for place in (0, 1))


def test_two_ctrl_c_at_once_keep_the_checkpoints(start, run, tmp_path, monkeypatch, whole):
    process = start(tmp_path / "a", "toy", "--seeds", "2")
    process.wait_for("net-seed0/first.safetensors", "net-seed1/first.safetensors")
    for _ in range(2):
        os.kill(process.process.pid, signal.SIGINT)
        time.sleep(0.005)
    code, error = process.end()
    assert (code, "Traceback" in error) == (130, False)
    monkeypatch.setitem(toy.SETTINGS, "epochs", EPOCHS)
    assert run("reproduce", "toy", "--out", tmp_path / "a", "--resume", "--jobs", 2)[0] == 0
    assert results(tmp_path / "a") == results(whole[0])


def test_the_third_ctrl_c_ends_a_cell_that_goes_on(start, tmp_path):
    process = start(tmp_path, "ends", "--set", 'cells=["stubborn","stubborn"]')
    process.wait_for("stubborn-0/begun", "stubborn-1/begun")
    begun = [tmp_path / f"cells/stubborn-{place}/begun" for place in (0, 1)]
    for count in (1, 2):
        os.kill(process.process.pid, signal.SIGINT)
        wait_until(
            lambda count=count: all(p.read_text() == "Ctrl-C\n" * count for p in begun), process.process
        )
    os.kill(process.process.pid, signal.SIGINT)
    code, error = process.end()
    assert (code, error.count("\n")) == (130, 2)


def test_ctrl_z_suspends_the_cells_too(start, tmp_path):
    process = start(tmp_path, "ends", "--set", 'cells=["long","long"]')
    process.wait_for("long-0/begun", "long-1/begun")
    numbers = [process.process.pid, *process.workers]

    def spent():
        return [sum(map(int, stat(number)[11:13])) for number in numbers]

    def go_on_from(before):
        wait_until(lambda: all(now > then for now, then in zip(spent()[1:], before[1:], strict=True)))

    go_on_from(spent())
    os.kill(process.process.pid, signal.SIGTSTP)
    wait_until(lambda: stat(process.process.pid)[0] == "T")
    time.sleep(1)  # for the native call that each was in
    before = spent()
    time.sleep(1)
    assert max(now - then for now, then in zip(spent(), before, strict=True)) <= 5  # of 100 ticks
    os.kill(process.process.pid, signal.SIGCONT)
    go_on_from(before)
    os.kill(process.process.pid, signal.SIGINT)
    assert process.end()[0] == 130
    assert all((tmp_path / f"cells/long-{place}/fit.safetensors").is_file() for place in (0, 1))


def test_suspended_workers_end_with_the_process(start, tmp_path):
    process = start(tmp_path, "ends", "--set", 'cells=["long","long"]')
    process.wait_for("long-0/begun", "long-1/begun")
    os.kill(process.process.pid, signal.SIGTSTP)
    wait_until(lambda: stat(process.process.pid)[0] == "T")
    os.kill(process.process.pid, signal.SIGKILL)
    assert process.end()[0] == -signal.SIGKILL


class Told(Exception):
    """What a handler of the user's raises."""


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("raises", [True, False])
def test_a_handler_of_the_user_s_decides(tmp_path, number, raises):
    """With and without other processes; the signal comes in the first cell that is over."""
    heard = []

    def handler(*_):
        heard.append("Ctrl-C")
        if raises:
            raise Told

    def say(line):
        if not heard:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, handler)
    changes = {"cells": ["short", "long" if raises else "sleep"]}
    try:
        if raises:
            with pytest.raises(Told):
                reproduce("ends", tmp_path, changes=changes, jobs=number, say=say)
        else:
            reproduce("ends", tmp_path, changes=changes, jobs=number, say=say)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == ["Ctrl-C"]
    assert len(records(tmp_path)) == (1 if raises else 2)


# Errors


def test_an_error_stops_the_others_with_their_checkpoints(tmp_path):
    changes = {"cells": ["short", "short", "long", "diverge"]}
    with pytest.raises(nn.DivergedError, match=r"^fit: loss is (inf|nan) at epoch 1, step 2 ") as caught:
        reproduce("ends", tmp_path, changes=changes, jobs=2)
    assert (caught.value.epoch, caught.value.step) == (1, 2)
    assert "in diverge" in str(caught.value.__cause__)  # where it was
    cells = tmp_path / "cells"
    assert {path.name for path in (cells / "long-2").iterdir()} == {
        "begun",
        "fit.safetensors",
        "seconds.json",
    }
    assert not list(cells.glob("short*"))


def test_a_stop_while_a_training_ends_is_not_lost(tmp_path):
    with pytest.raises(ValueError, match="toy: it has failed"):
        reproduce("ends", tmp_path, changes={"cells": ["end_slowly", "fail_meanwhile"]}, jobs=2)
    left = {path.name for path in (tmp_path / "cells/end_slowly-0").iterdir()}
    assert left == {"ending", "first.safetensors", "seconds.json"}


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("fill", "^deltarule: error: a/file: No space left on device\n$"),
        ("die", r"^deltarule: error: reproduce: the process of the cell die-1 was killed by signal 9 "
                r"\(out of memory\?\); go on by --resume with fewer --jobs, or --jobs 1\n$"),
        ("leave", r"^deltarule: error: reproduce: the process of the cell leave-1 ended with exit code 3; "
                  r"what it said is above, and --resume with --jobs 1 shows where\n$"),
    ],
)  # fmt: skip
def test_one_line_for_the_user(mistake, tmp_path, name, match):
    mistake(match, "reproduce", "ends", "--set", f'cells=["long","{name}"]', "--jobs", 2, "--out", "a")
    assert (tmp_path / "a/cells/long-0/fit.safetensors").is_file()


def test_an_error_that_cannot_be_sent_is_told(tmp_path):
    with pytest.raises(RuntimeError, match=r"^OddError: like no other$"):
        reproduce("ends", tmp_path, changes={"cells": ["short", "odd"]}, jobs=2)


@pytest.mark.parametrize("place", [0, 1])
def test_an_error_that_does_not_come_back_is_told(tmp_path, place):
    """Also where it is the answer to a stop: the other cell of the three is waited for."""
    cells = ["long", "stopped_oddly", "diverge"] if place else ["long", "one_way"]
    match = "^fit: loss is" if place else "^OneWayError: there and not back$"
    with pytest.raises(Exception, match=match):
        reproduce("ends", tmp_path, changes={"cells": cells}, jobs=len(cells))
    assert (tmp_path / "cells/long-0/fit.safetensors").is_file()


def test_what_is_no_text_in_the_path_of_modules_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])
    reproduce("ends", tmp_path / "a", changes={"cells": ["short", "short"]}, jobs=2)
    assert len(records(tmp_path / "a")) == 2


def test_a_worker_that_cannot_hear_says_why(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(_core, "isa", lambda: "abacus")
    with pytest.raises(ChildProcessError, match="ended with exit code 1; what it said is above"):
        reproduce("ends", tmp_path, changes={"cells": ["short", "short"]}, jobs=2)
    assert "abacus" in capfd.readouterr().err


def test_a_cell_that_cannot_be_sent_is_an_error_at_once(tmp_path):
    with pytest.raises((AttributeError, pickle.PicklingError), match="closure"):
        reproduce("ends", tmp_path, changes={"cells": ["long", "closure"]}, jobs=2)


def test_errors_that_come_through_the_pipe():
    diverged = nn.DivergedError("fit: loss", epoch=3, step=2, learning_rate=0.5)
    for error in (diverged, OSError(28, "No space", "a"), _core.DeviceError("x"), KeyboardInterrupt()):
        copy = pickle.loads(pickle.dumps(Failure.of(error))).error()
        assert (type(copy), str(copy), copy.__dict__) == (type(error), str(error), error.__dict__)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--jobs", "0"], "'--jobs': 0 is not in the range x>=1"),
        (["--jobs", "two"], "'--jobs': 'two' is not a valid"),
    ],
)
def test_mistakes(mistake, tmp_path, arguments, match):
    mistake(match, "reproduce", "toy", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_mistakes_of_a_caller(tmp_path, one_line):
    with one_line(ValueError, r"reproduce: jobs is 0; wanted 1 or more"):
        reproduce("toy", tmp_path, jobs=0)
    with one_line(TypeError, "reproduce: jobs is '2'; wanted a whole number"):
        reproduce("toy", tmp_path, jobs="2")
    with one_line(ValueError, "reproduce: progress is 'alway'; choices: False, True, 'always'"):
        reproduce("toy", tmp_path, progress="alway")
    with one_line(ValueError, "reproduce: jobs is 2 on cuda:0; wanted 1: "):
        reproduce("toy", tmp_path, device="cuda:0", jobs=2)
    assert list(tmp_path.iterdir()) == []
