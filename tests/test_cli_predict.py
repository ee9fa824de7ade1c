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


SHORT = ("--epochs", "30", "--hidden", "8", "--quiet", "--out", "a")
MODEL = "runs/a/model.safetensors"


def table(path, rows, header=None):
    """A .csv of these rows; the features as they are read back."""
    lines = [",".join(map(str, row)) for row in ([header] if header else []) + rows]
    path.write_text("\n".join(lines) + "\n")


def flowers(n=100):
    x = np.random.default_rng(3).normal(size=(n, 2)).round(4)
    return x, [["rose", "aster"][int(value > 0)] for value in x[:, 0]]


def test_a_table_is_trained_on_and_predicted(run, tmp_path):
    x, names = flowers()
    (a, b), n = x.T.tolist(), len(x)
    table(tmp_path / "t.csv", [[names[i], a[i], b[i]] for i in range(n)], ["kind", "a", "b"])
    assert run("train", "--data", "t.csv", "--label", "kind", *SHORT) == (0, "", "")
    net = nn.Network.load(MODEL)
    assert (net.feature_names, net.classes) == (["a", "b"], ["aster", "rose"])
    wanted = [net.classes[i] for i in net.predict(x)]
    assert len(set(wanted)) == 2
    # The label absent; columns in another order, among others; rows without a header.
    table(tmp_path / "bare.csv", x.tolist(), ["a", "b"])
    table(tmp_path / "other.csv", [[b[i], f"no {i}", a[i], "?"] for i in range(n)], ["b", "id", "a", "kind"])
    table(tmp_path / "headless.csv", x.tolist())
    table(tmp_path / "front.csv", [[names[i], a[i], b[i]] for i in range(n)])
    np.savez(tmp_path / "t.npz", x=x, y=np.zeros(3))
    for name in ("t.csv", "bare.csv", "other.csv", "headless.csv", "front.csv", "t.npz"):
        options = [name, *(["--label", 0] if name == "front.csv" else [])]
        assert [row["label"] for row in predictions(run, tmp_path, MODEL, *options)] == wanted, options
    code, out, _ = run("predict", MODEL, "t.csv")
    assert code == 0
    assert out.splitlines()[1].split()[:2] == ["0", wanted[0]]


def test_a_table_that_lacks_a_column(run, mistake, tmp_path):
    x, names = flowers()
    table(
        tmp_path / "t.csv",
        [[*row, name] for row, name in zip(x.tolist(), names, strict=True)],
        ["a", "b", "kind"],
    )
    assert run("train", "--data", "t.csv", *SHORT) == (0, "", "")
    table(tmp_path / "u.csv", x.tolist(), ["a", "c"])
    mistake("no column 'b', which the net was trained on; columns are a, c", "predict", MODEL, "u.csv")
    table(tmp_path / "u.csv", [[1, 2, 3]], ["a", "b", "b"])
    mistake("two columns 'b'; wanted one", "predict", MODEL, "u.csv")


def test_a_table_of_real_targets_is_predicted(run, tmp_path):
    x, _ = flowers()
    y = (x[:, 0] * 3 + 100.5).tolist()
    table(tmp_path / "t.csv", [[*row, value] for row, value in zip(x.tolist(), y, strict=True)])
    assert run("train", "--data", "t.csv", *SHORT) == (0, "", "")
    table(tmp_path / "bare.csv", x.tolist())
    wanted = nn.Network.load(MODEL).predict(x).ravel()
    for name in ("t.csv", "bare.csv"):
        rows = predictions(run, tmp_path, MODEL, name)
        assert [row["values"][0] for row in rows] == pytest.approx(wanted, rel=1e-6)
    assert abs(np.mean(wanted) - 100) < 10


def test_yes_no_targets_are_printed_under_their_names(run, tmp_path):
    x, _ = flowers()
    np.savez(tmp_path / "t.npz", x=x, y=(x > 0).astype(float), classes=np.array(["tall", "wide"]))
    assert run("train", "--data", "t.npz", *SHORT) == (0, "", "")
    code, out, error = run("predict", MODEL, "t.npz")
    assert (code, error) == (0, "")
    assert out.splitlines()[0].split() == ["index", "tall", "wide", "file"]


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
        "predict": "--label --json --device .csv .npz .npy IDX",
        "info": "--json",
    }.items():
        code, out, error = run(command, "--help")
        assert (code, error) == (0, "")
        assert all(option in out for option in options.split())
    code, out, _ = run()
    assert code == 0
    assert "train" in out
    assert run("--version")[1].split() == ["deltarule,", "version", deltarule.__version__]
