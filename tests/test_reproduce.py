"""`deltarule reproduce` on a toy experiment: what is written, resumed, refused and said."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import toy_reproduction as toy
from deltarule import data, nn, papers
from deltarule.cli.reproduce import _changes
from deltarule.data import datasets
from deltarule.papers import records, runner
from deltarule.papers.experiment import Cell, Report, spread
from deltarule.papers.report import shown
from deltarule.papers.runner import reproduce
from deltarule.papers.settings import differences
from deltarule.papers.work import Work

ARRAYS = ("losses", "weights")


@pytest.fixture(autouse=True)
def toys(monkeypatch, threads):
    """The toy experiments are registered, and nothing has run; cells run in this process, one after the other."""
    threads(1)
    toy.register(monkeypatch.setattr, lambda name, module: monkeypatch.setitem(sys.modules, name, module))
    monkeypatch.setattr(toy, "runs", [])
    monkeypatch.setattr(toy, "SETTINGS", dict(toy.SETTINGS))


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty cache, and no mirror that answers."""

    def fail(published, file):
        raise OSError(f"load: cannot download {file}; put it into the cache")

    monkeypatch.setenv("DELTARULE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "fetch_file", fail)


def results(folder):
    """What all cells gave, but for their times."""
    content = {}
    for path in sorted((folder / "cells").glob("*.json")):
        record = json.loads(path.read_text())
        with np.load(path.with_suffix(".npz")) as file:
            arrays = {name: file[name].tobytes() for name in file.files}
        content[record["key"]] = {**record["result"], **arrays}
    assert content
    return content


TIMES = ("seconds", "wall_seconds", "jobs", "cells", "run", "folder")


def without_times(report):
    return {key: value for key, value in report.items() if key not in TIMES}


def test_what_is_written(run, tmp_path):
    code, out, error = run("reproduce", "toy", "--seeds", 2, "--json", "n.json")
    assert (code, error) == (0, "")
    folder = tmp_path / "runs/toy"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    cells = {f"cells/net-seed{seed}.{kind}" for seed in (0, 1) for kind in ("json", "npz")}
    assert files == {"settings.json", "seconds.json", "report.json", "report.md", "curve.png", *cells}
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((folder / "report.json").read_text())
    assert json.loads((tmp_path / "n.json").read_text()) == report
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["seeds"] == [0, 1]
    assert settings["settings"] == {"epochs": 3, "hidden": [8], "rate": 0.05}
    assert {"deltarule", "numpy", "python", "isa", "threads"} < settings["machine"].keys()
    page = (folder / "report.md").read_text()
    for text in (
        "# A toy",
        "Nobody, 1900",
        "| model | paper | ours | spread |",
        "| claim | ours | figure |",
        "![curve](curve.png)",
        "agrees",
        "epochs: 3",
    ):
        assert text in page
    assert "agrees" in out
    assert "1/2 net, seed 0" in out


def test_the_table_has_mean_and_spread_of_the_cells(tmp_path):
    report = reproduce("toy", tmp_path / "a", seeds=3)
    errors = [result["error"] for result in results(tmp_path / "a").values()]
    assert len(set(errors)) == 3
    row = report["tables"][0]["rows"][0]
    assert row[2:] == pytest.approx([np.mean(errors), np.std(errors, ddof=1)], rel=1e-12)


def test_the_spread_of_one_seed_is_a_dash(run, tmp_path):
    code, out, _ = run("reproduce", "toy", "--quick", "--json", "n.json")
    assert code == 0
    row = json.loads((tmp_path / "n.json").read_text())["tables"][0]["rows"][0]
    assert row[3] is None
    assert re.search(r"^net +0\.5 +0\.\d+ +-$", out, re.MULTILINE)
    page = (tmp_path / "runs/toy/report.md").read_text()
    assert re.search(r"\| net \| 0\.5 \| 0\.\d+ \| - \|", page)
    assert "nan" not in page


def test_spread_and_cells_of_a_table():
    assert spread([2.0, 4.0, 9.0]) == pytest.approx(np.std([2.0, 4.0, 9.0], ddof=1), rel=1e-14)
    assert spread([2.0]) is None
    assert [shown(value) for value in (float("inf"), None, 0, 1 / 3, "a")] == ["-", "-", "0", "0.3333", "a"]


def test_what_is_over_is_not_run_again(tmp_path):
    folder = tmp_path / "a"
    first = reproduce("toy", folder, seeds=2)
    assert toy.runs == ["net-seed0", "net-seed1"]
    (folder / "cells/net-seed1.json").unlink()
    second = reproduce("toy", folder, resume=True)
    assert toy.runs == ["net-seed0", "net-seed1", "net-seed1"]
    assert without_times(first) == without_times(second)


def test_a_result_is_the_same_fresh_and_read_back(tmp_path, monkeypatch):
    seen = []
    report = toy.EXPERIMENT.report

    def spy(settings, results):
        seen.append(results["net-seed0"])
        return report(settings, results)

    object.__setattr__(toy.EXPERIMENT, "report", spy)
    try:
        reproduce("toy", tmp_path / "a", seeds=1)
        reproduce("toy", tmp_path / "a", resume=True)
    finally:
        object.__setattr__(toy.EXPERIMENT, "report", report)
    fresh, again = seen
    assert fresh.keys() == again.keys() >= {"seconds", "nothing", *ARRAYS}
    assert fresh["nothing"] is None
    for name in ARRAYS:
        np.testing.assert_array_equal(fresh[name], again[name], strict=True)
        assert isinstance(fresh[name], np.ndarray)


class Interrupted:
    """A long run in a process of its own, stopped by a signal while its first cell trains."""

    EPOCHS = 60

    def __init__(self, folder, number):
        self.folder = folder
        process = subprocess.Popen(
            [sys.executable, toy.__file__, str(self.EPOCHS), "reproduce", "toy", "--seeds", "2", "--jobs", "1",
             "--out", folder],
            cwd=folder.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        checkpoint = folder / "cells/net-seed0/first.safetensors"
        deadline = time.monotonic() + 60
        while not checkpoint.is_file():
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.002)
        process.send_signal(number)
        self.error = process.communicate(timeout=60)[1]
        self.code = process.returncode
        assert checkpoint.is_file()
        assert not list((folder / "cells").glob("*.json"))
        assert not (folder / "report.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_interrupted_and_resumed_run_is_the_uninterrupted_one(run, tmp_path, monkeypatch, number):
    folder = tmp_path / "broken"
    stopped = Interrupted(folder, number)
    if number == signal.SIGINT:
        assert stopped.code == 130
        assert f"deltarule reproduce toy --out {folder} --resume" in stopped.error
        assert json.loads((folder / "cells/net-seed0/seconds.json").read_text()) > 0
    monkeypatch.setitem(toy.SETTINGS, "epochs", stopped.EPOCHS)
    code, _, error = run("reproduce", "toy", "--out", folder, "--resume")
    assert (code, error) == (0, "")
    assert toy.runs == ["net-seed0", "net-seed1"]
    assert not (folder / "cells/net-seed0").exists()
    whole = reproduce("toy", tmp_path / "whole", seeds=2)
    assert results(folder) == results(tmp_path / "whole")
    assert without_times(json.loads((folder / "report.json").read_text())) == without_times(whole)
    assert not [path for path in folder.rglob("*.tmp")]


def test_the_checkpoint_was_used(tmp_path, monkeypatch):
    """With its checkpoint, the first training of a cell does no epoch again."""
    folder = tmp_path / "a"
    monkeypatch.setattr(records, "read", lambda *_: pytest.fail("stopped"))
    monkeypatch.setattr(records.shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(pytest.fail.Exception):
        reproduce("toy", folder, seeds=1)
    monkeypatch.undo()
    own = folder / "cells/net-seed0"
    before = [(path.name, path.read_bytes()) for path in sorted(own.glob("*.safetensors"))]
    assert [name for name, _ in before] == ["first.safetensors", "second.safetensors"]
    work = Work({**toy.SETTINGS, "rate": 0.05}, "cpu", "highest", None, own)
    toy.train(work, 0)
    # No epoch was run: the files were not written again.
    assert [(path.name, path.read_bytes()) for path in sorted(own.glob("*.safetensors"))] == before


def test_resume_with_other_settings_names_the_difference(run, mistake, tmp_path, monkeypatch):
    assert run("reproduce", "toy", "--seeds", 1, "--out", "a")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    again = ("reproduce", "toy", "--out", "a", "--resume")
    mistake(r"a has other settings: seeds was \[0\], is now \[0, 1\]", *again, "--seeds", 2)
    mistake("precision was .highest., is now .medium.", *again, "--precision", "medium")
    mistake("quick was false, is now true, settings.rate was 0.05, is now 0.1", *again, "--quick")
    monkeypatch.setitem(toy.SETTINGS, "epochs", 4)
    mistake("settings.epochs was 3, is now 4", *again)
    mistake(
        "experiment was .toy., is now .pictures.",
        "reproduce",
        "pictures",
        "--out",
        "a",
        "--resume",
        "--quick",
    )
    assert {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()} == before


def test_resume_takes_what_is_not_given_from_the_run(run):
    assert run("reproduce", "toy", "--quick", "--seeds", 2, "--precision", "medium")[0] == 0
    assert run("reproduce", "toy", "--resume")[0] == 0
    assert toy.runs == ["net-seed0", "net-seed1"]


def test_a_new_run_leaves_an_old_one_alone(mistake, run):
    assert run("reproduce", "toy", "--seeds", 1)[0] == 0
    mistake("runs/toy is not empty; go on with the run in it by --resume", "reproduce", "toy")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["foo"], "'foo' is no experiment; choices: .*toy, pictures"),
        ([], "Missing argument 'NAME'; choices: .*toy, pictures"),
        (["toy", "--device", "cuda:77"], "device is 'cuda:77'; this machine and build have: cpu"),
        (["toy", "--precision", "foo"], "'foo' is not one of 'highest', 'high', 'medium'"),
        (["toy", "--seeds", "0"], "0 is not in the range x>=1"),
        (["toy", "--resume"], r"--resume: runs/toy holds no settings.json"),
        (["toy", "--json", "nowhere/n.json"], "--json nowhere/n.json"),
        (
            ["pictures", "--data-dir", "nowhere"],
            "nowhere is no folder.*put train-images.*https.* into .*nowhere",
        ),
        (["pictures", "--device", "cuda:77", "--data-dir", "nowhere"], "device is 'cuda:77'"),
    ],
)
def test_mistake(mistake, tmp_path, arguments, match):
    mistake(match, "reproduce", *arguments)
    assert list(tmp_path.iterdir()) == []  # nothing was started
    assert toy.runs == []


def test_folder_that_cannot_be_made(mistake, tmp_path):
    (tmp_path / "file").touch()
    mistake("file is a file; wanted a folder", "reproduce", "toy", "--out", "file")
    mistake("file/a.*: Not a directory", "reproduce", "toy", "--out", "file/a")


def write_mnist(folder, count=10):
    folder.mkdir(exist_ok=True)
    for part in ("train", "t10k"):
        images = np.arange(count * 12, dtype=np.uint8).reshape(count, 4, 3)
        data.write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        data.write_idx(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8))
    return folder


def test_images_of_a_folder(run, mistake, tmp_path):
    folder = write_mnist(tmp_path / "mnist")
    code, out, error = run("reproduce", "pictures", "--data-dir", folder)
    assert (code, error) == (0, "")
    assert re.search(r"^mnist$", out, re.MULTILINE)
    data.write_idx(folder / "t10k-labels-idx1-ubyte.gz", np.arange(10, dtype=np.uint8)[::-1])
    mistake(r"data.sha256 was .*, is now", "reproduce", "pictures", "--resume")


def test_broken_images(mistake, tmp_path):
    folder = write_mnist(tmp_path / "mnist")
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-12])
    mistake(r"t10k-images.*(truncated|damaged).*put train-images.*https://.*into .*mnist", "reproduce", "pictures",
            "--data-dir", folder)  # fmt: skip
    assert not (tmp_path / "runs").exists()


def test_without_mnist_only_a_quick_run_takes_the_digits(run, mistake, no_network, tmp_path):
    mistake("cannot download train-images-idx3-ubyte.gz; put it into the cache", "reproduce", "pictures")
    assert not (tmp_path / "runs").exists()
    code, out, _ = run("reproduce", "pictures", "--quick", "--json", "n.json")
    assert code == 0
    assert "MNIST was not to be had, scikit-learn's digits serve instead" in out
    report = json.loads((tmp_path / "n.json").read_text())
    assert report["run"]["data"]["name"] == "digits"
    assert report["tables"][0]["rows"] == [["digits"]]
    assert "digits serve instead" in report["notes"][0]


def test_a_run_goes_on_with_the_data_it_began_with(run, mistake, no_network, tmp_path, monkeypatch):
    assert run("reproduce", "pictures", "--quick", "--out", "a")[0] == 0
    folder = write_mnist(tmp_path / "mnist")
    fail = datasets.fetch_file
    monkeypatch.setattr(datasets, "fetch_file", lambda published, file: folder / file)
    code, out, _ = run("reproduce", "pictures", "--resume", "--out", "a")
    assert code == 0
    assert "digits serve instead of MNIST, as this run began with them" in out
    assert (
        run("reproduce", "pictures", "--quick", "--out", "b")[0] == 0
    )  # MNIST's stand-in, now that it is there
    assert json.loads((tmp_path / "b/settings.json").read_text())["data"]["name"] == "mnist"
    monkeypatch.setattr(datasets, "fetch_file", fail)
    mistake("cannot download .*put it into the cache", "reproduce", "pictures", "--resume", "--out", "b")


def test_a_damaged_cell_says_what_to_do(run, mistake, tmp_path):
    assert run("reproduce", "toy", "--seeds", 1)[0] == 0
    cells = tmp_path / "runs/toy/cells"
    path = cells / "net-seed0.npz"
    path.write_bytes(path.read_bytes()[:-30])
    mistake(
        r"net-seed0.npz is missing or damaged; delete net-seed0.json there", "reproduce", "toy", "--resume"
    )
    path = cells / "net-seed0.json"
    path.write_text(path.read_text()[:-30])
    mistake(r"net-seed0.json is damaged .*delete net-seed0.json there", "reproduce", "toy", "--resume")
    path.unlink()
    assert run("reproduce", "toy", "--resume")[0] == 0
    (tmp_path / "runs/toy/settings.json").write_text("{}")
    mistake(r"settings.json lacks data, ", "reproduce", "toy", "--resume")


def test_a_full_disk_leaves_whole_files(run, tmp_path):
    assert run("reproduce", "toy", "--seeds", 1, "--out", "a")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    limit = 2000  # of the size of a file; the figure is larger
    code = f"import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));" \
        f"sys.argv[1:] = ['3', 'reproduce', 'toy', '--out', 'a', '--resume'];" \
        f"runpy.run_path({toy.__file__!r}, run_name='__main__')"  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MPLCONFIGDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.endswith("curve.png: File too large\n")
    assert {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()} == before


def test_a_figure_that_cannot_be_drawn_costs_no_report(run, tmp_path, monkeypatch):
    made = toy.report

    def report(settings, results):
        whole = made(settings, results)
        return Report(whole.tables, whole.claims, {"broken": lambda: {}["key"], **whole.figures}, whole.notes)

    experiment = dataclasses.replace(toy.EXPERIMENT, report=report)
    monkeypatch.setattr(sys.modules["deltarule.papers.toy"], "EXPERIMENT", experiment)
    code, out, _ = run("reproduce", "toy", "--quick", "--set", "epochs=1", "--json", "n.json")
    assert code == 0
    line = "Figure broken is missing, it could not be drawn: KeyError: 'key'"
    assert line in out
    written = json.loads((tmp_path / "n.json").read_text())
    assert written["notes"] == ["a note", line]
    assert written["figures"] == ["curve.png"]
    page = (tmp_path / "runs/toy/report.md").read_text()
    assert line in page
    assert "broken.png" not in page
    assert not (tmp_path / "runs/toy/broken.png").exists()


def test_a_setting_named_twice_is_merged():
    texts = [
        'table={"depth": 2, "rates": {"tanh": 1}}',
        'table={"depth": 3, "rates": {"relu": 2}}',
        "a=1",
        "a=[2]",
    ]
    assert _changes(texts) == {"table": {"depth": 3, "rates": {"tanh": 1, "relu": 2}}, "a": [2]}


def test_keys_that_are_no_names_or_not_unique(tmp_path, one_line):
    for keys in (["a/b"], ["a", "a"], [".."], [""]):
        cells = [Cell(key, key, toy.look) for key in keys]
        with one_line(ValueError, "keys of cells are"):
            records.check_keys(toy.EXPERIMENT, cells)


def test_two_trainings_of_one_name(tmp_path, one_line):
    work = Work({}, "cpu", "highest", None, tmp_path)
    x, y = np.zeros((4, 2), np.float32), np.arange(4) % 2
    work.fit(nn.mlp([2, 2]), x, y, batch_size=4)
    with one_line(ValueError, "name 'fit' was used before"):
        work.fit(nn.mlp([2, 2]), x, y, batch_size=4)


def test_differences():
    before = {"a": [1, 2], "b": {"c": 1.5, "d": None}}
    assert differences(before, {"a": [1, 2], "b": {"c": 1.5, "d": None}}, "s") == []
    now = {"a": [1], "b": {"c": 1.5, "e": 2}}
    assert differences(before, now, "s") == [
        "s.a was [1, 2], is now [1]", 's.b.d was null, is now "absent"', 's.b.e was "absent", is now 2',
    ]  # fmt: skip


def test_the_names_are_those_of_modules():
    assert papers.NAMES[-2:] == ("toy", "pictures")
    for name in papers.NAMES:
        assert papers.load(name).name == name


def test_progress_shows_cells_and_time_left(tmp_path, capfd):
    reproduce("toy", tmp_path / "a", seeds=2, progress="always")
    drawn = capfd.readouterr().err
    assert "1/2 net, seed 0" in drawn
    assert "2/2 net, seed 1" in drawn
    assert re.search(r"50%\|.*00:0\d, 00:0\d left", drawn)
    assert "samples/s" in drawn  # of the training inside


MISTAKES = {
    "nets": [5, [], "1"],
    "epochs": [1.5, 0, "abc", -3],
    "rate": ["abc", -1, None],
    "validation": ["abc", -5, 1.5],
    "angle_factor": [3, {"1": "x"}],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in MISTAKES.items() for v in values])
def test_a_setting_of_another_kind_is_refused_before_anything_is_written(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"--set {name}.*came; wanted"):
        reproduce("ciresan2010", tmp_path / "run", quick=True, changes={name: value})
    assert not (tmp_path / "run").exists()


def test_a_part_that_is_no_setting_is_refused(tmp_path):
    for name, changes in [
        ("glorot2010", {"table": {"updats": 10}}),
        ("ciresan2010", {"angle_factor": {"a": 0.5}}),
    ]:
        with pytest.raises(ValueError, match="is no setting; choices: "):
            reproduce(name, tmp_path / "run", quick=True, changes=changes)
    assert not (tmp_path / "run").exists()


def test_a_wrong_choice_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    pytest.importorskip("sklearn", reason="stands in for MNIST")
    monkeypatch.setattr(runner, "find_images", lambda *_: (data.load("digits"), ""))
    with pytest.raises(ValueError, match="choices: 1, 2, 3, 4, 5"):
        reproduce("ciresan2010", tmp_path / "run", quick=True, changes={"nets": [9]})
    assert not (tmp_path / "run").exists()


def test_settings_are_refused_before_images_are_looked_for(mistake, monkeypatch, tmp_path):
    def look(*_):
        raise AssertionError("images were looked for")

    monkeypatch.setattr(runner, "find_images", look)
    mistake(
        r"nets are \[9\]; choices: 1",
        "reproduce",
        "ciresan2010",
        "--set",
        "nets=[9]",
        "--quick",
        "--out",
        "a",
    )
    assert not (tmp_path / "a").exists()
