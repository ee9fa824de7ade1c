"""glorot2010: what it measures against the oracle and the theory of the paper, on small nets and the digits."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import tolerance
from deltarule import data, nn, plots
from deltarule.papers import glorot2010
from deltarule.papers.glorot2010 import findings, measure
from deltarule.papers.work import Work
from network_cases import oracle
from reference import activation as f
from reference import activation_derivative

TINY = {
    "batch_size": 10,
    "examples": 40,
    "start": {"hidden": 30, "depth": 3, "pixels": "unit", "jacobian_examples": 2},
    "saturation": {"hidden": 12, "depths": [4, 5], "pixels": {"digits": "unit"}, "rate": 0.1, "updates": 360},
    "table": {
        "hidden": 12,
        "pixels": "standardised",
        "depth": 2,
        "rows": [list(row) for row in glorot2010.ROWS],
        "rates": {"softsign": 0.03, "tanh": 0.03, "sigmoid": 1.0},
        "updates": 360,
        "last_rate": 0.1,
    },
}


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def work_in(folder, digits, **changes):
    folder.mkdir(exist_ok=True)
    return Work(copy.deepcopy(TINY) | changes, "cpu", "highest", None, folder, dataset=digits)


@pytest.fixture
def work(tmp_path, digits):
    return work_in(tmp_path / "cell", digits)


def layers_of(net, x, y):
    """Of the oracle's hidden layers: y = f(z), dz of each sample's own loss, dW of the mean loss."""
    reference = oracle(net)
    shift, scale = net.standardization
    seen = (x - shift.astype(np.float64)) * scale
    _, dy, _ = reference.evaluate(seen, y)
    deltas = []
    for layer, z in zip(reversed(reference.layers), reversed(reference.z), strict=True):
        dz = dy * activation_derivative(layer.activation, z, layer.slope).astype(np.float64)
        deltas.insert(0, dz * len(x))
        dy = dz @ layer.w.T
    outputs = [
        f(layer.activation, z, 0.0).astype(np.float64)
        for layer, z in zip(reference.layers, reference.z, strict=True)
    ]
    return outputs[:-1], deltas[:-1], reference.gradients(seen, y)[1][:-2:2]


@pytest.mark.parametrize("init", ["standard", "normalised"])
@pytest.mark.parametrize(("kind", "low"), [("tanh", -1), ("sigmoid", 0), ("softsign", -1)])
def test_statistics_are_those_of_the_oracle(kind, low, init, work):
    net = measure.build(work, {"hidden": 30, "pixels": "standardised"}, kind, init, 3, seed=1)
    net.parameters[2][...] *= 8  # some units are saturated
    seen = measure.examples(work)
    found = measure.statistics(net, seen.x, seen.y)
    outputs, deltas, gradients = layers_of(net, seen.x, seen.y)
    margin = 0.05 * (1 - low)
    wanted = {
        "mean": [y.mean() for y in outputs],
        "deviation": [y.std() for y in outputs],
        "percentile": [np.percentile(y, 98) for y in outputs],
        "saturated": [((y < low + margin) | (y > 1 - margin)).mean() for y in outputs],
        "delta": [dz.std() for dz in deltas],
        "gradient": [dw.std() for dw in gradients],
    }
    assert set(found) == set(wanted) == set(measure.STATISTICS)
    for name, values in wanted.items():
        relative, absolute = tolerance.STATISTIC
        np.testing.assert_allclose(found[name], values, rtol=relative, atol=absolute, err_msg=name)
    assert kind == "softsign" or found["saturated"][1] > 0


def test_pixels(work, digits):
    net = measure.build(work, {"hidden": 5, "pixels": "unit"}, "tanh", "standard", 1, seed=0)
    shift, scale = net.standardization
    assert not shift.any()
    np.testing.assert_array_equal(scale, 1 / 16)
    net = measure.build(work, {"hidden": 5, "pixels": "standardised"}, "tanh", "standard", 1, seed=0)
    x = (measure.parts(work)[0].x - net.standardization[0]) * net.standardization[1]
    shift, scale = (float(numbers[0]) for numbers in net.standardization)
    found = [x.mean(dtype=np.float64), x.std(dtype=np.float64)]
    # Shift, scale, difference and product are rounded.
    tolerance.assert_within(found, [0.0, 1.0], tolerance.rounded(4, 1 + shift * scale, np.float32))


def test_parts_do_not_meet(work, digits):
    training, validation, test = measure.parts(work)
    assert (len(training), len(validation), len(test)) == (1198, 240, 359)
    np.testing.assert_array_equal(np.concatenate([training.x, validation.x]), digits.train.x)
    assert test is digits.test


def test_singular_values_are_those_of_a_jacobian_made_by_differences(work):
    net = measure.build(work, {"hidden": 20, "pixels": "unit"}, "tanh", "normalised", 3, seed=2)
    x, h = measure.examples(work).x[:2], 1e-6
    outputs = layers_of(net, x, np.zeros(2, np.int64))[0]
    layers, wanted = oracle(net).layers, []
    for layer, y in zip(layers[1:3], outputs[:2], strict=True):
        means = []
        for row in y:
            up, down = (np.tanh((row + sign * h * np.eye(20)) @ layer.w) for sign in (1, -1))
            means.append(np.linalg.svd((up - down) / (2 * h), compute_uv=False).mean())
        wanted.append(np.mean(means))
    np.testing.assert_allclose(measure.singular_values(net, x), wanted, rtol=tolerance.JACOBIAN)


@pytest.mark.parametrize("shape", [(7, 7), (5, 9), (9, 5)])
def test_singular_values_of_any_shape(shape):
    j = np.random.default_rng(0).standard_normal(shape)
    found = np.sort(measure._singular_values(j))
    np.testing.assert_allclose(
        found, np.sort(np.linalg.svd(j, compute_uv=False)), rtol=tolerance.SINGULAR_VALUE
    )


def test_both_inits_at_the_start_are_as_the_theory_says(tmp_path, digits):
    """Small activations are linear: sd of W sqrt(n) a layer up and down, 1/sqrt(3) and 1; quarter circle law."""
    part = {"hidden": 200, "depth": 5, "pixels": "unit", "jacobian_examples": 1}
    work = work_in(tmp_path / "cell", digits, start=part, examples=100)
    results = {f"start-seed{seed}": measure.start(work, seed) for seed in range(1)}
    standard = findings.layers_at_start(results, "standard")
    for values, steps in ((standard["deviation"], 1), (standard["delta"], -1)):
        factors = (values[1:] / values[:-1]) ** steps
        np.testing.assert_allclose(factors, 1 / math.sqrt(3), rtol=tolerance.WIDE_FACTOR)
    mean = 8 / (3 * math.pi) / math.sqrt(3)
    np.testing.assert_allclose(standard["singular_values"], mean, rtol=tolerance.WIDE_SINGULAR_VALUE)
    claims = findings.start_claims(results)
    assert len(claims) == 4
    assert all(claim.holds for claim in claims[:3]), claims
    swapped = {
        key: {**cell, "standard": cell["normalised"], "normalised": cell["standard"]}
        for key, cell in results.items()
    }
    assert not any(
        claim.holds for claim in [*findings.start_claims(swapped)[:2], findings.start_claims(swapped)[3]]
    )
    cell = results["start-seed0"]
    for kind in ("activations", "deltas", "gradients"):
        for init in findings.INITS:
            width = np.diff(cell[f"{kind}.{init}.edges"])
            inside = (cell[f"{kind}.{init}"] * width).sum(axis=1)
            assert inside.shape == (5,)
            most = 1 + tolerance.rounded(3 * len(width), 1.0, np.float64)  # widths are differences of edges
            assert np.all((inside > 0.9) & (inside <= most))


class Interrupted(nn.Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, history):
        if len(history.epochs) == self.epoch:
            raise KeyboardInterrupt


def test_a_watched_training_that_was_interrupted_has_the_same_series(tmp_path, digits, monkeypatch):
    whole = measure.table_net(work_in(tmp_path / "whole", digits), "tanh", "normalised", 3)
    fit = Work.fit
    stopped = lambda self, *a, **s: fit(self, *a, **{**s, "callbacks": [*s["callbacks"], Interrupted(2)]})  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(Work, "fit", stopped)
        with pytest.raises(KeyboardInterrupt):
            measure.table_net(work_in(tmp_path / "cell", digits), "tanh", "normalised", 3)
    resumed = measure.table_net(work_in(tmp_path / "cell", digits), "tanh", "normalised", 3)
    assert set(whole) == set(resumed)
    for name, values in whole.items():
        np.testing.assert_array_equal(values, resumed[name], err_msg=name)
    assert whole["mean"].shape == (4, 2)  # 360 updates are 3 epochs of 120
    assert whole["updates"].tolist() == [0, 120, 240, 360]


def test_the_best_epoch_is_tested(work):
    result = measure.table_net(work, "tanh", "normalised", 0)
    assert result["best_epoch"] == 1 + np.argmin(result["validation_error"])
    assert 0 < result["test_error"] < 0.5


def test_the_whole_experiment_on_digits(tmp_path, digits):
    seeds = (0, 1)
    results = {}
    for cell in glorot2010.cells(TINY, seeds):
        assert cell.seconds > 0
        result = cell.run(work_in(tmp_path / cell.key, digits))
        plain = {key: value for key, value in result.items() if not isinstance(value, np.ndarray)}
        results[cell.key] = {**result, **json.loads(json.dumps(plain))}
    assert len(results) == 2 * (1 + 2 + 5)
    report = glorot2010.report({**TINY, "data": "digits"}, results)
    errors = report.tables[0].rows
    assert [row[:2] for row in errors] == [
        ["softsign", 1.64], ["softsign N", 1.72], ["tanh", 1.76], ["tanh N", 1.64], ["sigmoid", 2.21],
    ]  # fmt: skip
    test = [100 * results[f"tanh-standard-seed{seed}"]["test_error"] for seed in seeds]
    assert errors[2][2:4] == pytest.approx([np.mean(test), np.std(test, ddof=1)])
    assert all(len(row) == len(table.columns) for table in report.tables for row in table.rows)
    assert len(report.claims) == 8
    # Five layers' worth of updates this few teaches sigmoids nothing: the top layer moves, and nothing recovers.
    assert not next(claim for claim in report.claims if claim.text.startswith("With 4")).holds
    for name, draw in report.figures.items():
        assert plots.save(draw(), tmp_path / f"{name}.png").stat().st_size > 10_000
    assert set(report.figures) == {"learning", *(f"figure{n}" for n in (2, 3, 6, 7, 8, 9))}


def changed(part, **values):
    return {**TINY, part: {**TINY[part], **values}}


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (
            changed("table", rows=[["tanh", "normalized"]]),
            "'normalized'.; wanted pairs of softsign, tanh, sigmoid and",
        ),
        (changed("table", rows=[["relu", "normalised"]]), "'relu', 'normalised'.; wanted pairs"),
        (changed("table", rows=["tanh"]), "a row of table.rows is 'tanh'; wanted pairs"),
        (changed("table", rates={"tanh": 0.0}, rows=[["tanh", "standard"]]), "table.rates is .*above 0"),
        (changed("table", last_rate=0.0), "table.last_rate is 0.0"),
        (changed("saturation", rate=0.0), "saturation.rate is 0.0"),
        (
            changed("table", pixels="standardized"),
            "table.pixels is 'standardized'; wanted unit or standardised",
        ),
        (changed("start", pixels="x"), "start.pixels is 'x'"),
        (changed("saturation", pixels={"mnist": "unit", "digits": "x"}), "saturation.pixels.digits is 'x'"),
        (changed("table", depth=1), "table.depth is 1; wanted 2 or more"),
    ],
)
def test_what_a_cell_could_not_use_is_refused(settings, match, one_line):
    with one_line(ValueError, match):
        glorot2010.cells(settings, [0])


def test_a_figure_without_rows_is_left_out(monkeypatch):
    monkeypatch.setattr(findings, "of", lambda results, prefix: [{}])
    for rows, missing in (
        ([("sigmoid", "standard")], {"figure3", "figure9"}),
        ([("softsign", "standard")], {"figure9"}),
        ([("tanh", "normalised")], {"figure3"}),
    ):
        drawn = set(findings.drawings(TINY, rows, {}))
        assert {"figure3", "figure9"} - drawn == missing
        assert {"figure2", "figure6", "learning"} <= drawn


def test_the_report_has_the_settings_numbers():
    settings = {**glorot2010.settings(True), "data": "mnist"}
    assert findings.errors_table(settings, [], {}).title == "Table 1: error with 5 hidden layers"
    settings["table"] = {**settings["table"], "depth": 3, "pixels": "unit"}
    table = findings.errors_table(settings, [], {})
    assert table.title == "Table 1: error with 3 hidden layers"
    assert "The paper's nets have 5" in table.note
    pixels, units = findings.notes(settings)[2:]
    assert "for figure 2 from 0 to 1, for figures 6 to 8 from 0 to 1, for table 1 from 0 to 1." in pixels
    assert units == "Units in a hidden layer: 200 for figure 2, 200 for table 1; the paper's have 1000."
    assert "for figure 2 standardised" in findings.notes({**settings, "data": "digits"})[2]


def series(means, deviations):
    lower = np.full(len(means), 0.5)
    return {
        "mean": np.stack([lower, means], axis=1),
        "deviation": np.stack([lower, deviations], axis=1),
        "updates": 100 * np.arange(len(means)),
    }


@pytest.mark.parametrize(
    ("means", "deviations", "wanted"),
    [
        ([0.5, 0.05, 0.02, 0.1], [0.07, 0.02, 0.01, 0.2], (100, 300)),
        ([0.5, 0.05, 0.02, 0.1], [0.07, 0.02, 0.01, 0.09], (100, None)),
        ([0.5, 0.2, 0.2, 0.2], [0.07, 0.01, 0.2, 0.2], (None, None)),  # flat, but not at 0
        ([0.05, 0.3, 0.05, 0.05], [0.2, 0.2, 0.2, 0.2], (None, None)),  # low, but not flat
    ],
)
def test_turns(means, deviations, wanted):
    assert findings.turns(series(means, deviations)) == wanted


def errors(sigmoid, tanh):
    return {
        f"{name}-standard-seed{seed}": {"test_error": error / 100}
        for name, values in (("sigmoid", sigmoid), ("tanh", tanh))
        for seed, error in enumerate(values)
    }


@pytest.mark.parametrize(
    ("sigmoid", "tanh", "holds"),
    [
        ([2.2, 2.3, 2.2], [1.7, 1.8, 1.7], True),
        ([1.8, 1.9, 1.8], [1.7, 1.8, 1.7], False),  # within the spread
        ([1.7, 1.7, 1.7], [2.2, 2.2, 2.2], False),
        ([2.2], [1.7], True),
        ([1.75], [1.7], False),
    ],
)
def test_sigmoids_are_clearly_the_worst(sigmoid, tanh, holds):
    rows = [("tanh", "standard"), ("sigmoid", "standard")]
    (claim,) = findings.table_claims(rows, errors(sigmoid, tanh))
    assert claim.holds is holds


def test_full_and_quick_settings_have_the_same_parts():
    full, quick = (glorot2010.EXPERIMENT.settings(quick) for quick in (False, True))
    assert json.loads(json.dumps(full)) == full
    assert set(full) == set(quick) == set(TINY)
    assert all(set(full[part]) == set(TINY[part]) for part in ("start", "saturation", "table"))
    assert full["table"]["hidden"] == 1000
