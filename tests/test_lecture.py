"""`deltarule reproduce lecture`: every claim holds, can fail, and rests on numbers that NumPy confirms."""

import json
import time

import numpy as np
import pytest
import reference
import reference_network
import tolerance
from deltarule import _core, data, nn
from deltarule._through import host
from deltarule.papers import load, runner
from deltarule.papers.lecture import TOPICS, capacity, depth, features, perceptron, rings, saturation, units
from deltarule.papers.runner import reproduce
from deltarule.papers.work import Work
from reference import sigmoid

SEED = 0


@pytest.fixture(scope="module")
def images():
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    return data.load("digits")


@pytest.fixture(scope="module")
def lecture(images, tmp_path_factory):
    """A quick run on the digits: report, results by topic, folder."""
    folder = tmp_path_factory.mktemp("lecture") / "run"
    before = _core.num_threads()
    _core.set_num_threads(
        1
    )  # nets so small gain nothing from more, and lose where other tests want the cores
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "find_images", lambda *_: (images, ""))
        report = reproduce("lecture", folder, quick=True, seeds=1)
    _core.set_num_threads(before)
    results = {}
    for topic in TOPICS:
        path = folder / "cells" / f"{topic.name}-seed{SEED}.json"
        results[topic.name] = json.loads(path.read_text())["result"]
        with np.load(path.with_suffix(".npz")) as file:
            results[topic.name].update({name: file[name] for name in file.files})
    return report, results, folder


def settings(topic):
    return topic.settings(True)


def claims(topic, result, **changes):
    """Whether the claims of a topic hold for a result with some numbers changed."""
    return [claim.holds for claim in topic.report(settings(topic), [{**result, **changes}]).claims]


def test_every_claim_holds(lecture):
    report, _, _ = lecture
    assert len(report["claims"]) == 20
    assert [claim for claim in report["claims"] if not claim["holds"]] == []


def test_every_topic_has_its_picture(lecture):
    report, _, folder = lecture
    assert set(report["figures"]) == {f"{topic.name}.png" for topic in TOPICS}
    page = (folder / "report.md").read_text()
    for name in report["figures"]:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert f"]({name})" in page
    assert "nan" not in page


def test_settings_are_json_and_quick_differs():
    experiment = load("lecture")
    for quick in (False, True):
        assert json.loads(json.dumps(experiment.settings(quick))) == experiment.settings(quick)
    assert experiment.settings(False) != experiment.settings(True)


def test_cells_of_chance_are_one_for_each_seed():
    experiment = load("lecture")
    keys = [cell.key for cell in experiment.cells(experiment.settings(True), [0, 1])]
    assert len(keys) == len(set(keys)) == sum(2 if topic.seeded else 1 for topic in TOPICS)


@pytest.mark.parametrize(
    ("topic", "changes", "match"),
    [
        ("perceptron", {"hidden": [8, 2]}, r"perceptron.hidden is \[8, 2\]; wanted 1 or more, each above"),
        (
            "capacity",
            {"widths": [2, 8]},
            r"capacity.shown is \[1, 4, 16, 256\]; wanted some of the widths \[2, 8\]",
        ),
        ("capacity", {"widths": [1], "shown": [1]}, r"capacity.widths is \[1\]; wanted 2 or more"),
        ("depth", {"depths": [3]}, r"depth.depths is \[3\]; wanted 2 or more"),
        ("depth", {"dead_rates": [0.1, 0.1]}, r"depth.dead_rates is \[0.1, 0.1\]"),
        ("features", {"hidden": [10]}, r"features.hidden is \[10\]; wanted 2 layers or more"),
        ("saturation", {"starts": {"mild": [1.0], "saturated": [2.0, 2.0]}}, "saturation.starts.mild is"),
    ],
)
def test_settings_that_no_cell_could_use(topic, changes, match, one_line):
    experiment = load("lecture")
    made = experiment.settings(True)
    with one_line(ValueError, match):
        experiment.cells({**made, topic: {**made[topic], **changes}}, [0])


class TestPerceptron:
    def test_its_line_separates(self):
        x, y, margin = perceptron.separable(200, 0.1, SEED)
        assert len(x) == 200
        net, errors = perceptron.perceptron(x, y, 500, SEED, "cpu", stop=True)
        w, b = (host(parameter).astype(np.float64) for parameter in net.parameters)
        np.testing.assert_array_equal((x @ w + b >= 0)[:, 0], y == 1)
        assert errors[-1] == 0
        assert errors[0] > 0
        assert b == np.round(b)  # every mistake moves it by 1
        assert margin >= 0.1 / np.sqrt(1 + 0.3**2)

    def test_it_is_the_rule_of_rosenblatt(self):
        """Sample by sample in the order of the data, against NumPy."""
        x, y, _ = perceptron.separable(60, 0.1, 3)
        w = np.zeros(3)
        for point, label in zip(x.astype(np.float64), y, strict=True):
            extended = np.append(point, 1)
            w += (label - (w @ extended >= 0)) * extended
        net = nn.Network([nn.Dense(1, "threshold")], 2, "squared_error", nn.init.Zeros())
        net.fit(x, y, nn.SGD(1.0), epochs=1, batch_size=1, shuffle=False)
        ours = np.append(host(net.parameters[0]), host(net.parameters[1]))
        tolerance.assert_within(ours, w, tolerance.trajectory(w, len(x), 3, "float32"))

    def test_the_regions_are_those_of_xor(self, lecture):
        result = lecture[1]["perceptron"]
        grid, _ = perceptron.plane(perceptron.LIMIT)
        nearest = [np.argmin(((grid - corner) ** 2).sum(axis=1)) for corner in perceptron.CORNERS]
        assert result["xor_hidden"][nearest].tolist() == [0, 1, 1, 0]
        assert result["xor_line"][nearest].tolist() != [0, 1, 1, 0]
        assert set(np.unique(result["xor_errors"])) <= {0.25, 0.5, 0.75, 1.0}

    def test_its_claims_can_fail(self, lecture):
        result = lecture[1]["perceptron"]
        topic = perceptron.TOPIC
        assert claims(topic, result, bound=0.5) == [False, True, True]
        assert claims(topic, result, separable_error=0.005) == [False, True, True]
        assert claims(topic, result, xor_errors=np.array([0.5, 0.0])) == [True, False, True]
        assert claims(topic, result, solved={**result["solved"], "8": 0.8}) == [True, True, False]
        assert claims(topic, result, solved={**result["solved"], "1": 0.2}) == [True, True, False]


class TestRings:
    def test_no_line_does_better(self, lecture):
        """The best of all lines through a fine grid, by brute force, errs on about a third."""
        x, y = rings.rings(2000, SEED + 10_000)
        angles = np.linspace(0, np.pi, 60, endpoint=False)
        positions = x.astype(np.float64) @ np.stack([np.cos(angles), np.sin(angles)])
        side = positions[:, :, None] > np.linspace(-2.2, 2.2, 89)
        errors = (side != (y == 1)[:, None, None]).mean(axis=0)
        best = min(errors.min(), 1 - errors.max())
        assert 0.3 < best < 1 / 3 + tolerance.drawn(np.sqrt(1 / 3 * 2 / 3), len(x))
        assert lecture[1]["rings"]["cartesian_error"] >= best - tolerance.LINES_BETWEEN

    def test_the_radius_separates(self):
        x, y = rings.rings(2000, SEED + 10_000)
        assert ((np.hypot(*x.T) > 1.5) == y).mean() > 0.999
        r, angle = rings.polar(x).T
        found = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)
        tolerance.assert_within(found, x, tolerance.from_polar(r[:, None]))

    def test_its_claims_can_fail(self, lecture):
        result = lecture[1]["rings"]
        assert claims(rings.TOPIC, result, cartesian_error=0.2) == [False, True]
        assert claims(rings.TOPIC, result, polar_error=0.1) == [False, True]
        assert claims(rings.TOPIC, result, hidden_error=0.1) == [True, False]


class TestCapacity:
    def test_labels_are_wrong_in_training_alone(self):
        x, y = capacity.moons(4000, 0.15, 5)
        same, right = capacity.moons(4000, 0.0, 5)
        np.testing.assert_array_equal(x, same)
        tolerance.assert_within((y != right).mean(), 0.15, tolerance.drawn(np.sqrt(0.15 * 0.85), 4000))

    def test_its_claims_can_fail(self, lecture):
        result = lecture[1]["capacity"]
        flat, falling = np.full_like(result["test_errors"], 0.1), np.sort(result["test_errors"])[:, ::-1]
        assert claims(capacity.TOPIC, result, test_errors=flat)[1] is False
        assert claims(capacity.TOPIC, result, test_errors=falling)[1] is False
        assert claims(capacity.TOPIC, result, train_errors=result["train_errors"][:, ::-1])[0] is False

    @pytest.mark.parametrize(("sets", "bands"), [(1, 0), (2, 2)])
    def test_one_data_set_has_no_band_around_its_curve(self, lecture, sets, bands):
        result = lecture[1]["capacity"]
        few = {name: result[name][:sets] for name in ("train_errors", "test_errors")}
        report = capacity.report(settings(capacity.TOPIC), [{**result, **few}])
        panel = report.figures["capacity"]().axes[-1]
        assert len(panel.collections) == bands
        lines = [(100 * errors).mean(axis=0) for errors in few.values()]
        np.testing.assert_array_equal([line.get_ydata() for line in panel.lines], lines)


class TestUnits:
    @pytest.mark.parametrize("kind", ["sigmoid", "tanh", "relu", "gaussian"])
    def test_functions_and_slopes(self, lecture, kind):
        result = lecture[1]["units"]
        z = result["z"].astype(np.float64)
        ulps, derivative = tolerance.ACTIVATION_ULPS[kind]
        assert np.all(tolerance.ulps(result[kind], reference.activation(kind, z)) <= ulps)
        slope = reference.activation_derivative(kind, z).astype(np.float64)
        bound = derivative * np.finfo(np.float32).eps * np.maximum(1, np.abs(slope))
        tolerance.assert_within(result[f"{kind}_slope"], slope, bound)

    @pytest.mark.parametrize("kind", ["sigmoid", "tanh", "relu", "gaussian"])
    def test_a_wrong_slope_is_noticed(self, lecture, kind):
        result = lecture[1]["units"]
        name = f"{kind}_slope"
        assert claims(units.TOPIC, result, **{name: 1.01 * result[name]})[3] is False

    def test_its_claims_can_fail(self, lecture):
        result = lecture[1]["units"]
        assert claims(units.TOPIC, result, sigmoid_slope=result["tanh_slope"])[0] is False
        assert claims(units.TOPIC, result, relu_slope=result["sigmoid_slope"])[1] is False
        assert claims(units.TOPIC, result, gaussian=result["sigmoid"])[2] is False


class TestSaturation:
    @pytest.mark.parametrize("start", ["mild", "saturated"])
    @pytest.mark.parametrize("cost", ["squared_error", "binary_cross_entropy"])
    def test_outputs_are_those_of_numpy(self, lecture, cost, start):
        result = lecture[1]["saturation"]
        chosen = settings(saturation.TOPIC)
        w, b = chosen["starts"][start]
        outputs, bounds = [], []
        for step in range(chosen["steps"] + 1):
            a = float(sigmoid(np.float64(w + b)))
            outputs.append(a)
            bounds.append(tolerance.sigmoid_after(a, w + b, step))
            dz = a * a * (1 - a) if cost == "squared_error" else a
            w, b = w - chosen["rate"] * dz, b - chosen["rate"] * dz
        tolerance.assert_within(result[f"{start}_{cost}"], outputs, bounds)
        a = outputs[0]
        wanted = a * a * (1 - a) if cost == "squared_error" else a
        bound = tolerance.through_network(wanted, "float32", 1, 1, scale=a)
        tolerance.assert_within(result[f"{start}_{cost}_gradient"], wanted, bound)

    def test_steps_until(self):
        assert saturation.steps_until(np.array([0.9, 0.4, 0.05, 0.01])) == 2
        assert saturation.steps_until(np.array([0.9, 0.4])) is None

    def test_its_claims_can_fail(self, lecture):
        result = lecture[1]["saturation"]
        fast = result["saturated_binary_cross_entropy"]
        assert claims(saturation.TOPIC, result, saturated_squared_error=fast) == [True, False]
        assert claims(saturation.TOPIC, result, saturated_squared_error_gradient=0.5) == [False, True]

    @pytest.mark.parametrize(
        ("slow", "fast", "holds", "figure"),
        [
            (None, 40, True, "after 40 steps, with the quadratic cost not within 100 steps"),
            (None, 60, False, "after 60 steps, with the quadratic cost not within 100 steps"),
            (None, None, False, "not within 100 steps, with the quadratic cost not within 100 steps"),
            (90, None, False, "not within 100 steps, with the quadratic cost after 90 steps"),
            (0, 0, False, "after 0 steps, with the quadratic cost after 0 steps"),
        ],
    )
    def test_what_is_never_learnt_is_not_learnt_after_the_last_step(self, lecture, slow, fast, holds, figure):
        def outputs(steps):
            return np.where(np.arange(101) < (200 if steps is None else steps), 0.9, 0.01)

        curves = {"saturated_squared_error": outputs(slow), "saturated_binary_cross_entropy": outputs(fast)}
        chosen = {**settings(saturation.TOPIC), "steps": 100}
        report = saturation.report(chosen, [{**lecture[1]["saturation"], **curves}])
        assert report.claims[1].holds is holds
        assert report.claims[1].figure == f"output below 0.1 {figure}"


class TestDepth:
    @pytest.mark.parametrize("kind", depth.KINDS)
    def test_gradient_norms_are_those_of_numpy(self, images, lecture, kind):
        chosen = settings(depth.TOPIC)
        layers, index = 4, list(depth.KINDS).index(kind)
        net = nn.mlp([images.inputs, *[chosen["width"]] * layers, images.outputs], kind, seed=SEED)
        weights = [host(parameter).astype(np.float64) for parameter in net.parameters]
        kinds = [kind] * layers + ["linear"]
        pairs = zip(weights[::2], weights[1::2], kinds, strict=True)
        oracle = reference_network.Network(
            [reference_network.Dense(w, b, k) for w, b, k in pairs], "softmax_cross_entropy"
        )
        train = images.train.x.astype(np.float64)
        count = chosen["gradient_samples"]
        x = (train[:count] - train.mean()) / train.std()
        gradients = oracle.gradients(x, images.train.y[:count])[1]
        wanted = np.array([np.linalg.norm(dw) for dw in gradients[::2]])
        ours = lecture[1]["depth"]["norms"][index, layers - 1]
        bounds = [tolerance.through_network(norm, "float32", images.inputs, layers + 1) for norm in wanted]
        tolerance.assert_within(ours[: layers + 1], wanted, bounds)
        assert np.isnan(ours[layers + 1 :]).all()

    def test_dead_units(self, images):
        net = nn.mlp([images.inputs, 20, 10, images.outputs], "relu", seed=1)
        net.standardize(np.full(images.inputs, 5.0), np.full(images.inputs, 0.2))
        net.parameters[1][:3] = -1000  # three units that nothing wakes
        x = images.train.x[:100]
        w, b, v, c = (host(parameter).astype(np.float64) for parameter in net.parameters[:4])
        first = np.maximum((x - 5.0) * 0.2 @ w + b, 0)
        second = np.maximum(first @ v + c, 0)
        ours = depth.hidden_outputs(net, x)
        for number, (got, want) in enumerate(zip(ours, (first, second), strict=True), 1):
            tolerance.assert_within(
                got, want, tolerance.through_network(want, "float32", images.inputs, number)
            )
        wanted = [(layer.max(axis=0) == 0).mean() for layer in (first, second)]
        assert depth.dead_share(net, x).tolist() == wanted
        assert wanted[0] >= 0.15

    def test_its_claims_can_fail(self, lecture):
        result = lecture[1]["depth"]
        topic, norms = depth.TOPIC, result["norms"]
        assert claims(topic, result, norms=norms[::-1]) == [False, False, True, True, True]
        assert claims(topic, result, errors=result["errors"][::-1])[2] is False
        start = result["dead_at_start"]
        assert claims(topic, result, dead_at_start=start[::-1])[3] is False
        assert claims(topic, result, dead_trained=result["dead_trained"][::-1])[4] is False

    def test_four_layers_of_dead_units_have_four_lines(self, lecture):
        result = lecture[1]["depth"]
        dead = np.repeat(result["dead_trained"][:, :1], 4, axis=1)
        report = depth.report(settings(depth.TOPIC), [{**result, "dead_trained": dead}])
        (legend,) = [text for axes in report.figures["depth"]().axes[3:] for text in [axes.get_legend()]]
        assert [text.get_text() for text in legend.get_texts()] == [f"layer {n}" for n in range(1, 5)]


class TestFeatures:
    def test_the_output_layer_is_the_last_one(self, images, tmp_path):
        tiny = {**settings(features.TOPIC), **TINY["features"], "hidden": [10, 9, 8]}
        result = features.run(Work({}, "cpu", "highest", None, tmp_path, dataset=images), tiny, SEED)
        assert len(result["second"]) == 9
        assert len(result["output"]) == images.outputs

    def test_smoothness(self):
        random = np.random.default_rng(0)
        noise = features.smoothness(random.standard_normal((50, 28 * 28)), (28, 28))
        tolerance.assert_within(noise, 0.0, tolerance.drawn(1.0, 50 * 2 * 27 * 28))
        y, x = np.mgrid[0:28, 0:28]
        assert features.smoothness((x + y).reshape(1, -1), (28, 28)) > 0.9
        assert features.smoothness(((x + y) % 2).reshape(1, -1), (28, 28)) < -0.9

    def test_own_class(self):
        classes = np.random.default_rng(1).standard_normal((10, 64))
        assert features.own_class(classes + 0.1, classes) == 1
        assert features.own_class(classes[::-1], classes) == 0

    def test_exciting_images_excite_more_than_any_sample(self, images):
        chosen = settings(features.TOPIC)
        net = nn.mlp([images.inputs, 30, 20, images.outputs], "relu", seed=2)
        x = images.train.x.astype(np.float32) / 8 - 1
        net.fit(x, images.train.y, nn.Adam(0.003), epochs=5, batch_size=32)
        norm = float(np.linalg.norm(x, axis=1).mean())
        found = features.exciting(net, 3, x.mean(axis=0), norm, chosen)
        norms = np.linalg.norm(found.astype(np.float64), axis=1)
        bound = tolerance.rescaled(norm, images.inputs, "float32")
        tolerance.assert_within(norms, np.full(len(found), norm), bound)
        alike = x * (norm / np.linalg.norm(x, axis=1, keepdims=True))
        assert (np.diag(net.forward(found)) > net.forward(alike).max(axis=0)).all()

    def test_its_claims_can_fail(self, lecture):
        result = lecture[1]["features"]
        assert claims(features.TOPIC, result, weights=result["before"]) == [False, True]
        assert claims(features.TOPIC, result, output=result["output"][::-1]) == [True, False]


TINY = {
    "perceptron": {"points": 20, "most_epochs": 20, "xor_epochs": 5, "starts": 1, "hidden_epochs": 2},
    "rings": {"samples": 40, "test_samples": 50, "epochs": 2},
    "capacity": {"widths": [1, 4], "shown": [1, 4], "data_sets": 1, "test_samples": 100, "epochs": 5},
    "units": {},
    "saturation": {"steps": 3},
    "depth": {
        "depths": [1, 2], "trained_depths": [1], "steps": 2, "dead_rates": [0.1], "dead_depth": 1, "width": 10,
        "gradient_samples": 50, "train_samples": 100, "dead_samples": 50,
    },
    "features": {"hidden": [10, 10], "steps": 2, "train_samples": 200, "ascent_steps": 2},
}  # fmt: skip


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_device_gives_the_same(topic, device, images, tmp_path):
    tiny = {**settings(topic), **TINY[topic.name]}
    ours, cpu = (
        topic.run(Work({}, name, "highest", None, tmp_path, dataset=images), tiny, SEED)
        for name in (device, "cpu")
    )
    assert ours.keys() == cpu.keys()
    for name, value in cpu.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            blank = np.isnan(value)
            np.testing.assert_array_equal(np.isnan(ours[name]), blank, err_msg=name)
            size = np.abs(value[~blank])
            bound = tolerance.OTHER_DEVICE * (size + size.max())
            tolerance.assert_within(ours[name][~blank], value[~blank], bound)


@pytest.mark.slow
def test_the_whole_lecture_takes_less_than_two_minutes(mnist, tmp_path, threads):
    """CPU time on one thread: what others do to the machine must not count."""
    threads(1)
    start = time.process_time()
    report = reproduce("lecture", tmp_path / "a", data_dir=mnist)
    assert time.process_time() - start < 120
    assert report["run"]["seeds"] == [0, 1, 2]
    assert [claim for claim in report["claims"] if not claim["holds"]] == []
