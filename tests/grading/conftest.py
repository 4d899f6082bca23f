"""Grading folders with the tiny exercise."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest

from mnist_course.grading import release
from tests.grading.tiny import tiny


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
