"""`deltarule reproduce ciresan2010` on scikit-learn's digits, with a tiny net."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from deltarule import data, nn, papers
from deltarule.papers import ciresan2010, runner
from deltarule.papers.ciresan2010 import cells, nets, report
from deltarule.papers.work import Work

TINY = {"epochs": 3, "batch_size": 20, "rate": 3e-3, "last_rate": 3e-4, "validation": 200}


@pytest.fixture
def tiny(monkeypatch):
    """Small nets under the paper's numbers, and scikit-learn's digits for MNIST."""
    monkeypatch.setattr(nets, "NETS", {1: (20,), 4: (24, 12)})
    settings = {**ciresan2010.settings(True), **TINY, "nets": [1, 4]}
    object.__setattr__(ciresan2010.EXPERIMENT, "settings", lambda quick: dict(settings))
    monkeypatch.setattr(runner, "find_images", lambda *_: (data.load("digits"), "digits"))
    yield settings
    object.__setattr__(ciresan2010.EXPERIMENT, "settings", ciresan2010.settings)


def work_of(settings, folder):
    return Work(settings, "cpu", "highest", None, folder, dataset=data.load("digits"))


def test_it_is_listed():
    assert "ciresan2010" in papers.NAMES
    assert papers.load("ciresan2010") is ciresan2010.EXPERIMENT


def test_the_paper_s_nets_have_the_paper_s_weights():
    """Biases counted, for 29 x 29 inputs; the paper cuts its numbers off or rounds them."""
    for net, hidden in nets.NETS.items():
        sizes = [29 * 29, *hidden, 10]
        count = sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(sizes))
        assert count / 1e6 == pytest.approx(nets.PAPER[net][3], abs=0.011)


def test_the_whole_run(tiny, tmp_path):
    made = runner.reproduce("ciresan2010", tmp_path / "run", quick=True, seeds=2)
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"errors.png", "deformed.png", "misclassified.png", "report.md"} < files
    table, committees = made["tables"]
    assert [row[0] for row in table["rows"]] == ["1", "4"]
    saved = {
        key: json.loads((tmp_path / f"run/cells/{key}.json").read_text())["result"]
        for key in ("net1-seed0", "net1-seed1", "net4-seed0", "net4-seed1")
    }
    for row in table["rows"]:
        errors = [100 * saved[f"net{row[0]}-seed{seed}"]["test_error"] for seed in (0, 1)]
        assert row[4:6] == pytest.approx([np.mean(errors), np.std(errors, ddof=1)])
        assert row[3] == nets.PAPER[int(row[0])][0]
        assert row[9] > 0
    for row in committees["rows"]:
        outputs, labels = 0.0, None
        for seed in (0, 1):
            with np.load(tmp_path / f"run/cells/net{row[0]}-seed{seed}.npz") as arrays:
                outputs, labels = outputs + arrays["test_outputs"], arrays["test_labels"]
        assert row[1] == "2"
        assert row[3] == pytest.approx(100 * np.mean(np.argmax(outputs, 1) != labels))
    assert [claim["text"] for claim in made["claims"]] == ["Net 4 is the best of those trained (1, 4)"]


def test_what_a_cell_gives_is_of_the_best_epoch_by_validation(tiny, tmp_path):
    settings = {**tiny, "epochs": 6, "data": "digits"}
    result = cells.train(work_of(settings, tmp_path), net=1, seed=3)
    errors = result["validation_errors"]
    assert len(errors) == len(result["train_errors"]) == len(result["test_errors"]) == 6
    best = int(np.argmin(errors))
    assert result["best_epoch"] == best + 1
    assert result["validation_error"] == errors[best]
    assert result["test_error"] == result["test_errors"][best]
    assert result["best_test_error"] == min(result["test_errors"])
    assert result["test_errors"][-1] < 0.5 * 0.9  # of ten classes: it learns
    assert result["weights"] == 82 * 20 + 21 * 10
    count = len(result["wrong_labels"])
    assert count == min(cells.MOST_WRONG, round(result["test_error"] * 359))
    assert (result["wrong_guesses"][:, 0] != result["wrong_labels"]).all()
    assert result["wrong_images"].shape == (count, 81)
    assert np.mean(result["test_outputs"].argmax(1) != result["test_labels"]) == result["test_error"]
    assert result["test_outputs"].sum(1) == pytest.approx(1)
    assert result["deformed"].shape == (10, 1 + cells.VARIANTS, 9, 9)


def test_an_interrupted_training_goes_on_to_the_same_bits(tiny, tmp_path, monkeypatch):
    settings = {**tiny, "epochs": 4, "data": "digits"}
    for folder in ("whole", "part"):
        (tmp_path / folder).mkdir()
    whole = cells.train(work_of(settings, tmp_path / "whole"), net=4, seed=0)

    def interrupt(self, net, history):
        if len(history) == 2:
            raise KeyboardInterrupt
        return keep(self, net, history)

    keep = cells.TestError.on_epoch_end
    with monkeypatch.context() as patch:
        patch.setattr(cells.TestError, "on_epoch_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cells.train(work_of(settings, tmp_path / "part"), net=4, seed=0)
    again = cells.train(work_of(settings, tmp_path / "part"), net=4, seed=0)
    for key in ("train_errors", "validation_errors", "test_errors", "wrong_guesses", "deformed"):
        assert np.array_equal(whole[key], again[key])
    assert whole["test_error"] == again["test_error"]


@pytest.mark.parametrize("loss", nets.LOSSES)
@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_the_other_ways_on_line_included(tiny, tmp_path, loss, optimizer):
    settings = {
        **tiny, "epochs": 3, "loss": loss, "optimizer": optimizer, "batch_size": 1,
        "rate": 3e-3, "last_rate": 3e-4, "validation": None, "data": "digits",
    }  # fmt: skip
    result = cells.train(work_of(settings, tmp_path), net=1, seed=0)
    assert result["test_error"] < 0.9 * 0.9
    text = " ".join(report.notes({**settings, "images": 1438}, 9))
    assert "On-line" in text
    assert ("softmax" in text) == (loss == "softmax_cross_entropy")


def test_notes_have_the_numbers_of_the_run():
    settings = {**ciresan2010.settings(True), "sigma": 4.5, "alpha": 30.0}
    text = " ".join(report.notes({**settings, "images": 60000}, 29))
    assert "the first 10,000 of the training images" in text
    assert "sigma 4.5, alpha 30 px, for" in text
    text = " ".join(report.notes({**settings, "images": 1438}, 9))
    assert "all 1,438 of the training images" in text
    assert "sigma 1.4, alpha 9.31 px (set: 4.5 and 30 for a side of 29, here 9)" in text
    text = " ".join(report.notes({**settings, "images": 60000, "validation": None}, 29))
    assert "all 60,000 of the training images" in text


@pytest.mark.parametrize(
    ("loss", "word"), [("softmax_cross_entropy", "Probabilities"), ("squared_error", "Outputs")]
)
def test_a_committee_averages_what_its_nets_give(loss, word):
    result = {"test_outputs": np.eye(2), "test_labels": np.arange(2), "test_error": 0.0}
    (table,) = report.committees({"loss": loss}, {1: [result, result]})
    assert table.note.startswith(f"{word} of nets")


def test_settings_that_do_not_exist(tiny, one_line):
    with one_line(ValueError, "nets are .2, 7.; choices: 1, 4"):
        cells.all_cells({**tiny, "nets": [2, 7]}, [0])
    with one_line(ValueError, "schedule is 'linear'; choices: exponential, cosine"):
        cells.all_cells({**tiny, "schedule": "linear"}, [0])
    for key, match in (("loss", "choices: softmax_cross_entropy"), ("optimizer", "choices: sgd, momentum")):
        with one_line(ValueError, f"{key} is 'x'; {match}"):
            cells.all_cells({**tiny, key: "x"}, [0])


def test_quick_and_full_settings_are_json():
    for quick in (False, True):
        settings = ciresan2010.settings(quick)
        assert json.loads(json.dumps(settings)) == settings
    assert ciresan2010.settings(True)["epochs"] < ciresan2010.settings(False)["epochs"]


def test_the_deformation_is_in_proportion_to_the_side():
    settings = {**ciresan2010.settings(False), "sigma": 5.0, "alpha": 36.0}  # the paper's
    rule = nets.deformation(settings, 29)
    assert (rule.elastic.sigma, rule.elastic.alpha, rule.elastic.radius) == (5.0, 36.0, 10)
    assert rule.affine.per_class == {1: 0.5, 7: 0.5}
    small = nets.deformation(settings, 9)
    assert small.elastic.sigma == pytest.approx(5 * 9 / 29)
    assert small.elastic.alpha == pytest.approx(36 * 9 / 29)


def test_the_rate_falls_from_the_first_to_the_last(tiny, tmp_path, monkeypatch):
    seen = {}

    def fit(self, net, x, y, *, schedule, epochs, **rest):
        seen["rates"] = [1e-3 * schedule(epoch) for epoch in (0, epochs / 2, epochs)]
        raise InterruptedError

    monkeypatch.setattr(Work, "fit", fit)
    for name, middle in (("exponential", 1e-4), ("cosine", (1e-3 + 1e-5) / 2)):
        settings = {**tiny, "rate": 1e-3, "last_rate": 1e-5, "epochs": 7, "schedule": name, "data": "digits"}
        with pytest.raises(InterruptedError):
            cells.train(work_of(settings, tmp_path), net=1, seed=0)
        assert seen["rates"] == pytest.approx([1e-3, middle, 1e-5])


def test_test_error_keeps_its_state():
    net = nn.mlp([64, 10])
    x, y = data.load("digits").test.x, data.load("digits").test.y
    kept = cells.TestError(x, y)
    kept.on_epoch_end(net, None)
    other = cells.TestError(x, y)
    other.restore(json.loads(json.dumps(kept.state())))
    assert other.errors == kept.errors == [net.evaluate(x, y)[1]]
    assert repr(kept) == repr(other)


def test_settings_are_changed_by_name(tiny, run, mistake, tmp_path):
    changes = ("--set", "nets=[4]", "--set", "epochs=1", "--set", "loss=squared_error")
    code, out, error = run("reproduce", "ciresan2010", "--quick", "--out", "a", *changes)
    assert (code, error) == (0, "")
    assert "net 4, seed 0" in out
    saved = json.loads((tmp_path / "a/settings.json").read_text())["settings"]
    assert saved == {**tiny, "nets": [4], "epochs": 1, "loss": "squared_error"}
    assert run("reproduce", "ciresan2010", "--out", "a", "--resume")[0] == 0  # with the run's own
    mistake("settings.epochs was 1, is now 2", "reproduce", "ciresan2010", "--out", "a", "--resume",
            "--set", "epochs=2", *changes[:2], *changes[4:])  # fmt: skip
    mistake(
        "'depth' is no setting; choices: nets", "reproduce", "ciresan2010", "--out", "b", "--set", "depth=3"
    )
    mistake("--set epochs: wanted NAME=VALUE", "reproduce", "ciresan2010", "--out", "b", "--set", "epochs")
    assert not (tmp_path / "b").exists()


def test_claims_are_judged_by_the_mean_over_the_seeds():
    def result(error):
        return {"test_error": error}

    by_net = {1: [result(0.0050), result(0.0059)], 4: [result(0.0036), result(0.0038)]}
    mnist = {"data": "mnist"}
    found = {claim.text: claim.holds for claim in report.claims(mnist, by_net)}
    assert found == {
        "On deformed digits plain nets err on less than 1 %": True,
        "Net 1 errs on 0.49 % of the test digits": True,
        "Net 4 errs on 0.35 % of the test digits": True,
        "Net 4 is the best of those trained (1, 4)": True,
    }
    five = {**{net: [result(0.0050)] for net in (1, 2, 3, 5)}, 4: by_net[4]}
    assert report.claims(mnist, five)[-1].text == "Net 4 is the best of the five"
    by_net = {1: [result(0.0056)], 4: [result(0.0101)]}
    assert not any(claim.holds for claim in report.claims(mnist, by_net))
    assert len(report.claims({"data": "digits"}, by_net)) == 1  # the paper's errors are those on MNIST
