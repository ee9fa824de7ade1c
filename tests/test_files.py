"""Model files: what they keep, and what is refused; disks that are full."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

import deltarule as dr
import numpy as np
import pytest
import safetensors.numpy
from deltarule import nn
from deltarule.nn import files
from test_nn import LABELS, YES_NO, X, same, weights

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    nn.mlp([5, 4, 3], seed=1).save(path)
    return path


def test_a_model_comes_back_whole(tmp_path):
    path = tmp_path / "model.safetensors"
    net = nn.Network(
        [nn.Dense(6, "leaky_relu", slope=0.2), nn.Dropout(0.25), nn.Dense(3, bias=False)],
        inputs=5,
        dtype="float64",
        seed=9,
    )
    net.standardize(np.arange(5), np.full(5, 0.5))
    net.classes, net.image_shape, net.pixel_max = ["null", "eins", "zwei"], (1, 5), 16.0
    net.feature_names = list("abcde")
    net.fit(X, LABELS, nn.Adam(), epochs=2, batch_size=30)
    net.save(path)
    again = nn.Network.load(path)
    assert same(weights(net), weights(again))
    for name in (
        "layers",
        "inputs",
        "outputs",
        "loss",
        "dtype",
        "precision",
        "seed",
        "task",
        "classes",
        "feature_names",
        "image_shape",
        "pixel_max",
    ):
        assert getattr(again, name) == getattr(net, name), name
    assert again.predict_proba(X).tobytes() == net.predict_proba(X).tobytes()
    assert again.predict(X).tobytes() == net.predict(X).tobytes()
    for found in (net, again):
        found.fit(X, LABELS, nn.Adam(), epochs=1, batch_size=30)
    assert same(weights(net), weights(again))


@pytest.mark.parametrize(("loss", "y"), [("binary_cross_entropy", YES_NO[:, :3]), ("squared_error", LABELS)])
def test_the_task_comes_back(loss, y, tmp_path):
    net = nn.mlp([5, 4, 3], loss=loss)
    net.fit(X, y, epochs=1, batch_size=30)
    net.save(tmp_path / "model")
    assert nn.Network.load(tmp_path / "model").predict(X).tobytes() == net.predict(X).tobytes()


@pytest.mark.parametrize("trained", [False, True])
def test_what_whole_numbers_mean_comes_back(trained, tmp_path):
    net = nn.mlp([5, 4, 1], loss="squared_error", seed=1)
    if trained:
        net.fit(X, LABELS.astype(float)[:, None], epochs=1, batch_size=30)
    net.save(tmp_path / "model")
    nn.Committee([net]).save(tmp_path / "committee")
    committee = nn.Committee.load(tmp_path / "committee")
    for again in (nn.Network.load(tmp_path / "model"), *committee):
        again.train_step(X, LABELS > 0, nn.SGD(0.1))
        assert again.task == ("regression" if trained else "classification")


def test_older_files_of_regression_nets_take_whole_numbers(tmp_path):
    path = tmp_path / "model"
    nn.mlp([5, 4, 1], loss="squared_error", seed=1).save(path)
    rewrite(path, takes_counts=None)
    net = nn.Network.load(path)
    net.train_step(X, LABELS > 0, nn.SGD(0.1))
    assert net.task == "regression"


@pytest.mark.parametrize("brightest", [np.float32(16), np.array(16), dr.array([3.0, 16.0]).max()])
def test_arrays_without_dimensions_are_numbers(brightest, tmp_path):
    net = nn.mlp([5, 3])
    net.pixel_max = brightest
    net.save(tmp_path / "model")
    assert nn.Network.load(tmp_path / "model").pixel_max == 16.0


def test_others_can_read_the_file(saved):
    tensors = safetensors.numpy.load_file(saved)
    assert {name: t.shape for name, t in tensors.items()} == {
        "layer0.weight": (5, 4),
        "layer0.bias": (4,),
        "layer1.weight": (4, 3),
        "layer1.bias": (3,),
    }
    with safetensors.safe_open(saved, "numpy") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["version"]) == ("deltarule model", str(files.VERSION))
    assert json.loads(metadata["header"])["layers"][0]["activation"] == "tanh"


# What is not a model


def test_the_same_net_gives_the_same_bytes(tmp_path):
    net = nn.mlp([3, 4, 2], seed=1)
    for attempt in range(8):  # the library's own order changes from call to call
        net.save(tmp_path / f"{attempt}.safetensors")
    assert len({(tmp_path / f"{attempt}.safetensors").read_bytes() for attempt in range(8)}) == 1


def rewrite(path, change_tensors=lambda t: t, metadata=None, **header):
    with safetensors.safe_open(path, "numpy") as file:
        found = dict(file.metadata())
    found["header"] = json.dumps({**json.loads(found["header"]), **header})
    found.update(metadata or {})
    tensors = change_tensors(safetensors.numpy.load_file(path))
    path.write_bytes(safetensors.numpy.save(tensors, found))


def without(name):
    return lambda tensors: {key: t for key, t in tensors.items() if key != name}


def transposed(tensors):
    return {**tensors, "layer0.weight": tensors["layer0.weight"].T.copy()}


def widened(tensors):
    return {**tensors, "layer0.bias": tensors["layer0.bias"].astype(float)}


def test_every_truncation_is_noticed(saved):
    content = saved.read_bytes()
    for length in (0, 5, 8, 9, 20, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"is truncated|is not a safetensors file") as caught:
            nn.Network.load(saved)
        assert str(saved) in str(caught.value)
        assert "\n" not in str(caught.value)
        if length >= 20:
            assert "is truncated" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04" + bytes(100),
        b"hello",
        bytes(1000),
        (20).to_bytes(8, "little") + b"{" * 20,
        b"\x80\x05" * 50,
    ],
)
def test_other_files_are_refused(content, saved):
    saved.write_bytes(content)
    with pytest.raises(ValueError, match="is not a safetensors file"):
        nn.Network.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metadata": {"format": "pt"}}, "but not of deltarule; wanted a deltarule model"),
        ({"metadata": {"version": "2"}}, "has format version 2; this deltarule reads up to 1"),
        ({"metadata": {"version": "x"}}, "version is 'x'"),
        ({"metadata": {"header": "{"}}, "is damaged"),
        ({"metadata": {"header": "[]"}}, "is damaged"),
        ({"change_tensors": without("layer1.bias")}, "lacks the tensor 'layer1.bias'"),
        ({"change_tensors": transposed}, r"layer0.weight is float32 \(4, 5\); .* wants float32 \(5, 4\)"),
        ({"change_tensors": widened}, "layer0.bias is float64"),
        ({"loss": "hinge"}, "loss is 'hinge'"),
        ({"inputs": 6}, r"the architecture wants float32 \(6, 4\)"),
        ({"layers": [{"kind": "conv"}]}, "layer kind is 'conv'; choices: dense, dropout"),
        ({"layers": [{"units": 3}]}, "is damaged: a layer lacks 'kind'"),
        ({"layers": [{"kind": 3}]}, "is damaged: kind in a layer is 3; wanted a text"),
        ({"layers": [{"kind": "dense", "units": 3, "groups": 2}]}, "a layer dense lacks 'activation'"),
        ({"layers": 5}, "is damaged: layers in its header is 5; wanted a list, each an object"),
        ({"inputs": 10**13}, r"is damaged: .* wants float32 \(10000000000000, 4\)"),
        ({"classes": 3}, "is damaged: classes in its header is 3; wanted a list, each a text, or null"),
        ({"task": "dance"}, "is damaged: task .* wanted one of classification, multi_label, regression"),
        ({"image_shape": [3, "a", 5]}, "is damaged: image_shape"),
        ({"image_shape": [2, 2]}, "images have 5 pixels; wanted 2 x 2"),
        ({"pixel_max": "a"}, "is damaged: pixel_max"),
        ({"feature_names": "abc"}, "is damaged: feature_names"),
    ],
)  # fmt: skip
def test_models_that_do_not_fit_are_refused(change, message, saved):
    rewrite(saved, **change)
    with pytest.raises(ValueError, match=message) as caught:
        nn.Network.load(saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("image_shape", "foo", r"Network: image_shape is 'foo'; wanted \(height, width\)"),
        ("image_shape", (2, 3), "Network: images have 5 pixels; wanted 2 x 3"),
        ("image_shape", (1, 5.0), r"Network: image_shape\[1\] is 5.0; wanted a whole number"),
        ("pixel_max", "a", "Network: pixel_max is 'a'; wanted a number"),
        ("classes", "ab", "Network: classes is 'ab'; wanted a list of names"),
        ("feature_names", 3, "Network: feature_names is 3; wanted a list of names"),
    ],
)
def test_what_a_net_cannot_keep_is_refused_at_once(name, value, message, one_line):
    net = nn.mlp([5, 4, 3])
    with one_line((TypeError, ValueError), message):
        setattr(net, name, value)
    assert getattr(net, name) is None


def test_names_of_any_kind_are_kept_as_texts(tmp_path):
    net = nn.mlp([5, 4, 3])
    net.classes, net.feature_names, net.image_shape = range(3), np.array(list("abcde")), [1, 5]
    assert (net.classes, net.feature_names, net.image_shape) == (["0", "1", "2"], list("abcde"), (1, 5))
    net.classes[0] = 7
    net.save(tmp_path / "model")
    assert nn.Network.load(tmp_path / "model").classes == ["7", "1", "2"]


def test_a_file_without_feature_names_is_read(saved):
    with safetensors.safe_open(saved, "numpy") as file:
        header = json.loads(file.metadata()["header"])
    del header["feature_names"]
    rewrite(saved, metadata={"header": json.dumps(header)})
    assert nn.Network.load(saved).feature_names is None


def test_a_header_without_an_entry_is_refused(saved):
    with safetensors.safe_open(saved, "numpy") as file:
        header = json.loads(file.metadata()["header"])
    del header["dtype"]
    rewrite(saved, metadata={"header": json.dumps(header)})
    with pytest.raises(ValueError, match="is damaged: its header lacks 'dtype'"):
        nn.Network.load(saved)


def test_checkpoints_and_models_are_told_apart(saved, tmp_path):
    path = tmp_path / "checkpoint"
    net = nn.mlp([5, 4, 3], seed=1)
    net.fit(X, LABELS, epochs=1, batch_size=30, callbacks=[nn.Checkpoint(path)])
    with pytest.raises(ValueError, match="is a deltarule checkpoint; wanted a deltarule model"):
        nn.Network.load(path)
    with pytest.raises(ValueError, match="is a deltarule model; wanted a deltarule checkpoint"):
        net.fit(X, LABELS, epochs=1, batch_size=30, resume=saved)


def test_a_truncated_checkpoint_is_refused(tmp_path):
    path = tmp_path / "checkpoint"
    net = nn.mlp([5, 4, 3], seed=1)
    net.fit(X, LABELS, epochs=1, batch_size=30, callbacks=[nn.Checkpoint(path)])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is truncated"):
        net.fit(X, LABELS, epochs=1, batch_size=30, resume=path)


def test_a_missing_file_and_an_unknown_device(saved):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.safetensors"):
        nn.Network.load("nowhere.safetensors")
    with pytest.raises((ValueError, RuntimeError), match="tpu"):
        nn.Network.load(saved, device="tpu")


# Writing


def test_saving_replaces_and_leaves_nothing_behind(saved):
    net = nn.mlp([5, 3], seed=7)
    net.save(saved)
    assert same(weights(nn.Network.load(saved)), weights(net))
    assert os.listdir(saved.parent) == [saved.name]


def test_the_content_is_on_the_disk_before_the_name(saved, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, call=call: (calls.append(name), call(*a)))
    nn.mlp([5, 3]).save(saved)
    assert calls == ["fsync", "replace"]


def test_a_link_stays_a_link(saved, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(saved)
    net = nn.mlp([5, 3], seed=7)
    net.save(link)
    assert link.is_symlink()
    assert same(weights(nn.Network.load(saved)), weights(net))


def test_an_unwritable_place_is_an_oserror(saved, tmp_path):
    net = nn.mlp([5, 3])
    with pytest.raises(OSError, match="nowhere"):
        net.save(tmp_path / "nowhere" / "model")
    with pytest.raises(OSError, match="folder"):
        net.fit(X, LABELS, batch_size=30, callbacks=[nn.Checkpoint(tmp_path)])
    if not ROOT:
        tmp_path.chmod(0o500)
        with pytest.raises(PermissionError):
            net.save(saved)
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("what", ["model", "checkpoint"])
def test_a_full_disk_leaves_the_old_file(what, tmp_path):
    """The limit on file sizes stands for the full disk; it is that of a process of its own."""
    path = tmp_path / "file"
    code = f"""
import resource, sys
import numpy as np
from deltarule import nn
x, y = np.random.default_rng(0).random((100, 50), np.float32), np.arange(100) % 10
def write(seed):
    net = nn.mlp([50, 100, 10], seed=seed)
    if {what!r} == "model":
        net.save({str(path)!r})
    else:
        net.fit(x, y, epochs=1, callbacks=[nn.Checkpoint({str(path)!r})])
write(1)
before = open({str(path)!r}, "rb").read()
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    write(2)
except OSError as error:
    print(type(error).__name__, error.errno)
assert open({str(path)!r}, "rb").read() == before
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "OSError"
    assert os.listdir(tmp_path) == ["file"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o666])
@pytest.mark.parametrize("link", [False, True])
def test_a_file_keeps_its_mode(mode, link, tmp_path):
    path = tmp_path / "model"
    path.touch()
    path.chmod(mode)
    name = tmp_path / "link" if link else path
    if link:
        name.symlink_to(path)
    nn.mlp([5, 4, 3]).save(name)
    assert path.stat().st_mode & 0o777 == mode
    assert nn.Network.load(path).inputs == 5
    assert name.is_symlink() == link
    assert len(list(tmp_path.iterdir())) == 1 + link


def test_a_new_file_has_the_mode_of_new_files(tmp_path):
    nn.mlp([5, 4, 3]).save(tmp_path / "model")
    (tmp_path / "other").touch()
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "other").stat().st_mode
