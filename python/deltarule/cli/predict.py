"""``deltarule predict``: labels and probabilities for the samples in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from .. import nn
from ..data.features import read_features
from .files import check_writable, require, write_json
from .report import class_probabilities
from .settings import column_of

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
BRIGHT = 127


@click.command(short_help="Print labels of samples.")
@click.argument("model")
@click.argument("files", nargs=-1, required=True)
@click.option("--label", metavar="COLUMN", help="Label column of a .csv, name or number, where it is there.")
@click.option(
    "--json", "json_path", metavar="FILE", help="Write the predictions to FILE as JSON ('-': stdout)."
)
@click.option("--device", default="cpu", show_default=True, metavar="NAME")
def predict(
    model: str, files: tuple[str, ...], label: str | None, json_path: str | None, device: str
) -> None:
    """Print label and probability for the samples in FILES, by the net in the file MODEL.

    FILES are tables (.csv), arrays (.npz with x, .npy: one sample a row, or images), IDX files, or pictures (.png, ...)
    of one digit each. Of a table with a header, the columns are taken that the net was trained on, in any order; else
    all of them, but for the label column where there is one more. A picture is turned to grey, resized to the size the
    net was trained on, and inverted if its background is bright.

    \b
    deltarule predict runs/NAME/model.safetensors table.csv
    deltarule predict runs/NAME/model.safetensors digit.png
    deltarule predict runs/NAME/model.safetensors t10k-images-idx3-ubyte.gz --json labels.json
    """
    if json_path is not None:
        check_writable(json_path, "--json")
    net = nn.Network.load(model, device=device)
    rows: list[dict[str, Any]] = []
    for path in files:
        rows += predictions(net, path, label)
    if json_path is not None:
        write_json(json_path, {"model": model, "predictions": rows})
    if json_path != "-":
        click.echo(render(rows, net.classes if net.task == "multi_label" else None))


def predictions(net: nn.Network, path: str, label: str | None = None) -> list[dict[str, Any]]:
    """One dictionary a sample of the file: file, index, and label with probability, or values."""
    x = read_samples(path, net, label)
    if net.task != "classification":
        values = net.predict_proba(x) if net.task == "multi_label" else net.predict(x)
        return [{"file": path, "index": index, "values": row.tolist()} for index, row in enumerate(values)]
    probabilities = class_probabilities(net, x)
    names = net.classes or [str(index) for index in range(probabilities.shape[1])]
    if len(names) != probabilities.shape[1]:
        raise ValueError(
            f"the model names {len(names)} classes; wanted {probabilities.shape[1]}, one an output"
        )
    best = probabilities.argmax(axis=1)
    return [
        {
            "file": path,
            "index": index,
            "label": names[number],
            "probability": float(probabilities[index, number]),
        }
        for index, number in enumerate(best.tolist())
    ]


def render(rows: list[dict[str, Any]], names: list[str] | None = None) -> str:
    """The predictions as a table; ``names`` of the values, where they have some."""
    if not rows:
        return "no samples"
    if "values" in rows[0]:
        lines = [f"index  {' '.join(names) if names else 'values'}  file"]
        lines += [
            f"{row['index']:<6} {' '.join(f'{value:.6g}' for value in row['values'])}  {row['file']}"
            for row in rows
        ]
        return "\n".join(lines)
    width = max(5, *(len(row["label"]) for row in rows))
    lines = [f"index  {'label':<{width}}  probability  file"]
    lines += [
        f"{row['index']:<6} {row['label']:<{width}}  {row['probability']:<11.4f}  {row['file']}"
        for row in rows
    ]
    return "\n".join(lines)


def read_samples(path: str, net: nn.Network, label: str | None = None) -> NDArray[Any]:
    """Samples [n,inputs] for `net` from the file `path`: a picture, or what `read_features` reads.

    Raises
    ------
    ValueError, OSError
        If the file cannot be read as one of these, or its samples have another number of features.
    """
    suffix = Path(path).suffix.lower()
    if suffix in PICTURES:
        if net.image_shape is None:
            raise ValueError(
                f"{path}: a picture, but the net was trained on {net.inputs} features that are no image"
            )
        pixels = read_picture(path, net.image_shape).reshape(1, -1).astype(np.float32)
        # White is 255 in a picture, and what it was in the training images for the net.
        return pixels * np.float32((net.pixel_max or 255) / 255)
    array = read_features(path, net.inputs, net.feature_names, column_of(label))
    return _as_samples(array, path, net.inputs, net.image_shape)


def read_picture(path: str, image_shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Grey values [h,w] of the picture `path`, bright on dark as in the data sets of digits."""
    require(["PIL"])
    from PIL import Image, UnidentifiedImageError

    height, width = image_shape
    try:
        with Image.open(path) as picture:
            picture.load()
            paper = Image.new("RGBA", picture.size, "white")
            paper.alpha_composite(picture.convert("RGBA"))
            grey = paper.convert("L")
    except (UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f"{path}: not a readable picture ({error})") from error
    if grey.size != (width, height):
        grey = grey.resize(
            (width, height), Image.Resampling.BOX if grey.width > width else Image.Resampling.BICUBIC
        )
    pixels = np.asarray(grey)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return 255 - pixels if np.median(border) > BRIGHT else pixels


def _as_samples(
    array: NDArray[Any], path: str, inputs: int, image_shape: tuple[int, int] | None
) -> NDArray[Any]:
    """`array` as [n,inputs]: it is [n,inputs], [n,h,w], or one sample [inputs] or [h,w]."""
    wanted = f"{inputs} features" + (f" ({image_shape[0]}x{image_shape[1]} images)" if image_shape else "")
    if array.shape in ((inputs,), image_shape):
        array = array.reshape(1, inputs)
    elif array.ndim == 3 and array.shape[1:] == image_shape:
        array = array.reshape(len(array), inputs)
    elif array.ndim != 2 or array.shape[1] != inputs:
        raise ValueError(f"{path}: an array of shape {array.shape}, the net wants samples of {wanted}")
    if array.dtype.kind not in "buif":
        raise ValueError(f"{path}: an array of {array.dtype}, numbers are wanted")
    if array.dtype not in (np.uint8, np.float32, np.float64):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: NaN or inf in sample {int(np.argmin(np.isfinite(array).all(axis=1)))}")
    return array
