"""Grading folders with the tiny exercise."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest

from mnist_course.grading import release
from mnist_helpers.checks import _core
from tests.grading.tiny import tiny

_PACKAGE = _core._PACKAGE


@pytest.fixture(scope="session")
def _tiny_exercises(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exercises")
    nbformat.write(tiny(), folder / "tiny.ipynb")
    return folder


@pytest.fixture(scope="session")
def built(_tiny_exercises, tmp_path_factory) -> Path:
    """A grading folder with the tiny exercise: to be copied, not to be changed."""
    folder = tmp_path_factory.mktemp("built") / "course"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(release, "EXERCISES", _tiny_exercises)
        release.build(folder)
    return folder


@pytest.fixture
def exercises(_tiny_exercises, monkeypatch, tmp_path) -> Path:
    """A folder with the tiny exercise, in place of the real ones."""
    folder = tmp_path / "exercises"
    shutil.copytree(_tiny_exercises, folder)
    monkeypatch.setattr(release, "EXERCISES", folder)
    return folder


@pytest.fixture
def folder(built, exercises, tmp_path) -> Path:
    """A grading folder of its own with the tiny exercise."""
    return Path(shutil.copytree(built, tmp_path / "course"))


@pytest.fixture
def unwatched(monkeypatch):
    """Functions of the checks themselves may be answers: the tables of misconceptions are tried with their own."""
    monkeypatch.setattr(_core, "_PACKAGE", "nowhere")


@pytest.fixture
def watched(unwatched, monkeypatch):
    """As for students, in a file whose other tests are `unwatched`."""
    monkeypatch.setattr(_core, "_PACKAGE", _PACKAGE)
