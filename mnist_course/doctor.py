"""Check that a machine is ready for the course: one OK or FAIL line per question, and what to do about a FAIL."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mnist_course import lessons
from mnist_helpers import _files, data, results

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_FREE_MEMORY_BYTES = 2 * 2**30
_FREE_DISK_BYTES = 200 * 2**20


class Finding(NamedTuple):
    """The answer to one question.

    Attributes:
        question: what was looked at.
        answer: what was found; for a FAIL also what to do.
        ok: True if the course can run.
    """

    question: str
    answer: str
    ok: bool


def examine() -> Iterator[Finding]:
    """Examines the machine and yields one finding at a time; an examination that raises an error is a FAIL."""
    requirements = _requirements()
    problems = [Finding(item.name, problem, False) for item in requirements if (problem := _problem(item))]
    yield from problems or [Finding("packages", f"{len(requirements)} packages in range", True)]
    examinations: dict[str, Callable[[], str]] = {
        "Python": _python,
        "lessons": _lessons,
        "kernel": _kernel,
        "data": _data,
        "write access": _write_access,
        "memory": _memory,
        "isolation": _isolation,
        "training": _training,
    }
    for question, examination in examinations.items():
        try:
            yield Finding(question, examination(), True)
        except Exception as error:
            yield Finding(question, str(error) or type(error).__name__, False)


def _requirements() -> list[Requirement]:
    from packaging.requirements import Requirement

    requirements = (Requirement(line) for line in metadata.requires("mnist-course") or [])
    return [item for item in requirements if item.marker is None or item.marker.evaluate({"extra": ""})]


def _problem(requirement: Requirement) -> str:
    """Returns what is wrong with a package, and what to do; empty if nothing is wrong."""
    remedy = "run `make setup` or `pip install -c constraints.txt -e .` in the course's folder"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"not installed (needed: {requirement.specifier}); {remedy}"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{version} is installed, {requirement.specifier} is needed; {remedy}"
    return ""


def _python() -> str:
    from packaging.specifiers import SpecifierSet

    version, needed = platform.python_version(), metadata.metadata("mnist-course")["Requires-Python"]
    if not SpecifierSet(needed).contains(version):
        raise RuntimeError(f"{version}, but {needed} is needed: make PYTHON=python3.12 ...")
    return version


def _lessons() -> str:
    profiles = lessons.profiles()
    names = results.IN_ORDER
    for lesson in names:
        lessons.declared(lesson)
    optional = len(names) - len(results.LESSONS)
    counts = f"{len(results.LESSONS)} lessons, {optional} optional notebooks and {len(profiles)} profiles"
    return f"{counts} in {lessons.NOTEBOOKS}"


def _kernel() -> str:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except (NoSuchKernel, ValueError, TypeError) as error:  # the latter two: a damaged kernel.json
        raise RuntimeError(
            f"no usable kernel 'python3' ({error}); run `python -m ipykernel install --sys-prefix`"
        ) from error
    program = Path(spec.argv[0])
    if program.is_absolute() and program.absolute() != Path(sys.executable).absolute():
        raise RuntimeError(
            f"'python3' starts {program}, not this environment's Python; "
            "run `python -m ipykernel install --sys-prefix` in this environment"
        )
    return "python3, of this environment"


def _data() -> str:
    try:
        _, source = data.load_arrays("mnist", seconds=15)
    except data.DatasetNotFoundError as error:
        if folder := os.environ.get("MNIST_DATA_DIR"):
            raise RuntimeError(
                f"MNIST_DATA_DIR is {folder}, and MNIST was not found there; `mnist-course data` shows why"
            ) from error
        data.load_arrays("digits")
        return "digits (bundled); MNIST was not found: with a network, run `mnist-course data fetch mnist`"
    return f"mnist, {source}"


def _write_access() -> str:
    import shutil

    folder = results.results_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _files.write_json(folder / ".doctor.json", {})
        (folder / ".doctor.json").unlink()
    except OSError as error:
        raise RuntimeError(f"{error}; set MNIST_COURSE_RESULTS to a folder that you may write to") from error
    free = shutil.disk_usage(folder).free
    if free < _FREE_DISK_BYTES:
        raise RuntimeError(
            f"{free / 2**20:.0f} MiB free in {folder}; a run needs up to {_FREE_DISK_BYTES / 2**20:.0f}"
        )
    return f"{folder} ({free / 2**30:.1f} GiB free)"


def _memory() -> str:
    import psutil

    available = psutil.virtual_memory().available
    text = f"{available / 2**30:.1f} GiB available"
    if available < _FREE_MEMORY_BYTES:
        advice = "close other notebooks (Kernel > Shut Down All Kernels...)"
        raise RuntimeError(f"{text}; a lesson needs up to 2: {advice}")
    return text


def _isolation() -> str:
    """Is OK in any case: only grading needs isolation."""
    from mnist_course.grading import isolation

    tool, explanation = isolation.find()
    return explanation if tool else f"only needed to grade submissions. {explanation}"


def _training() -> str:
    """Trains ten epochs on the bundled digits: the accuracy tests the installation, the seconds the machine."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet():
        import keras

        keras.ops.zeros(1)  # the first operation logs, too

    (x_train, y_train), (x_val, y_val) = data.load_training("digits", seed=1)
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    started = time.perf_counter()
    model.fit(x_train, y_train, batch_size=32, epochs=10, verbose=0)
    seconds = time.perf_counter() - started
    _, accuracy = model.evaluate(x_val, y_val, verbose=0)
    text = f"10 epochs on the digits in {seconds:.1f} s, validation accuracy {accuracy:.2f}"
    if accuracy < 0.8:
        raise RuntimeError(f"{text}; at least 0.80 was expected: install the course's packages again")
    return text


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides the log lines that TensorFlow's C++ code writes while it loads; errors are still raised."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as null:
        os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
