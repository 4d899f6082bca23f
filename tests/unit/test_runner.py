"""The runner's decisions, nearly all without a kernel; `test_lessons.py` runs the lessons."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from mnist_course import lessons
from mnist_course.run import runner
from mnist_course.run.settings import Settings, check_lessons, check_settings
from mnist_helpers import data, parameters, results

QUICK = Settings("quick", "digits", 1, {"epochs": 2})


def test_every_declared_parameter_is_in_the_table_and_the_other_way_round():
    declared = {name for lesson in results.LESSONS for name in lessons.declared(lesson)}
    assert declared == set(parameters.PARAMETERS)


def test_defaults_and_profiles_pass_their_own_check():
    for lesson in results.LESSONS:
        parameters.checked(**lessons.declared(lesson))
    assert set(lessons.profiles()) == {"class", "quick", "full"}
    for profile in lessons.profiles().values():
        parameters.checked(**profile)
    assert lessons.profiles()["class"] == {}


def test_a_parameter_goes_straight_to_the_lessons_that_declare_it(tmp_path):
    settings = check_settings("quick", "digits", 7, [("learning_rate", "0.01"), ("epochs", "9")])
    assert settings.params["epochs"] == 9  # the option wins over the profile
    for lesson in results.LESSONS:
        declared = lessons.declared(lesson)
        given = runner._lesson_parameters(lesson, "a-run", settings, str(tmp_path))
        assert set(given) <= set(declared)
        assert given["seed"] == 7
        assert given["profile"] == "quick"
        assert given["run"] == "a-run"
        assert given["results_dir"] == str(tmp_path)
        for name, value in {"epochs": 9, "learning_rate": 0.01, "dataset": "digits"}.items():
            assert given.get(name) == (value if name in declared else None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("quik", "digits", 1, []), ["Unknown profile", "'quik'", "Did you mean 'quick'?"]),
        (("class", "digit", 1, []), ["'dataset'", "Did you mean 'digits'?"]),
        (("class", "digits", 0, []), ["'seed'"]),
        (("class", "digits", 1, [("epoch", "2")]), ["Unknown parameter 'epoch'", "'epochs'"]),
        (("class", "digits", 1, [("epochs", "x")]), ["'epochs'", "'x'"]),
        (("class", "digits", 1, [("seed", "2")]), ["--seed"]),
        (("class", "digits", 1, [("run", "x")]), ["RUN"]),
        (("class", "digits", 1, [("epochs", "2"), ("epochs", "3")]), ["given twice", "2 and 3"]),
    ],
)
def test_wrong_settings_are_refused_in_words(arguments, words):
    with pytest.raises(ValueError) as caught:
        check_settings(*arguments)
    for word in words:
        assert word in str(caught.value)


@pytest.fixture
def folder_of_images(made_up, tmp_path):
    """A relative path to a folder with another dataset: the embedded digits, ink and paper exchanged."""
    folder = tmp_path / "here" / "white paper"
    folder.mkdir(parents=True)
    for name, array in data.load_arrays("digits")[0].items():
        made_up.write_idx(folder / data.IDX_FILES[name], 255 - array if name.startswith("x") else array)
    return folder


def test_a_folder_reaches_the_lessons_as_an_absolute_path(folder_of_images, monkeypatch):
    """Lessons run in notebooks/, not where the command was given; asked again, nothing changes."""
    monkeypatch.chdir(folder_of_images.parent)
    settings = check_settings("quick", "white paper", 1, [])
    assert settings.dataset == str(folder_of_images)
    assert check_settings("quick", settings.dataset, 1, []) == settings
    for lesson in results.LESSONS[:4]:
        assert runner._lesson_parameters(lesson, "x", settings, "")["dataset"] == str(folder_of_images)
    settings = check_settings("quick", "digits", 1, [("data_dir", "white paper")])
    assert settings.params["data_dir"] == str(folder_of_images)


@pytest.mark.course
def test_a_lesson_runs_on_a_folder_of_images_and_records_its_name(folder_of_images, tmp_path):
    command = [sys.executable, "-m", "mnist_course.cli", "run", "x", "--profile", "quick"]
    command += ["--dataset", folder_of_images.name, "--only", "01", "--results-dir", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder_of_images.parent, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    record = results.load_record(tmp_path / "runs" / "x", "01_data_exploration")
    (x_train, _), (x_val, _) = data.load_training(
        str(folder_of_images), num_train=1000, num_validation=200, seed=1
    )
    expected = data.describe("white-paper", x_train=x_train, x_val=x_val)
    assert record["dataset"]["name"] == "white-paper"
    assert record["dataset"]["sha256"].items() >= expected["sha256"].items()
    notebook = (tmp_path / "runs" / "x" / "01_data_exploration.ipynb").read_text()
    assert "The first thirty training images (white-paper)" in notebook
    name, data_dir = data.dataset_of_record(record)
    assert (data.load_test(name, data_dir=data_dir)[0] == 255 - data.load_test("digits")[0]).all()


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ((), list(results.LESSONS)),
        (("03",), ["03_batchnorm_dropout"]),
        (("05", "02_b"), ["02_baseline", "05_evaluation"]),
    ],
)
def test_only_names_lessons_in_order(only, expected):
    assert check_lessons(only) == expected


def test_only_refuses_what_is_no_lesson():
    with pytest.raises(ValueError, match="Did you mean '04_tuning'"):
        check_lessons(["04_tunning"])


def finish(folder, lesson, change=lambda notebook: None):
    """Puts the evidence of a finished lesson into the folder, as papermill would leave it."""
    notebook = json.loads((lessons.NOTEBOOKS / f"{lesson}.ipynb").read_text())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["execution_count"], cell["outputs"] = 1, []
    injected = {"cell_type": "code", "metadata": {"tags": ["injected-parameters"]}, "source": "epochs = 2"}
    notebook["cells"].insert(3, injected | {"execution_count": 2, "outputs": []})
    change(notebook)
    (folder / f"{lesson}.ipynb").write_text(json.dumps(notebook))
    entry = results.save_arrays(folder, lesson, x=np.arange(3))
    results.save_record(
        folder,
        lesson,
        params=QUICK.params,
        dataset={},
        models={"some": entry, "metrics only": {}},
        started=0.0,
    )


def _first_code_cell(notebook):
    return next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")


def _not_executed(notebook):
    _first_code_cell(notebook)["execution_count"] = None


def _failed(notebook):
    _first_code_cell(notebook)["outputs"] = [
        {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
    ]


def _other_source(notebook):
    _first_code_cell(notebook)["source"] = "an older version of the lesson"


def test_a_lesson_is_finished_when_its_evidence_is_whole(tmp_path):
    assert not runner.is_finished(tmp_path, "02_baseline")
    finish(tmp_path, "02_baseline")
    assert runner.is_finished(tmp_path, "02_baseline")
    (tmp_path / "02_baseline.npz").rename(tmp_path / "kept.npz")
    assert not runner.is_finished(tmp_path, "02_baseline")
    assert runner.is_finished(tmp_path, "02_baseline", models=False)
    (tmp_path / "02_baseline.npz").write_bytes(b"another file")
    assert not runner.is_finished(tmp_path, "02_baseline", models=False)
    (tmp_path / "kept.npz").replace(tmp_path / "02_baseline.npz")
    assert runner.is_finished(tmp_path, "02_baseline")
    (tmp_path / "02_baseline.json").unlink()
    assert not runner.is_finished(tmp_path, "02_baseline")


@pytest.mark.parametrize("change", [_not_executed, _failed, _other_source])
def test_a_lesson_is_not_finished_when_its_evidence_is_not_whole(tmp_path, change):
    finish(tmp_path, "02_baseline", change)
    assert not runner.is_finished(tmp_path, "02_baseline")


def test_a_finished_run_is_not_run_again(tmp_path):
    folder = tmp_path / "done"
    runner._claim(folder, QUICK, fresh=False)
    for lesson in results.LESSONS:
        finish(folder, lesson)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert runner.run_lessons("done", QUICK, results.LESSONS, results_dir=str(tmp_path)) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (QUICK._replace(seed=2), "seed was 1 and is now 2"),
        (QUICK._replace(params={"epochs": 3}), "epochs was 2 and is now 3"),
        (QUICK._replace(params={}), "epochs was 2 and is now the default"),
        (
            QUICK._replace(profile="class", dataset="mnist"),
            "profile was quick and is now class, dataset was digits",
        ),
    ],
)
def test_other_settings_do_not_touch_an_existing_run(tmp_path, other, words):
    folder = tmp_path / "mine"
    runner._claim(folder, QUICK, fresh=False)
    finish(folder, "02_baseline")
    with pytest.raises(ValueError, match=words) as caught:
        runner.run_lessons("mine", other, results.LESSONS, results_dir=str(tmp_path))
    assert "--fresh" in str(caught.value)
    assert runner.is_finished(folder, "02_baseline")
    runner._claim(folder, other, fresh=True)
    assert [path.name for path in folder.iterdir()] == ["course.json"]


@pytest.mark.parametrize("fresh", [False, True])
def test_what_no_run_made_is_never_deleted_or_mixed(tmp_path, fresh):
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "02_baseline.json").write_text("a student's record")
    with pytest.raises(ValueError, match="lab"):
        runner._claim(folder, QUICK, fresh)
    assert (folder / "02_baseline.json").read_text() == "a student's record"


def test_a_failure_names_lesson_cell_error_and_file(tmp_path):
    notebook = json.loads((lessons.NOTEBOOKS / "02_baseline.ipynb").read_text())
    code_cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell in code_cells[:3]:
        cell["execution_count"], cell["outputs"] = 1, []
    code_cells[2]["outputs"] = [
        {"output_type": "error", "ename": "ValueError", "evalue": "bad epochs", "traceback": []}
    ]
    evidence = tmp_path / "02_baseline.failed.ipynb"
    message = runner._failure("02_baseline", notebook, evidence, "the kernel was gone")
    for word in (
        "02_baseline",
        "code cell 3 (id 'setup')",
        "ValueError: bad epochs",
        "02_baseline.failed.ipynb",
    ):
        assert word in message
    code_cells[2]["outputs"] = []
    code_cells[3]["outputs"], code_cells[3]["execution_count"] = [], None
    message = runner._failure("02_baseline", notebook, evidence, "the kernel was gone")
    assert re.search("at code cell 4 .*, the kernel was gone", message)
    assert "to its end: the disk is full" in runner._failure(
        "02_baseline", None, evidence, "the disk is full"
    )


def test_outputs_go_back_cell_by_cell():
    lesson = {
        "cells": [
            {"cell_type": "markdown", "id": "a", "source": "text"},
            {
                "cell_type": "code",
                "id": "b",
                "source": "x",
                "execution_count": None,
                "outputs": [],
                "metadata": {},
            },
        ],
        "metadata": {"kernelspec": {}},
    }
    parts = [{"output_type": "stream", "name": "stdout", "text": [text]} for text in ("one\n", "two\n")]
    shown = {"output_type": "execute_result", "execution_count": 9, "data": {}, "metadata": {}}
    executed = {
        "cells": [
            {"cell_type": "code", "id": "z", "source": "injected", "execution_count": 1, "outputs": []},
            {"cell_type": "code", "id": "b", "source": "x", "execution_count": 9, "outputs": [*parts, shown]},
        ],
        "metadata": {"papermill": {}},
    }
    written = lessons.with_outputs(lesson, executed)
    assert written["cells"][1]["outputs"] == [
        {"output_type": "stream", "name": "stdout", "text": ["one\n", "two\n"]},
        shown | {"execution_count": 1},
    ]
    assert written["metadata"] == {"kernelspec": {}}
    assert len(written["cells"]) == 2
    assert lesson["cells"][1]["outputs"] == []
