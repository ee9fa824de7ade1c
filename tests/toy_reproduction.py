"""Small experiments, and `deltarule` with them: ``python toy_reproduction.py 3 reproduce toy --out F``."""

import errno
import functools
import os
import signal
import sys
import time
import types

import numpy as np
from deltarule import _core, data, nn, papers
from deltarule.papers.experiment import Cell, Claim, Experiment, Report, Table, mean, spread

runs = []  # keys of the cells that have run in this process
SETTINGS = {"epochs": 3, "hidden": [8]}


def settings(quick):
    return {**SETTINGS, "rate": 0.1 if quick else 0.05}


def train(work, seed):
    """Two trainings, the second on the outputs of the first; noise makes the rows unequal."""
    runs.append(f"net-seed{seed}")
    x = np.random.default_rng(seed).standard_normal((4000, 16)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    first = nn.mlp([16, *work.settings["hidden"], 2], "tanh", seed=seed, device=work.device)
    options = {"epochs": work.settings["epochs"], "batch_size": 20}
    rate = work.settings["rate"]
    work.fit(first, x, y, name="first", optimizer=nn.Momentum(rate), validation=(x[:500], y[:500]), **options)
    second = nn.mlp([2, 4, 2], "tanh", seed=seed, device=work.device)
    history = work.fit(second, first.forward(x), y, name="second", optimizer=nn.Adam(rate), **options)
    return {
        "error": history["train_error"][-1],
        "nothing": float("nan"),
        "losses": np.array(history["train_loss"]),
        "weights": np.asarray(second.parameters[0]),
    }


def cells(settings, seeds):
    return [Cell(f"net-seed{s}", f"net, seed {s}", functools.partial(train, seed=s), 2.0) for s in seeds]


def report(settings, results):
    from matplotlib.figure import Figure

    errors = [result["error"] for result in results.values()]

    def curve():
        figure = Figure()
        axes = figure.subplots()
        for result in results.values():
            axes.plot(result["losses"])
        return figure

    rows = [["net", 0.5, mean(errors), spread(errors)]]
    return Report(
        [Table("Errors", ["model", "paper", "ours", "spread"], rows)],
        [Claim("a net learns", mean(errors) < 0.6, f"error {mean(errors):.3f}")],
        {"curve": curve},
        ["a note"],
    )


EXPERIMENT = Experiment("toy", "A toy", "Nobody, 1900", settings, cells, report, needs_images=False)


def look(work):
    images = work.images()
    assert isinstance(images, data.Dataset)
    return {"name": images.name, "pixels": images.inputs}


PICTURES = Experiment(
    "pictures", "Images", "Nobody, 1901", lambda quick: {},
    lambda settings, seeds: [Cell(key, key, look) for key in ("look", "again")[: len(seeds)]],
    lambda settings, results: Report([Table("Data", ["name"], [[settings["data"]]])], []),
)  # fmt: skip


# Cells that end in many ways, by name: --set cells=["long","die"]


def long(work):
    """In its first epoch until it is stopped: the only checkpoint is that of the stop."""

    class Begun(nn.Callback):
        def on_train_begin(self, net, history):
            (work.folder / "begun").touch()

    x = np.random.default_rng(0).integers(0, 255, (4 * 10**6, 4), np.uint8)
    net = nn.mlp([4, 100, 100, 2])
    work.fit(net, x, x[:, 0] % 2, optimizer=nn.SGD(1e-6), epochs=1, batch_size=1, callbacks=[Begun()])


def end_slowly(work):
    """Two trainings; the stop comes while the first one ends."""
    others = work.folder.parent

    class End(nn.Callback):
        def on_train_end(self, net, history):
            (work.folder / "ending").touch()
            wait_until((others / "told").exists)
            time.sleep(0.5)

    x = np.zeros((50, 4), np.float32)
    work.fit(nn.mlp([4, 2]), x, np.zeros(50, int), name="first", epochs=1, callbacks=[End()])
    work.fit(nn.mlp([4, 2]), x, np.zeros(50, int), name="second", epochs=1)


def fail_meanwhile(work):
    """An error while `end_slowly` ends its first training."""
    wait_until(lambda: list(work.folder.parent.glob("end_slowly-*/ending")))
    (work.folder.parent / "told").touch()
    raise ValueError("toy: it has failed")


def wait_until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_long(work):
    while not list(work.folder.parent.glob("long-*/begun")):
        time.sleep(0.01)
    time.sleep(0.5)


def short(work):
    """Nothing."""
    return {}


def diverge(work):
    """A DivergedError of `fit`."""
    wait_for_long(work)
    x = np.ones((40, 2), np.float32)
    work.fit(
        nn.mlp([2, 1], loss="squared_error"), x, x[:, :1], optimizer=nn.SGD(1e30), epochs=9, batch_size=10
    )


def fill(work):
    """A full disk."""
    wait_for_long(work)
    raise OSError(errno.ENOSPC, "No space left on device", "a/file")


def odd(work):
    """An error that cannot be pickled."""

    class OddError(Exception):
        pass

    raise OddError("like no other")


class OneWayError(Exception):
    """One that comes back in its own process alone."""

    def __reduce__(self):
        return OneWayError.back, (os.getpid(), *self.args)

    @classmethod
    def back(cls, process, text):
        if process != os.getpid():
            raise OSError("as of a pipe")
        return cls(text)


def one_way(work):
    wait_for_long(work)
    raise OneWayError("there and not back")


def stopped_oddly(work):
    """Told to stop, it answers by an error that does not come back."""
    try:
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        raise OneWayError("stopped") from None


def leave(work):
    """The process ends, as by a library that calls exit."""
    wait_for_long(work)
    os._exit(3)


def die(work):
    """What happens to a process when memory is short."""
    wait_for_long(work)
    os.kill(os.getpid(), signal.SIGKILL)


def stubborn(work):
    """Does not mind Ctrl-C."""
    (work.folder / "begun").touch()
    while True:
        try:
            time.sleep(0.01)
        except KeyboardInterrupt:
            with (work.folder / "begun").open("a") as file:
                file.write("Ctrl-C\n")


def together(work):
    """How many threads each has while all of them run."""
    cells = work.folder.parent
    (work.folder / "begun").touch()
    while len(list(cells.glob("together-*/begun"))) < len(work.settings["cells"]):
        time.sleep(0.01)
    threads = _core.num_threads()
    (cells / f"{work.folder.name}.seen").touch()
    while len(list(cells.glob("together-*.seen"))) < len(work.settings["cells"]):
        time.sleep(0.01)
    return {"threads": threads}


def all_threads(work):
    """Waits until it has all of them."""
    deadline = time.monotonic() + 30
    while _core.num_threads() < work.settings["threads"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return {}


def blas(work):
    """Threads of NumPy's linear algebra."""
    from threadpoolctl import threadpool_info

    return {"threads": [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]}


def sleep(work):
    """A little."""
    time.sleep(0.5)
    return {}


def make_closure():
    """A cell that no other process can be sent."""

    def closure(work):
        return {}

    return closure


NAMED = (
    long, short, end_slowly, fail_meanwhile, diverge, fill, odd, one_way, stopped_oddly, leave, die,
    stubborn, together, all_threads, blas, sleep,
)  # fmt: skip
ENDS = Experiment(
    "ends", "Ends", "Nobody, 1902", lambda quick: {"cells": ["short"], "threads": 1},
    lambda settings, seeds: [
        Cell(f"{name}-{place}", name, {cell.__name__: cell for cell in (*NAMED, make_closure())}[name], 1.0 + place)
        for place, name in enumerate(settings["cells"])
    ],
    lambda settings, results: Report([Table("Cells", ["key"], [[key] for key in results])], []),
    needs_images=False,
)  # fmt: skip


def register(patch=setattr, item=sys.modules.__setitem__):
    """Add the experiments to `papers`."""
    patch(papers, "NAMES", (*papers.NAMES, "ends", "toy", "pictures"))
    for experiment in (ENDS, EXPERIMENT, PICTURES):
        module = types.ModuleType(experiment.name)
        module.EXPERIMENT = experiment
        item(f"deltarule.papers.{experiment.name}", module)


if __name__ == "__main__":
    import toy_reproduction  # whose functions other processes find by name
    from deltarule.cli import main

    epochs, *arguments = sys.argv[1:]
    toy_reproduction.SETTINGS["epochs"] = int(epochs)
    toy_reproduction.register()
    sys.exit(main(arguments))
