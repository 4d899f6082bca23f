"""The checks of exercise 1: memory, rescaling, standardisation, nearest centroid, and a leak."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mnist_helpers import data
from mnist_helpers.checks._core import (
    Exercise,
    Row,
    Task,
    compare,
    compare_function,
    expect,
    given,
    number,
    one_of,
    returned,
    same,
    short,
)

__all__ = ["memory", "nearest_mean", "rescale", "shared", "standardise", "summary"]

Images = np.ndarray
Pair = tuple[Images, Images]

exercise = Exercise(
    "exercise_01",
    Task(
        "memory",
        "How much memory?",
        1,
        0,
        (
            "How many numbers make up one image? Start with its rows and columns.",
            "Multiply the number of images, the number of pixels of one image, and the number of bytes "
            "that one pixel takes. Only the last of these three differs between the two questions.",
        ),
    ),
    Task(
        "rescale",
        "Rescale the images",
        1,
        1,
        (
            "Which number must a pixel of 255 be divided by, so that it becomes 1? The data type is a "
            "separate step.",
            'Convert the images with `astype("float32")` first, and then divide all of them by the same '
            "number. The number is the largest that a uint8 can be, not the largest that is in these "
            "images.",
        ),
    ),
    Task(
        "standardise",
        "Standardise each pixel",
        1,
        2,
        (
            "The mean of each pixel is one table of 28x28 numbers, and so is the standard deviation. Over "
            "which axis do you take them, and from which of the two arrays?",
            "Calculate both from x_train with axis=0, which goes over the images. Replace the zeros in "
            "the standard deviations, for example with `np.where`. Then use the same two tables for both "
            "arrays, and return both results.",
        ),
    ),
    Task(
        "nearest_mean",
        "Write a nearest-centroid classifier",
        1,
        2,
        (
            "`x_train[y_train == 3]` is an array of all training images of the digit 3. What does its "
            "mean over the first axis show?",
            "For each of the ten mean images: subtract it from all images, square, and sum over the rows "
            "and columns, axis=(1, 2). This gives one number for each image. Put these numbers into a "
            "table with ten columns. In each row you need the position of the smallest number, not the "
            "number itself: see `argmin`.",
        ),
    ),
    Task(
        "shared",
        "Images that two sets share: an experiment",
        2,
        1,
        (
            "Section 8 of lesson 1 counts stored images: it puts `image.tobytes()` of each image into a set. "
            "In your experiment, the classifier has stored x_stored, not x_train.",
            "Make a list that says, for each image of x_report, whether it is unseen: True if its bytes "
            "are not in the set of the bytes of x_stored. Put this list in brackets after x_report and "
            "after y_report, so that only the unseen images and their labels remain. The gain is the "
            "difference of two accuracies, times 100.",
        ),
    ),
    Task("explain", "Explain in a sentence or two", 0, for_teacher=True),
)
summary = exercise.summary


@functools.cache
def _digits() -> tuple[tuple[Images, np.ndarray], tuple[Images, np.ndarray]]:
    """Returns the training and the validation images of the exercise, with their labels."""
    parts = data.load_training("digits", seed=1)
    for array in (array for part in parts for array in part):
        array.flags.writeable = False  # they are kept for the next check
    return parts


# --- task 1 ---

_NUM_BYTES = 60_000 * 28 * 28
_NEARLY = 0.015  # a number rounded to two significant digits

NUM_BYTES: tuple[Row, ...] = (
    Row(28 * 28, "These are the bytes of one image. How many images are there?"),
    Row(60_000, "This is the number of images. How many bytes does each of them take?"),
    Row(60_000 * 28, "An image has 28 rows of 28 pixels each, not 28 pixels."),
    Row(60_000 * (28 + 28), "Rows and columns are multiplied: an image has 28 times 28 pixels."),
    Row(_NUM_BYTES * 8, "These are bits. How many bytes does one uint8 take?"),
    Row(
        _NUM_BYTES * 4, "This is the answer to the second question. A uint8 takes fewer bytes than a float32."
    ),
    Row(_NUM_BYTES * 255, "The largest value of a pixel does not matter: a 0 takes as much memory as a 255."),
    Row(
        _NUM_BYTES * 256,
        "A uint8 has 256 possible values, but that is not the number of bytes that it takes.",
    ),
    Row(
        70_000 * 28 * 28, "This includes MNIST's test images. The question is about the training images only."
    ),
    Row(50_000 * 28 * 28, "The validation images are part of the 60,000 images; do not leave them out."),
    Row(_NUM_BYTES / 1e3, "These are kilobytes. The question asks for bytes."),
    Row(_NUM_BYTES / 2**10, "These are kibibytes (1,024 bytes each). The question asks for bytes."),
    Row(_NUM_BYTES / 1e6, "These are megabytes. The question asks for bytes."),
    Row(_NUM_BYTES / 2**20, "These are mebibytes (1,048,576 bytes each). The question asks for bytes."),
)
NUM_BYTES_FLOAT32: tuple[Row, ...] = (
    Row(
        _NUM_BYTES,
        "The number of pixels stays the same, but each of them now takes more bytes than before.",
    ),
    Row(
        _NUM_BYTES * 32, "These are bits: the 32 in float32 is a number of bits. The question asks for bytes."
    ),
    Row(_NUM_BYTES * 8, "A number of eight bytes is a float64. A float32 is smaller."),
    Row(_NUM_BYTES * 2, "A number of two bytes is a float16. A float32 is larger."),
    Row(_NUM_BYTES / 4, "Does a float32 take more bytes than a uint8, or fewer?"),
    Row(
        _NUM_BYTES * 3,
        "These are the bytes by which the memory grows. The question asks how many there are then.",
    ),
    Row(_NUM_BYTES * 5, "After the conversion, count the float32 images only, without the uint8 images."),
    Row(28 * 28 * 4, "These are the bytes of one image. How many images are there?"),
    Row(_NUM_BYTES * 4 / 1e3, "These are kilobytes. The question asks for bytes."),
    Row(_NUM_BYTES * 4 / 2**10, "These are kibibytes (1,024 bytes each). The question asks for bytes."),
    Row(_NUM_BYTES * 4 / 1e6, "These are megabytes. The question asks for bytes."),
    Row(_NUM_BYTES * 4 / 2**20, "These are mebibytes (1,048,576 bytes each). The question asks for bytes."),
)


def _compare_bytes(answer: Any, name: str, right: int, rows: Sequence[Row], otherwise: str) -> None:
    """Accepts the right number, also rounded to three or more significant digits, and nothing else."""
    value = number(answer, name)
    rounded = [float(f"{right:.{digits - 1}e}") for digits in (3, 4, 5)]
    if any(np.isclose(value, accepted, rtol=1e-9, atol=0) for accepted in (right, *rounded)):
        return
    if abs(value - right) < _NEARLY * right:
        otherwise = (
            f"{name} is {short(answer)}, which is not exact enough. Enter the exact number, or round it correctly "
            "to at least three significant digits."
        )
    compare(value, np.nan, rows, otherwise)


@exercise.check
def memory(num_bytes: Any, num_bytes_float32: Any) -> None:
    """Checks how many bytes MNIST's training images take.

    Args:
        num_bytes: the student's number for `uint8`.
        num_bytes_float32: the student's number for `float32`.
    """
    given(num_bytes=num_bytes, num_bytes_float32=num_bytes_float32)
    _compare_bytes(
        num_bytes,
        "num_bytes",
        _NUM_BYTES,
        NUM_BYTES,
        f"num_bytes is {short(num_bytes)}, which is not the number of bytes. Multiply, and leave nothing "
        "out: images, rows and columns of an image, bytes of a pixel.",
    )
    _compare_bytes(
        num_bytes_float32,
        "num_bytes_float32",
        4 * _NUM_BYTES,
        NUM_BYTES_FLOAT32,
        f"num_bytes is correct, but num_bytes_float32 is not {short(num_bytes_float32)}. Compare the bytes "
        "of one pixel before and after the conversion.",
    )


# --- task 2 ---


def _rescaled(images: Images) -> Images:
    return images.astype("float32") / 255


RESCALE: tuple[Row, ...] = (
    Row(
        lambda images: images // 255,
        "There are only zeros and ones left, because whole numbers cannot hold what lies between. Convert "
        "the images before you divide, divide with / and not with //, and do not round.",
    ),
    Row(
        lambda images: np.round(images / 255),
        "There are only zeros and ones left: the result was rounded to whole numbers.",
    ),
    Row(lambda images: images / 256, "The largest pixel is 255, not 256: a pixel of 255 should become 1."),
    Row(
        lambda images: images.astype("float32") / images.max(),
        "Images without full ink came out with full ink, because you have divided by the largest value of "
        "the images that were given. Then the same grey means something else in each set of images. "
        "Divide by the same number, whatever the images contain.",
    ),
    Row(
        lambda images: images.astype("float32") / images.max(axis=(1, 2), keepdims=True),
        "You have divided each image by its own largest value. Then the same grey means something else in "
        "each image. Divide by the same number, whatever the images contain.",
    ),
    Row(
        lambda images: (images - images.min()).astype("float32") / (np.ptp(images) or 1),
        "You have used the smallest and the largest value of the images that were given. Then the same "
        "grey means something else in each set of images. The smallest possible value, 0, should stay 0 "
        "even if it does not occur.",
    ),
    Row(
        lambda images: images / 127.5 - 1,
        "The values go from -1 to 1. Here they should go from 0 to 1.",
    ),
    Row(
        lambda images: images / 255 - 0.5,
        "The values go from -0.5 to 0.5. Here they should go from 0 to 1.",
    ),
    Row(
        lambda images: (images - images.mean()) / (images.std() or 1),
        "This is standardisation, which is the next task. Rescaling only divides, and subtracts nothing.",
    ),
    Row(lambda images: images, "The data type may have changed, but the values still go up to 255."),
    Row(lambda images: images / 255 * 100, "These are percentages. The values should go from 0 to 1."),
    Row(
        lambda images: images / 784,
        "784 is the number of pixels of an image, not the largest value of a pixel.",
    ),
    Row(
        lambda images: images / 255 / 255,
        "You have divided twice, so a pixel of 255 does not become 1.",
    ),
    Row(
        lambda images: images.astype("float32") * 255,
        "You have multiplied. The values should become smaller, not larger.",
    ),
    Row(
        lambda images: 1 - images / 255,
        "Background and ink are swapped: a pixel of 0 should stay 0.",
    ),
)


def _rescale_message(case: tuple, expected: Images, received: Any) -> str:
    (images,) = case
    if _shape(received) != images.shape:
        return (
            f"Rescaling changes the values, not the shape. Expected: {images.shape}. Received: "
            f"{_shape(received)}."
        )
    values = np.asarray(received, dtype=float)
    wrong = tuple(np.argwhere(~np.isclose(values, expected, rtol=1e-3))[0])
    return f"A pixel of {images[wrong]} should not become {values[wrong]:.4g}."


def _rescale_cases() -> tuple[tuple[Images], ...]:
    """Returns images with every value, and two images with other smallest and largest values."""
    every_value = np.resize(np.arange(256, dtype=np.uint8), (2, 28, 28))
    faint = every_value // 2 + np.array([10, 30], np.uint8).reshape(2, 1, 1)
    return (every_value,), (faint,)


@exercise.check
def rescale(rescaled: Any, *, cases: Sequence[tuple] = ()) -> None:
    """Checks a function that rescales images from 0-255 to 0-1.

    Args:
        rescaled: the student's function.
        cases: other arguments for each call; then the data type is not looked at.
    """
    compare_function(
        rescaled,
        _rescaled,
        RESCALE,
        cases or _rescale_cases(),
        _rescale_message,
        name="rescaled",
    )
    if not cases:
        found = getattr(returned(rescaled, *_rescale_cases()[0], name="rescaled"), "dtype", None)
        expect(found is not None, "The values are correct, but rescaled should return a NumPy array.")
        expect(
            found == np.float32,
            f"The values are correct, but their data type is {found}. uint8 divided by a number becomes "
            "float64, which takes twice the memory of float32: convert the images before you divide.",
        )


# --- task 3 ---

_HUGE = 1e4  # a difference of at least 1 divided by "nearly zero"
_DIVIDED_BY_ZERO = (
    "There are nan or inf among the values, so somewhere you have divided by zero. What is the standard "
    "deviation of a pixel that is the same in all training images?"
)


def _divided(mean: np.ndarray, std: np.ndarray, *arrays: Images) -> tuple[Images, ...]:
    with np.errstate(all="ignore"):
        return tuple((images - mean) / std for images in arrays)


def _without_zeros(std: np.ndarray) -> np.ndarray:
    return np.where(std == 0, 1, std)


def _standardised(x_train: Images, x_val: Images, ddof: int = 0) -> tuple[Images, ...]:
    std = _without_zeros(x_train.std(axis=0, ddof=ddof))
    return _divided(x_train.mean(axis=0), std, x_train, x_val)


def _own_statistics(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    return _standardised(x_train, x_val, ddof)[0], _statistics_of_validation(x_train, x_val, ddof)[1]


def _statistics_of_both(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    both = _standardised(np.concatenate([x_train, x_val]), x_val, ddof)[0]
    return both[: len(x_train)], both[len(x_train) :]


def _statistics_of_validation(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    return _standardised(x_val, x_train, ddof if len(x_val) > ddof else 0)[::-1]


def _zeros_left(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    return _divided(x_train.mean(axis=0), x_train.std(axis=0, ddof=ddof), x_train, x_val)


def _constant_becomes_zero(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    varies = x_train.std(axis=0) > 0
    return tuple(np.where(varies, images, 0) for images in _standardised(x_train, x_val, ddof))


def _one_for_all(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    return _divided(x_train.mean(), x_train.std(ddof=ddof), x_train, x_val)


def _one_mean_for_all(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    return _divided(x_train.mean(), _without_zeros(x_train.std(axis=0, ddof=ddof)), x_train, x_val)


def _one_std_for_all(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    return _divided(x_train.mean(axis=0), x_train.std(ddof=ddof), x_train, x_val)


def _each_image(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    def one(images: Images) -> Images:
        std = images.std(axis=(1, 2), ddof=ddof, keepdims=True)
        return (images - images.mean(axis=(1, 2), keepdims=True)) / _without_zeros(std)

    return one(x_train), one(x_val)


def _each_row(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    std = _without_zeros(x_train.std(axis=(0, 2), ddof=ddof, keepdims=True))
    return _divided(x_train.mean(axis=(0, 2), keepdims=True), std, x_train, x_val)


def _each_column(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    std = _without_zeros(x_train.std(axis=(0, 1), ddof=ddof, keepdims=True))
    return _divided(x_train.mean(axis=(0, 1), keepdims=True), std, x_train, x_val)


def _variance(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    return _divided(x_train.mean(axis=0), _without_zeros(x_train.var(axis=0, ddof=ddof)), x_train, x_val)


def _one_added(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    return _divided(x_train.mean(axis=0), x_train.std(axis=0, ddof=ddof) + 1, x_train, x_val)


def _at_least_one(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    std = np.maximum(x_train.std(axis=0, ddof=ddof), 1)
    return _divided(x_train.mean(axis=0), std, x_train, x_val)


def _not_subtracted(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    std = _without_zeros(x_train.std(axis=0, ddof=ddof))
    return _divided(np.zeros(()), std, x_train, x_val)


def _not_divided(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    return _divided(x_train.mean(axis=0), np.ones(()), x_train, x_val)


def _multiplied(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    std = _without_zeros(x_train.std(axis=0, ddof=ddof))
    return _divided(x_train.mean(axis=0), 1 / std, x_train, x_val)


def _sign_reversed(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    return tuple(-images for images in _standardised(x_train, x_val, ddof))


def _divided_first(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    mean, std = x_train.mean(axis=0), _without_zeros(x_train.std(axis=0, ddof=ddof))
    return tuple(images - mean / std for images in (x_train, x_val))


def _to_unit_range(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    low, high = x_train.min(axis=0).astype(float), x_train.max(axis=0)
    return _divided(low, _without_zeros(high - low), x_train, x_val)


def _rescaled_first(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    return _standardised(x_train / 255, x_val / 255, ddof)


def _whole_mean(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    std = _without_zeros(x_train.std(axis=0, ddof=ddof))
    return _divided(x_train.mean(axis=0).astype(int), std, x_train, x_val)


def _overflowing_mean(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    std = _without_zeros(x_train.std(axis=0, ddof=ddof))
    return _divided(x_train.mean(axis=0).astype(np.uint8), std, x_train, x_val)


def _overflowing_sum(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    std = _without_zeros(x_train.std(axis=0, ddof=ddof))
    return _divided(x_train.sum(axis=0, dtype=np.uint8) / len(x_train), std, x_train, x_val)


def _validation_left(x_train: Images, x_val: Images, ddof: int) -> Pair:
    return _standardised(x_train, x_val, ddof)[0], x_val


def _training_left(x_train: Images, x_val: Images, ddof: int) -> Pair:
    return x_train, _standardised(x_train, x_val, ddof)[1]


def _exchanged(x_train: Images, x_val: Images, ddof: int) -> tuple[Images, ...]:
    return _standardised(x_train, x_val, ddof)[::-1]


_WRONG_STANDARDISATIONS: tuple[tuple[Callable[..., tuple], str], ...] = (
    (
        _own_statistics,
        "Over the validation images, the mean of each pixel is exactly 0, so these are the validation "
        "images' own statistics. They must be standardised with those of the training images.",
    ),
    (
        _statistics_of_both,
        "You have taken the statistics from the training and the validation images together. Then "
        "information from the validation images leaks into the training.",
    ),
    (
        _statistics_of_validation,
        "You have taken the statistics from the validation images. Which images may the mean and the "
        "standard deviation depend on?",
    ),
    (
        _zeros_left,
        _DIVIDED_BY_ZERO,
    ),
    (
        _constant_becomes_zero,
        "A pixel that never varies in training always becomes 0 in your result. In the validation images "
        "it may differ from the mean, and this difference should remain.",
    ),
    (
        _one_for_all,
        "You have taken one mean and one standard deviation for all pixels together. Here each pixel "
        "position has its own: both are tables of 28x28 numbers.",
    ),
    (
        _one_mean_for_all,
        "You have taken one mean for all pixels together, but a standard deviation for each pixel. Here each "
        "pixel position has its own mean, too: does `mean` go over the images only?",
    ),
    (
        _one_std_for_all,
        "You have taken a mean for each pixel, but one standard deviation for all pixels together. Here each "
        "pixel position has its own: does `std` go over the images only?",
    ),
    (
        _each_image,
        "Each image has the mean 0, because you have used each image's own mean. Use the mean of a pixel "
        "over all training images.",
    ),
    (
        _each_row,
        "All pixels of a row have the same mean and standard deviation. Here each pixel position has "
        "its own.",
    ),
    (
        _each_column,
        "All pixels of a column have the same mean and standard deviation. Here each pixel position "
        "has its own.",
    ),
    (
        _variance,
        "You have divided by the variance. The square of the standard deviation is the variance: which of "
        "the two does the task ask for?",
    ),
    (
        _one_added,
        "You have added 1 to all standard deviations. Only zeros should be replaced.",
    ),
    (
        _at_least_one,
        "You have replaced all standard deviations below 1. Only exact zeros should be replaced.",
    ),
    (_not_subtracted, "You have divided, but not subtracted the mean."),
    (_not_divided, "You have subtracted the mean, but not divided by the standard deviation."),
    (
        _sign_reversed,
        "The sign is reversed: subtract the mean from the images, not the images from the mean.",
    ),
    (_multiplied, "You have multiplied by the standard deviation where you should divide."),
    (
        _divided_first,
        "Only the mean was divided by the standard deviation: `/` is calculated before `-`. Put the "
        "subtraction in parentheses.",
    ),
    (
        _to_unit_range,
        "The training values go from 0 to 1 for each pixel: you have used the smallest and the largest "
        "value. Standardisation uses the mean and the standard deviation.",
    ),
    (
        _rescaled_first,
        "You have divided the images by 255 first. A pixel that varies comes out the same, but one that "
        "is constant in training does not. Standardise the images as they are.",
    ),
    (
        _whole_mean,
        "The mean was cut off to a whole number. Keep it as a float.",
    ),
    (
        _overflowing_mean,
        "The subtraction was calculated in uint8, in which 3 - 5 becomes 254. Keep the mean as a float.",
    ),
    (
        _overflowing_sum,
        "The images were added up in uint8, in which 200 + 100 becomes 44. Let NumPy's `mean` calculate the "
        "mean, or convert the images to floats first.",
    ),
    (_validation_left, "The training images are correct, but the validation images are unchanged."),
    (_training_left, "The validation images are correct, but the training images are unchanged."),
    (_exchanged, "Both arrays are correct, but in the wrong order: return the training images first."),
)
STANDARDISE: tuple[Row, ...] = tuple(
    Row(functools.partial(function, ddof=ddof), message)
    for function, message in _WRONG_STANDARDISATIONS
    for ddof in (0, 1)
)


def _standardise_case() -> tuple[Images, Images]:
    """Returns images in which some pixels are constant in training, and some vary little."""
    random = np.random.default_rng(1)
    x_train = random.integers(0, 256, (8, 28, 28), dtype=np.uint8)
    x_val = random.integers(0, 256, (5, 28, 28), dtype=np.uint8)
    x_train[:, :, 0] = x_val[:, :, 0] = 0
    x_train[:, :, 1] = 50
    x_train[:, :, 2] = np.arange(8)[:, None] % 2
    return x_train, x_val


def _standardise_message(case: tuple, expected: Sequence[Images], received: Any) -> str:
    x_train, x_val = case
    shapes = [_shape(part) for part in received] if isinstance(received, tuple | list) else []
    if shapes != [x_train.shape, x_val.shape]:
        found = " and ".join(map(str, shapes)) or _shape(received)
        return f"Return two arrays, of the shapes {x_train.shape} and {x_val.shape}. Received: {found}."
    train, val = (np.asarray(part, dtype=float) for part in received)
    if not (np.isfinite(train).all() and np.isfinite(val).all()):
        return _DIVIDED_BY_ZERO
    if np.abs(val).max() > _HUGE:
        return (
            "There are huge values among the validation images, because you have divided by nearly zero. "
            "A small number added to the standard deviation is not enough where a pixel never varies in "
            "training, but differs in validation."
        )
    if not np.allclose(train.mean(axis=0), 0, atol=1e-3):
        return (
            "Over the training images, the mean of each pixel should now be 0. Is it the mean of the "
            "training images that you have subtracted, and nothing else?"
        )
    spread = train.std(axis=0)[x_train.std(axis=0) > 0]
    if not any(same(_standardised(x_train, x_val, ddof)[0], train) for ddof in (0, 1)):
        return (
            "Over the training images, the standard deviation of a pixel that varies should now be 1. "
            f"Yours go from {spread.min():.3g} to {spread.max():.3g}."
        )
    return (
        "The training images are correct, but the validation images are not. Do exactly the same with "
        "them: the same mean, the same standard deviation."
    )


@exercise.check
def standardise(standardised: Any, *, cases: Sequence[tuple] = ()) -> None:
    """Checks a function that standardises each pixel with the statistics of the training images.

    The standard deviation may divide by n or by n - 1, in all cases alike.

    Args:
        standardised: the student's function.
        cases: other arguments for each call.
    """
    cases = cases or (_standardise_case(),)
    received = returned(standardised, *cases[0], name="standardised")
    x_train, x_val = cases[0]
    ddof = 1 if same(received, _standardised(x_train, x_val, 1)) else 0
    compare_function(
        standardised,
        functools.partial(_standardised, ddof=ddof),
        STANDARDISE,
        cases,
        _standardise_message,
        name="standardised",
    )


# --- task 4 ---


def _mean_images(x_train: Images, y_train: np.ndarray) -> Images:
    return np.stack([x_train[y_train == digit].mean(axis=0) for digit in range(10)])


def _differences(images: Images, centres: Images) -> np.ndarray:
    """Returns the differences between images and centres, `(n, number of centres, 784)`."""
    return images.reshape(len(images), 1, -1) - centres.reshape(1, len(centres), -1).astype(float)


def _distances(images: Images, centres: Images) -> np.ndarray:
    """Returns the squared distances between images and centres, `(n, number of centres)`."""
    return (_differences(images, centres) ** 2).sum(axis=2)


def _nearest_mean(x_train: Images, y_train: np.ndarray, images: Images) -> np.ndarray:
    return _distances(images, _mean_images(x_train, y_train)).argmin(axis=1)


def _nearest_image(x_train: Images, y_train: np.ndarray, images: Images) -> np.ndarray:
    flat, stored = (array.reshape(len(array), -1).astype(float) for array in (images, x_train))
    return y_train[((stored**2).sum(axis=1) - 2 * flat @ stored.T).argmin(axis=1)]


def _mean_of_distances(x_train: Images, y_train: np.ndarray, images: Images) -> np.ndarray:
    """Predicts the digit to whose training images the mean squared distance is smallest."""
    means = _mean_images(x_train, y_train)
    spread = [x_train[y_train == digit].var(axis=0).sum() for digit in range(10)]
    return (_distances(images, means) + spread).argmin(axis=1)


def _medians(x_train: Images, y_train: np.ndarray, images: Images) -> np.ndarray:
    medians = np.stack([np.median(x_train[y_train == digit], axis=0) for digit in range(10)])
    return _distances(images, medians).argmin(axis=1)


def _sums(x_train: Images, y_train: np.ndarray, images: Images) -> np.ndarray:
    sums = np.stack([x_train[y_train == digit].sum(axis=0, dtype=float) for digit in range(10)])
    return _distances(images, sums).argmin(axis=1)


def _divided_by_all(x_train: Images, y_train: np.ndarray, images: Images) -> np.ndarray:
    means = np.stack([x_train[y_train == digit].sum(axis=0) / len(x_train) for digit in range(10)])
    return _distances(images, means).argmin(axis=1)


def _first_images(x_train: Images, y_train: np.ndarray, images: Images) -> np.ndarray:
    first = np.stack([x_train[y_train == digit][0] for digit in range(10)])
    return _distances(images, first).argmin(axis=1)


def _overflow(x_train: Images, y_train: np.ndarray, images: Images) -> np.ndarray:
    means = _mean_images(x_train, y_train).astype(np.uint8)
    return np.argmin([((images - mean) ** 2).sum(axis=(1, 2)) for mean in means], axis=0)


def _overflowing_sums(x_train: Images, y_train: np.ndarray, images: Images) -> np.ndarray:
    chosen = [x_train[y_train == digit] for digit in range(10)]
    means = np.stack([some.sum(axis=0, dtype=np.uint8) / len(some) for some in chosen])
    return _distances(images, means).argmin(axis=1)


def _means_of_others(x_train: Images, y_train: np.ndarray, images: Images) -> np.ndarray:
    means = np.stack([x_train[y_train != digit].mean(axis=0) for digit in range(10)])
    return _distances(images, means).argmin(axis=1)


def _means_of_notebook(x_train: Images, y_train: np.ndarray, images: Images) -> np.ndarray:
    return _nearest_mean(*_digits()[0], images)


def _majority(x_train: Images, y_train: np.ndarray, images: Images) -> np.ndarray:
    return np.full(len(images), np.bincount(y_train).argmax())


def _dot_products(x_train: Images, y_train: np.ndarray, images: Images) -> np.ndarray:
    means = _mean_images(x_train, y_train).reshape(10, -1)
    return (images.reshape(len(images), -1) @ means.T).argmax(axis=1)


_ALL_ADDED = (
    "All images get the same digit, because the squared differences of all images are added up together, as "
    "`.sum()` without `axis` does. Each image needs a sum of its own."
)
_ONE_POSITION = (
    "The function returns one position in the whole table of distances, as `argmin` without `axis` does. The "
    "distances of each image need a position of their own."
)
_NINE_DIGITS = (
    "You compare with nine mean images. How many digits are there, and does your loop reach all of them?"
)
NEAREST_MEAN: tuple[Row, ...] = (
    Row(
        lambda x, y, images: _distances(images, _mean_images(x, y)).argmax(axis=1),
        "You name the digit whose average is farthest from the image. Which distance does the nearest "
        "mean image have?",
    ),
    Row(
        lambda x, y, images: np.abs(_differences(images, _mean_images(x, y)).sum(axis=2)).argmin(axis=1),
        "This compares only how much ink there is. Do differences above and below zero cancel out, because they "
        "are added up before they are squared? Or is each mean a single number, where a mean image is needed?",
    ),
    Row(
        lambda x, y, images: _differences(images, _mean_images(x, y)).sum(axis=2).argmin(axis=1),
        "Every image gets the digit whose mean image has the most ink, because negative differences count "
        "as near. Square each difference before you add them up.",
    ),
    Row(
        lambda x, y, images: (-_differences(images, _mean_images(x, y)).sum(axis=2)).argmin(axis=1),
        "Every image gets the digit whose mean image has the least ink, because negative differences "
        "count as near. Square each difference before you add them up.",
    ),
    Row(
        lambda x, y, images: np.abs(_differences(images, _mean_images(x, y))).sum(axis=2).argmin(axis=1),
        "You sum absolute differences. The nearest-centroid classifier squares them: one large difference "
        "then counts more than many small ones.",
    ),
    Row(
        lambda x, y, images: np.abs(_differences(images, _mean_images(x, y))).max(axis=2).argmin(axis=1),
        "You compare the largest difference of each image. Square the differences of all pixels, and add "
        "them up.",
    ),
    Row(
        lambda x, y, images: _distances(images, _mean_images(x, y)).min(axis=1),
        "These are the smallest distances themselves, where its place was asked for: which digit does "
        "each of them belong to?",
    ),
    Row(
        lambda x, y, images: np.sqrt(_distances(images, _mean_images(x, y))).min(axis=1),
        "These are the smallest distances themselves. Which digit does each of them belong to?",
    ),
    Row(
        lambda x, y, images: _nearest_mean(x, y, images) + 1,
        "Each answer is too large by 1. The digits start with 0, and so do the positions in an array.",
    ),
    Row(
        lambda x, y, images: _nearest_mean(x, y, images) - 1,
        "Each answer is too small by 1. The digits start with 0, and so do the positions in an array.",
    ),
    Row(lambda x, y, images: _distances(images, _mean_images(x, y)).argmin(), _ONE_POSITION),
    Row(lambda x, y, images: _distances(images, _mean_images(x, y)).T.argmin(), _ONE_POSITION),
    Row(
        lambda x, y, images: _distances(images, _mean_images(x, y)).argmin(axis=0),
        "The function returns ten numbers, which say which image is nearest to each mean image. The question is "
        "which mean image is nearest to each image: over which axis does `argmin` go?",
    ),
    Row(lambda x, y, images: _distances(images, _mean_images(x, y)).sum(axis=0).argmin(), _ALL_ADDED),
    Row(
        lambda x, y, images: np.full(
            len(images), _distances(images, _mean_images(x, y)).sum(axis=0).argmin()
        ),
        _ALL_ADDED,
    ),
    Row(
        lambda x, y, images: np.zeros(len(images)),
        "Every image gets the digit 0, because the ten distances of an image are equal. Does each digit have its "
        "own mean image and its own distance?",
    ),
    Row(
        lambda x, y, images: _distances(images, _mean_images(x, y)[1:]).argmin(axis=1),
        _NINE_DIGITS,
    ),
    Row(
        lambda x, y, images: _distances(images, _mean_images(x, y)[1:]).argmin(axis=1) + 1,
        _NINE_DIGITS,
    ),
    Row(
        lambda x, y, images: _distances(images, _mean_images(x, y)[:9]).argmin(axis=1),
        _NINE_DIGITS,
    ),
    Row(
        lambda x, y, images: _distances(images, x[:10]).argmin(axis=1),
        "`x_train[digit]` is the training image at this position, whatever it shows. The label in y_train says "
        "which digit an image shows.",
    ),
    Row(
        _means_of_others,
        "Your mean image of a digit is that of all other digits. Which training images have this digit as "
        "their label?",
    ),
    Row(
        _means_of_notebook,
        "On other images the answers are those of this notebook's training images. Everything that the "
        "function needs must come from its three arguments, nothing from the variables of the notebook.",
    ),
    Row(
        _mean_of_distances,
        "You average the distances to all training images of a digit. Average the images first: the "
        "distance is measured to the mean image.",
    ),
    Row(_sums, "You have added up the training images of each digit, but not divided by their number."),
    Row(
        _divided_by_all,
        "You have divided the sum of a digit's images by the number of all images. Divide by the number "
        "of images of this digit.",
    ),
    Row(
        _first_images,
        "You compare with the first training image of each digit. Compare with the mean of all its "
        "training images.",
    ),
    Row(
        _overflow,
        "The subtraction was calculated in uint8, in which 3 - 5 becomes 254. Keep the mean images as "
        "floats.",
    ),
    Row(
        _overflowing_sums,
        "The training images were added up in uint8, in which 200 + 100 becomes 44. Let NumPy's `mean` calculate "
        "the mean images, or convert the images to floats first.",
    ),
    Row(_majority, "Every image gets the most frequent digit. The answer should depend on the image."),
    Row(
        _dot_products,
        "You have multiplied the images with the mean images and taken the largest sum. Then a mean image "
        "with much ink wins too often. Calculate distances instead.",
    ),
    Row(_medians, "You have used the median of the training images of a digit. Use their mean."),
    Row(
        _nearest_image,
        "You compare each image with single training images, which is a nearest-neighbour classifier. "
        "Compare it with the ten mean images.",
    ),
)


def _nearest_mean_message(case: tuple, expected: np.ndarray, received: Any) -> str:
    images = case[2]
    if _shape(received) != expected.shape:
        return (
            f"Expected: one digit for each of the {len(images)} images, shape {expected.shape}. Received: "
            f"{_shape(received)}."
        )
    if not np.isin(np.asarray(received), range(10)).all():
        return (
            f"Expected: digits from 0 to 9. Received: {short(np.asarray(received)[:3].tolist())} and so on. "
            "Is this a distance, where its place was asked for?"
        )
    share = np.mean(np.asarray(received) == expected)
    return (
        f"{share:.0%} of the answers are those of a nearest-centroid classifier. Check the mean images "
        "first: each is the mean of the training images of one digit, and plots.image_grid shows them. "
        "Everything that the function needs must come from its three arguments."
    )


def _nearest_mean_cases() -> tuple[tuple[Images, np.ndarray, Images], ...]:
    """Returns images of the notebook, and others with ink and background exchanged."""
    (x_train, y_train), (x_val, _) = _digits()
    return (x_train, y_train, x_val[:100]), (255 - x_train, y_train, 255 - x_val[100:140])


@exercise.check
def nearest_mean(nearest_mean: Any, *, cases: Sequence[tuple] = ()) -> None:
    """Checks a nearest-centroid classifier.

    Args:
        nearest_mean: the student's function.
        cases: other arguments for each call.
    """
    compare_function(
        nearest_mean,
        _nearest_mean,
        NEAREST_MEAN,
        cases or _nearest_mean_cases(),
        _nearest_mean_message,
        name="nearest_mean",
    )


# --- task 5 ---


def _bytes(images: Images) -> list[bytes]:
    return [image.tobytes() for image in images]


def _is_stored(x_train: Images, x_new: Images) -> np.ndarray:
    stored = set(_bytes(x_train))
    return np.array([image in stored for image in _bytes(x_new)])


def _count_shared(x_train: Images, x_new: Images) -> int:
    return int(_is_stored(x_train, x_new).sum())


def _count_same_place(x_train: Images, x_new: Images) -> int:
    pairs = zip(x_train, x_new, strict=False)  # the sets may have different sizes
    return sum(np.array_equal(first, second) for first, second in pairs)


COUNT_SHARED: tuple[Row, ...] = (
    Row(
        lambda x_train, x_new: sum(image in x_train for image in x_new),
        "All images are counted, because `image in x_train` asks whether ANY pixel is equal. Compare "
        "whole images, by `image.tobytes()`.",
    ),
    Row(
        _count_same_place,
        "The same image can be at another place in the other set: compare each image with all images of "
        "the other set, not only with one.",
    ),
    Row(
        lambda x_train, x_new: len(set(_bytes(x_train)) & set(_bytes(x_new))),
        "An image that occurs twice among the new images should count twice. Have you put the new images "
        "into a set as well?",
    ),
    Row(
        lambda x_train, x_new: _count_shared(x_new, x_train),
        "You have counted images of the training set. Count the new images, those of the second argument.",
    ),
    Row(
        lambda x_train, x_new: sum(_bytes(x_train).count(image) for image in _bytes(x_new)),
        "You have counted pairs: a new image that occurs several times in the training set should count "
        "only once.",
    ),
    Row(
        lambda x_train, x_new: len(x_new) - _count_shared(x_train, x_new),
        "You have counted the images that are not shared.",
    ),
    Row(
        lambda x_train, x_new: min(_count_shared(x_train, x_new), 1),
        "The function stops at the first shared image. Let it look at all images before it returns.",
    ),
    Row(
        lambda x_train, x_new: _count_shared(x_train, x_new) > 0,
        "The function says whether there are shared images. It should say how many.",
    ),
    Row(
        lambda x_train, x_new: _is_stored(x_train, x_new),
        "The function returns True or False for each image. It should return how many of them are True.",
    ),
    Row(
        lambda x_train, x_new: _count_shared(x_train, x_new) / len(x_new),
        "This is a share. The function should return a number of images.",
    ),
    Row(
        lambda x_train, x_new: 100 * _count_shared(x_train, x_new) / len(x_new),
        "This is a percentage. The function should return a number of images.",
    ),
    Row(
        lambda x_train, x_new: np.isin(x_new.sum(axis=(1, 2)), x_train.sum(axis=(1, 2))).sum(),
        "Two images can have the same amount of ink and still be different. Compare all pixels.",
    ),
    Row(
        lambda x_train, x_new: len({*_bytes(x_train), *_bytes(x_new)}),
        "You have counted the different images of both sets together. Which of them are in both?",
    ),
)


def _shared_cases() -> tuple[tuple[Images, Images], ...]:
    """Returns a case with 3 shared images of 20, one of them three times in training, and one with 4."""
    random = np.random.default_rng(5)
    x_train = random.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    x_new = random.integers(0, 256, (20, 28, 28), dtype=np.uint8)
    x_new[[3, 8, 9]] = x_train[[30, 0, 17]]
    x_train[[38, 39]] = x_train[0]
    x_new[5] = x_train[7].T  # as much ink, but another image
    twice = x_new.copy()
    twice[12] = x_train[30]
    return (x_train, x_new), (x_train, twice)


class _Leak(NamedTuple):
    """What there is to observe in the experiment.

    Attributes:
        num_shared: images of the report that are stored.
        num_report: images of the report.
        reported: accuracy on all images of the report.
        unseen: accuracy on the images that are not stored.
        validation: accuracy on the validation images.
    """

    num_shared: int
    num_report: int
    reported: float
    unseen: float
    validation: float

    @property
    def num_unseen(self) -> int:
        return self.num_report - self.num_shared

    @property
    def gain(self) -> float:
        return 100 * (self.reported - self.unseen)


_NUM_STORED = 100
_ADDED = slice(20, 150)  # training images in the report; the first 80 of them are stored


@functools.cache
def _leak() -> _Leak:
    """Repeats the experiment of the notebook."""
    (x_train, y_train), (x_val, y_val) = _digits()
    x_report = np.concatenate([x_val, x_train[_ADDED]])
    y_report = np.concatenate([y_val, y_train[_ADDED]])
    is_stored = _is_stored(x_train[:_NUM_STORED], x_report)
    is_right = _nearest_image(x_train[:_NUM_STORED], y_train[:_NUM_STORED], x_report) == y_report
    return _Leak(
        num_shared=int(is_stored.sum()),
        num_report=len(x_report),
        reported=float(is_right.mean()),
        unseen=float(is_right[~is_stored].mean()),
        validation=float(is_right[: len(x_val)].mean()),
    )


def num_shared_rows() -> tuple[Row, ...]:
    """Returns the known wrong numbers of shared images."""
    leak = _leak()
    return (
        Row(
            _ADDED.stop - _ADDED.start,
            "These are the images of x_report that are in x_train. The classifier has stored only x_stored.",
        ),
        Row(leak.num_unseen, "These are the images that the classifier has not stored."),
        Row(
            leak.num_report,
            "These are all images of x_report. Count only the images that the classifier has stored.",
        ),
        Row(_NUM_STORED, "The classifier has stored so many images, but not all of them are in x_report."),
        Row(
            len(_digits()[1][0]),
            "These are the validation images. Which images of x_report has the classifier stored?",
        ),
        Row(0, "There are shared images: do you count those of x_stored and x_report?"),
        Row(leak.num_shared / leak.num_report, "This is a share. Enter a number of images."),
        Row(100 * leak.num_shared / leak.num_report, "This is a percentage. Enter a number of images."),
    )


def accuracy_rows() -> tuple[Row, ...]:
    """Returns the known wrong accuracies on unseen images."""
    leak = _leak()
    return (
        Row(
            leak.reported,
            "This accuracy was measured on all images of x_report, among them the images that the "
            "classifier has stored: it looks them up. Measure it on the others.",
        ),
        Row(
            1, "This is the accuracy on the images that the classifier has stored. Measure it on the others."
        ),
        Row(
            leak.validation,
            "This is the accuracy on the validation images. Measure it on all images of x_report that the "
            "classifier has not stored.",
        ),
        Row(100 * leak.unseen, "This is a percentage. Enter the accuracy as a number from 0 to 1."),
        Row(
            1 - leak.unseen, "This is the share of wrong answers. The accuracy is the share of correct ones."
        ),
        Row(
            leak.unseen * leak.num_unseen,
            "This is a number of images. The accuracy is the share of the images that are classified "
            "correctly.",
        ),
        Row(
            leak.unseen * leak.num_unseen / leak.num_report,
            "You have divided by the number of all images of x_report. Divide by the number of unseen "
            "images.",
        ),
    )


def gain_rows() -> tuple[Row, ...]:
    """Returns the known wrong differences."""
    leak = _leak()
    return (
        Row(
            leak.gain / 100,
            "This is a difference of numbers from 0 to 1. Enter it in percentage points: from 80 % to 85 "
            "% it is 5.",
        ),
        Row(
            -leak.gain,
            "The sign is wrong: the shared images raise the accuracy. Subtract the other way round.",
        ),
        Row(
            leak.gain / leak.unseen,
            "This is the relative difference in percent. For percentage points, subtract one percentage "
            "from the other.",
        ),
        Row(
            leak.gain / leak.reported,
            "This is the relative difference in percent. For percentage points, subtract one percentage "
            "from the other.",
        ),
        Row(
            100 * (leak.reported - leak.validation),
            "You have subtracted the accuracy on the validation images. Subtract that on all unseen images.",
        ),
        Row(
            100 * (1 - leak.unseen),
            "This is the difference between unseen and stored images. Compare the unseen images with the "
            "whole report.",
        ),
        Row(100 * leak.num_shared / leak.num_report, "This is the percentage of images that are shared."),
        Row(
            0,
            "The shared images do change the accuracy. Compare the accuracy of the whole report with that "
            "of the unseen images.",
        ),
    )


CONCLUSION: tuple[Row, ...] = (
    Row(
        "A",
        "The whole report contains images that the classifier looks up. A new image is never one of "
        "the stored images.",
    ),
    Row(
        "B",
        "That some images of the report are stored does not change what the classifier answers for the "
        "others. What does it change?",
    ),
    Row(
        "D",
        "This is more than a limited number of images can say: if you measured on other new images, would "
        "you get exactly the same number?",
    ),
)


@exercise.check
def shared(
    count_shared: Any,
    num_shared: Any = None,
    accuracy_unseen: Any = None,
    gain: Any = None,
    conclusion: Any = None,
    *,
    cases: Sequence[tuple] = (),
) -> None:
    """Checks a function that counts shared images, and the observations of the experiment.

    Args:
        count_shared: the student's function.
        num_shared: the student's number of images of the report that the classifier has stored.
        accuracy_unseen: the student's accuracy on the others.
        gain: by how many percentage points the accuracy of the report is higher, as the student says.
        conclusion: the letter that the student has chosen.
        cases: other arguments for each call of the function; then nothing else is looked at.
    """
    compare_function(
        count_shared,
        _count_shared,
        COUNT_SHARED,
        cases or _shared_cases(),
        "This is not the number of images of x_new that are also in x_train. Try your function on a few images "
        "for which you know the number, such as x_val[:5] and x_val[3:8].",
        name="count_shared",
    )
    if cases:
        return
    leak = _leak()
    compare(
        number(num_shared, "num_shared"),
        leak.num_shared,
        num_shared_rows(),
        f"count_shared is correct, but num_shared is not {short(num_shared)}. Use your function: which "
        "images has the classifier stored, and which ones are in the report?",
    )
    compare(
        number(accuracy_unseen, "accuracy_unseen"),
        leak.unseen,
        accuracy_rows(),
        f"accuracy_unseen is not {short(accuracy_unseen)}. Do your images and labels belong together, and "
        "are they all images of x_report that the classifier has not stored?",
    )
    points = number(gain, "gain")
    if abs(points - leak.gain) > 0.1:  # both accuracies may be rounded to a tenth of a percent
        compare(
            points,
            np.nan,
            gain_rows(),
            f"gain is not {short(gain)}. It is the accuracy of the whole report minus that of the unseen "
            "images, both in percent.",
            rtol=0.02,
        )
    choice = one_of(conclusion, "conclusion", ("A", "B", "C", "D"))
    compare(choice, "C", CONCLUSION, "Compare the four conclusions with what you have observed.")


def _shape(value: Any) -> str | tuple[int, ...]:
    try:
        return np.shape(value)
    except ValueError:
        return "arrays of different shapes"
