"""The runner's decisions, nearly all without a kernel; `test_lessons.py` runs the lessons."""

import importlib.util
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from mnist_course import cli, course_file, lessons, processes
from mnist_course.course_file import Settings
from mnist_course.run import lesson_process, runner
from mnist_course.run.settings import Limits, check_lessons, check_settings
from mnist_helpers import data, parameters, results

QUICK = Settings("quick", "digits", 1, {"epochs": 2})


def test_every_declared_parameter_is_in_the_table_and_the_other_way_round():
    declared = {name for lesson in results.IN_ORDER for name in lessons.declared(lesson)}
    assert declared == set(parameters.PARAMETERS)


def test_defaults_and_profiles_pass_their_own_check():
    for lesson in results.IN_ORDER:
        parameters.of_notebook(lessons.declared(lesson))
    assert set(lessons.profiles()) == {"class", "quick", "full"}
    for profile in lessons.profiles().values():
        parameters.of_notebook(profile)
    assert lessons.profiles()["class"] == {}


def test_a_parameter_goes_straight_to_the_lessons_that_declare_it(tmp_path):
    settings = check_settings("quick", "digits", 7, [("learning_rate", "0.01"), ("epochs", "9")])
    assert settings.params["epochs"] == 9  # the option wins over the profile
    for lesson in results.LESSONS:
        declared = lessons.declared(lesson)
        given = runner._lesson_parameters(lesson, tmp_path / "a-run", settings)
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
        params = runner._lesson_parameters(lesson, lessons.NOTEBOOKS.parent / "results" / "x", settings)
        assert params["dataset"] == str(folder_of_images)
        assert params["results_dir"] == os.path.join("..", "results")  # noqa: PTH118
    settings = check_settings("quick", "digits", 1, [("data_dir", "white paper")])
    assert settings.params["data_dir"] == str(folder_of_images)


@pytest.mark.long
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
    with pytest.raises(ValueError, match="Did you mean 'stronger_networks'"):
        check_lessons(["stronger_network5"])


def test_a_profile_says_which_optional_notebooks_run():
    """Lesson 5 evaluates what the stronger networks have saved, and `trust` goes on with its answers."""
    full = [*results.LESSONS[:4], "stronger_networks", results.LESSONS[4], "trust"]
    assert check_lessons([], "full") == full
    for profile in ("class", "quick", "a profile of one's own"):
        assert check_lessons([], profile) == list(results.LESSONS)
    assert check_lessons(["trust", "strong,abl"], "quick") == ["ablation", "stronger_networks", "trust"]
    assert check_lessons(["02"], "full") == ["02_baseline"]


@pytest.mark.parametrize("installed", [True, False])
def test_a_notebook_whose_package_is_missing_is_refused_before_anything_runs(monkeypatch, installed):
    found = importlib.util.find_spec("json") if installed else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found if name == "torch" else 1 / 0)
    assert check_lessons(["ablation"]) == ["ablation"]
    if installed:
        assert check_lessons(["pytorch"]) == ["pytorch"]
        return
    with pytest.raises(ValueError, match=r"pytorch needs the package torch.* pip install torch"):
        check_lessons(["pytorch"])


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
        started=time.perf_counter(),
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
    assert runner.run_lessons("done", QUICK, results.LESSONS, results_dir=tmp_path) == folder
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
        runner.run_lessons("mine", other, results.LESSONS, results_dir=tmp_path)
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
        "code cell 3 (id 'neuron')",
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
    parts = [{"output_type": "stream", "name": "stdout", "text": ["one\n", "two\n"]}]
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
        *parts,
        shown | {"execution_count": 1},
    ]
    assert written["metadata"] == {"kernelspec": {}}
    assert len(written["cells"]) == 2
    assert lesson["cells"][1]["outputs"] == []


# --- files of an earlier run ---

COURSE = {"settings": QUICK._asdict(), "lessons": {}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "is damaged: it is not JSON"),
        (json.dumps(COURSE)[:60], "is damaged: it is not JSON"),
        ("[" * 100_000, "is damaged: it is not JSON"),
        ("[]", "Missing or of another type: settings, lessons"),
        ("7", "Missing or of another type: settings, lessons"),
        ("{}", "Missing or of another type: settings, lessons"),
        (json.dumps(COURSE | {"settings": []}), "Missing or of another type: settings"),
        (json.dumps(COURSE | {"settings": {"profile": "quick"}}), "another type: dataset, seed, params"),
        (json.dumps(COURSE | {"settings": COURSE["settings"] | {"seed": "1"}}), "another type: seed"),
        (json.dumps(COURSE | {"settings": COURSE["settings"] | {"params": [1]}}), "another type: params"),
        (json.dumps(COURSE | {"lessons": [1]}), "Missing or of another type: lessons"),
        (json.dumps(COURSE | {"lessons": {"02_baseline": 3.5}}), "another type: wall_seconds, longest"),
        (json.dumps(COURSE | {"lessons": {"02_baseline": {"wall_seconds": 3}}}), "another type: longest"),
    ],
)
def test_a_damaged_or_foreign_course_file_is_named(tmp_path, content, expected):
    """R10: one sentence with the file and what to do, and nothing is touched."""
    path = tmp_path / "r" / "course.json"
    path.parent.mkdir()
    path.write_text(content)
    options = ["--profile", "quick", "--dataset", "digits", "--results-dir", str(tmp_path)]
    result = CliRunner().invoke(cli.main, ["run", "r", *options])
    assert result.exit_code == 2, result.output
    for part in (expected, str(path), "Give another name", "--fresh"):
        assert part in result.output
    assert path.read_text() == content
    runner._claim(path.parent, QUICK, fresh=True)
    assert course_file.read_course(path.parent) == (QUICK, {})


def test_a_run_of_an_older_version_is_named(tmp_path):
    runner._claim(tmp_path / "r", QUICK, fresh=False)
    record = {"stage": "02_baseline", "params": {}, "dataset": {}, "models": {}, "sha256": ""}
    (tmp_path / "r" / "02_baseline.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"'r' was made by an older version.*another name.*--fresh"):
        runner.run_lessons("r", QUICK, results.LESSONS, results_dir=tmp_path)
    runner._claim(tmp_path / "r", QUICK, fresh=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quick:\n  epochs: 3\n units: 1\n", "line 3"),
        ("quick: {epochs: 3\n", "line 2"),
        ("quick:\n\tepochs: 3\n", "line 2"),
        ("", "it holds NoneType"),
        ("- quick\n", "it holds list"),
        ("quick\n", "it holds str"),
        ("quick:\n", "the entry 'quick'"),
        ("quick: [1]\n", "the entry 'quick'"),
        ("quick: {}\n3: {}\n", "the entry 3"),
        ("quick: {7: 1}\n", "the entry 'quick'"),
        ("quick: {epoch: 3}\n", "Did you mean 'epochs'?"),
        ("quick: {epochs: three}\n", "'three'"),
        ("quick: {learning_rate: 1e-3}\n", "'1e-3'"),  # YAML takes it for a text
        ("quick: {epochs: [1, 2]}\n", "[1, 2]"),
        ("quick: {epochs: \xff}\n", "'utf-8' codec"),
    ],
)
def test_a_wrong_file_of_profiles_is_named(monkeypatch, tmp_path, text, expected):
    """R10: authors may edit the profiles."""
    monkeypatch.setattr(lessons, "NOTEBOOKS", tmp_path)
    (tmp_path / "profiles.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError) as caught:
        check_settings("quick", "digits", 1, [])
    for part in (expected, str(tmp_path / "profiles.yaml"), "Correct the file"):
        assert part in str(caught.value)


# --- accounting ---


def executed(*durations):
    """A notebook as papermill leaves it, with cells of known durations."""
    cells = [{"cell_type": "code", "metadata": {"papermill": {"duration": one}}} for one in durations]
    return {"cells": [{"cell_type": "markdown", "metadata": {}}, *cells]}


@pytest.mark.parametrize(
    ("durations", "seconds", "longest"),
    [
        ((1.0, 4.0, 2.0), 30.0, 4.0),
        ((2.0, 3.0, 4.0), 30.0, 4.0),
        ((4.0, None, 4.0), 9.0, 4.0),
        ((), 9.0, 0.0),
        ((None,), 0.0, 0.0),
        ((1.0, 7200.0), 30.0, 30.0),  # the laptop slept for two hours
        ((0.1,), 29 * 86400.0, 0.1),
    ],
)
def test_the_times_of_a_lesson(durations, seconds, longest):
    """Kind J: the longest cell, not the sum; seconds of one clock."""
    expected = {"wall_seconds": seconds, "longest_cell_seconds": longest}
    assert runner.lesson_timing(executed(*durations), seconds) == expected


@pytest.mark.parametrize(
    "measured",
    [
        {"seconds": -0.001},
        {"seconds": -1.8e9},
        {"seconds": 1.8e9},
        {"seconds": 30 * 86400.0},
        {"seconds": float("nan")},
        {"seconds": 1.0, "memory_bytes": 999_999},  # KiB or MiB taken for bytes
        {"seconds": 1.0, "memory_bytes": psutil.virtual_memory().total + 1},
        {"seconds": 1.0, "memory_bytes": 3 * 2**40},
        {"seconds": 1.0, "memory_bytes": 0},
    ],
)
def test_impossible_times_and_memories_are_not_written(measured):
    with pytest.raises(RuntimeError, match="Impossible"):
        results.check_measured(**measured)


def test_a_record_with_two_clocks_is_not_written(tmp_path):
    for started in (time.time(), -1.8e9):
        with pytest.raises(RuntimeError, match="Impossible time"):
            results.save_record(
                tmp_path, "02_baseline", params={"seed": 1}, dataset={}, models={}, started=started
            )
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource module")
@pytest.mark.parametrize(("system", "reported"), [("linux", 3 * 2**20), ("darwin", 3 * 2**30)])
def test_the_memory_of_a_process_is_in_bytes(monkeypatch, system, reported):
    """Kind J: Linux reports KiB, macOS bytes."""
    import resource

    usage = SimpleNamespace(ru_maxrss=reported)
    monkeypatch.setattr(resource, "getrusage", lambda who: usage)
    monkeypatch.setattr(sys, "platform", system)
    assert results.peak_memory() == 3 * 2**30


class FinishedProcess:
    """Stands for the process of a lesson that ran for some seconds of a clock that the test moves."""

    exitcode = 0

    def join(self):
        pass


def fake_lesson(monkeypatch, durations, seconds, exit_status=0, reason="", executes=True, record=True):
    """Makes `_run_lesson` run no process: the notebook has cells of known durations."""
    clock = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(time, "time", lambda: 1.8e9)

    def start(lesson, partial, log, params, limits, sender):
        notebook = executed(*durations)
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell |= {"outputs": [], "execution_count": 1 if executes else None}
            cell["source"] = "x"
        partial.write_text(json.dumps(notebook | {"metadata": {}}))
        if record:
            (partial.parent / f"{lesson}.json").write_text("{}")
        if reason:
            sender.send(reason)
        clock[0] += seconds
        process = FinishedProcess()
        process.exitcode = exit_status
        return process

    monkeypatch.setattr(runner, "_start_process", start)


def test_what_is_written_of_a_lesson_is_what_was_measured(tmp_path, monkeypatch):
    folder = tmp_path / "r"
    runner._claim(folder, QUICK, fresh=False)
    for lesson, durations, seconds in (
        ("01_data_exploration", [1.0, 2.5, 2.0], 12.0),
        ("02_baseline", [3.0, 0.5], 7.0),
    ):
        fake_lesson(monkeypatch, durations, seconds)
        assert runner._run_lesson(folder, lesson, {}, Limits()) == seconds
    assert course_file.timings(folder) == {
        "01_data_exploration": {"wall_seconds": 12.0, "longest_cell_seconds": 2.5},
        "02_baseline": {"wall_seconds": 7.0, "longest_cell_seconds": 3.0},
    }
    assert course_file.read_course(folder)[0] == QUICK
    assert (folder / "02_baseline.ipynb").is_file()


@pytest.mark.parametrize(
    ("fake", "expected"),
    [
        ({"exit_status": -9, "executes": False}, r"SIGKILL, as the system does if memory runs out"),
        ({"exit_status": -9, "executes": True}, r"SIGKILL, as the system does if memory runs out"),
        ({"exit_status": -11, "executes": False}, r"its process was ended by SIGSEGV\n"),
        ({"exit_status": 1, "executes": False}, r"its process ended with exit status 1\n"),
        ({"exit_status": 0, "executes": False}, r"its process ended with exit status 0\n"),
        ({"exit_status": 0, "record": False}, r"it did not write its record, 02_baseline.json\n"),
        ({"exit_status": 1, "reason": "the disk is full", "executes": False}, r"the disk is full\n"),
    ],
)
def test_a_lesson_that_ends_early_says_why(tmp_path, monkeypatch, fake, expected):
    """R7: the reason is that of this failure; memory is mentioned for SIGKILL only."""
    runner._claim(tmp_path / "r", QUICK, fresh=False)
    fake_lesson(monkeypatch, [1.0], 2.0, **{"record": False} | fake)
    with pytest.raises(runner.LessonFailedError, match=expected) as caught:
        runner._run_lesson(tmp_path / "r", "02_baseline", {}, Limits())
    assert ("memory" in str(caught.value)) == ("SIGKILL" in expected)
    assert course_file.timings(tmp_path / "r") == {}
    assert not (tmp_path / "r" / "02_baseline.ipynb").exists()
    assert (tmp_path / "r" / "02_baseline.failed.ipynb").exists()


@pytest.mark.parametrize(
    ("unfinished", "asked", "expected"),
    [
        ([], "12345", ""),
        (["02_baseline"], "12345", "25"),
        (["01_data_exploration"], "12345", "15"),
        (["03_batchnorm_dropout", "04_tuning"], "12345", "345"),
        (["05_evaluation"], "12345", "5"),
        (["02_baseline"], "2", "2"),
        (["02_baseline"], "25", "25"),
        (["02_baseline"], "35", ""),
        (list(results.LESSONS), "12345", "12345"),
    ],
)
def test_lesson_5_is_run_again_after_any_other_lesson(monkeypatch, tmp_path, unfinished, asked, expected):
    """Kind J: it evaluates the models of the other lessons."""
    ran = []
    monkeypatch.setattr(runner, "is_finished", lambda folder, lesson: lesson not in unfinished)
    monkeypatch.setattr(
        runner, "_run_lesson", lambda folder, lesson, params, limits: ran.append(lesson) or 1.0
    )
    lesson_names = [lesson for lesson in results.LESSONS if lesson[1] in asked]
    runner.run_lessons("r", QUICK, lesson_names, results_dir=tmp_path)
    assert "".join(lesson[1] for lesson in ran) == expected


@pytest.mark.parametrize(
    ("asked", "unfinished", "expected"),
    [
        (["stronger_networks", "05_evaluation", "trust"], ["stronger_networks"], None),
        (["05_evaluation", "trust"], ["05_evaluation"], None),
        (["ablation", "trust"], ["trust"], ["trust"]),
        (["ablation", "04_tuning"], ["ablation"], ["ablation"]),
    ],
)
def test_what_evaluates_models_is_run_again_after_every_new_one(
    monkeypatch, tmp_path, asked, unfinished, expected
):
    ran = []
    monkeypatch.setattr(runner, "is_finished", lambda folder, lesson: lesson not in unfinished)
    monkeypatch.setattr(runner, "_lesson_parameters", lambda *_: {})
    monkeypatch.setattr(
        runner, "_run_lesson", lambda folder, lesson, params, limits: ran.append(lesson) or 1.0
    )
    runner.run_lessons("r", QUICK, asked, results_dir=tmp_path)
    assert ran == (asked if expected is None else expected)


@pytest.mark.parametrize(
    ("dates", "newer"),
    [
        ({"04_tuning": 1, "stronger_networks": 2, "05_evaluation": 3}, []),
        ({"04_tuning": 1, "stronger_networks": 4, "05_evaluation": 3}, ["05_evaluation"]),
        ({"02_baseline": 4, "05_evaluation": 3, "trust": 4}, ["05_evaluation"]),
        ({"02_baseline": 1, "05_evaluation": 3, "trust": 2}, ["trust"]),
        ({"from_scratch": 4, "05_evaluation": 3}, []),  # it saves no model
        ({"05_evaluation": 3}, []),
    ],
)
def test_models_that_were_saved_after_their_evaluation_are_noticed(tmp_path, dates, newer):
    """The stronger networks of a finished run, trained in a later call."""
    for lesson, day in dates.items():
        models = {"of this lesson": {} if lesson == "from_scratch" else {"file": "x.keras"}}
        record = {"lesson": lesson, "date": f"2026-01-0{day}T00:00:00+00:00", "models": models}
        (tmp_path / f"{lesson}.json").write_text(json.dumps(record))
    evaluations = [lesson for lesson in lessons.EVALUATIONS if lesson in dates]
    assert [lesson for lesson in evaluations if runner.has_newer_models(tmp_path, lesson)] == newer


def test_an_optional_notebook_runs_from_its_own_place(monkeypatch, tmp_path):
    executed = []
    monkeypatch.setattr(
        lesson_process.papermill, "execute_notebook", lambda *args, **_: executed.append(args)
    )
    monkeypatch.setattr(lesson_process, "prepare_environment", lambda folder: None)
    monkeypatch.setattr(lesson_process.cores, "limit_threads", lambda threads: None)
    lesson_process.execute_notebook("trust", tmp_path / "out.ipynb", {"seed": 2}, Limits(threads=1))
    ((source, output, params),) = executed
    assert (Path(source), Path(output)) == (results.notebook_path("trust"), tmp_path / "out.ipynb")
    assert params == {"seed": 2}


def test_outputs_are_written_back_and_a_missing_package_is_said(monkeypatch, tmp_path, capsys):
    """`make notebooks` refreshes the optional notebooks, too; one of them may lack its package."""
    for name in (*results.LESSONS[:1], "ablation", "pytorch"):
        (tmp_path / f"{name}.ipynb").write_text(
            json.dumps(
                {
                    "metadata": {},
                    "cells": [
                        {
                            "cell_type": "code",
                            "id": "a",
                            "metadata": {},
                            "source": f"# {name}",
                            "execution_count": None,
                            "outputs": [],
                        }
                    ],
                }
            )
        )
    names = [results.LESSONS[0], "ablation", "pytorch"]
    monkeypatch.setattr(results, "IN_ORDER", tuple(names))
    monkeypatch.setattr(lessons, "NOTEBOOKS", tmp_path)  # where the pictures are written
    monkeypatch.setattr(results, "notebook_path", lambda lesson: tmp_path / f"{lesson}.ipynb")
    monkeypatch.setattr(lessons, "declared", lambda lesson: {"seed": 1})
    monkeypatch.setattr(
        lessons, "missing_package", lambda name: "pytorch needs a package" if name == "pytorch" else ""
    )
    monkeypatch.setattr(runner, "check_settings", lambda *_: QUICK)

    def run_lessons(run, settings, lesson_names, *, results_dir):
        assert lesson_names == names[:2]
        for name in lesson_names:
            notebook = json.loads((tmp_path / f"{name}.ipynb").read_text())
            notebook["cells"][0]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": name}]
            (results_dir / f"{name}.ipynb").write_text(json.dumps(notebook))
        return results_dir

    monkeypatch.setattr(runner, "run_lessons", run_lessons)
    runner.refresh_lessons()
    cells = {name: json.loads((tmp_path / f"{name}.ipynb").read_text())["cells"][0] for name in names}
    assert [bool(cells[name]["outputs"]) for name in names] == [True, True, False]
    assert cells["ablation"]["outputs"][0]["text"] == "ablation"
    assert capsys.readouterr().out == "Not run: pytorch needs a package\n"
    assert (tmp_path / "pictures" / "02_baseline.png").is_file()


def test_lessons_are_refreshed_from_the_class_profile_on_mnist(monkeypatch, tmp_path):
    """Kind J: never from the quick profile or the digits."""
    requested = []
    monkeypatch.setattr(runner, "check_settings", lambda *values: requested.append(values) or QUICK)

    def run_lessons(run, settings, lesson_names, *, results_dir):
        assert settings == QUICK
        assert lesson_names == [name for name in results.IN_ORDER if not lessons.missing_package(name)]
        assert set(results.LESSONS) <= set(lesson_names)
        raise runner.LessonFailedError("stop here")

    monkeypatch.setattr(runner, "run_lessons", run_lessons)
    with pytest.raises(runner.LessonFailedError):
        runner.refresh_lessons()
    assert requested == [("class", "mnist", 1, [])]


# --- the process of a lesson ---


@pytest.mark.parametrize(
    ("error", "exit_status", "log", "cell_seconds", "expected"),
    [
        (
            DeadKernelError("Kernel died"),
            -9,
            "",
            0,
            "its kernel was ended by SIGKILL, as the system does if memory runs out",
        ),
        (DeadKernelError("Kernel died"), -11, "", 0, "its kernel was ended by SIGSEGV"),
        (
            DeadKernelError("Kernel died"),
            3,
            "one\n two \n\n",
            0,
            "its kernel ended with exit status 3; the last line of its standard error is: two",
        ),
        (
            RuntimeError("Kernel died before replying"),
            1,
            "No module named x\n",
            0,
            "its kernel ended with exit status 1; the last line of its standard error is: No module named x",
        ),
        (
            CellTimeoutError("Cell timed out"),
            None,
            "",
            8,
            "the cell took longer than the 8 seconds that it may take (--cell-seconds sets another limit)",
        ),
        (CellTimeoutError("Cell timed out"), None, "", 0, "Cell timed out"),
        (OSError(28, "No space left on device"), None, "line\n", 0, "[Errno 28] No space left on device"),
        (KeyError(), None, "", 0, "KeyError"),
    ],
)
def test_the_reason_is_the_actual_one(monkeypatch, tmp_path, error, exit_status, log, cell_seconds, expected):
    """R7."""
    monkeypatch.setattr(lesson_process._KernelManager, "exit_status", exit_status)
    (tmp_path / "log").write_text(log)
    assert lesson_process._reason(error, tmp_path / "log", Limits(0, cell_seconds)) == expected


def test_the_kernel_is_this_python_whatever_kernels_the_account_has(monkeypatch, tmp_path):
    """R7: a kernel specification of the account may start another Python."""
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    specification = {"argv": ["/usr/bin/false"], "display_name": "x", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(specification))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    manager = lesson_process._KernelManager(kernel_name="python3")
    assert manager.kernel_spec.argv[0] == sys.executable
    assert "ipykernel_launcher" in manager.kernel_spec.argv


@pytest.fixture
def environment(monkeypatch):
    """An environment of the test's own."""
    variables = dict(os.environ)
    monkeypatch.setattr(os, "environ", variables)
    return variables


def test_the_account_does_not_take_part_in_a_recorded_run(monkeypatch, tmp_path, environment):
    """R8, and the environment's part of R1 and R2."""
    monkeypatch.chdir(tmp_path)
    home, folder = tmp_path / "home", tmp_path / "folder"
    (home / ".keras" / "datasets").mkdir(parents=True)
    (home / ".keras" / "datasets" / "mnist.npz").write_text("the dataset")
    (home / ".keras" / "keras.json").write_text('{"floatx": "float64"}')
    folder.mkdir()
    del environment["KERAS_HOME"]
    environment |= {
        "HOME": str(home),
        "IPYTHONDIR": str(home / ".ipython"),
        "PYTHONSTARTUP": "startup.py",
        "PYTHONOPTIMIZE": "1",
        "MPLBACKEND": "Agg",
        "KERAS_BACKEND": "jax",
        "KERAS_MAX_EPOCHS": "1",
        "KERASTUNER_TUNER_ID": "chief",
        "MNIST_DATA_DIR": "relative",
        "MNIST_COURSE_RESULTS": "~/res",
    }
    lesson_process.prepare_environment(folder)
    expected = {
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONSTARTUP": None,
        "PYTHONOPTIMIZE": None,
        "MPLBACKEND": None,
        "KERAS_BACKEND": "tensorflow",
        "KERAS_MAX_EPOCHS": None,
        "KERASTUNER_TUNER_ID": "chief",
        "MNIST_DATA_DIR": str(tmp_path / "relative"),
        "MNIST_COURSE_RESULTS": str(home / "res"),
        "KERAS_HOME": str(folder / "keras"),
        "HOME": str(home),
    }
    assert {name: environment.get(name) for name in expected} == expected
    keras = Path(environment["KERAS_HOME"])
    assert not (keras / "keras.json").exists()
    assert (keras / "datasets" / "mnist.npz").read_text() == "the dataset"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no Unix sockets")
@pytest.mark.parametrize("length", [10, 65, 66, 80, 100, 200, 250])
def test_sockets_are_in_a_folder_with_a_short_path(monkeypatch, tmp_path, length):
    """R3: `TMPDIR` may be long; multiprocessing and ZeroMQ put sockets into it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        path = Path(base, "t" * max(1, min(length - len(base) - 1, 240)))
        path.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(path))
        folder = processes.socket_folder()
        assert (folder == str(path)) == (len(str(path)) <= 65)
        assert len(os.fsencode(folder)) <= 65
        assert os.access(folder, os.W_OK)


def test_without_a_folder_for_sockets_there_are_none(monkeypatch, tmp_path, environment):
    """R3: then kernels use TCP on loopback, and lessons are spawned."""
    options = {}
    monkeypatch.setattr(processes, "socket_folder", lambda: None)
    monkeypatch.setattr("papermill.execute_notebook", lambda *_, **more: options.update(more))
    lesson_process.execute_notebook("02_baseline", tmp_path / "out.ipynb", {}, Limits(1, 9))
    assert options["config"]["KernelManager"] == {}
    assert (options["execution_timeout"], options["coalesce_streams"]) == (9, True)
    methods = []

    class Context:
        def Process(self, target, args):  # noqa: N802
            return self

        def start(self):
            pass

    monkeypatch.setattr(multiprocessing, "get_context", lambda method: methods.append(method) or Context())
    runner._start_process()
    assert methods == ["spawn"]


def test_a_record_names_the_code_and_the_commit_that_made_it(tmp_path, monkeypatch):
    """A comment in a text cell changes nothing, one in a code cell does."""
    clone = tmp_path / "clone"
    (clone / "notebooks").mkdir(parents=True)
    notebook = {"metadata": {}, "cells": []}
    for kind, source in (("markdown", "# Title"), ("code", ["x = 1\n", "print(x)"])):
        cell = {"cell_type": kind, "id": kind, "metadata": {}, "source": source}
        notebook["cells"].append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    path = clone / "notebooks" / "02_baseline.ipynb"
    monkeypatch.setattr(lessons, "NOTEBOOKS", clone / "notebooks")
    monkeypatch.setattr(results, "notebook_path", lambda lesson: path)

    def made_from():
        path.write_text(json.dumps(notebook))
        return lessons.made_from("02_baseline")

    first = made_from()
    assert list(first) == ["code_sha256"]  # no repository
    notebook["cells"][0]["source"] = "# Another title"
    assert made_from() == first
    notebook["cells"][1]["source"] = "x = 1\nprint(x)"  # the same lines
    assert made_from() == first
    git = ["git", "-C", str(clone), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    (clone / "results").mkdir()
    (clone / "results" / "runs.csv").write_text("old")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"], ["tag", "v1"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert made_from() == first | {"commit": head}
    (clone / "results" / "runs.csv").write_text("new")  # no code
    assert made_from() == first | {"commit": head}
    notebook["cells"][1]["source"] += "  # a comment"
    changed = made_from()
    assert changed["code_sha256"] != first["code_sha256"]
    assert changed["commit"] == f"{head}+changes"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert list(made_from()) == ["code_sha256"]
