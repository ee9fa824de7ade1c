"""Several networks whose outputs are averaged, trained side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core
from .._atomic import PathLike
from .._numbers import as_count
from .._through import host
from . import files, headers, model
from .callbacks import Callback
from .history import History
from .inputs import MULTI_LABEL, REGRESSION, as_features, as_targets, as_weights, check_targets, saying
from .network import Network
from .optimizers import Optimizer
from .scores import as_dense, as_labels, loss_of_mean, probabilities, r2


class Committee:
    """Networks that decide by the mean of their outputs (Ciresan et al. 2010; 2011: "handwritten digit committees").

    Parameters
    ----------
    members : iterable of Network
        One or more, with the same inputs, outputs, loss, classes (where they have names) and meaning of the targets;
        hidden layers may differ.

    It has a length, and its members by index and in a loop.

    Raises
    ------
    ValueError, TypeError
        No members, one that is no Network, or one that does not fit the first.

    Examples
    --------
    >>> from deltarule import nn
    >>> x, y = np.eye(4, dtype=np.float32), np.arange(4)
    >>> committee = Committee(nn.mlp([4, 8, 4], seed=seed) for seed in range(3))
    >>> histories = committee.fit(x, y, optimizer=nn.SGD(0.5), epochs=100, batch_size=1)
    >>> committee.predict(x).tolist(), len(histories)
    ([0, 1, 2, 3], 3)
    """

    def __init__(self, members: Iterable[Network]) -> None:
        if not isinstance(members, Iterable):
            raise TypeError(f"Committee: members is {members!r}; wanted a list of nn.Network")
        self.members = tuple(members)
        if not self.members:
            raise ValueError("Committee: no members; wanted one Network or more")
        for index, net in enumerate(self.members):
            if not isinstance(net, Network):
                raise TypeError(f"Committee: member {index} is {net!r}; wanted an nn.Network")
            if any(net is other for other in self.members[:index]):
                raise ValueError(f"Committee: member {index} is there twice")
            for what in ("inputs", "outputs", "loss"):
                mine, first = getattr(net, what), getattr(self.members[0], what)
                if mine != first:
                    raise ValueError(f"Committee: member {index} has {what} {mine!r}, member 0 {first!r}")
        named = [
            (k, list(map(str, net.classes))) for k, net in enumerate(self.members) if net.classes is not None
        ]
        for index, classes in named[1:]:
            if classes != named[0][1]:
                raise ValueError(
                    f"Committee: member {index} has other classes or another order than member {named[0][0]}"
                )

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Network]:
        return iter(self.members)

    def __getitem__(self, index: int) -> Network:
        if isinstance(index, slice):
            raise TypeError(f"Committee: index is {index}; wanted a whole number (`members` has slices)")
        return self.members[index]

    def __repr__(self) -> str:
        return f"Committee({len(self)} of {self.members[0]!r})"

    def fit(
        self,
        x: Any,
        y: Any,
        optimizer: Optimizer | None = None,
        *,
        callbacks: Callable[[int], Sequence[Callback]] | None = None,
        threads: int | None = None,
        **settings: Any,
    ) -> list[History]:
        """Train every member on the same samples, each as its own `Network.fit` would, to the same bits.

        On the CPU as many members at a time as there are threads, each on one thread: small products leave the
        threads that share them waiting for each other, nets need not wait. On a GPU, whose stream all share, one after
        the other. Meanwhile other work of the process is on one thread, too.

        Parameters
        ----------
        x, y, optimizer
            As for `Network.fit`.
        callbacks : function of the member's index, optional
            Gives the member's own callbacks: ``lambda k: [nn.EarlyStopping()]``.
        threads : int, optional
            How many members at a time; 1: in turns, each on all threads. Default: what is faster, see above.
        **settings
            The other arguments of `Network.fit`: epochs, batch_size, ..., but for progress and resume.

        Returns
        -------
        list of History
            In the order of the members.

        Raises
        ------
        TypeError, ValueError, DivergedError
            As `Network.fit`. The first error ends the training of the others after their epoch.
        KeyboardInterrupt
            Ctrl-C, when every member has ended its epoch. The committee stays usable.
        """
        for name in ("progress", "resume"):
            if name in settings:
                raise TypeError(f"Committee.fit: {name} came; wanted it for the fit of a single Network")
        if callbacks is not None and not callable(callbacks):
            raise TypeError(
                f"Committee.fit: callbacks is {callbacks!r}; wanted a function of the member's index that gives them"
            )
        if threads is not None and as_count(threads, "Committee.fit: threads") < 1:
            raise ValueError(f"Committee.fit: threads is {threads}; wanted 1 or more")
        at_once = min(len(self), self._threads() if threads is None else threads)
        stop = _Stop()

        def train(index: int) -> History:
            own = [] if callbacks is None else callbacks(index)
            if isinstance(own, Callback) or not isinstance(own, Iterable):
                raise TypeError(
                    f"Committee.fit: callbacks({index}) gave {own!r}; wanted a list of nn.Callback"
                )
            if stop.event.is_set():
                return History()
            return self.members[index].fit(x, y, optimizer, callbacks=[*own, stop], **settings)

        if at_once == 1:
            return [train(index) for index in range(len(self))]
        return _side_by_side(train, len(self), at_once, stop)

    def _threads(self) -> int:
        return _core.num_threads() if all(net.device == "cpu" for net in self.members) else 1

    @property
    def task(self) -> str:
        """What the targets mean to the members, see `Network.task`."""
        tasks = {net.task for net in self.members}
        if len(tasks) > 1:
            raise ValueError(
                f"Committee: members were trained for {' and '.join(sorted(tasks))}; wanted one task"
            )
        return self.members[0].task

    def forward(self, x: Any) -> npt.NDArray[Any]:
        """Mean of the members' outputs, x[N,I] -> z[N,O]; logits with a cross-entropy."""
        return self._mean(net.forward(x) for net in self.members)

    def predict_proba(self, x: Any) -> npt.NDArray[Any]:
        """Mean of the members' probabilities, x[N,I] -> [N,O], see `Network.predict_proba`."""
        return self._mean(net.predict_proba(x) for net in self.members)

    def _mean(self, values: Iterable[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        # Summed in float64, so the order of the members does not show in float32.
        total: Any = sum(value.astype(np.float64) for value in values)
        mean: npt.NDArray[Any] = (total / len(self)).astype(self.members[0].dtype)
        return mean

    def predict(self, x: Any) -> npt.NDArray[Any]:
        """x[N,I] -> labels int64 [N], 0 or 1 [N,O] (multi-label), or values [N,O], by the means."""
        task = self.task
        with saying("predict"):
            return self._decide((net.forward(x) for net in self.members), task)

    def _decide(self, outputs: Iterable[npt.NDArray[Any]], task: str) -> npt.NDArray[Any]:
        """What the members' outputs, [N,O] each, stand for together."""
        loss = self.members[0].loss
        if task != REGRESSION and loss != "squared_error":
            pairs = zip(self.members, outputs, strict=True)
            outputs = (probabilities(z, loss, net.task) for net, z in pairs)
        means = self._mean(outputs)
        if task == REGRESSION:
            return means
        if task == MULTI_LABEL:
            return (means > 0.5).astype(np.int64)
        if means.shape[1] == 1:
            return (means[:, 0] > 0.5).astype(np.int64)
        labels: npt.NDArray[Any] = means.argmax(axis=1)
        return labels

    def score(self, x: Any, y: Any) -> float:
        """Share of right samples (multi-label: of samples with every label right), or R^2, see `Network.score`."""
        task = self.task
        features, targets, meaning = self._samples(x, y, None, task == REGRESSION, "score")
        if task == REGRESSION:
            return r2(self.forward(features), targets)
        return self._right((net.forward(features) for net in self.members), targets, task, meaning)

    def evaluate(self, x: Any, y: Any, sample_weight: Any = None) -> tuple[float, float | None]:
        """Mean loss, and share of wrong samples (None where y is real numbers), as the members decide together.

        The loss is that of the mean probabilities, or with the squared error of the mean outputs.
        """
        first = self.members[0]
        weights = as_weights(sample_weight, first.dtype, "evaluate")
        counts = all(net.takes_counts for net in self.members)
        features, targets, meaning = self._samples(x, y, weights, counts, "evaluate")
        outputs = [net.forward(features) for net in self.members]
        losses = loss_of_mean(first.loss, outputs, as_dense(targets, first.outputs))
        if weights is not None:
            weights = host(weights).astype(np.float64)
        silent = weights is not None and not weights.any()
        loss = 0.0 if silent else float(np.average(losses, weights=weights))
        if meaning == REGRESSION:
            return loss, None
        task = self.task if self.task != REGRESSION else meaning
        return loss, 1 - self._right(outputs, targets, task, meaning)

    def _samples(self, x: Any, y: Any, weights: Any, real: bool, where: str) -> tuple[Any, Any, str]:
        first = self.members[0]
        features = as_features(x, first.dtype, where)
        targets, meaning = as_targets(y, first.loss, first.dtype, where, real and first.outputs == 1)
        targets = host(targets)
        first.engine.check_samples(where, features, targets, weights)
        if len(features) == 0:
            raise ValueError(f"{where}: x has no rows")
        check_targets(targets, first.loss, where)
        return features, targets, meaning

    def _right(self, outputs: Iterable[npt.NDArray[Any]], targets: Any, task: str, meaning: str) -> float:
        """Share of right samples, by the members' outputs."""
        if task == MULTI_LABEL:
            task = meaning  # a label a sample is hit by the largest output, as in Network.score
        right = self._decide(outputs, task) == as_labels(targets, task)
        return float((right.all(axis=1) if right.ndim == 2 else right).mean())

    def save(self, path: PathLike) -> None:
        """Write all members as one safetensors file; on failure (OSError) an older file of that name is as it was."""
        tensors: files.Tensors = {}
        headers = []
        for index, net in enumerate(self.members):
            own, header = model.contents(net)
            tensors |= {f"member{index}.{name}": tensor for name, tensor in own.items()}
            headers.append(header)
        files.write(path, files.COMMITTEE, tensors, {"members": headers})

    @staticmethod
    def load(path: PathLike, device: str = "cpu") -> Committee:
        """The committee that `save` wrote.

        Raises
        ------
        OSError, ValueError
            As `Network.load`.
        """
        tensors, header = files.read(path, files.COMMITTEE)
        headers.check(header, {"members": headers.many(headers.OBJECT)}, path)
        nets = []
        for index, own in enumerate(header["members"]):
            prefix = f"member{index}."
            part = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            nets.append(model.restored(part, own, path, device, Network))
        with headers.damaged(path):
            return Committee(nets)


class _Stop(Callback):
    """Ends every training it is in after the epoch in which the event was set.

    As Ctrl-C does: a checkpoint of that moment goes on from there.
    """

    def __init__(self) -> None:
        self.event = threading.Event()

    def on_epoch_end(self, net: Network, history: History) -> bool:
        if self.event.is_set():
            raise KeyboardInterrupt
        return False


class _OneThread:
    """One thread of the kernels while any committee is in it: the last one out gives back what the first one found."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uses = 0
        self._before = 1

    def __enter__(self) -> None:
        with self._lock:
            if self._uses == 0:
                self._before = _core.num_threads()
                _core.set_num_threads(1)
            self._uses += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._uses -= 1
            if self._uses == 0:
                _core.set_num_threads(self._before)


_one_thread = _OneThread()


def _side_by_side(train: Callable[[int], History], count: int, at_once: int, stop: _Stop) -> list[History]:
    """train(0), ..., train(count - 1), at_once of them at a time, each on one thread of the kernels."""
    with _one_thread:
        with ThreadPoolExecutor(at_once) as pool:
            try:
                futures: list[Future[History]] = [pool.submit(train, index) for index in range(count)]
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:  # without an error or Ctrl-C all are over
                stop.event.set()
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, KeyboardInterrupt)):
            raise error  # what stopped the others, not how they were stopped
        return [future.result() for future in futures]
