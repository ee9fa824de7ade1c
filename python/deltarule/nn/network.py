"""The network as users see it; the arithmetic is the engine's (csrc/engine/network.h)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core
from .._atomic import PathLike
from .._numbers import as_count, as_name, as_number
from .._through import host
from ..data.augment import Augmentation, shape_of
from . import init as initializers
from . import model, pruning
from .callbacks import Callback
from .fit import Training
from .history import DivergedError, History
from .inputs import (
    CLASSIFICATION,
    MULTI_LABEL,
    REGRESSION,
    TASKS,
    as_features,
    as_targets,
    as_weights,
    check_targets,
    renamed,
    saying,
)
from .layers import Dense, Dropout, Layer
from .optimizers import Optimizer
from .optimizers import check as check_optimizer
from .plan import Plan
from .schedules import Schedule
from .scores import as_labels, probabilities, r2

EVALUATE_ROWS = 1000


class Network:
    """A stack of layers with a loss on top.

    Parameters
    ----------
    layers : sequence of Dense and Dropout
    inputs : int
        Features I of a sample.
    loss : "softmax_cross_entropy", "binary_cross_entropy" or "squared_error"
        The cross-entropies take the last layer's outputs z as logits:
        mean of -log softmax(z)[label]; mean over samples of the sum over outputs of log(1 + e^z) - t z;
        1/2 of the mean over samples of |z - t|^2.
    init : nn.init initialiser, optional
        For the weights of every layer; by default He for rectifiers, Glorot for the rest. Biases start at 0.
    device : str
        "cpu", or another of `deltarule.devices`: "cuda" is the first GPU, "cuda:1" the second.
    precision : "highest", "high" or "medium"
        Of float32 products on matrix units, see `deltarule.matmul`.
    dtype : "float32" or "float64"
        Or NumPy's types of these names.
    seed : int
        Of initial weights, shuffling and dropout: the same seed, the same bits.

    Attributes
    ----------
    inputs, outputs, layers, loss, dtype, precision, device, seed
        As built.
    task : str
        What the targets mean: "classification", "multi_label" or "regression". Follows from the loss and from
        what was trained: with integer labels [N] it is classification, whatever the loss. Regression wants floats,
        ``y.astype(float)``; a net of one output that was trained on them, or set to ``task = "regression"``, takes
        whole numbers [N] for targets, too.
    classes : list of str, or None
        Names of the classes,...
    feature_names : list of str, or None
        ...names of the features (of a table's columns),...
    image_shape : (height, width), or None
        ...shape of a sample and...
    pixel_max : float or None
        ...value of a white pixel, where samples are images; all four are only kept and saved with the model. What is
        none of the kind is a TypeError or ValueError where it is assigned.
    history : History or None
        Of the last `fit`, also where Ctrl-C ended it.

    Raises
    ------
    ValueError
        Unknown names (the choices are in the message), sizes that are not positive.
    DeviceError
        If the device is not there.

    Examples
    --------
    >>> import numpy as np
    >>> from deltarule import nn
    >>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    >>> y = np.array([0, 1, 1, 0])
    >>> net = nn.Network([nn.Dense(8, "tanh"), nn.Dense(2)], inputs=2, seed=1)
    >>> history = net.fit(x, y, nn.SGD(0.5), epochs=500, batch_size=4)
    >>> net.predict(x).tolist(), net.score(x, y)
    ([0, 1, 1, 0], 1.0)
    """

    def __init__(
        self,
        layers: Iterable[Layer],
        inputs: int,
        loss: str = "softmax_cross_entropy",
        init: initializers.Initializer | None = None,
        device: str = "cpu",
        precision: str = "highest",
        dtype: npt.DTypeLike = "float32",
        seed: int = 0,
    ) -> None:
        if not isinstance(layers, Iterable):
            raise TypeError(f"Network: layers is {layers!r}; wanted a list of nn.Dense and nn.Dropout")
        if init is not None:
            initializers.check(init, "Network: init")
        self.layers = tuple(layers)
        if not any(isinstance(layer, Dense) for layer in self.layers):
            raise ValueError(f"Network: layers are {list(self.layers)}; wanted one Dense or more")
        self.inputs = as_count(inputs, "Network: inputs")
        self.seed = as_count(seed, "Network: seed")
        self.loss = as_name(loss, "Network: loss")
        named = isinstance(dtype, (type, np.dtype))  # np.float32
        self.dtype = np.dtype(dtype).name if named else as_name(dtype, "Network: dtype")
        self.precision = as_name(precision, "Network: precision")
        self.engine = self._new_engine(as_name(device, "Network: device"))
        self.outputs = [layer.units for layer in self.layers if isinstance(layer, Dense)][-1]
        self.device = str(self.engine.device)
        self._task = _task(loss, self.outputs)
        self.takes_counts = False  # whole numbers [N] are targets, not labels
        self._rule: tuple[type[Optimizer], dict[str, Any], _core.Optimizer] | None = None
        self._classes: list[str] | None = None
        self._feature_names: list[str] | None = None
        self._image_shape: tuple[int, int] | None = None
        self._pixel_max: float | None = None
        self.history: History | None = None
        self._shift: npt.NDArray[Any] | None = None
        self._scale: npt.NDArray[Any] | None = None
        self._initialize(init)

    def _new_engine(self, device: str) -> _core.Network:
        engine = _core.Network(self.inputs, self.loss, self.dtype, self.precision, device, self.seed)
        for layer in self.layers:
            if isinstance(layer, Dense):
                engine.add_dense(layer.units, layer.activation, layer.slope, layer.bias)
            elif isinstance(layer, Dropout):
                engine.add_dropout(layer.rate)
            else:
                raise TypeError(f"Network: a layer is {layer!r}; wanted nn.Dense or nn.Dropout")
        return engine

    def _initialize(self, init: initializers.Initializer | None) -> None:
        parameters = self.parameters
        index = 0
        for layer in self.layers:
            if isinstance(layer, Dense):
                filler = initializers.default(layer.activation) if init is None else init
                filler.fill(parameters[index], self.seed, _core.init_stream(index))
                index += 2 if layer.bias else 1

    def __repr__(self) -> str:
        count = sum(math.prod(parameter.shape) for parameter in self.parameters)
        layers = ", ".join(map(repr, self.layers))
        pruned = f", {self.sparsity:.1%} of the weights pruned" if self.engine.masks() else ""
        return f"Network([{layers}], inputs={self.inputs}, loss={self.loss!r}; {count:,} parameters{pruned})"

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: weights, architecture and the optimiser's state, without the engine."""
        return model.state(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The net as it was, on its device; on the CPU, with a warning, where that is not there."""
        model.restore(self, state)

    @property
    def task(self) -> str:
        """What the targets mean, see `Network`."""
        return self._task

    @task.setter
    def task(self, task: str) -> None:
        if task not in TASKS:
            raise ValueError(f"Network: task is {task!r}; choices: {', '.join(TASKS)}")
        self._task = task
        self.takes_counts = task == REGRESSION and self.outputs == 1

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, see `Network`."""
        return self._classes

    @classes.setter
    def classes(self, names: Iterable[str] | None) -> None:
        self._classes = model.as_names(names, "Network: classes")

    @property
    def feature_names(self) -> list[str] | None:
        """Names of the features, see `Network`."""
        return self._feature_names

    @feature_names.setter
    def feature_names(self, names: Iterable[str] | None) -> None:
        self._feature_names = model.as_names(names, "Network: feature_names")

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """Height and width of a sample, see `Network`."""
        return self._image_shape

    @image_shape.setter
    def image_shape(self, shape: tuple[int, int] | None) -> None:
        self._image_shape = None if shape is None else shape_of(self.inputs, shape, "Network")

    @property
    def pixel_max(self) -> float | None:
        """Value of a white pixel, see `Network`."""
        return self._pixel_max

    @pixel_max.setter
    def pixel_max(self, brightest: float | None) -> None:
        self._pixel_max = None if brightest is None else as_number(brightest, "Network: pixel_max")

    @property
    def parameters(self) -> list[_core.Array]:
        """Weights [I,O] and biases [O] in layer order: views, so writing to them changes the net."""
        return list(self.engine.parameters())

    def standardize(self, shift: npt.ArrayLike | None, scale: npt.ArrayLike | None) -> None:
        """Let the net take x as (x - shift) * scale, feature by feature; saved with the model.

        Parameters
        ----------
        shift, scale : array [I], or both None
            Such as those of `deltarule.data.Standardizer`, fitted on the training part.
        """
        if (shift is None) != (scale is None):
            raise ValueError("standardize: one of shift and scale is None; wanted both arrays, or both None")
        arrays = [None if a is None else np.array(host(a), dtype=self.dtype) for a in (shift, scale)]
        self.engine.set_input_transform(*arrays)
        self._shift, self._scale = arrays

    @property
    def standardization(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
        """Shift and scale of `standardize`, [I] each, or None."""
        return None if self._shift is None or self._scale is None else (self._shift, self._scale)

    def prune(self, fraction: float, scope: str = "global") -> None:
        """Set the smallest weights to 0 and keep them there, in every training that follows.

        Parameters
        ----------
        fraction : float
            Share of the weights (biases are left alone) that is pruned afterwards, from 0 to below 1. What was pruned
            before counts and stays pruned; one weight (with "layer" one of each) lives, however large the share.
        scope : "global" or "layer"
            The smallest of all weights together, or the same share of every layer's.

        Raises
        ------
        ValueError
            For another fraction or scope, or if more is pruned already.

        Notes
        -----
        Gradients of pruned weights are set to 0 as well, so that momentum, gradient norms and clipping are those of the
        weights that live. A masked net trains its weights in a pass of their own after each gradient, without the
        blocks of `fit`; products are as dense as before, so it is smaller in a compressed file, not faster.

        Examples
        --------
        >>> net = mlp([4, 10, 2], seed=0)
        >>> net.prune(0.75)
        >>> net.sparsity, int(sum((np.asarray(w) == 0).sum() for w in net.parameters[::2]))
        (0.75, 45)
        """
        pruning.prune(self, fraction, scope)

    @property
    def sparsity(self) -> float:
        """Share of the weights (biases left out) that `prune` has set to 0."""
        return pruning.sparsity(self)

    @property
    def masks(self) -> dict[int, npt.NDArray[np.bool_]]:
        """By index in `parameters`, where weights of that layer live [I,O]; empty if none are pruned."""
        return pruning.masks(self)

    def fit(
        self,
        x: Any,
        y: Any,
        optimizer: Optimizer | None = None,
        epochs: int = 10,
        batch_size: int | None = None,
        validation: tuple[Any, Any] | None = None,
        schedule: Schedule | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool | str = False,
        sample_weight: Any = None,
        shuffle: bool = True,
        resume: PathLike | None = None,
        augment: Augmentation | None = None,
    ) -> History:
        """Train on minibatches, from the weights as they are, with the optimiser's state and step count at 0.

        Parameters
        ----------
        x : array [N, I]
            Features. uint8 stays uint8 in memory.
        y : integer array [N], or array [N, O]
            Labels, which are copied, or targets.
        optimizer : Optimizer, optional
            `SGD` (0.1) by default.
        epochs : int
        batch_size : int, optional
            100 by default, or N if that is less. The last minibatch of an epoch holds what is left.
        validation : (x, y), optional
            Evaluated after every epoch.
        schedule : function of the epoch, optional
            Multiplies the learning rate of every step, by a finite number, at least 0; see `deltarule.nn.schedules`.
        callbacks : sequence of Callback
        progress : bool or "always"
            A progress bar on stderr; True shows it on a terminal only.
        sample_weight : array [N], optional
        shuffle : bool
            A new order in every epoch, a function of the seed and the epoch alone.
        resume : path, optional
            A checkpoint of the same training: goes on from there, to the bits of the uninterrupted run. Only
            ``epochs`` may differ, and be larger.
        augment : data.augment.Affine, Elastic, or their sum, optional
            Deforms every image afresh in every epoch, before it is standardised; the seed is the net's. Images are
            of `image_shape`, or squares. Validation data are left as they are.

        Returns
        -------
        History
            Also kept as ``net.history``.

        Raises
        ------
        TypeError, ValueError
            For bad input, before anything has changed; also where a schedule gives no such number, after the steps
            before.
        DivergedError
            If the loss turns NaN or infinite. The weights are then those of the end of the last good epoch
            (with early stopping those of the best epoch), and the optimiser's state is empty. Where a checkpoint's own
            weights give such a loss, they stay.
        KeyboardInterrupt
            Ctrl-C, after the steps of the native call it came in. The net stays usable, and checkpoints are written.
            A second one ends the training at once, and may leave the last checkpoint as it was.

        Notes
        -----
        `SGD` without decay and clipping takes steps on few samples in blocks: what the updates since the block's begin
        do to the first layer's product is added to the product, x_t W_t = x_t W - (x_t X^T) D with D = lr dz, and its
        weights are updated once a block. These are the same steps as `train_step`'s, up to rounding, and 1.3 to 2.8
        times as fast where one sample is a step (``bench/online.py`` and ``tiny.py``).
        """
        plan = Plan.make(
            self,
            x,
            y,
            optimizer,
            epochs,
            batch_size,
            validation,
            schedule,
            callbacks,
            sample_weight,
            shuffle,
            augment,
        )
        return Training(self, plan).run(progress, resume)

    def train_step(self, x: Any, y: Any, optimizer: Optimizer, sample_weight: Any = None) -> float:
        """One minibatch: forward, backward, update.

        Parameters
        ----------
        x : array [B, I]
        y : integer array [B], or array [B, O]
        optimizer : Optimizer
            Its state stays in the net from step to step.
        sample_weight : array [B], optional

        Returns
        -------
        float
            The minibatch's loss before the update.

        Raises
        ------
        DivergedError
            If the loss is NaN or infinite; the weights are as before.
        """
        features = as_features(x, self.dtype, "train_step")
        targets, task = as_targets(y, self.loss, self.dtype, "train_step", self.takes_counts)
        rule = self._rule_of(optimizer)
        if sample_weight is None:
            loss = self.engine.train_step(features, targets, rule)
        else:
            loss = self.engine.train_step(
                features, targets, rule, as_weights(sample_weight, self.dtype, "train_step")
            )
        if task != self._task or task == REGRESSION:
            self.task = task
        if not math.isfinite(loss):
            step = self.engine.step + 1
            raise DivergedError(
                f"train_step: loss is {loss} at step {step} (learning rate {optimizer.lr:g}); "
                "the weights are as before",
                epoch=None,
                step=step,
                learning_rate=optimizer.lr,
            )
        return loss

    def _rule_of(self, optimizer: Optimizer) -> _core.Optimizer:
        """The engine's optimiser, built again when a setting has changed: it costs as much as a small net's step."""
        last = self._rule
        if last is None or last[0] is not type(optimizer) or last[1] != vars(optimizer):
            rule = check_optimizer(optimizer, "train_step").build()
            self._rule = last = type(optimizer), dict(vars(optimizer)), rule
        return last[2]

    def evaluate(self, x: Any, y: Any, sample_weight: Any = None) -> tuple[float, float | None]:
        """Mean loss, and share of wrong samples (None where y is real numbers), without dropout."""
        features = as_features(x, self.dtype, "evaluate")
        targets, task = as_targets(y, self.loss, self.dtype, "evaluate", self.takes_counts)
        weights = as_weights(sample_weight, self.dtype, "evaluate")
        loss, errors = self.engine.evaluate(features, targets, EVALUATE_ROWS, weights)
        check_targets(targets, self.loss, "evaluate")
        return loss, None if task == REGRESSION else errors / len(features)

    def forward(self, x: Any) -> npt.NDArray[Any]:
        """Outputs of the last layer, x[N,I] -> z[N,O], without dropout; logits with a cross-entropy."""
        z: npt.NDArray[Any] = host(self.engine.outputs(as_features(x, self.dtype, "forward"), EVALUATE_ROWS))
        return z

    def activations(self, x: Any) -> list[_core.Array]:
        """What every Dense gives, y = f(z), x[N,I] -> [N,O] each, without dropout; the last are `forward`'s.

        Examples
        --------
        >>> [y.shape for y in mlp([4, 3, 2]).activations(np.zeros((5, 4)))]
        [(5, 3), (5, 2)]
        """
        return list(self.engine.activations(as_features(x, self.dtype, "activations"), EVALUATE_ROWS))

    def gradients(self, x: Any, y: Any, sample_weight: Any = None) -> list[_core.Array]:
        """Gradients of the mean loss in the order of `parameters`: dW[I,O] = h^T dz and db[O] = sum of dz,...

        with h what comes into the layer and dz its `deltas`. x is one minibatch, without dropout; nothing is updated.
        """
        return list(self.engine.gradients(*self._samples(x, y, sample_weight, "gradients"))[1])

    def deltas(self, x: Any, y: Any, sample_weight: Any = None) -> list[_core.Array]:
        """The back-propagated gradients dz[N,O] of every Dense, of the mean loss with respect to z = h W + b.

        From the top down, dz = f'(z) (dz W^T of the layer above). x is one minibatch, without dropout.
        """
        return list(self.engine.deltas(*self._samples(x, y, sample_weight, "deltas")))

    def _samples(self, x: Any, y: Any, sample_weight: Any, where: str) -> tuple[Any, Any, Any]:
        features = as_features(x, self.dtype, where)
        targets, _ = as_targets(y, self.loss, self.dtype, where, self.takes_counts)
        check_targets(targets, self.loss, where)
        return features, targets, as_weights(sample_weight, self.dtype, where)

    def predict(self, x: Any) -> npt.NDArray[Any]:
        """x[N,I] -> labels int64 [N] (classification), 0 or 1 [N,O] (multi-label), or values [N,O]."""
        try:
            z = self.forward(x)
        except (TypeError, ValueError) as error:
            raise renamed(error, "predict") from None
        if self._task == REGRESSION:
            return z
        threshold = 0.5 if self.loss == "squared_error" else 0.0
        if self._task == MULTI_LABEL:
            return (z > threshold).astype(np.int64)
        if self.outputs == 1:
            return (z[:, 0] > threshold).astype(np.int64)
        labels: npt.NDArray[Any] = z.argmax(axis=1)
        return labels

    def predict_proba(self, x: Any) -> npt.NDArray[Any]:
        """x[N,I] -> probabilities: softmax(z) or sigmoid(z), [N,O].

        Classification with one output gives both classes, [N,2].

        Raises
        ------
        ValueError
            With the squared error, whose outputs are no probabilities.
        """
        if self.loss == "squared_error":
            raise ValueError(
                "predict_proba: loss is squared_error; wanted a cross-entropy (forward gives the outputs)"
            )
        with saying("predict_proba"):
            return probabilities(self.forward(x), self.loss, self.task)

    def score(self, x: Any, y: Any) -> float:
        """Share of right samples (multi-label: of samples with every label right), or R^2 for regression.

        R^2 = 1 - sum (y - t)^2 / sum (t - mean t)^2, mean over the outputs; a constant target gives 1 if
        it is hit exactly, else 0.
        """
        if self.task != REGRESSION:
            features, targets, _ = self._samples(x, y, None, "score")
            if self.task == CLASSIFICATION and targets.dtype.kind == "f":
                # To the engine they are real numbers, or yes and no output by output; to `predict` they are classes.
                self.engine.check_samples("score", features, targets)
                targets = as_labels(host(targets), self.task)
            with saying("score"):
                _, error = self.evaluate(features, targets)
            return 1 - (error or 0.0)
        with saying("score"):
            values = self.forward(x)
        return r2(values, host(as_targets(y, self.loss, self.dtype, "score")[0]))

    def save(self, path: PathLike) -> None:
        """Write the model as safetensors; on failure (OSError) an older file of that name is as it was."""
        model.save(path, self)

    @staticmethod
    def load(path: PathLike, device: str = "cpu") -> Network:
        """The model that `save` wrote.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is truncated, not a safetensors file, not a model of ours, of a newer version, or does not
            fit its own architecture.
        """
        return model.load(path, device, Network)


def _task(loss: str, outputs: int) -> str:
    if loss == "squared_error":
        return REGRESSION
    return MULTI_LABEL if loss == "binary_cross_entropy" and outputs > 1 else CLASSIFICATION


def mlp(
    sizes: Iterable[int],
    activation: str = "tanh",
    loss: str = "softmax_cross_entropy",
    dropout: float = 0.0,
    **settings: Any,
) -> Network:
    """A multi-layer perceptron: dense layers of ``sizes[1:]``, the last one linear.

    Parameters
    ----------
    sizes : iterable of int
        Inputs, units of every hidden layer, outputs.
    activation : str
        Of the hidden layers.
    dropout : float
        Rate after every hidden layer.
    **settings
        The other arguments of `Network`.

    Examples
    --------
    >>> mlp([784, 300, 100, 10], "relu").outputs
    10
    """
    if not isinstance(sizes, Iterable):
        raise TypeError(f"mlp: sizes is {sizes!r}; wanted a list such as [784, 300, 10]")
    widths = list(sizes)
    if len(widths) < 2:
        raise ValueError(f"mlp: sizes are {widths}; wanted inputs, hidden units..., outputs")
    layers: list[Layer] = []
    drop = Dropout(dropout)
    Dense(1, activation)  # looked at, as the rate is, also where there is no hidden layer
    for units in widths[1:-1]:
        layers.append(Dense(units, activation))
        if dropout:
            layers.append(drop)
    layers.append(Dense(widths[-1]))
    return Network(layers, widths[0], loss, **settings)
