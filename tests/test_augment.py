"""data.augment: what it hands to the kernels; and fit(augment=...), which trains on new images in every epoch."""

from __future__ import annotations

import deltarule.nn.fit as fit_module
import numpy as np
import pytest
import reference_deform as oracle
import tolerance
from deltarule import _core, nn
from deltarule.data import augment
from test_fit import timeless
from test_nn import same, weights
from test_resume import InterruptAtStep

ROWS = np.random.default_rng(2)
X = ROWS.integers(0, 256, (120, 64)).astype(np.uint8)
Y = (X[:, :32].sum(1) > X[:, 32:].sum(1)).astype(np.int64) + (X[:, 0] > 128)
RULE = augment.Affine(rotation=10, shear=15, scale=(0.1, 0.2), per_class={1: 0.5}) + augment.Elastic(2, 8)


def new_net(seed=5, **settings):
    return nn.mlp([64, 12, 3], seed=seed, **settings)


def test_calling_it_is_the_oracle_s():
    images, labels = X[:5].reshape(5, 8, 8), np.array([0, 1, 2, 1, 0])
    stream = _core.deform_stream(3)
    got = RULE(images, seed=7, epoch=3, labels=labels, first=11)
    for i in range(5):
        factor = 0.5 if labels[i] == 1 else 1.0
        m = oracle.matrix(i + 11, 8, 8, 7, stream, 10, 15, (0.1, 0.2), factor)
        noise = oracle.noise(i + 11, 8, 8, 7, stream)
        field = 8 * np.stack([oracle.smooth(part, 2, 2) for part in noise])
        want = oracle.look_up(images[i], oracle.places((8, 8), m, field), 0.0)
        tolerance.assert_within(got[i], want, tolerance.looked_up(images[i], 0.0, 8, 4, 8.0))


def test_rows_and_images_of_any_dtype_are_the_same():
    labels = Y[:20]
    want = RULE(X[:20].reshape(20, 8, 8), labels=labels)
    for x in (X[:20], X[:20].astype(np.float64), X[:20].astype(np.int32), X[:20].astype(">f4")):
        assert np.array_equal(RULE(x, labels=labels).reshape(20, 8, 8), want)
    wide = X[:20].reshape(20, 4, 16)
    assert np.array_equal(
        RULE(wide, labels=labels).reshape(20, 64), RULE(X[:20], labels=labels, image_shape=(4, 16))
    )
    assert RULE(X[:0], labels=Y[:0]).shape == (0, 64)


def test_background_comes_in_where_the_image_ends():
    flat = np.full((4, 9, 9), 5, np.uint8)
    turned = augment.Compose([augment.Affine(rotation=45)], background=5.0)(flat)
    assert (turned == 5).all()
    assert (augment.Affine(rotation=45)(flat) < 5).any()


def test_sums():
    affine, elastic = augment.Affine(rotation=5), augment.Elastic(3, 10)
    assert repr(affine + elastic) == repr(augment.Compose([affine, elastic]))
    images = X[:6].reshape(6, 8, 8)
    assert np.array_equal((affine + elastic)(images), (elastic + affine)(images))
    white = augment.Compose([affine], background=255)
    assert (white + elastic).background == (elastic + white).background == 255
    with pytest.raises(TypeError):
        affine + 3


def test_pad():
    images = np.arange(1, 13, dtype=np.float32).reshape(2, 2, 3)
    want = np.full((2, 5, 4), -1, np.float32)
    want[:, 1:3, 0:3] = images
    assert np.array_equal(augment.pad(images, (5, 4), background=-1), want)
    rows = augment.pad(images.reshape(2, 6), (5, 4), image_shape=(2, 3), background=-1)
    assert np.array_equal(rows, want.reshape(2, 20))
    assert augment.pad(X[:3], (9, 9)).shape == (3, 81)
    assert augment.pad(X[:3], (9, 9)).dtype == np.uint8


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        (ValueError, "rotation is 181", lambda: augment.Affine(rotation=181)),
        (ValueError, "rotation is -1", lambda: augment.Affine(rotation=-1)),
        (ValueError, "rotation is nan", lambda: augment.Affine(rotation=float("nan"))),
        (ValueError, "shear is 90; wanted 0 or more, below 90", lambda: augment.Affine(shear=90)),
        (ValueError, "scale_y is 1; wanted", lambda: augment.Affine(scale=(0.1, 1))),
        (ValueError, r"per_class\[3\] is 2; wanted 0 to 1", lambda: augment.Affine(5, per_class={3: 2})),
        (TypeError, r"rotation is \(-15, 15\); wanted a number", lambda: augment.Affine(rotation=(-15, 15))),
        (TypeError, "rotation is '15'; wanted a number", lambda: augment.Affine(rotation="15")),
        (TypeError, "shear is None; wanted a number", lambda: augment.Affine(shear=None)),
        (TypeError, "scale is '1'; wanted a number", lambda: augment.Affine(scale="1")),
        (TypeError, r"per_class\[1\] is '0.5'; wanted", lambda: augment.Affine(5, per_class={1: "0.5"})),
        (TypeError, "alpha is None; wanted a number", lambda: augment.Elastic(5, None)),
        (TypeError, "sigma is '5'; wanted a number", lambda: augment.Elastic("5", 3)),
        (TypeError, "truncate is '2'; wanted a number", lambda: augment.Elastic(5, 3, "2")),
        (TypeError, "background is '0'; wanted a number", lambda: augment.Compose([], "0")),
        (ValueError, r"image_shape is \(12,\); wanted \(h", lambda: RULE(X, image_shape=(12,))),
        (TypeError, r"image_shape\[1\] is 8.5; wanted a whole", lambda: RULE(X, image_shape=(8, 8.5))),
        (ValueError, r"pad: shape is \(9,\); wanted \(height, width\)", lambda: augment.pad(X, (9,))),
        (ValueError, r"pad: shape is 9; wanted \(height, width\)", lambda: augment.pad(X, 9)),
        (ValueError, "sigma is 0", lambda: augment.Elastic(0, 1)),
        (ValueError, "truncate is -1", lambda: augment.Elastic(1, 1, -1)),
        (ValueError, "64 taps on each side; wanted at most 63", lambda: augment.Elastic(32, 1)),
        (ValueError, "alpha is inf", lambda: augment.Elastic(3, float("inf"))),
        (ValueError, "background is nan", lambda: augment.Compose([], float("nan"))(X)),
        (ValueError, "Affine came twice", lambda: augment.Affine(1) + augment.Affine(2)),
        (TypeError, "a member is 3; wanted", lambda: augment.Compose([3])),
        (ValueError, r"images are \(120,\); wanted", lambda: RULE(X[:, 0])),
        (TypeError, "images are complex128", lambda: RULE(X * 1j)),
        (ValueError, r"of shape \(120, 60\) have 60 pixels; wanted image_shape=", lambda: RULE(X[:, :60])),
        (
            ValueError,
            r"pad: images of shape \(8, 8\) have 8 .*\[n, height, width\]",
            lambda: augment.pad(X[:8, :8], (9, 9)),
        ),
        (
            ValueError,
            "background is 0.7; wanted a whole number from 0 to 255",
            lambda: augment.pad(X, (9, 9), background=0.7),
        ),
        (
            ValueError,
            "background is -1; .* from 0 to 255, for the images are uint8",
            lambda: augment.pad(X, (9, 9), background=-1),
        ),
        (
            ValueError,
            "background is nan; wanted a whole",
            lambda: augment.pad(X, (9, 9), background=float("nan")),
        ),
        (TypeError, "background is 'a'; wanted a number", lambda: augment.pad(X, (9, 9), background="a")),
        (ValueError, "64 pixels; wanted 5 x 5", lambda: RULE(X, image_shape=(5, 5))),
        (ValueError, "per_class wants labels; there are none", lambda: RULE(X)),
        (ValueError, r"labels are \(4,\); wanted \(120,\)", lambda: RULE(X, labels=Y[:4])),
        (TypeError, "labels are float64; per_class wants whole", lambda: RULE(X, labels=Y * 1.0)),
        (ValueError, "shape is 7 x 9, images are 8 x 8", lambda: augment.pad(X, (7, 9))),
        (TypeError, "augment is 15; wanted", lambda: new_net().fit(X, Y, augment=15)),
        (ValueError, "fit: augment: images have 60", lambda: nn.mlp([60, 3]).fit(X[:, :60], Y, augment=RULE)),
        (
            ValueError,
            "fit: augment: per_class wants labels",
            lambda: new_net(loss="squared_error").fit(X, np.eye(3)[Y], augment=RULE),
        ),
    ],
)
def test_what_is_refused(error, match, call, one_line):
    with one_line(error, match):
        call()


def test_the_engine_refuses_what_would_be_read_or_written_outside(one_line):
    rule = RULE.build()
    out = _core.empty((3, 64), "float32", "cpu")
    for match, given in (
        (r"x is \(120, 64\); wanted \(rows, 63\)", {"shape": (7, 9)}),
        (r"order\[1\] is 120; wanted|x has 120 rows", {"order": np.array([0, 120])}),
        (r"factor is \(2,\); wanted \(120,\)", {"factor": np.ones(2, np.float32)}),
        (r"out is \(3, 64\) float32; wanted a contiguous \(120, 64\)", {"out": out}),
        ("images are 0 x 64", {"shape": (0, 64)}),
    ):
        shape = given.pop("shape", (8, 8))
        with one_line(ValueError, match):
            _core.deform(X, *shape, rule, 0, 0, **given)
    with one_line(TypeError, "x is float64; wanted uint8 or float32"):
        _core.deform(X * 1.0, 8, 8, rule, 0, 0)


def test_take_rows():
    order = np.array([3, 0, 3, 7])
    for x in (Y, X.astype(np.float32), X.astype(np.float64)[:, :5], Y * 0.5):
        assert np.array_equal(np.asarray(_core.take_rows(x, order)), x[order])
        assert np.asarray(_core.take_rows(x, order)).dtype == x.dtype
    with pytest.raises(ValueError, match="x has 120 rows"):
        _core.take_rows(Y, [120])
    with pytest.raises(TypeError, match="x is uint8"):
        _core.take_rows(X, order)


# fit


def by_hand(net, epochs, batch_size, x=X, y=Y, sample_weight=None, seed=5):
    """The same steps by train_step on images deformed epoch by epoch."""
    for epoch in range(epochs):
        deformed = RULE(x, seed, epoch, y)
        order = np.asarray(_core.permutation(len(x), seed, _core.shuffle_stream(epoch)))
        for rows in np.split(order, range(batch_size, len(x), batch_size)):
            weight = None if sample_weight is None else sample_weight[rows]
            net.train_step(deformed[rows], y[rows], nn.SGD(0.01), weight)


@pytest.mark.parametrize("weighted", [False, True])
def test_fit_trains_on_new_images_in_every_epoch(device, weighted):
    weight = np.linspace(0, 2, len(X)).astype(np.float32) if weighted else None
    ours, hand = new_net(device=device), new_net()
    for net in (ours, hand):
        net.standardize(np.full(64, 100.0), np.full(64, 0.01))
    history = ours.fit(
        X, Y, nn.SGD(0.01), epochs=3, batch_size=7, sample_weight=weight, validation=(X, Y), augment=RULE
    )
    by_hand(hand, 3, 7, sample_weight=weight)
    for got, want in zip(ours.parameters, hand.parameters, strict=True):
        want = np.asarray(want)
        got = np.asarray(got.to("cpu"))
        tolerance.assert_within(got, want, tolerance.trajectory(want, 3 * 18, 64, np.float32))
    # Validation sees the images as they are.
    assert history["validation_loss"][-1] == ours.evaluate(X, Y)[0]
    plain = new_net(device=device)
    plain.standardize(np.full(64, 100.0), np.full(64, 0.01))
    plain.fit(X, Y, nn.SGD(0.01), epochs=3, batch_size=7, sample_weight=weight)
    assert not np.array_equal(
        np.asarray(plain.parameters[0].to("cpu")), np.asarray(ours.parameters[0].to("cpu"))
    )


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("x", [X, X.astype(np.float64)], ids=["uint8", "float64"])
def test_chunks_and_threads_change_no_bit(batch_size, x, monkeypatch, threads):
    found = []
    for seconds, rows, count in ((0.05, 4096, 1), (0.0, 4096, 2), (0.05, 20, 3)):
        monkeypatch.setattr(fit_module, "CHUNK_SECONDS", seconds)
        monkeypatch.setattr(fit_module, "CHUNK_ROWS", rows)
        threads(count)
        net = new_net()
        history = net.fit(x, Y, nn.SGD(0.001), epochs=2, batch_size=batch_size, augment=RULE)
        found.append((weights(net), timeless(history)))
    assert all(same(found[0][0], other[0]) and found[0][1] == other[1] for other in found[1:])


@pytest.mark.parametrize("where", [1.0, 1.6])
def test_resume_gives_the_bits_of_the_uninterrupted_run(where, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_module, "CHUNK_SECONDS", 0.0)
    path = tmp_path / "checkpoint"

    def train(net, schedule, epochs=3, rule=RULE, **more):
        return net.fit(
            X, Y, nn.Adam(0.01), epochs, 20, schedule=schedule, augment=rule,
            callbacks=[nn.Checkpoint(path, every=9)], **more,
        )  # fmt: skip

    schedule = nn.Cosine(3)
    whole, part, resumed = (new_net() for _ in range(3))
    expected = train(whole, schedule)
    with monkeypatch.context() as patch:
        patch.setattr("deltarule.nn.plan.describe", lambda _: repr(schedule))
        with pytest.raises(KeyboardInterrupt):
            train(part, InterruptAtStep(schedule, where))
    assert timeless(train(resumed, schedule, resume=path)) == timeless(expected)
    assert same(weights(whole), weights(resumed))
    for rule in (None, augment.Affine(rotation=10), RULE + augment.Compose([], background=3)):
        with pytest.raises(ValueError, match=r"augment (was|had)"):
            train(new_net(), schedule, rule=rule, resume=path)


def test_image_shape_of_the_net_is_used():
    shaped, square = new_net(), new_net()
    shaped.image_shape = (4, 16)
    for net in (shaped, square):
        net.fit(X, Y, nn.SGD(0.001), epochs=1, batch_size=20, augment=RULE, shuffle=False)
    hand = new_net()
    deformed = RULE(X, 5, 0, Y, image_shape=(4, 16))
    for rows in np.arange(120).reshape(6, 20):
        hand.train_step(deformed[rows], Y[rows], nn.SGD(0.001))
    assert same(weights(shaped), weights(hand))
    assert not same(weights(shaped), weights(square))


@pytest.mark.parametrize("per_class", [{"1": 0.5}, {1.5: 0.5}, [1, 7], None])
def test_labels_of_per_class_are_whole_numbers(per_class):
    with pytest.raises(TypeError, match="Affine: per_class"):
        augment.Affine(rotation=10, per_class=per_class)


def test_bad_seeds_and_scales():
    images = np.zeros((2, 8, 8), np.uint8)
    for settings in ({"seed": -1}, {"seed": 1.5}, {"epoch": -1}):
        with pytest.raises(ValueError, match="wanted a whole number, 0 or more"):
            augment.Affine(rotation=10)(images, **settings)
    with pytest.raises(ValueError, match="wanted one number"):
        augment.Affine(scale=(0.1, 0.2, 0.3))


def test_a_gaussian_narrower_than_numbers_can_square_leaves_the_noise():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8)).astype(np.uint8)
    narrow, narrower = (augment.Elastic(sigma=sigma, alpha=2)(images, seed=1) for sigma in (1e-3, 1e-170))
    assert np.array_equal(narrow, narrower)


def test_resume_on_images_of_another_shape_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (20, 100)).astype(np.uint8), rng.integers(0, 3, 20)
    path = tmp_path / "fit.safetensors"
    settings = {"batch_size": 10, "augment": augment.Affine(rotation=10), "callbacks": [nn.Checkpoint(path)]}
    net = nn.mlp([100, 8, 3], seed=0)
    net.image_shape = (10, 10)
    net.fit(x, y, epochs=1, **settings)
    net = nn.mlp([100, 8, 3], seed=0)
    net.image_shape = (5, 20)
    with pytest.raises(ValueError, match="image_shape was"):
        net.fit(x, y, epochs=2, resume=path, **settings)
