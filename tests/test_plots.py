"""Figures: what is drawn, and that it is written whole or not at all."""

import os
import subprocess
import sys

import numpy as np
import pytest
from deltarule import plots

EPOCHS = [
    {"train_loss": 2.0, "train_error": 0.5, "validation_loss": 1.5, "validation_error": 0.25},
    {"train_loss": 0.1, "train_error": 0.0, "validation_loss": 0.5, "validation_error": 0.125},
]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_learning_curve_draws_loss_and_error_of_both_parts():
    loss, error = plots.learning_curve(EPOCHS, title="run").get_axes()
    assert [line.get_ydata().tolist() for line in loss.get_lines()] == [[2.0, 0.1], [1.5, 0.5]]
    assert [line.get_ydata().tolist() for line in error.get_lines()] == [[50.0, 0.0], [25.0, 12.5]]
    assert error.get_legend().get_texts()[1].get_text() == "validation 12.50 %"
    assert loss.get_yscale() == "log"


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_learning_curve_without_validation_and_errors(missing):
    epochs = [
        {"train_loss": 1.0, "train_error": missing, "validation_loss": missing, "validation_error": missing}
    ]
    (loss,) = plots.learning_curve(epochs).get_axes()
    assert len(loss.get_lines()) == 1
    assert loss.get_lines()[0].get_marker() == "o"  # one epoch would be invisible as a line


def test_learning_curve_without_epochs(one_line):
    with one_line(ValueError, "no epochs"):
        plots.learning_curve([])


def test_confusion_matrix_counts_like_a_loop():
    random = np.random.default_rng(0)
    true, guess = random.integers(0, 5, 200), random.integers(0, 5, 200)
    wanted = np.zeros((5, 5), np.int64)
    for t, g in zip(true, guess, strict=True):
        wanted[t, g] += 1
    got = plots.confusion_matrix(true, guess, 5)
    assert got.dtype == np.int64
    assert got.tolist() == wanted.tolist()


def test_worst_classified_are_those_with_the_least_probability_of_the_truth():
    random = np.random.default_rng(1)
    probabilities = random.dirichlet(np.ones(4), 50)
    labels = random.integers(0, 4, 50)
    chosen = plots.worst_classified(labels, probabilities, 7)
    given = [probabilities[i, labels[i]] for i in range(50)]
    assert [given[i] for i in chosen] == sorted(given)[:7]


def confusion_figure(samples=12):
    random = np.random.default_rng(2)
    probabilities = random.dirichlet(np.ones(3), samples)
    labels = probabilities.argmax(axis=1)
    labels[0] = (labels[0] + 1) % 3
    images = random.integers(0, 256, (samples, 20)).astype(np.uint8)
    figure = plots.confusion(labels, probabilities, ["cat", "dog", "eel"], images, (4, 5), worst=10)
    return figure, labels, probabilities, images


def test_confusion_shows_counts_and_the_worst_images_with_two_guesses():
    figure, labels, probabilities, images = confusion_figure()
    matrix, *gallery = figure.get_axes()
    assert matrix.get_title() == "1 of 12 test samples wrong: 8.33%"
    assert sum(map(int, texts(matrix))) == 12
    assert len([axes for axes in gallery if axes.images]) == 10
    worst = plots.worst_classified(labels, probabilities, 1)[0]
    first, second = np.argsort(-probabilities[worst])[:2]
    names = ["cat", "dog", "eel"]
    guesses = [f"{names[k]} {probabilities[worst, k]:.0%}" for k in (first, second)]
    assert gallery[0].get_title() == f"true {names[labels[worst]]}\n{', '.join(guesses)}"
    assert gallery[0].images[0].get_array().tolist() == images[worst].reshape(4, 5).tolist()


def test_confusion_colours_wrong_guesses_only():
    figure, labels, probabilities, _ = confusion_figure()
    gallery = figure.get_axes()[1:11]
    worst = plots.worst_classified(labels, probabilities, 10)
    wrong = probabilities.argmax(axis=1)[worst] != labels[worst]
    assert [axes.title.get_color() == plots.WRONG_COLOR for axes in gallery] == wrong.tolist()


def test_confusion_without_images_and_with_many_classes(tmp_path):
    classes = [f"c{i}" for i in range(30)]
    figure = plots.confusion(np.arange(30), np.eye(30), classes)
    (matrix,) = figure.get_axes()
    assert texts(matrix) == []
    assert plots.save(figure, tmp_path / "m.png").stat().st_size > 1000


def test_confusion_of_shapes_that_do_not_fit(one_line):
    with one_line(ValueError, r"probabilities are \(3, 2\); 3 labels and 3 classes want \(3, 3\)"):
        plots.confusion([0, 1, 2], np.ones((3, 2)), ["a", "b", "c"])


@pytest.mark.parametrize(("outputs", "panels"), [(1, 1), (2, 2), (4, 4), (12, 9)])
def test_predictions_has_a_panel_a_target(outputs, panels):
    true = np.random.default_rng(3).normal(size=(20, outputs))
    figure = plots.predictions(true, true + 1)
    drawn = [axes for axes in figure.get_axes() if axes.get_lines()]
    assert len(drawn) == panels
    assert drawn[0].get_lines()[1].get_ydata().tolist() == (true[:, 0] + 1).tolist()


def test_predictions_of_shapes_that_do_not_fit(one_line):
    with one_line(ValueError, r"values are \(3, 2\), targets \(3, 1\)"):
        plots.predictions(np.ones((3, 1)), np.ones((3, 2)))


def test_save_writes_a_picture_and_leaves_nothing_else(tmp_path):
    from PIL import Image

    path = plots.save(confusion_figure()[0], tmp_path / "c.png")
    with Image.open(path) as picture:
        assert picture.size == (1680, 780)
        assert np.asarray(picture.convert("L")).std() > 10  # not an empty page
    assert [file.name for file in tmp_path.iterdir()] == ["c.png"]


def test_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "c.png"
    path.write_text("old")
    figure = plots.learning_curve(EPOCHS)

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        plots.save(figure, path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["c.png"]


def test_no_window_toolkit_and_no_matplotlib_at_import():
    code = (
        "import sys; from deltarule import plots; assert 'matplotlib' not in sys.modules;"
        "plots.learning_curve([{'train_loss': 1.0}]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
