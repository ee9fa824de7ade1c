"""`deltarule predict` and `deltarule info`: labels of real digits from every kind of file."""

import json

import deltarule
import numpy as np
import pytest
from deltarule import data, nn
from deltarule.cli import main
from deltarule.cli.predict import read_picture


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A net trained on the digits."""
    folder = tmp_path_factory.mktemp("model")
    assert main(["train", "--epochs", "10", "--quiet", "--out", str(folder / "run")]) == 0
    return folder / "run/model.safetensors"


@pytest.fixture(scope="module")
def digits():
    return data.load("digits").test.take(slice(0, 40))


def predictions(run, tmp_path, *arguments):
    code, out, error = run("predict", *arguments, "--json", "p.json")
    assert code == 0, error
    rows = json.loads((tmp_path / "p.json").read_text())["predictions"]
    assert len(out.splitlines()) == len(rows) + 1
    return rows


def test_predict_reads_arrays_and_idx_files(run, model, digits, tmp_path):
    np.save(tmp_path / "rows.npy", digits.x)
    np.save(tmp_path / "images.npy", digits.x.reshape(-1, 8, 8).astype(np.int16))
    data.write_idx(tmp_path / "images-idx3-ubyte.gz", digits.x.reshape(-1, 8, 8))
    np.save(tmp_path / "one.npy", digits.x[0].reshape(8, 8).astype(np.float32))
    net = nn.Network.load(model)
    labels, probabilities = net.predict(digits.x), net.predict_proba(digits.x).max(axis=1)
    for name in ("rows.npy", "images.npy", "images-idx3-ubyte.gz", "one.npy"):
        rows = predictions(run, tmp_path, model, name)
        assert len(rows) == (1 if name == "one.npy" else 40)
        for index, row in enumerate(rows):
            assert (row["file"], row["index"], row["label"]) == (name, index, str(labels[index]))
            assert row["probability"] == pytest.approx(probabilities[index], rel=1e-5)
    assert np.mean(labels == digits.y) > 0.9


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "P"])
@pytest.mark.parametrize("bright", [False, True])
def test_predict_reads_pictures_of_any_brightness_and_size(run, model, digits, tmp_path, mode, bright):
    from PIL import Image

    names = []
    for index, image in enumerate(digits.x[:20]):
        pixels = (image.reshape(8, 8).astype(np.float64) * 255 / 16).round().astype(np.uint8)
        picture = Image.fromarray(255 - pixels if bright else pixels).resize(
            (80, 80), Image.Resampling.NEAREST
        )
        names.append(f"{index}.png")
        picture.convert(mode).save(tmp_path / names[-1])
    rows = predictions(run, tmp_path, model, *names)
    right = np.mean([row["label"] == str(label) for row, label in zip(rows, digits.y, strict=False)])
    assert right >= (0.6 if mode == "1" else 0.9)  # black and white alone loses the greys


def test_picture_of_the_right_size_is_taken_as_it_is(tmp_path):
    from PIL import Image

    pixels = np.zeros((4, 3), np.uint8)
    pixels[1:3, 1] = (200, 90)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_picture(str(tmp_path / "a.png"), (4, 3)).tolist() == pixels.tolist()
    Image.fromarray(255 - pixels).save(tmp_path / "a.png")
    assert read_picture(str(tmp_path / "a.png"), (4, 3)).tolist() == pixels.tolist()


def test_predict_prints_label_and_probability(run, model, digits, tmp_path):
    np.save(tmp_path / "x.npy", digits.x[:2])
    code, out, _ = run("predict", model, "x.npy")
    assert code == 0
    head, first, _ = out.splitlines()
    assert head.split() == ["index", "label", "probability", "file"]
    index, label, probability, name = first.split()
    assert (index, label, name) == ("0", str(digits.y[0]), "x.npy")
    assert 0.1 < float(probability) <= 1


def test_predict_of_real_targets_and_of_yes_no_targets_gives_values(run, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))
    for loss, low, high in (("squared_error", -np.inf, np.inf), ("binary_cross_entropy", 0, 1)):
        net = nn.mlp([3, 4, 2], loss=loss)
        net.save(tmp_path / "m.safetensors")
        rows = predictions(run, tmp_path, "m.safetensors", "x.npy")
        assert [len(row["values"]) for row in rows] == [2, 2]
        assert all(low < value < high for row in rows for value in row["values"])


def test_info_names_everything(run, tmp_path):
    code, out, error = run("info", "--json", "info.json")
    assert (code, error) == (0, "")
    facts = json.loads((tmp_path / "info.json").read_text())
    assert facts["version"] == deltarule.__version__
    assert "cpu" in facts["devices"]
    assert facts["isa"] in [isa["name"] for isa in facts["isas"] if isa["supported"]]
    assert facts["threads"] >= 1
    assert facts["packages"]["matplotlib"]
    for isa in facts["isas"]:
        assert isa["name"] in out
        assert isa["needs"] in out
    assert "caches" in out


def test_help_of_every_command_names_its_options(run):
    for command, options in {
        "train": "--data --data-dir --hidden --activation --loss --optimizer --lr --schedule --epochs "
        "--batch-size --dropout --weight-decay --validation --early-stopping --seed --device --precision "
        "--threads --out --json --resume --quiet",
        "predict": "--json --device",
        "info": "--json",
    }.items():
        code, out, error = run(command, "--help")
        assert (code, error) == (0, "")
        assert all(option in out for option in options.split())
    code, out, _ = run()
    assert code == 0
    assert "train" in out
    assert run("--version")[1].split() == ["deltarule,", "version", deltarule.__version__]
