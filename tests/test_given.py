"""What is given to a net as an array: frames, masked arrays."""

from __future__ import annotations

import numpy as np
import pytest
from deltarule import data, nn
from deltarule.data import augment
from test_nn import LABELS, X, same, weights


def test_a_frame_of_numbers_and_truth_values_is_taken(one_line):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], "b": X[:, 1] > 0, "c": pandas.array([1] * len(X), "Int64")})
    assert np.asarray(frame).dtype == object
    plain = np.column_stack([X[:, 0], X[:, 1] > 0, np.ones(len(X))]).astype(np.float64)
    net, same_net = nn.mlp([3, 4, 3], seed=1), nn.mlp([3, 4, 3], seed=1)
    net.fit(frame, LABELS, epochs=1, batch_size=30)
    same_net.fit(plain, LABELS, epochs=1, batch_size=30)
    assert same(weights(net), weights(same_net))
    frame["c"] = "oak"
    with one_line(TypeError, "fit: x has column 'c' of .*; wanted numbers"):
        net.fit(frame, LABELS)


def test_a_mask_is_not_ignored(one_line):
    net = nn.mlp([5, 4, 3])
    x = np.ma.masked_array(X, mask=False)
    assert net.predict(x).tolist() == net.predict(X).tolist()
    x[3, 1] = np.ma.masked
    for call in (net.predict, lambda x: net.fit(x, LABELS), lambda x: net.train_step(x, LABELS, nn.SGD(0.1))):
        with one_line(ValueError, "x is a masked array that masks 1 value;"):
            call(x)
    with one_line(ValueError, "fit: y is a masked array"):
        net.fit(X, np.ma.masked_equal(LABELS, LABELS[0]))


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (augment.Affine(rotation=10), "augment: images"),
        (lambda x: augment.pad(x, (10, 10)), "pad: images"),
        (lambda x: data.check_samples(x, LABELS[:2]), "check_samples: x"),
        (
            lambda x: data.check_samples(np.asarray(x), np.ma.masked_equal(LABELS[:2], LABELS[0])),
            "check_samples: y",
        ),
    ],
)
def test_masks_of_images_and_samples_are_not_ignored(call, what, one_line):
    x = np.ma.masked_array(np.zeros((2, 64)), mask=False)
    x[0, :2] = np.ma.masked
    with one_line(ValueError, f"{what} is a masked array that masks"):
        call(x)
