"""The chain of ideas from one unit to deep nets, each with its picture and its claim.

Every step is a `Topic` in a file of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ..experiment import Cell, Experiment, Report, Result, Settings
from ..work import Work
from .capacity import TOPIC as CAPACITY
from .depth import TOPIC as DEPTH
from .features import TOPIC as FEATURES
from .perceptron import TOPIC as PERCEPTRON
from .rings import TOPIC as RINGS
from .saturation import TOPIC as SATURATION
from .topic import Topic
from .units import TOPIC as UNITS

TOPICS = (PERCEPTRON, RINGS, CAPACITY, UNITS, SATURATION, DEPTH, FEATURES)


def settings(quick: bool) -> dict[str, Any]:
    """Those of every topic, by its name."""
    return {topic.name: topic.settings(quick) for topic in TOPICS}


def cells(settings: Settings, seeds: Sequence[int]) -> list[Cell]:
    """A cell for every topic and seed; one for what no chance is in."""
    for topic in TOPICS:
        topic.check(settings[topic.name])
    return [
        Cell(
            _key(topic, seed),
            f"{topic.title}{f', seed {seed}' if topic.seeded else ''}",
            partial(_run, topic.name, seed),
            topic.seconds,
        )
        for topic in TOPICS
        for seed in (seeds if topic.seeded else seeds[:1])
    ]


def report(settings: Settings, results: Mapping[str, Result]) -> Report:
    """The reports of all topics, one after the other."""
    parts = []
    for topic in TOPICS:
        own = [result for key, result in results.items() if key.startswith(f"{topic.name}-seed")]
        parts.append(topic.report(settings[topic.name], own))
    return Report(
        [table for part in parts for table in part.tables],
        [claim for part in parts for claim in part.claims],
        {name: draw for part in parts for name, draw in part.figures.items()},
        [note for part in parts for note in part.notes],
    )


def _key(topic: Topic, seed: int) -> str:
    return f"{topic.name}-seed{seed}"


def _run(name: str, seed: int, work: Work) -> Result:
    # By name: a topic may hold functions that another process cannot be sent.
    topic = next(topic for topic in TOPICS if topic.name == name)
    return topic.run(work, work.settings[topic.name], seed)


EXPERIMENT = Experiment(
    name="lecture",
    title="From one unit to deep nets",
    reference="Ideas of Rosenblatt 1958, Minsky & Papert 1969, Rumelhart, Hinton & Williams 1986, Hochreiter 1991, "
    "Glorot & Bengio 2010 and He et al. 2015, on small problems.",
    settings=settings,
    cells=cells,
    report=report,
)
