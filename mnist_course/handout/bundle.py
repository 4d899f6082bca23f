"""A bundle: a folder with all that a machine with Python, but without a network, needs for the course.

    setup_course.py   the one command; README.txt says how
    course/           the packages, the lessons without outputs, the students' exercises, the reference records
    data/             the chosen datasets, as MNIST_DATA_DIR takes them
    wheelhouse/       every package, for this system and this Python
    draw.html         the page of `mnist-course demo`, if the course has trained networks
    bundle.json       the machine that it is for; SHA256SUMS is written last: without it, a bundle is incomplete

The same command for the same folder completes or updates the bundle; the wheelhouse is kept as long as the course
needs the same packages.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from mnist_course import demo, lessons
from mnist_course.handout import setup_course, student_copy
from mnist_helpers import _course, _files, data, parameters
from mnist_helpers._errors import UserError

_ROOT_FILES = ("pyproject.toml", "README.md", "LICENSE", "constraints.txt")
_NOTEBOOK_FILES = ("profiles.yaml", "quizzes/*.yaml", "pictures/*.png", f"{student_copy.RELEASE}/*.ipynb")
_PAGE = "draw.html"
_WHEELHOUSE_BYTES = 2e9  # free disk space that pip needs for the wheels and for its own copy of them
_BYTECODE = 1.3  # size of an environment, relative to its unpacked wheels


class PackagesError(OSError):
    """pip could not get the packages; the error message gives its reason."""


def bundle(folder: Path, datasets: Sequence[str] = ()) -> None:
    """Makes or updates a bundle, and prints what it does.

    Args:
        folder: a folder that is new, empty, or a bundle.
        datasets: names of the datasets to include; the digits are part of scikit-learn.

    Raises:
        UserError: a wrong name, a dataset that was not found, or a folder that cannot be used; nothing was written.
        PackagesError: pip could not get the packages.
    """
    if not _course.IS_CHECKOUT:
        why = "A bundle is made from the course's repository, and this is the installed package."
        raise UserError(f"{why} Get the repository, and give the same command there.")
    names = _check_datasets(datasets)
    path = _check_folder(folder)
    found = {}
    for name in names:
        try:
            found[name] = _find(name)
        except data.DatasetNotFoundError as error:
            advice = f"Nothing was written. Without --dataset {name}, the bundle is made without it."
            raise UserError(f"{error}\n{advice}") from error
    path.mkdir(parents=True, exist_ok=True)
    (path / setup_course.CHECKSUMS).unlink(missing_ok=True)
    made = _description(path)
    _files.write_json(path / setup_course.DESCRIPTION, made)
    print("1 of 3: the packages, for this system and this Python", flush=True)
    _fill_wheelhouse(path, made)
    _files.write_json(path / setup_course.DESCRIPTION, made)
    print(f"2 of 3: the course, and the data: {', '.join([*names, 'digits'])}", flush=True)
    _copy_course(path / "course")
    _copy_data(path / "data", found)
    _write_page(path / _PAGE)
    made["packages"] = _hash(json.dumps(made["wheels"]), _source("pyproject.toml"))
    made["python_at_least"] = _least_python(path / "wheelhouse", made["python"])
    made["glibc_at_least"] = _least_glibc(made["wheels"])
    made["installed_bytes"] = _installed_bytes(path)
    _files.write_json(path / setup_course.DESCRIPTION, made)
    _write_readme(path, made, [*names, "digits"])
    print("3 of 3: the checksums", flush=True)
    size = _write_checksums(path)
    print(
        f"{path}: {size / 1e9:.2f} GB. Copy the whole folder; README.txt in it says what a student does next."
    )


# --- checks ---


def _check_datasets(datasets: Sequence[str]) -> list[str]:
    for name in datasets:
        if name not in data.NAMES:
            received = f"Received: {name!r}.{parameters.did_you_mean(name, data.NAMES)}"
            raise UserError(
                f"--dataset: unknown dataset. Expected: one of {', '.join(data.NAMES)}. {received}"
            )
    return [name for name, row in data.DATASETS.items() if name in datasets and row.mirrors]


def _check_folder(folder: Path) -> Path:
    path = folder.expanduser().resolve()
    if path.exists() and not path.is_dir():
        raise UserError(f"Expected: a folder, new or not. Received: {path}, which is a file.")
    if path.is_dir() and any(path.iterdir()) and not (path / setup_course.DESCRIPTION).is_file():
        raise UserError(f"{path} holds other things. Give a new folder.")
    if path.is_relative_to(lessons.NOTEBOOKS):
        raise UserError(f"{path} is part of the course itself. Give a folder somewhere else.")
    if not _files.is_writable_place(path):
        raise UserError(f"{path} cannot be written. Give another folder.")
    free = shutil.disk_usage(next(parent for parent in (path, *path.parents) if parent.exists())).free
    if free < _WHEELHOUSE_BYTES and not (path / "wheelhouse").is_dir():
        room = f"{free / 1e9:.1f} GB free, and {_WHEELHOUSE_BYTES / 1e9:.1f} GB are needed"
        raise UserError(f"The disk of {path} has {room}. Free some space, or give another folder.")
    return path


def _description(path: Path) -> dict[str, Any]:
    """Describes the machine that the bundle is for; keeps what an earlier call wrote about the wheels."""
    before = _files.read_json_or_none(path / setup_course.DESCRIPTION)
    wheels = {"wheels_for": "", "wheels": {}}
    if isinstance(before, dict):
        wheels |= {name: before[name] for name in wheels if isinstance(before.get(name), type(wheels[name]))}
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    made_for = {"implementation": platform.python_implementation(), "python": python}
    return {**made_for, "system": platform.system(), "machine": platform.machine(), **wheels}


# --- the packages ---


def _requirements() -> list[str]:
    """Returns what the course needs: to run, to be installed from its folder, and pip."""
    project = tomllib.loads(_source("pyproject.toml"))
    needed = project["project"]["dependencies"] + project["build-system"]["requires"]
    return [*needed, "editables>=0.3", "pip"]


def _fill_wheelhouse(path: Path, made: dict[str, Any]) -> None:
    """Fills the wheelhouse, unless it is complete and current; enters its wheels and their purpose in `made`."""
    folder = path / "wheelhouse"
    machine = [made["python"], sysconfig.get_platform()]
    needed_for = _hash(json.dumps([*machine, *_requirements()]), _source("constraints.txt"))
    if made["wheels"] and (made["wheels_for"], made["wheels"]) == (needed_for, _wheels(folder)):
        print(f"        {len(made['wheels'])} packages, complete from an earlier call")
        return
    if folder.is_dir():
        shutil.rmtree(folder)
    _pip_wheel(folder)
    made |= {"wheels_for": needed_for, "wheels": _wheels(folder)}


def _pip_wheel(folder: Path) -> None:
    from tqdm import tqdm

    constraints = str(lessons.NOTEBOOKS.parent / "constraints.txt")
    command = [sys.executable, "-m", "pip", "wheel", "--no-input", "--progress-bar", "off"]
    command += ["--wheel-dir", str(folder), "--constraint", constraints, *_requirements()]
    offline = {"PIP_NO_INDEX": "1"} if data.is_offline() else {}
    lines: list[str] = []
    with (
        subprocess.Popen(
            command,
            env=os.environ | offline,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
        tqdm(desc="packages", unit="", leave=False, disable=None) as bar,
    ):
        try:
            for line in process.stdout or ():
                lines.append(line.strip())
                bar.update(line.startswith(("Collecting", "Processing")))
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise PackagesError(f"pip could not get the packages:\n{_why(lines)}")


def _why(lines: list[str]) -> str:
    """Returns the lines of pip's output that name the places where it looked and the error."""
    looked = [line for line in lines if line.startswith("Looking in")]
    switched_off = "Looking in no index, as the network is switched off (MNIST_COURSE_OFFLINE)"
    offline = [switched_off] if data.is_offline() else []
    errors = [number for number, line in enumerate(lines) if line.startswith("ERROR")]
    said = [line for line in lines[errors[0] :] if line][:10] if errors else lines[-5:]
    return "\n".join([*offline, *looked, *said])


def _wheels(folder: Path) -> dict[str, str]:
    return {path.name: _files.sha256(path) for path in sorted(folder.glob("*.whl"))}


def _least_python(folder: Path, python: str) -> str:
    """Returns the first release of a Python, such as 3.11.5 of 3.11, that can install all wheels."""
    from packaging.specifiers import SpecifierSet

    needs = SpecifierSet()
    for path in folder.glob("*.whl"):
        (wheel,) = metadata.distributions(path=[str(path)])
        needs &= SpecifierSet(*wheel.metadata.get_all("Requires-Python", []))
    return next(needs.filter(f"{python}.{release}" for release in range(100)))


def _least_glibc(wheels: Iterable[str]) -> str:
    """Returns the oldest glibc that can install all wheels; an empty string if none of them needs glibc."""
    minors = [[int(minor) for minor in re.findall(r"manylinux_2_(\d+)_", name)] for name in wheels]
    needed = [min(found) for found in minors if found]
    return f"2.{max(needed)}" if needed else ""


def _installed_bytes(path: Path) -> int:
    unpacked = sum(
        info.file_size
        for wheel in (path / "wheelhouse").glob("*.whl")
        for info in zipfile.ZipFile(wheel).infolist()
    )
    copied = sum(file.stat().st_size for name in ("course", "data") for file in _all_files(path / name))
    return int(_BYTECODE * unpacked) + copied


# --- the course and the data ---


def _source(name: str) -> str:
    return (lessons.NOTEBOOKS.parent / name).read_text(encoding="utf-8")


def _copy_course(to: Path) -> None:
    """Copies what a student needs, and nothing else of the course's folder: no solutions, no runs."""
    root = lessons.NOTEBOOKS.parent
    if to.exists():
        shutil.rmtree(to)
    (to / "notebooks").mkdir(parents=True)
    for name in _ROOT_FILES:
        shutil.copyfile(root / name, to / name)
    for package in ("mnist_helpers", "mnist_course"):
        shutil.copytree(root / package, to / package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for path in student_copy.notebooks():
        (to / path.relative_to(root)).parent.mkdir(exist_ok=True)
        (to / path.relative_to(root)).write_text(student_copy.clean(path), encoding="utf-8")
    notebook_files = [path for pattern in _NOTEBOOK_FILES for path in lessons.NOTEBOOKS.glob(pattern)]
    reference = root / "results" / "reference"
    for path in (*notebook_files, *reference.rglob("*.json"), *reference.glob("models/*.npz")):
        (to / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to / path.relative_to(root))


def _write_page(path: Path) -> None:
    """Writes the page on which one draws a digit; without trained networks, there is none."""
    path.unlink(missing_ok=True)
    if demo.has_models():
        demo.write(path)


def _find(name: str) -> set[Path]:
    """Returns the verified files of a dataset: its npz, or its four idx files.

    Raises:
        UserError: the dataset was downloaded, but could not be kept.
        data.DatasetNotFoundError: the dataset was found nowhere and could not be downloaded.
    """
    _, source = data.load_arrays(name)
    if not source.files:
        advice = "Put its files into a folder and set MNIST_DATA_DIR."
        raise UserError(f"{name} was {source}, so it cannot be copied. {advice}")
    return set(source.files.values())


def _copy_data(to: Path, found: dict[str, set[Path]]) -> None:
    """Copies the files of each dataset, and verifies the copies."""
    # The files may lie in `to` itself, and be the only copy on this machine.
    copied = to.with_name(f"{_files.PARTIAL}data")
    shutil.rmtree(copied, ignore_errors=True)
    for name, files in found.items():
        (copied / name).mkdir(parents=True)
        for path in files:
            shutil.copyfile(path, copied / name / path.name)
        if data.load_arrays(name, data_dir=copied, download=False)[1].kind is not data.Kind.DATA_DIR:
            raise OSError(f"The copy of {name} in {copied} is damaged")
    shutil.rmtree(to, ignore_errors=True)
    if found:
        notice = "\n".join(data.DATASETS[name].licence for name in found)
        (copied / "LICENCES.txt").write_text(notice, encoding="utf-8")
        copied.rename(to)


# --- the end ---


def _write_readme(path: Path, made: dict[str, Any], datasets: list[str]) -> None:
    """Writes the README and the set-up script, for the kind of machine that the bundle is for."""
    import jinja2

    shutil.copyfile(setup_course.__file__, path / "setup_course.py")
    windows = made["system"] == "Windows"
    words = {
        "command": f"py -{made['python']} setup_course.py" if windows else "python3 setup_course.py",
        "lab": "%USERPROFILE%\\mnist-course\\course-lab.bat" if windows else "~/mnist-course/course-lab",
        "separator": "\\" if windows else "/",
        "datasets": datasets,
        "notice": (path / "data").is_dir(),
        "page": _PAGE if (path / _PAGE).is_file() else "",
    }
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, keep_trailing_newline=True)
    text = environment.get_template("student_readme.txt.j2").render(words | made)
    (path / "README.txt").write_text(text, encoding="utf-8")


def _write_checksums(path: Path) -> int:
    """Writes the checksums of all files of the bundle; returns its size in bytes."""
    ours = ("setup_course.py", "README.txt", setup_course.DESCRIPTION, _PAGE)
    files = [path / name for name in ours if (path / name).is_file()]
    files += [file for name in ("course", "data", "wheelhouse") for file in _all_files(path / name)]
    lines = [f"{_files.sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in files]
    _files.write(path / setup_course.CHECKSUMS, "".join(lines))
    return sum(file.stat().st_size for file in files)


def _all_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _hash(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
