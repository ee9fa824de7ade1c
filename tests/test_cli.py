"""The command line on real training: what it writes and prints, and one line for every mistake."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time

import numpy as np
import pytest
import safetensors.numpy
from deltarule import data, nn
from deltarule.cli.settings import LEARNING_RATES, OPTIMIZERS, parse_hidden, parse_schedule

# Keys of --json that other programs may rely on.
KEYS = {
    "test_error", "train_error", "validation_error", "epochs", "seconds", "samples_per_second", "parameters",
    "device", "isa", "threads", "precision", "seed", "files",
}  # fmt: skip
SHORT = ("--epochs", "2", "--hidden", "16")


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """The run of plain `deltarule train`, by a process of its own: (finished process, folder it ran in)."""
    folder = tmp_path_factory.mktemp("digits")
    return command("train", "--json", "numbers.json", cwd=folder), folder


def command(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "deltarule", *map(str, arguments)],
        cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def bits(folder):
    """The weights of a run; the file around them may order its header in several ways."""
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    assert len(tensors) > 4
    return {name: tensor.tobytes() for name, tensor in tensors.items()}


def table(path, rows=300, targets=None):
    """A .csv of three features and a target that a small net learns."""
    x = np.random.default_rng(0).normal(size=(rows, 3))
    y = 1000 + 50 * (x[:, 0] - 2 * x[:, 1]) if targets is None else targets
    np.savetxt(path, np.column_stack([x, y]), delimiter=",", header="a,b,c,target", comments="")
    return path


def test_train_learns_the_digits(digits_run):
    process, folder = digits_run
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""  # no progress bar where there is no terminal
    numbers = json.loads((folder / "numbers.json").read_text())
    assert numbers.keys() >= KEYS
    assert numbers["test_error"] <= 0.03
    assert numbers["train_error"] <= 0.01
    assert 0 <= numbers["validation_error"] < 0.1
    assert numbers["epochs"] == 30
    assert numbers["parameters"] == 64 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10
    assert numbers["samples_per_second"] > 0
    assert f"test error        {numbers['test_error']:8.2%}" in process.stdout
    assert re.search(r"error per class +0 \d", process.stdout)
    names = {"model.safetensors", "learning_curve.png", "confusion.png", "history.json", "report.json"}
    assert names < {os.path.basename(file) for file in numbers["files"]}
    for file in numbers["files"]:
        assert os.path.dirname(file).startswith(os.path.join("runs", "digits-"))
        assert (folder / file).stat().st_size > 0
        assert file in process.stdout


def test_train_numbers_agree_with_the_model(digits_run):
    _, folder = digits_run
    numbers = json.loads((folder / "numbers.json").read_text())
    model = next(file for file in numbers["files"] if file.endswith("model.safetensors"))
    net = nn.Network.load(folder / model)
    test = data.load("digits").test
    wrong = net.predict(test.x) != test.y
    assert numbers["test_error"] == pytest.approx(wrong.mean(), abs=1e-12)
    for digit, error in numbers["per_class_errors"].items():
        assert error == pytest.approx(wrong[test.y == int(digit)].mean(), abs=1e-12)
    assert net.classes == list("0123456789")
    assert net.image_shape == (8, 8)


def test_train_prints_progress_on_a_terminal(tmp_path):
    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 150, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "deltarule", "train", "--epochs", "60"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=terminal,
    )  # fmt: skip
    os.close(terminal)
    drawn = b""
    with contextlib.suppress(OSError):  # which says that the process has closed its end
        while chunk := os.read(ours, 4096):
            drawn += chunk
    os.close(ours)
    assert process.wait(60) == 0
    for number in (b"loss=", b"validation error=", b"samples/s"):
        assert number in drawn


def test_train_quiet_prints_nothing(run, tmp_path):
    assert run("train", *SHORT, "--quiet", "--out", tmp_path / "a") == (0, "", "")


def test_train_json_to_stdout_is_json_alone(run):
    code, out, _ = run("train", *SHORT, "--json", "-")
    assert code == 0
    assert json.loads(out).keys() >= KEYS


def test_out_is_a_name_in_runs_or_a_path(run, tmp_path):
    assert run("train", *SHORT, "--out", "first")[0] == 0
    assert (tmp_path / "runs/first/model.safetensors").is_file()
    assert run("train", *SHORT, "--out", "./second")[0] == 0
    assert (tmp_path / "second/model.safetensors").is_file()


def test_out_replaces_a_run_only_when_told(run, mistake, tmp_path):
    run("train", *SHORT, "--out", "a")
    before = (tmp_path / "runs/a/model.safetensors").read_bytes()
    mistake("runs/a is not empty; .*--overwrite", "train", *SHORT, "--out", "a", "--seed", 1)
    assert (tmp_path / "runs/a/model.safetensors").read_bytes() == before
    assert run("train", *SHORT, "--out", "a", "--seed", 1, "--overwrite")[0] == 0
    assert (tmp_path / "runs/a/model.safetensors").read_bytes() != before


def test_runs_without_a_name_get_names_of_their_own(run, tmp_path):
    for _ in range(3):
        assert run("train", *SHORT, "--quiet")[0] == 0
    assert len(list((tmp_path / "runs").iterdir())) == 3


def test_threads_do_not_change_the_bits(run, tmp_path):
    for threads in (1, 2, 3):
        code, _, error = run("train", *SHORT, "--dropout", 0.3, "--threads", threads, "--out", threads)
        assert code == 0, error
    assert bits(tmp_path / "runs/1") == bits(tmp_path / "runs/2") == bits(tmp_path / "runs/3")


def test_interrupted_and_resumed_run_has_the_bits_of_an_uninterrupted_one(run, tmp_path):
    long = ("--epochs", 150, "--hidden", "64", "--early-stopping", 150, "--dropout", 0.2)
    process = subprocess.Popen(
        [sys.executable, "-m", "deltarule", "train", *map(str, long), "--out", "broken", "--quiet"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    folder = tmp_path / "runs/broken"
    deadline = time.monotonic() + 60
    while not (folder / "checkpoint.safetensors").is_file():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "deltarule train --resume runs/broken" in error
    assert not (folder / "model.safetensors").exists()

    assert run("train", "--resume", "runs/broken", "--quiet", "--threads", 1) == (0, "", "")
    assert run("train", *long, "--out", "whole", "--quiet", "--threads", 2) == (0, "", "")
    whole = tmp_path / "runs/whole"
    assert bits(folder) == bits(whole)
    histories = [json.loads((f / "history.json").read_text())["epochs"] for f in (folder, whole)]
    assert len(histories[0]) == len(histories[1]) > 1
    for key in ("train_loss", "validation_loss", "validation_error"):
        assert [epoch[key] for epoch in histories[0]] == [epoch[key] for epoch in histories[1]]


def test_resume_of_what_cannot_go_on(run, mistake, tmp_path):
    mistake(r"no settings.json there", "train", "--resume", "nothing")
    run("train", *SHORT, "--out", "a")
    for name in ("runs/a", "a", "runs/a/checkpoint.safetensors"):  # as --out takes it, too
        mistake("--resume runs/a: the run is finished", "train", "--resume", name)
    mistake(r"leave out --lr, --epochs", "train", "--resume", "runs/a", "--lr", 1, "--epochs", 3)
    (tmp_path / "runs/a/report.json").unlink()
    (tmp_path / "runs/a/checkpoint.safetensors").unlink()
    mistake("no checkpoint.safetensors there", "train", "--resume", "runs/a")
    (tmp_path / "runs/a/settings.json").write_text("{}")
    mistake("not the settings of a run", "train", "--resume", "runs/a")


def test_resume_on_other_data(run, mistake, tmp_path):
    table(tmp_path / "t.csv")
    assert run("train", *SHORT, "--data", "t.csv", "--out", "a")[0] == 0
    (tmp_path / "runs/a/report.json").unlink()
    table(tmp_path / "t.csv", rows=301)
    mistake("is not the data the run was started on", "train", "--resume", "runs/a")


def test_train_on_a_table_of_real_targets(run, tmp_path):
    path = table(tmp_path / "t.csv")
    code, out, error = run("train", "--data", path, "--epochs", 60, "--out", "a", "--json", "n.json")
    assert code == 0, error
    assert "root mean square error" in out
    numbers = json.loads((tmp_path / "n.json").read_text())
    assert numbers["test_error"] < 0.05  # of the variance
    test = data.load(path).test
    values = nn.Network.load(tmp_path / "runs/a/model.safetensors").predict(test.x)
    assert numbers["rmse"] == pytest.approx([np.sqrt(np.mean((values - test.y) ** 2))], rel=1e-6)
    assert 900 < values.mean() < 1100  # in the units of the table
    assert (tmp_path / "runs/a/predictions.png").stat().st_size > 1000


def test_train_on_whole_numbers_as_real_targets(run, tmp_path):
    path = table(tmp_path / "t.csv", targets=np.arange(300))
    code, out, error = run("train", *SHORT, "--data", path, "--regression")
    assert code == 0, error
    assert "1 real targets" in out


def test_train_on_yes_no_targets(run, tmp_path):
    x = np.random.default_rng(1).normal(size=(400, 4))
    np.savez(tmp_path / "t.npz", x=x, y=(x[:, :2] > 0).astype(float))
    code, _, error = run(
        "train", "--data", "t.npz", "--loss", "binary_cross_entropy", "--out", "a", "--json", "n.json"
    )
    assert code == 0, error
    numbers = json.loads((tmp_path / "n.json").read_text())
    assert numbers["test_error"] < 0.2
    assert len(numbers["per_target_errors"]) == 2


@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy", "softmax_cross_entropy"])
def test_train_learns_classes_with_every_loss(run, tmp_path, loss):
    code, _, error = run("train", "--epochs", 15, "--loss", loss, "--json", "n.json", "--out", "a")
    assert code == 0, error
    assert json.loads((tmp_path / "n.json").read_text())["test_error"] < 0.06
    assert (tmp_path / "runs/a/confusion.png").is_file()


def test_train_without_validation_and_hidden_layers(run, tmp_path):
    code, _, error = run("train", "--hidden", "none", "--validation", 0, "--epochs", 5, "--json", "n.json")
    assert code == 0, error
    numbers = json.loads((tmp_path / "n.json").read_text())
    assert numbers["validation_error"] is None
    assert numbers["parameters"] == 650


def test_train_on_mnist(run, mnist, tmp_path):
    code, _, error = run(
        "train", "--data", "mnist", "--data-dir", mnist, "--epochs", 1, "--hidden", "100", "--json", "n.json"
    )
    assert code == 0, error
    assert json.loads((tmp_path / "n.json").read_text())["test_error"] < 0.06


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_has_a_learning_rate_that_learns(run, tmp_path, optimizer):
    assert LEARNING_RATES.keys() == OPTIMIZERS.keys()
    assert run("train", "--optimizer", optimizer, "--epochs", 8, "--json", "n.json")[0] == 0
    assert json.loads((tmp_path / "n.json").read_text())["test_error"] < 0.06


def test_loss_that_turns_nan_keeps_the_last_good_weights(run, tmp_path):
    code, _, error = run("train", "--optimizer", "sgd", "--lr", 1e30, "--schedule", "constant", "--out", "a")
    assert code == 2
    assert error.count("\n") == 1
    assert re.search(
        r"epoch \d+.*step \d+.*learning rate 1e\+30.*last good weights are in runs/a/model", error
    )
    net = nn.Network.load(tmp_path / "runs/a/model.safetensors")
    assert all(np.isfinite(np.asarray(parameter)).all() for parameter in net.parameters)


def test_parse_hidden():
    assert parse_hidden("300-100") == (300, 100)
    assert parse_hidden("none") == ()


@pytest.mark.parametrize(
    ("text", "epochs_and_factors"),
    [
        ("constant", {0: 1, 9: 1}),
        ("step:2:0.5", {1: 1, 2: 0.5, 4: 0.25}),
        ("exponential:0.9", {0: 1, 2: 0.81}),
        ("cosine", {0: 1, 5: 0.5, 10: 0}),
        ("cosine:0.5", {0: 1, 10: 0.5}),
        ("warmup:2:cosine", {2: 1, 6: 0.5, 10: 0}),
    ],
)
def test_parse_schedule(text, epochs_and_factors):
    schedule = parse_schedule(text, 10)
    for epoch, factor in epochs_and_factors.items():
        assert schedule(epoch) == pytest.approx(factor, abs=1e-12)
