"""The bundled digits, and MNIST's format for drawings."""

from __future__ import annotations

import functools

import numpy as np

from mnist_helpers._errors import UserError
from mnist_helpers.data._archives import Arrays


def digits() -> Arrays:
    """Returns scikit-learn's 1,797 digits (8x8, 0-16) in MNIST's format, with a fixed split into 1,437 and 360.

    MNIST's recipe: the digit fills a 20x20 box, and its centre of mass is moved to the centre of 28x28 (LeCun
    et al. 1998, "Gradient-based learning applied to document recognition", section III.A).
    """
    return {name: array.copy() for name, array in _made().items()}


@functools.cache  # centring the images takes 0.2 s, and a command or a lesson asks for them several times
def _made() -> Arrays:
    from scipy import ndimage
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    boxes = ndimage.zoom(bunch.images, (1, 2.5, 2.5), order=1, mode="nearest", grid_mode=True)
    images = np.stack([_centred(box, full_ink=16) for box in boxes])
    labels = bunch.target.astype(np.uint8)
    parts = train_test_split(images, labels, test_size=360, stratify=labels, random_state=0)
    x_train, x_test, y_train, y_test = parts
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def to_mnist_format(drawing: np.ndarray) -> np.ndarray:
    """Brings a drawing to the format of MNIST's images.

    MNIST's recipe (LeCun et al. 1998, "Gradient-based learning applied to document recognition", section III.A):
    the digit, its proportions kept, fills a 20x20 box, and the box lies in a 28x28 image so that the centre of
    mass of the ink is in the middle.

    Args:
        drawing: dark ink on white paper, of shape `(height, width)`, uint8; any size from 2x2.

    Returns:
        An image of shape `(28, 28)`, uint8, 255 for full ink.

    Raises:
        UserError: the array has the wrong shape or dtype, or the drawing is blank.
    """
    from PIL import Image

    if getattr(drawing, "dtype", None) != np.uint8 or drawing.ndim != 2 or not drawing.size:
        form = f"{getattr(drawing, 'dtype', type(drawing).__name__)}, shape {getattr(drawing, 'shape', '-')}"
        raise UserError(f"Expected: a drawing of shape (height, width), uint8. Received: {form}.")
    ink = 255 - drawing
    ink -= ink.min()  # subtract the background level: paper may be grey
    strong = ink > ink.max() / 4
    if not strong.any():
        raise UserError("There is no ink in this drawing: all its pixels are equal. Draw a digit first.")
    (top, bottom), (left, right) = (np.flatnonzero(strong.any(axis=axis))[[0, -1]] for axis in (1, 0))
    digit = Image.fromarray(ink[top : bottom + 1, left : right + 1])
    scale = 20 / max(digit.size)
    width, height = (max(1, round(scale * side)) for side in digit.size)
    # In two steps, because it depends on Pillow's version which axis of a tall image it reduces first.
    narrow = digit.resize((width, digit.height), Image.Resampling.BOX)
    box = np.asarray(narrow.resize((width, height), Image.Resampling.BOX), float)
    return _centred(box, full_ink=box.max())


def _centred(box: np.ndarray, full_ink: float) -> np.ndarray:
    """Pads a box to 28x28 (uint8) and shifts its centre of mass to the middle without cutting anything off."""
    from scipy import ndimage

    margin = 28 - np.array(box.shape)
    before = margin // 2
    image = np.pad(box, list(zip(before, margin - before, strict=True)))
    # Before the ink is scaled: a drawing has whole numbers here, so that a tie is a tie on every machine.
    shift = np.round(13.5 - np.array(ndimage.center_of_mass(image))).astype(int)
    image = np.round(image * (255 / full_ink))
    return np.roll(image, np.clip(shift, -before, margin - before), axis=(0, 1)).astype(np.uint8)
