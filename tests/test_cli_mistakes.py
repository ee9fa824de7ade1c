"""Bad input on the command line: exit code 2, one line that says what came and what was wanted."""

import gzip
import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from deltarule import data, nn

SHORT = ("--epochs", "1", "--hidden", "8")


@pytest.fixture
def images(tmp_path):
    """A folder of IDX files, ten images of two classes a part."""
    folder = tmp_path / "images"
    folder.mkdir()
    for part in ("train", "t10k"):
        data.write_idx(
            folder / f"{part}-images-idx3-ubyte.gz", np.arange(10 * 12, dtype=np.uint8).reshape(10, 4, 3)
        )
        data.write_idx(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(10, dtype=np.uint8) % 2)
    return folder


@pytest.fixture
def model(tmp_path):
    """A model file of an untrained net for images of 4 by 3."""
    net = nn.mlp([12, 4, 2])
    net.image_shape = (4, 3)
    net.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--activation", "foo"], "'foo' is not one of .*'scaled_tanh', 'relu'"),
        (["--loss", "foo"], "'foo' is not one of .*softmax_cross_entropy"),
        (["--optimizer", "foo"], "'foo' is not one of .*adam"),
        (["--schedule", "foo"], "'foo' is not one of constant, .*cosine"),
        (["--schedule", "step:a:b"], "'step:a:b' .*the forms are constant, "),
        (["--schedule", "step:0:1"], "wanted more than 0 epochs"),
        (["--precision", "foo"], "'foo' is not one of 'highest', 'high', 'medium'"),
        (["--device", "foo"], "'foo'.*cpu"),
        (["--hidden", "300-x"], "'300-x' is not a list of layer sizes such as 300-100, or none"),
        (["--hidden", "0"], "'0' is not a list of layer sizes"),
        (["--batch-size", "0"], "0 is not in the range x>=1"),
        (["--batch-size", "100000"], "--batch-size 100000 is more than the 1294 training samples"),
        (["--epochs", "0"], "0 is not in the range"),
        (["--lr", "0"], "0.0 is not in the range x>0"),
        (["--lr", "nan"], "nan is not a finite number"),
        (["--lr", "inf"], "inf is not a finite number"),
        (["--dropout", "1"], "1.0 is not in the range"),
        (["--validation", "1"], "1.0 is not in the range"),
        (["--early-stopping", "--validation", "0"], "give --validation above 0"),
        (["--threads", "0"], "0 is not in the range"),
        (["--data", "foo"], "'foo' is no data set, file or folder; choices: digits, mnist"),
        (["--data", "/nowhere/x.csv"], "/nowhere/x.csv"),
        (["--data", "mnist", "--data-dir", "/nowhere"], "/nowhere"),
        (["--regression"], "regression came with 'digits'"),
        (["--label", "y"], "label came with 'digits'"),
        (["--nonsense"], "No such option '--nonsense'"),
        (["surplus"], "unexpected extra argument"),
    ],
)
def test_option_of_train(mistake, tmp_path, arguments, match):
    mistake(match, "train", *arguments)
    assert list(tmp_path.iterdir()) == []  # nothing was started


def test_command_that_is_not_there(mistake):
    mistake("No such command 'foo'. Choices: train, predict, info", "foo")


def test_truncated_gz(images, mistake):
    path = images / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-12])
    mistake(
        "train-images-idx3-ubyte.gz.*truncated|truncated.*train-images-idx3-ubyte.gz",
        "train",
        "--data",
        images,
    )


@pytest.mark.parametrize(
    ("where", "value", "match"),
    [
        (0, 7, "magic|IDX"),
        (3, 1, "train-images"),  # dimension count
        (7, 9, "train-images"),  # item count
    ],
)
def test_wrong_idx_header(images, mistake, where, value, match):
    path = images / "train-images-idx3-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[where] = value
    path.write_bytes(gzip.compress(content))
    mistake(match, "train", "--data", images)


def test_images_and_labels_of_different_length(images, mistake):
    data.write_idx(images / "train-labels-idx1-ubyte.gz", np.zeros(9, np.uint8))
    mistake("10.*9|9.*10", "train", "--data", images)


def test_label_of_the_test_part_outside_the_classes(images, mistake):
    data.write_idx(images / "t10k-labels-idx1-ubyte.gz", np.full(10, 7, np.uint8))
    mistake("label.*7", "train", "--data", images)


def test_empty_folder(tmp_path, mistake):
    (tmp_path / "empty").mkdir()
    mistake("empty", "train", "--data", "empty")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_or_inf_in_the_data(tmp_path, mistake, bad):
    x = np.ones((20, 3))
    x[4, 1] = bad
    np.savez(tmp_path / "t.npz", x=x, y=np.arange(20) % 2)
    mistake("row 4, column 1", "train", "--data", "t.npz")


def test_text_as_features(tmp_path, mistake):
    np.savez(tmp_path / "t.npz", x=np.full((20, 3), "a"), y=np.arange(20) % 2)
    mistake("wanted numbers", "train", "--data", "t.npz")


def test_shapes_that_do_not_match(tmp_path, mistake):
    np.savez(tmp_path / "t.npz", x=np.ones((20, 3)), y=np.arange(19) % 2)
    mistake("20.*19", "train", "--data", "t.npz")


def test_loss_that_does_not_fit_the_targets(tmp_path, mistake):
    np.savez(tmp_path / "t.npz", x=np.ones((20, 3)), y=np.linspace(0, 2, 20))
    mistake(
        "softmax_cross_entropy wants class labels",
        "train",
        "--data",
        "t.npz",
        "--loss",
        "softmax_cross_entropy",
    )
    mistake(
        "0 to 2.*|wants targets from 0 to 1", "train", "--data", "t.npz", "--loss", "binary_cross_entropy"
    )


def test_unwritable_places_are_found_before_training(run, tmp_path):
    (tmp_path / "file").write_text("x")
    for option in (["--out", "file/run"], ["--out", "./file"], ["--json", "file/n.json"], ["--json", "."]):
        code, out, error = run("train", *option)
        assert (code, out) == (2, "")  # the net is described before the first step
        assert error.count("\n") == 1
        assert option[1].removeprefix("./") in error
    assert (tmp_path / "file").read_text() == "x"


def test_full_disk_leaves_the_old_run(run, tmp_path):
    assert run("train", *SHORT, "--out", "a")[0] == 0
    before = (tmp_path / "runs/a/model.safetensors").read_bytes()
    small = len(before) // 2  # a limit on file sizes stands for a full disk
    process = subprocess.run(
        [sys.executable, "-m", "deltarule", "train", *SHORT, "--out", "a", "--seed", "1", "--overwrite"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (small, small)),
    )  # fmt: skip
    assert process.returncode == 2, process.stderr
    assert process.stderr.count("\n") == 1, process.stderr
    assert "File too large" in process.stderr
    assert (tmp_path / "runs/a/model.safetensors").read_bytes() == before
    assert not list((tmp_path / "runs/a").glob(".*"))


def test_instruction_set_that_is_not_there(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "deltarule", "info"],
        env={**os.environ, "DELTARULE_ISA": "foo"}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1, process.stderr
    assert "foo" in process.stderr
    assert "scalar" in process.stderr


def test_without_click(tmp_path):
    code = "import sys; sys.modules['click'] = None; from deltarule.cli import main; sys.exit(main(['info']))"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert process.returncode == 2
    assert (
        process.stderr == "deltarule: error: the command line needs click: pip install 'deltarule[train]'\n"
    )


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (lambda whole: whole[:-10], "truncated"),
        (lambda whole: whole[:5], "not a safetensors file"),
        (lambda whole: whole.replace(b'"version":"1"', b'"version":"9"'), "version 9.*reads up to 1"),
        (lambda whole: whole.replace(b"deltarule model", b"something else.."[:15]), "not of deltarule"),
        (lambda whole: b"PK\3\4" + bytes(100), "not a safetensors file"),
        (lambda whole: b"", "not a safetensors file"),
    ],
)
def test_model_file(model, mistake, tmp_path, content, match):
    np.save(tmp_path / "x.npy", np.zeros((2, 12)))
    whole = model.read_bytes()
    changed = content(whole)
    assert changed != whole
    model.write_bytes(changed)
    mistake(f"model.safetensors.*{match}", "predict", model, "x.npy")


def test_model_that_is_not_there(mistake):
    mistake("nowhere.safetensors: No such file", "predict", "nowhere.safetensors", "x.npy")
    mistake("Missing argument 'FILES...'", "predict", "nowhere.safetensors")


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((2, 7)), r"shape \(2, 7\), the net wants samples of 12 features \(4x3 images\)"),
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\)"),
        (np.zeros(5), r"shape \(5,\)"),
        (np.zeros((2, 12), complex), "complex128, numbers are wanted"),
        (np.where(np.arange(24).reshape(2, 12) == 15, np.nan, 0), "NaN or inf in sample 1"),
        (np.where(np.arange(24).reshape(2, 12) == 2, np.inf, 0), "NaN or inf in sample 0"),
    ],
)
def test_array_to_predict(model, mistake, tmp_path, array, match):
    np.save(tmp_path / "x.npy", array)
    mistake(f"x.npy: .*{match}", "predict", model, "x.npy")


@pytest.mark.parametrize("name", ["x.npy", "x.png", "x.gz", "x-idx3-ubyte"])
def test_junk_to_predict(model, mistake, tmp_path, name):
    mistake(f"{name}", "predict", model, name)
    (tmp_path / name).write_bytes(b"this is no image")
    mistake(f"{name}", "predict", model, name)


@pytest.mark.parametrize(
    ("text", "options", "match"),
    [
        ("a,b\n1,2\n", [], "t.csv has 2 columns; wanted 12 features, with the label 13 columns"),
        (("1," * 11 + "2\n") * 2 + "1," * 11 + "x\n", [], r"line 3, column 12 holds 'x'; wanted a number"),
        ("1," * 12 + "2\n", ["--label", 13], "has 13 columns; label is 13, wanted 0 to 12"),
        ("1," * 12 + "2\n", ["--label", "price"], "no column 'price'; it has no header"),
        ("", [], "t.csv is empty"),
    ],
)
def test_table_to_predict(model, mistake, tmp_path, text, options, match):
    (tmp_path / "t.csv").write_text(text)
    mistake(match, "predict", model, "t.csv", *options)


def test_label_for_what_has_no_columns(model, mistake, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 12)))
    mistake("x.npy: label came with it; wanted a .csv", "predict", model, "x.npy", "--label", "a")
    np.savez(tmp_path / "x.npz", y=np.zeros(2))
    mistake("x.npz holds y; wanted x", "predict", model, "x.npz")


def test_model_with_too_few_class_names(mistake, tmp_path):
    net = nn.mlp([12, 4, 2])
    net.classes = ["one"]
    net.save(tmp_path / "m.safetensors")
    np.save(tmp_path / "x.npy", np.zeros((2, 12)))
    mistake("the model names 1 classes; wanted 2", "predict", "m.safetensors", "x.npy")


def test_picture_for_a_net_that_knows_no_images(mistake, tmp_path):
    nn.mlp([12, 2]).save(tmp_path / "m.safetensors")
    mistake("trained on 12 features that are no image", "predict", "m.safetensors", "digit.png")


def test_predict_to_a_place_that_cannot_be_written(model, mistake, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 12)))
    mistake("--json", "predict", model, "x.npy", "--json", "nowhere/n.json")


def test_settings_of_a_run_are_json(run, tmp_path):
    """What --resume reads is what train was told."""
    run("train", *SHORT, "--out", "a", "--lr", "0.01")
    settings = json.loads((tmp_path / "runs/a/settings.json").read_text())
    assert (settings["lr"], settings["hidden"], settings["data"]) == (0.01, [8], "digits")


def test_tables_too_small_to_train_on(mistake, tmp_path):
    (tmp_path / "t.csv").write_text("1,2,0\n")
    mistake(
        "t.csv has 1 sample; wanted enough for a test part, which is 0.2 of them", "train", "--data", "t.csv"
    )
    (tmp_path / "t.csv").write_text("1,2,0\n2,1,1\n3,1,1\n")
    mistake("--validation 0.1 of 2 training samples leaves one side without", "train", "--data", "t.csv")


def test_one_class_only(mistake, tmp_path):
    (tmp_path / "t.csv").write_text("1,2,oak\n" * 30)
    mistake("t.csv has one class only, 'oak'; wanted two or more", "train", "--data", "t.csv")


def test_real_targets_for_yes_no_are_refused_before_anything_is_said(run, tmp_path):
    np.savez(tmp_path / "t.npz", x=np.ones((20, 3)), y=np.linspace(-1, 2, 20))
    code, out, error = run("train", "--data", "t.npz", "--loss", "binary_cross_entropy")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert "wants targets from 0 to 1, those of t go from -1 to 2" in error


@pytest.mark.parametrize("command", [("train",), ("reproduce", "lecture")])
def test_an_empty_name_of_a_run(mistake, tmp_path, command):
    mistake("--out is empty; wanted a name", *command, "--out", "")
    assert list(tmp_path.iterdir()) == []


def test_info_looks_at_its_file_first(run):
    code, out, error = run("info", "--json", "/nowhere/x")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert "/nowhere/x" in error
