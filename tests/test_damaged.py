"""Files whose JSON was altered: one ValueError that names the file, or the same net as before."""

from __future__ import annotations

import copy
import json
import random

import numpy as np
import pytest
from deltarule import nn, pretrain
from test_nn import LABELS, X, same, weights

ATTEMPTS = 120
WRONG = (True, 7, 1.5, "a", [], {}, [3, "a", 5], {"a": 1}, None)
NET = {"activation": "tanh", "dropout": 0.1, "seed": 3}


class Interrupt(nn.Callback):
    """Ctrl-C after an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, history):
        if len(history) == self.epoch:
            raise KeyboardInterrupt


def model(path):
    net = nn.mlp([5, 4, 3], **NET)
    net.standardize(np.arange(5), np.full(5, 0.5))
    net.classes, net.image_shape, net.pixel_max = list("abc"), (1, 5), 16.0
    net.feature_names = list("vwxyz")
    net.save(path)
    return lambda: [*weights(again := nn.Network.load(path)), again.predict_proba(X)]


def committee(path):
    nn.Committee(nn.mlp([5, 3, 3], seed=seed) for seed in range(2)).save(path)
    return lambda: [nn.Committee.load(path).predict_proba(X)]


def checkpoint(path):
    settings = {"optimizer": nn.Adam(), "epochs": 4, "batch_size": 30, "validation": (X, LABELS)}
    stopping = nn.EarlyStopping(patience=9)
    with pytest.raises(KeyboardInterrupt):
        nn.mlp([5, 4, 3], **NET).fit(
            X, LABELS, callbacks=[stopping, nn.Checkpoint(path), Interrupt(2)], **settings
        )

    def load():
        net = nn.mlp([5, 4, 3], **NET)
        net.fit(X, LABELS, callbacks=[nn.EarlyStopping(patience=9)], resume=path, **settings)
        return weights(net)

    return load


def pretraining(path):
    settings = {"method": [pretrain.RBM(), pretrain.AutoEncoder(tied=False)], "batch_size": 30}
    inputs = (X - X.min()) / (X.max() - X.min())
    new = {"activation": "sigmoid", "seed": 3}
    pretrain.greedy(nn.mlp([5, 4, 3, 2], **new), inputs, epochs=2, checkpoint=path, **settings)

    def load():
        net = nn.mlp([5, 4, 3, 2], **new)
        pretrain.greedy(net, inputs, epochs=2, resume=path, **settings)
        return weights(net)

    return load


def places(value, path=()):
    """Paths of all entries of a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield (*path, key)
        yield from places(item, (*path, key))


def kind(value):
    """JSON's kinds; a whole number and a fraction are two."""
    return type(value)


def altered(value, rng):
    """A copy with one entry of another kind, or one key less; and what was done."""
    made = copy.deepcopy(value)
    *way, last = rng.choice(list(places(made)))
    place = made
    for key in way:
        place = place[key]
    choices = [wrong for wrong in WRONG if kind(wrong) is not kind(place[last])]
    if isinstance(place[last], float):
        choices.remove(7)  # a whole number is a number, too
    if isinstance(place, dict) and rng.random() < 0.2:
        del place[last]
        return made, f"without {[*way, last]}"
    place[last] = rng.choice(choices)
    return made, f"{[*way, last]} = {place[last]!r}"


def parts(path):
    """JSON of the file, JSON of our own header in it, data."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    whole = json.loads(content[8:end])
    return whole, json.loads(whole["__metadata__"]["header"]), content[end:]


def write(path, whole, data):
    text = json.dumps(whole).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize("make", [model, committee, checkpoint, pretraining])
@pytest.mark.parametrize("inner", [True, False], ids=["header", "file"])
def test_altered_json_is_refused_or_changes_nothing(make, inner, tmp_path):
    path = tmp_path / "file.safetensors"
    load = make(path)
    whole, header, data = parts(path)
    write(path, whole, data)
    expected = load()
    rng = random.Random(0)
    refused = 0
    for _ in range(ATTEMPTS if inner else ATTEMPTS // 2):
        if inner:
            text, what = altered(header, rng)
            changed = copy.deepcopy(whole)
            changed["__metadata__"]["header"] = json.dumps(text)
        else:
            changed, what = altered(whole, rng)
        write(path, changed, data)
        try:
            found, message = load(), ""
        except ValueError as error:
            found, message = None, str(error)
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
        refused += found is None
        assert same(found, expected) if found else str(path) in message, (what, message)
        assert "\n" not in message, (what, message)
    assert refused > ATTEMPTS / 4


def test_a_refused_checkpoint_leaves_the_weights(tmp_path):
    path = tmp_path / "file.safetensors"
    checkpoint(path)
    whole, header, data = parts(path)
    header["callbacks"][0]["waited"] = "long"
    whole["__metadata__"]["header"] = json.dumps(header)
    write(path, whole, data)
    net = nn.mlp([5, 4, 3], **NET)
    before = weights(net)
    with pytest.raises(
        ValueError,
        match=r"cannot be restored by EarlyStopping .*waited in it is 'long'; wanted a whole number",
    ):
        net.fit(
            X, LABELS, nn.Adam(), epochs=4, batch_size=30, validation=(X, LABELS),
            callbacks=[nn.EarlyStopping(patience=9)], resume=path,
        )  # fmt: skip
    assert same(weights(net), before)


class Wrong(nn.Callback):
    """Has a state, and a mistake."""

    def state(self):
        return {"count": 1}

    def restore(self, state):
        self.nothing.append(state)


def test_a_mistake_of_a_callback_is_not_the_file_s(tmp_path, one_line):
    path = tmp_path / "file.safetensors"
    settings = {"batch_size": 30, "callbacks": [Wrong(), nn.Checkpoint(path)]}
    nn.mlp([5, 4, 3], **NET).fit(X, LABELS, epochs=1, **settings)
    with one_line(ValueError, r"file\.safetensors cannot be restored by Wrong \(AttributeError: .*nothing"):
        nn.mlp([5, 4, 3], **NET).fit(X, LABELS, epochs=2, resume=path, **settings)
