"""The experiment bengio2006 on scikit-learn's digits: what a run writes, resumes and claims; and the report's sums."""

from __future__ import annotations

import json
import signal
from dataclasses import replace

import numpy as np
import pytest
from deltarule import data, nn
from deltarule.papers import bengio2006, runner
from deltarule.papers.bengio2006 import cells, report
from deltarule.papers.work import Work

FIT = {"lr": 0.3, "batch_size": 20, "epochs": 3, "patience": 2}
PRETRAIN = {"lr": 0.1, "batch_size": 20, "momentum": 0.5, "epochs": 1}
TINY = {
    "quick": True,
    "hidden": [12, 10],
    "train": 300,
    "validation": 100,
    "models": {
        "shallow": {"fit": FIT},
        "none": {"fit": FIT},
        "supervised": {"pretrain": PRETRAIN, "fit": FIT},
        "autoencoder": {"pretrain": PRETRAIN, "fit": FIT},
        "denoising": {"pretrain": {**PRETRAIN, "corruption": [0.1, 0.2]}, "fit": FIT},
        "dbn": {"pretrain": PRETRAIN, "fit": FIT},
    },
    "few": {
        "labels": [50, 100, 5000],
        "validation": 50,
        "pretrain": PRETRAIN,
        "fit": dict.fromkeys(("shallow", "none", "dbn"), FIT),
    },
    "codes": {"hidden": [10, 2], "pretrain": PRETRAIN, "fit": {"lr": 1e-3, "batch_size": 20, "epochs": 2}},
}


@pytest.fixture
def tiny(monkeypatch):
    """The experiment with settings that take a second, on digits."""
    experiment = replace(bengio2006.EXPERIMENT, settings=lambda quick: TINY)
    monkeypatch.setattr(runner, "load", lambda name: experiment)
    monkeypatch.setattr(runner, "find_images", lambda *_: (data.load("digits"), ""))


def results(folder):
    """What all cells gave, but for their times."""
    content = {}
    for path in sorted((folder / "cells").glob("*.json")):
        record = json.loads(path.read_text())["result"]
        for part in record.get("pretraining", []):
            part.pop("seconds")
        content[path.stem] = record
    return content


def test_a_run_has_the_table_and_resumes_where_ctrl_c_came(tiny, tmp_path, monkeypatch):
    made = runner.reproduce("bengio2006", tmp_path / "whole", quick=True, seeds=2)
    files = {path.name for path in (tmp_path / "whole").iterdir()}
    figures = {"errors.png", "validation.png", "few-labels.png", "codes.png", "reconstructions.png"}
    assert files == {"cells", "settings.json", "seconds.json", "report.json", "report.md", *figures}
    table = made["tables"][0]
    assert [row[0] for row in table["rows"]] == [cells.TITLES[name] for name in TINY["models"]]
    whole = results(tmp_path / "whole")
    for row, name in zip(table["rows"], TINY["models"], strict=True):
        errors = [100 * whole[f"{name}-seed{seed}"]["test_error"] for seed in (0, 1)]
        assert row[3] == pytest.approx(np.mean(errors))
        assert row[4] == pytest.approx(np.std(errors, ddof=1))
    assert [row[0] for row in made["tables"][1]["rows"]] == [50, 100]

    # Ctrl-C in the middle of the denoising cell's fine-tuning, and of the pre-training of the few labels'.
    calls = []
    for part, name in ((nn.fit.Training, "_end_epoch"), (cells.pretrain.training.Training, "_end_epoch")):
        end_epoch = getattr(part, name)

        def interrupted(self, *arguments, end_epoch=end_epoch):
            end_epoch(self, *arguments)
            calls.append(1)
            if len(calls) in (9, 20, 21):
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(part, name, interrupted)
    for resume in (False, True, True):
        with pytest.raises(KeyboardInterrupt):
            runner.reproduce("bengio2006", tmp_path / "part", quick=True, seeds=2, resume=resume)
    again = runner.reproduce("bengio2006", tmp_path / "part", resume=True)
    assert results(tmp_path / "part") == whole
    for table, want in zip(again["tables"], made["tables"], strict=True):
        assert [row[:7] for row in table["rows"]] == [row[:7] for row in want["rows"]]


def test_the_parts_do_not_share_images(tmp_path):
    images = data.load("digits")
    train, held_out = cells.parts(images, {"train": 300, "validation": 100})
    assert (len(train), len(held_out)) == (300, 100)
    seen = {row.tobytes() for row in images.train.x}
    assert len(seen) == len(images.train)  # no two alike, so rows tell images
    assert not {row.tobytes() for row in train.x} & {row.tobytes() for row in held_out.x}
    assert {row.tobytes() for row in train.x} <= seen
    many, held_out = cells.parts(images, {"train": 50000, "validation": 10000})
    assert len(many) + len(held_out) == len(images.train)


def test_settings_that_do_not_fit_are_refused_before_anything_is_written(tiny, tmp_path, one_line):
    for changes, match in [
        (
            {"hidden": [8, 8, 8]},
            r"corruption is \[0.1, 0.2\]; wanted a number in \[0, 1\) for each of 3 hidden layers",
        ),
        ({"models": {"denoising": {"pretrain": {"corruption": [0.1, 1.0]}}}}, r"corruption is \[0.1, 1.0\]"),
    ]:
        with one_line(ValueError, match):
            runner.reproduce("bengio2006", tmp_path / "run", quick=True, changes=changes)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("images", "train", "wanted"),
    [
        (60000, 50000, [100, 1000, 5000]),
        (60000, 100, []),  # 100 of 100 leave none to learn from besides
        (60000, 1001, [100, 1000]),
        (1438, 10000, [100]),  # of the digits 1000 are most
    ],
)
def test_counts_of_labels_leave_most_images_without(images, train, wanted):
    few = {"labels": [100, 1000, 5000]}
    assert cells.few_counts({"train": train, "validation": 10000, "few": few}, images) == wanted


def test_few_images_leave_fewer_labels(tmp_path):
    work = Work({**TINY, "train": 100}, "cpu", "highest", None, tmp_path, dataset=data.load("digits"))
    assert list(cells.train_few(work, 0)["none"]) == ["50"]


def test_every_number_of_labels_has_as_many_updates(tmp_path, monkeypatch):
    """Epochs and patience are those of 1,000 labels: 50 are gone through 20 times as often."""
    seen = {}
    fine_tune = cells.fine_tune

    def spy(work, net, train, held_out, how, name="fit"):
        seen[name] = how["epochs"], how["patience"]
        return fine_tune(work, net, train, held_out, {**how, "epochs": 1}, name)

    monkeypatch.setattr(cells, "fine_tune", spy)
    cells.train_few(Work(TINY, "cpu", "highest", None, tmp_path, dataset=data.load("digits")), 0)
    assert seen == {
        f"{name}-{count}": (3 * 1000 // count, 2 * 1000 // count)
        for count in (50, 100)
        for name in ("shallow", "none", "dbn")
    }


def test_few_labels_learn_from_the_others_images(tmp_path):
    """The arm without pre-training starts from the seed's weights, the other from those of the Boltzmann machines."""
    work = Work(TINY, "cpu", "highest", None, tmp_path, dataset=data.load("digits"))
    result = cells.train_few(work, 0)
    assert all(list(result[name]) == ["50", "100"] for name in ("shallow", "none", "dbn"))
    assert result["none"]["50"]["train_losses"] != result["dbn"]["50"]["train_losses"]


def test_the_rate_falls_to_nothing_where_the_settings_say_so(tmp_path, monkeypatch):
    """decay is half a cosine over the epochs."""
    seen = {}

    def fit(self, x, y, optimizer, *, schedule, epochs, **rest):
        seen["rates"] = schedule and [schedule(epoch) for epoch in (0, epochs / 2, epochs)]
        raise InterruptedError

    monkeypatch.setattr(nn.Network, "fit", fit)
    work = Work(TINY, "cpu", "highest", None, tmp_path, dataset=data.load("digits"))
    train, held_out = cells.parts(work.images(), TINY)
    net = cells.new_net(work, work.images(), [4], 0)
    for how, rates in ((FIT, None), ({**FIT, "decay": True}, [1, 0.5, 0])):
        with pytest.raises(InterruptedError):
            cells.fine_tune(work, net, train, held_out, how)
        assert seen["rates"] == (rates and pytest.approx(rates))


def test_settings_are_whole():
    for quick in (False, True):
        settings = bengio2006.EXPERIMENT.settings(quick)
        assert json.loads(json.dumps(settings)) == settings
        assert set(settings) == set(TINY)
        assert set(settings["models"]) == set(bengio2006.MODELS)
        assert settings["quick"] == quick
    assert (settings["train"], bengio2006.EXPERIMENT.settings(False)["train"]) == (10000, 50000)


def fake(errors, few=None):
    found = {}
    for name, values in errors.items():
        for seed, value in enumerate(values):
            found[f"{name}-seed{seed}"] = {
                "train_error": 0.0,
                "validation_error": value / 100,
                "test_error": value / 100,
                "best_epoch": 3,
                "validation_errors": [value / 100],
            }
    for seed, (none, dbn) in enumerate(few or []):
        arms = {"shallow": 9.0, "none": none, "dbn": dbn}
        found[f"few-seed{seed}"] = {name: {"1000": {"test_error": e / 100}} for name, e in arms.items()}
    return found


GOOD = {
    "shallow": [1.8, 1.85],
    "none": [2.3, 2.2],
    "supervised": [1.9, 2.0],
    "autoencoder": [1.5, 1.5],
    "denoising": [1.4, 1.4],
    "dbn": [1.3, 1.4],
}
SETTINGS = {
    "models": GOOD, "quick": False, "data": "mnist", "images": 60000, "train": 50000, "validation": 10000,
    "few": {"labels": [100, 1000], "validation": 2000},
}  # fmt: skip


def claims(errors, few=None, settings=SETTINGS):
    made = report.make_report(settings, fake(errors, few))
    return {claim.text: claim.holds for claim in made.claims}


def test_claims_hold_for_the_paper_s_own_numbers():
    found = claims(GOOD, [(10.0, 7.0), (10.0, 8.0)])
    assert len(found) == 11
    assert all(found.values()), found


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"dbn": [1.3, 1.55]}, "DBN: test error at most 1.4 %"),
        ({"none": [2.5, 2.4]}, "no pre-training: test error at most 2.4 %"),
        ({"none": [2.0, 2.1]}, "supervised pre-training is better than none"),
        ({"none": [3.0, 1.4]}, "better than none"),  # the means are apart, the spreads wider
        ({"supervised": [1.4, 1.4]}, "unsupervised pre-training (DBN) is better than supervised"),
        ({"shallow": [1.3, 1.3]}, "is better than a shallow one"),
    ],
)
def test_claims_fail_where_the_numbers_do(change, wrong):
    failed = [text for text, holds in claims({**GOOD, **change}).items() if not holds]
    assert any(wrong in text for text in failed), failed


def test_a_quarter_less_with_few_labels():
    text = "with 1,000 labels, pre-training lowers the error by at least a quarter"
    assert claims(GOOD, [(10.0, 7.5)])[text]
    assert not claims(GOOD, [(10.0, 7.6)])[text]


def test_one_seed_has_no_spread_and_quick_runs_no_marks():
    errors = {name: values[:1] for name, values in GOOD.items()}
    made = report.make_report({**SETTINGS, "quick": True}, fake(errors))
    assert all(row[4] is None for row in made.tables[0].rows)
    assert not any("at most" in claim.text for claim in made.claims)
    assert all(claim.holds for claim in made.claims)
    assert len(made.claims) == 6
    assert all(claim.text.endswith(" (with one seed; no spread)") for claim in made.claims)


def test_the_report_names_its_data_and_counts():
    made = report.make_report(SETTINGS, fake(GOOD, [(10.0, 7.0)]))
    assert made.tables[0].title == "Error on MNIST in %"
    assert "60,000 images without labels" in made.tables[1].note
    assert "the error on 2,000 more labelled images" in made.tables[1].note
    assert len(made.notes) == 2
    settings = {
        **SETTINGS,
        "quick": True,
        "data": "digits",
        "images": 1438,
        "train": 10000,
        "validation": 5000,
    }
    made = report.make_report(settings, fake(GOOD, [(10.0, 7.0)]))
    assert made.tables[0].title == "Error on scikit-learn's digits in %"
    assert "1,438 images without labels" in made.tables[1].note
    assert "the error on 239 more labelled images" in made.tables[1].note
    assert "Of 1,438 images 1,199 are trained on and 239 choose" in made.notes[2]
    assert "left out: 1,000" in made.notes[3]


def test_codes_of_three_numbers_have_no_plane():
    codes = {"codes": np.zeros((4, 2)), "image_shape": [2, 2]}
    assert "codes" in report.make_report(SETTINGS, {**fake(GOOD), "codes-seed0": codes}).figures
    codes = {**codes, "codes": np.zeros((4, 3))}
    assert list(report.make_report(SETTINGS, {**fake(GOOD), "codes-seed0": codes}).figures) == [
        "errors", "validation", "reconstructions",
    ]  # fmt: skip


def test_bars_are_the_means_beside_the_paper_s():
    (axes,) = report.draw_errors(GOOD).get_axes()
    heights = [
        bar.get_height() for container in axes.containers[::1] for bar in getattr(container, "patches", [])
    ]
    assert heights == pytest.approx([np.mean(values) for values in GOOD.values()])
    assert "lower is better" in axes.get_ylabel()
    paper = [line.get_ydata()[0] for line in axes.get_lines() if len(line.get_ydata()) == 2]
    assert [value for value in paper if value in (1.9, 2.4, 2.0, 1.4, 1.2)] == [1.9, 2.4, 2.0, 1.4, 1.2]
