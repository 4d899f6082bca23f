"""A page on which one draws a digit and sees what the trained networks answer: one HTML file, without a server.

The page holds the networks of `results/reference/models/`. JavaScript does what Keras and `to_mnist_format` do;
tests compare both.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

import mnist_helpers
from mnist_course import committed_models, reports
from mnist_helpers import _course, _files, results
from mnist_helpers._errors import UserError

_HERE = Path(__file__).parent
_HELPERS, _REPORTS = Path(mnist_helpers.__file__).parent, Path(reports.__file__).parent
# Name of a model -> title, how it was trained.
KNOWN = {
    "baseline": (
        "Baseline",
        "The network of lesson 2, trained without regularisation.",
    ),
    "batchnorm_dropout": (
        "Batch normalisation and dropout",
        "The network of lesson 3, with two additions: batch normalisation standardises the values of each "
        "neuron, and dropout sets some activations to zero during training.",
    ),
    "tuned": (
        "Tuned",
        "The network of lesson 4: a search on validation images chose its hyperparameters.",
    ),
    "strong": (
        "Strong",
        "The network of the optional notebook stronger_networks: virtual adversarial training asks for the same "
        "prediction after small changes of an image.",
    ),
}
# The terms of the page, as docs/glossary.md defines them.
TERMS = {
    "activation function": "The function that a neuron applies to its weighted sum. Without a non-linear one, "
    "several layers could do no more than one.",
    "confidence": "The largest of the ten probabilities of a prediction.",
    "distribution shift": "A difference between the images that a model receives in use and its training images, "
    "for example in position, size or colour.",
    "neuron": "A unit that multiplies its inputs by weights, adds a bias, and applies an activation function.",
    "ReLU": "The activation function that replaces negative values by 0 and keeps positive ones.",
    "softmax": "The function that turns logits into probabilities that are positive and add up to 1.",
    "training set": "The images that a model is trained on.",
    "weight": "The number that a neuron multiplies one of its inputs by; it is learned.",
}


def write(path: Path) -> str:
    """Writes the page.

    Args:
        path: the file.

    Returns:
        A summary for the terminal.

    Raises:
        UserError: there are no models, or one of them cannot be shown.
        results.MissingLessonError: a model is missing or was changed.
    """
    text = page().encode()
    _files.write(path, text)
    return f"{path}: {len(text) / 1e6:.1f} MB. Open it in a browser; it needs no network."


def has_models() -> bool:
    """Returns whether the course comes with trained models."""
    return (_models_folder() / committed_models.INDEX).is_file()


def page(*, home: str = "", lesson: str = "", glossary: str = "") -> str:
    """Returns the page as HTML.

    Args:
        home: the address of the course's home page, for a link; empty for none.
        lesson: the address of lesson 5, for a link; empty for none.
        glossary: the address of the glossary, for a link; empty for none.

    Raises:
        UserError: there are no models, or one of them cannot be shown.
        results.MissingLessonError: a model is missing or was changed.
    """
    networks = _networks()
    loader = jinja2.FileSystemLoader([_HERE, _REPORTS])
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    content: dict[str, Any] = {
        "networks": networks,
        "descriptions": [{key: network[key] for key in ("name", "title", "layers")} for network in networks],
        "examples": _files.read_json(_HERE / "examples.json"),
        "terms": TERMS,
        "home": home,
        "lesson": lesson,
        "glossary": glossary,
        "pad_css": _text(_HELPERS / "canvas.css"),
        "scripts": [
            _text(_HELPERS / "pad.js"),
            *(_text(_HERE / f"{name}.js") for name in ("prepare", "network", "draw")),
        ],
    }
    return environment.get_template("draw.html.j2").render(content)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


# --- the networks ---


def _models_folder() -> Path:
    return _course.REFERENCE / committed_models.FOLDER


def _networks() -> list[dict[str, Any]]:
    """Describes the networks that come with the course, known ones first."""
    folder = _models_folder()
    if not has_models():
        raise UserError(
            f"There are no trained networks for the page. Expected: {folder / committed_models.INDEX}, which "
            "`mnist-course models reference/seed-1` writes. Received: no such file."
        )
    index = _files.read_json(folder / committed_models.INDEX)
    names = [name for name in KNOWN if name in index] + [name for name in index if name not in KNOWN]
    if not names:
        raise UserError(f"Expected: at least one model in {folder / committed_models.INDEX}. Received: none.")
    return [_network(name, folder, index[name]) for name in names]


def _network(name: str, folder: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Describes a network: `layers` for JavaScript, and their arrays one after the other as `weights` (base64).

    The file is read without Keras, whose import takes ten times as long as the rest.
    """
    path = results.verified_path(folder, entry)
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    config = json.loads(str(arrays.pop("config")))
    weights = (arrays[f"weight_{number}"] for number in range(len(arrays)))
    parts = [part for layer in config["config"]["layers"] for part in _parts(name, layer, weights)]
    layers = [description for description, *_ in parts]
    title, training = KNOWN.get(name, (name, "A network that was trained in a run of this course."))
    return {
        "name": name,
        "title": title,
        "training": training,
        "hidden": [layer["columns"] for layer in layers if layer["kind"] == "dense"][:-1],
        "parameters": entry["num_params"],
        "layers": layers,
        "weights": base64.b64encode(b"".join(array.tobytes() for _, *of in parts for array in of)).decode(),
    }


def _parts(name: str, layer: Mapping[str, Any], weights: Iterator[np.ndarray]) -> Iterator[tuple[Any, ...]]:
    """Yields what JavaScript does for a layer of Keras: a description, then its arrays.

    Args:
        name: the network's name, for messages.
        layer: `class_name` and `config` of the layer.
        weights: the network's weights; those of this layer are taken from it.
    """
    kind, config = layer["class_name"], layer["config"]
    if kind == "Rescaling":
        yield _scale(np.array([config["scale"]]), np.array([config["offset"]]))
    elif kind == "Dense":
        kernel = next(weights)
        bias = next(weights) if config["use_bias"] else np.zeros(kernel.shape[1])
        sizes = {"rows": kernel.shape[0], "columns": kernel.shape[1]}
        yield {"kind": "dense", **sizes}, kernel.astype("<f2"), bias.astype("<f4")
        yield from _activation(name, config["activation"])
    elif kind == "BatchNormalization":
        gamma = next(weights).astype(float) if config["scale"] else 1.0
        beta = next(weights) if config["center"] else 0.0
        mean, variance = next(weights), next(weights)
        scale = gamma / np.sqrt(variance.astype(float) + config["epsilon"])
        yield _scale(scale, beta - mean * scale)
    elif kind == "Activation":
        yield from _activation(name, config["activation"])
    elif kind == "ReLU" and not (config["max_value"] or config["negative_slope"] or config["threshold"]):
        yield from _activation(name, "relu")
    elif kind not in ("InputLayer", "Flatten", "Dropout", "GaussianNoise"):
        raise UserError(
            f"The page cannot show the network {name!r}. Expected: layers of kind Rescaling, Flatten, Dense, "
            f"BatchNormalization, Activation, Dropout or GaussianNoise. Received: {kind}."
        )


def _activation(name: str, function: str) -> Iterator[tuple[Any, ...]]:
    if function in ("relu", "softmax"):
        yield ({"kind": function},)
    elif function != "linear":
        raise UserError(
            f"The page cannot show the network {name!r}. Expected: activation functions relu and softmax. "
            f"Received: {function}."
        )


def _scale(scale: np.ndarray, offset: np.ndarray) -> tuple[Any, ...]:
    return {"kind": "scale", "size": len(scale)}, scale.astype("<f4"), offset.astype("<f4")
