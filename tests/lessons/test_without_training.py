"""Lesson 5 and `trust` evaluate the committed networks, through papermill, and change nothing there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from mnist_course import committed_models, lessons
from mnist_helpers import _files, results
from tests.lessons.test_lessons import environment
from tests.unit.exported import a_study

pytestmark = [
    pytest.mark.course,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras' own
]
COPY = "reference-networks"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    run = a_study(tmp_path_factory.mktemp("exported") / "reference")
    committed_models.export(run)
    return run.parent


@pytest.fixture
def base(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "results" / "reference")
    return tmp_path / "results"


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def papermill(lesson, base):
    output = base.parent / f"{lesson}.ipynb"
    command = [sys.executable, "-m", "papermill", str(results.notebook_path(lesson)), str(output)]
    command += ["-k", "python3", "-p", "run", "reference", "-p", "num_distorted", "50"]
    done = subprocess.run(command, env=environment(base), capture_output=True, text=True, check=False)
    return done, output


def test_lesson_5_evaluates_the_committed_networks(base):
    before = content(base / "reference")
    done, output = papermill("05_evaluation", base)
    assert done.returncode == 0, done.stderr[-3000:]
    assert content(base / "reference") == before
    assert {path.name for path in base.iterdir() if path.is_dir()} >= {"reference", COPY}
    record = results.load_record(base / COPY, "05_evaluation")
    index = _files.read_json(base / "reference" / "models" / "index.json")
    networks = [name for name, entry in record["models"].items() if "sha256" in entry]
    assert networks == ["baseline", "batchnorm_dropout", "tuned", "strong"]
    for name in networks:
        assert record["models"][name]["sha256"] == index[name]["sha256"]
        assert 0 <= record["models"][name]["test_accuracy"] <= 1
    assert {"majority", "nearest_mean"} < set(record["models"])
    assert record["models"]["nearest_mean"]["test_accuracy"] > 0.5
    assert "Nothing is trained here." in output.read_text()


@pytest.mark.long
def test_the_notebook_on_trust_continues_with_the_committed_networks(base):
    before = content(base / "reference")
    for lesson in lessons.EVALUATIONS:
        done, _ = papermill(lesson, base)
        assert done.returncode == 0, done.stderr[-3000:]
    assert results.load_record(base / COPY, "trust")["calibration"]["tuned"]
    assert content(base / "reference") == before


def test_where_only_the_digits_are_found_the_message_names_the_dataset_of_the_networks(base):
    for path in (base / "reference" / "models" / "records").iterdir():
        record = _files.read_json(path)
        record["params"]["dataset"] = record["dataset"]["name"] = "mnist"
        _files.write_json(path, record | {"sha256": results.fingerprint(record)})
    done, output = papermill("05_evaluation", base)
    assert done.returncode
    assert "Dataset 'mnist' was not found" in done.stderr
    printed = "".join(
        "".join(shown.get("text", ""))
        for cell in json.loads(output.read_text())["cells"]
        for shown in cell.get("outputs", ())
    )
    assert "The test images of mnist are needed." in printed
    assert not (base / COPY / "05_evaluation.json").exists()


def test_a_lesson_that_trains_refuses_the_name_before_it_trains(base):
    before = content(base / "reference")
    command = [sys.executable, "-m", "papermill", str(results.notebook_path("02_baseline"))]
    command += [
        str(base.parent / "out.ipynb"),
        "-k",
        "python3",
        "-p",
        "run",
        "reference",
        "-p",
        "dataset",
        "digits",
    ]
    done = subprocess.run(command, env=environment(base), capture_output=True, text=True, check=False)
    assert done.returncode
    assert "Expected: another name for this run. Received: run='reference'." in done.stderr
    assert content(base / "reference") == before
    assert not (base / COPY).exists()
