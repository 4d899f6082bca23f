"""The command line: what is typed arrives, what goes wrong is one message, and every page of help is complete."""

import datetime
import importlib
import inspect
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from mnist_course import cli, committed_models, doctor, lessons, predictions, processes
from mnist_course.reports import run_report
from mnist_course.reports.page import Table
from mnist_course.run import runner
from mnist_helpers import _course, _files, data, parameters, results
from mnist_helpers._errors import UserError
from tests.conftest import MadeUpMnist


def invoke(*arguments, status=0):
    result = CliRunner().invoke(cli.main, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def commands(command=cli.main, path=()):
    """Yields every command with its names, the groups and the command itself too."""
    yield path, command
    for name, sub_command in getattr(command, "commands", {}).items():
        yield from commands(sub_command, (*path, name))


ALL = dict(commands())


# --- every option arrives ---


class ArrivedError(Exception):
    """Raised by the function that a command calls, with its arguments by name."""

    def __init__(self, arguments):
        super().__init__("arrived")
        self.arguments = arguments


@pytest.fixture
def own_folder(tmp_path):
    """A small dataset in MNIST's format."""
    folder = tmp_path / "own"
    folder.mkdir()
    labels = np.repeat(np.arange(10, dtype=np.uint8), 20)
    images = np.zeros((200, 28, 28), np.uint8)
    images[:, 5:20, 10] = 200
    for name, file in data.IDX_FILES.items():
        MadeUpMnist.write_idx(folder / file, images if name.startswith("x") else labels)
    return folder


@pytest.fixture(autouse=True)
def _no_watch(monkeypatch):
    """The run of a study ends with its standard input, which is closed here."""
    monkeypatch.setattr(processes, "end_with_parent", lambda: None)


def arguments_at(target, command_line, monkeypatch):
    """Runs a command line and returns the arguments with which it calls `target`, "module.function"."""
    module, name = target.rsplit(".", 1)
    module = importlib.import_module(module)
    signature = inspect.signature(getattr(module, name))

    def arrive(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        raise ArrivedError(bound.arguments)

    with monkeypatch.context() as patch, pytest.raises(ArrivedError) as caught:
        patch.setattr(module, name, arrive)
        cli.main.main(command_line, standalone_mode=False)
    return caught.value.arguments


RUN, STUDY = "mnist_course.run.runner.run_lessons", "mnist_course.run.study.run_study"
SPEC, DATA = "mnist_course.run.study.check_spec", "mnist_helpers.data.load_arrays"
GRADE, BUILD = "mnist_course.grading.grade.grade", "mnist_course.grading.release.build"
COLLECT, EXPORT = "mnist_course.grading.collect.collect", "mnist_course.grading.export.export"
MARK = "mnist_course.grading.by_hand.mark"
REPLICATE = "mnist_course.run.replicate.replicate"
PREDICTIONS = "mnist_course.predictions.keep"
MODELS = "mnist_course.committed_models.export"
FOLDERS = "mnist_course.image_folders"
OFFLINE = object()  # the option sets MNIST_COURSE_OFFLINE

# (command, parameter): the command line (FOLDER is a temporary folder, OWN a dataset), the function that it must
# reach, and what must arrive there: argument, and attributes of it -> value. No value is the default.
ARRIVALS = {
    ("run", "run"): ("run monday", RUN, {"run": "monday"}),
    ("run", "profile"): ("run --profile full", RUN, {"settings.profile": "full"}),
    ("run", "dataset"): ("run --dataset OWN", RUN, {"settings.dataset": "OWN"}),
    ("run", "seed"): ("run --seed 7", RUN, {"settings.seed": 7}),
    ("run", "params"): ("run -p epochs 9", RUN, {"settings.params": {"epochs": 9}}),
    ("run", "only"): (
        "run --only 03 --only 01",
        RUN,
        {"lesson_names": [results.LESSONS[0], results.LESSONS[2]]},
    ),
    ("run", "fresh"): ("run --fresh", RUN, {"fresh": True}),
    ("run", "threads"): ("run --threads 3", RUN, {"limits.threads": 3, "limits.cell_seconds": 0}),
    ("run", "cell_seconds"): ("run --cell-seconds 8", RUN, {"limits.cell_seconds": 8, "limits.threads": 0}),
    ("run", "results_dir"): ("run --results-dir FOLDER", RUN, {"results_dir": "FOLDER"}),
    ("run", "offline"): ("run --offline", RUN, OFFLINE),
    ("run", "part_of_study"): ("run --part-of-study", RUN, {"wait_seconds": runner.PREDECESSOR_SECONDS}),
    ("study", "study"): ("study widths --seeds 1", STUDY, {"study": "widths"}),
    ("study", "seeds"): ("study s --seeds 2-4", SPEC, {"seeds": "2-4"}),
    ("study", "profile"): ("study s --seeds 1 --profile full", SPEC, {"profile": "full"}),
    ("study", "dataset"): ("study s --seeds 1 --dataset OWN", SPEC, {"dataset": "OWN"}),
    ("study", "params"): ("study s --seeds 1 -p units 4,8", SPEC, {"params": (("units", "4,8"),)}),
    ("study", "only"): ("study s --seeds 1 --only 02", SPEC, {"only": ("02",)}),
    ("study", "search_from"): ("study s --seeds 1 --search-from r", SPEC, {"search_from": "r"}),
    ("study", "workers"): ("study s --seeds 1 --workers 3", STUDY, {"workers": 3, "limits.threads": 0}),
    ("study", "threads"): ("study s --seeds 1 --threads 5", STUDY, {"limits.threads": 5, "workers": 0}),
    ("study", "cell_seconds"): ("study s --seeds 1 --cell-seconds 8", STUDY, {"limits.cell_seconds": 8}),
    ("study", "scheduler"): ("study s --seeds 1 --scheduler tcp://h:1", STUDY, {"scheduler": "tcp://h:1"}),
    ("study", "results_dir"): ("study s --seeds 1 --results-dir FOLDER", STUDY, {"results_dir": "FOLDER"}),
    ("study", "offline"): ("study s --seeds 1 --offline", STUDY, OFFLINE),
    ("replicate", "study"): ("replicate s/r 3", REPLICATE, {"study": "s/r", "seed": 3}),
    ("replicate", "seed"): ("replicate s 3", REPLICATE, {"seed": 3, "only": (), "threads": 0}),
    ("replicate", "only"): ("replicate s 3 --only 02 --only 03", REPLICATE, {"only": ("02", "03")}),
    ("replicate", "threads"): ("replicate s 3 --threads 2", REPLICATE, {"threads": 2}),
    ("replicate", "results_dir"): (
        "replicate s 3 --results-dir FOLDER",
        REPLICATE,
        {"results_dir": "FOLDER"},
    ),
    ("replicate", "offline"): ("replicate s 3 --offline", REPLICATE, OFFLINE),
    ("predictions", "study"): ("predictions s/t", PREDICTIONS, {"study": "RESULTS/s/t"}),
    ("predictions", "probabilities"): (
        "predictions s --probabilities tuned --probabilities vat",
        PREDICTIONS,
        {"with_probabilities": ("tuned", "vat")},
    ),
    ("predictions", "results_dir"): (
        "predictions s --results-dir FOLDER",
        PREDICTIONS,
        {"study": "FOLDER/s", "with_probabilities": ()},
    ),
    ("models", "run"): ("models s/t", MODELS, {"run": "RESULTS/s/t", "names": ()}),
    ("models", "names"): ("models s/t --model tuned --model vat", MODELS, {"names": ("tuned", "vat")}),
    ("models", "results_dir"): ("models s/t --results-dir FOLDER", MODELS, {"run": "FOLDER/s/t"}),
    ("models", "offline"): ("models s/t --offline", MODELS, OFFLINE),
    ("demo", "file"): ("demo FOLDER", "mnist_course.demo.write", {"path": "FOLDER"}),
    ("report", "run"): ("report monday", "mnist_course.cli._existing_run", {"run": "monday"}),
    ("report", "results_dir"): (
        "report --results-dir FOLDER",
        "mnist_course.cli._existing_run",
        {"results_dir": "FOLDER"},
    ),
    ("timings", "runs"): (
        "timings a b",
        "mnist_course.reports.timings.measured",
        {"folders": ["RESULTS/a", "RESULTS/b"]},
    ),
    ("timings", "into"): (
        "timings a --into t",
        "mnist_course.reports.timings.write",
        {"folder": "RESULTS/t"},
    ),
    ("timings", "results_dir"): (
        "timings a --results-dir FOLDER",
        "mnist_course.reports.timings.measured",
        {"folders": ["FOLDER/a"]},
    ),
    ("params", "lesson"): (
        "params 03",
        "mnist_course.lessons.parameter_rows",
        {"lesson": results.LESSONS[2]},
    ),
    ("data", "data_dir"): ("data --data-dir OWN", DATA, {"data_dir": "OWN", "download": False}),
    ("data", "offline"): ("data --offline", DATA, OFFLINE),
    ("data fetch", "name"): (
        "data fetch fashion_mnist",
        DATA,
        {"dataset": "fashion_mnist", "download": True},
    ),
    ("data fetch", "offline"): ("data fetch mnist --offline", DATA, OFFLINE),
    ("data check", "folder"): ("data check OWN", "mnist_helpers.data.resolve_dataset", {"dataset": "OWN"}),
    ("data confirmation", "into"): (
        "data confirmation FOLDER",
        f"{FOLDERS}.write_confirmation",
        {"into": "FOLDER"},
    ),
    ("data confirmation", "offline"): (
        "data confirmation FOLDER --offline",
        f"{FOLDERS}.write_confirmation",
        OFFLINE,
    ),
    ("data qmnist", "source"): ("data qmnist OWN FOLDER", f"{FOLDERS}.write_qmnist", {"source": "OWN"}),
    ("data qmnist", "into"): ("data qmnist OWN FOLDER", f"{FOLDERS}.write_qmnist", {"into": "FOLDER"}),
    ("data qmnist", "offline"): ("data qmnist OWN FOLDER --offline", f"{FOLDERS}.write_qmnist", OFFLINE),
    ("doctor", "offline"): ("doctor --offline", "mnist_course.doctor.examine", OFFLINE),
    ("start", "folder"): (
        "start FOLDER",
        "mnist_course.handout.student_copy.start",
        {"folder": "FOLDER", "solutions": False},
    ),
    ("start", "solutions"): (
        "start FOLDER --solutions",
        "mnist_course.handout.student_copy.start",
        {"solutions": True},
    ),
    ("bundle", "folder"): ("bundle FOLDER", "mnist_course.handout.bundle.bundle", {"folder": "FOLDER"}),
    ("bundle", "datasets"): (
        "bundle FOLDER --dataset mnist --dataset fashion_mnist",
        "mnist_course.handout.bundle.bundle",
        {"datasets": ("mnist", "fashion_mnist")},
    ),
    ("bundle", "offline"): ("bundle FOLDER --offline", "mnist_course.handout.bundle.bundle", OFFLINE),
    ("assignments build", "folder"): (
        "assignments build FOLDER",
        BUILD,
        {"folder": "FOLDER"},
    ),
    ("assignments grade", "folder"): ("assignments grade OWN", GRADE, {"folder": "OWN"}),
    ("assignments grade", "seconds"): ("assignments grade OWN --seconds 7", GRADE, {"limits.seconds": 7}),
    ("assignments grade", "memory"): (
        "assignments grade OWN --memory 3",
        GRADE,
        {"limits.memory_bytes": 3 * 2**30},
    ),
    ("assignments grade", "workers"): ("assignments grade OWN --workers 5", GRADE, {"workers": 5}),
    ("assignments grade", "given"): (
        "assignments grade OWN --exercise exercise_01 --exercise exercise_03",
        GRADE,
        {"given": ("exercise_01", "exercise_03")},
    ),
    ("assignments grade", "pass_mark"): ("assignments grade OWN --pass-mark 60", GRADE, {"pass_mark": 60}),
    ("assignments grade", "scheduler"): (
        "assignments grade OWN --scheduler tcp://h:1",
        GRADE,
        {"scheduler": "tcp://h:1"},
    ),
    ("assignments mark", "folder"): ("assignments mark OWN marks.csv", MARK, {"folder": "OWN"}),
    ("assignments mark", "table"): ("assignments mark OWN OWN/marks.csv", MARK, {"path": "OWN/marks.csv"}),
    ("assignments grade", "fresh"): ("assignments grade OWN --fresh", GRADE, {"fresh": True}),
    ("assignments collect", "folder"): ("assignments collect OWN FOLDER/..", COLLECT, {"folder": "OWN"}),
    ("assignments collect", "source"): ("assignments collect FOLDER/.. OWN", COLLECT, {"source": "OWN"}),
    ("assignments collect", "roster"): (
        "assignments collect OWN OWN --roster FILE",
        COLLECT,
        {"roster": "FILE"},
    ),
    ("assignments collect", "due"): (
        "assignments collect OWN OWN --due 2026-03-03T23:59",
        COLLECT,
        {"due": datetime.datetime(2026, 3, 3, 23, 59)},
    ),
    ("assignments export", "folder"): ("assignments export OWN", EXPORT, {"folder": "OWN"}),
    **{
        ("assignments export", argument): (
            f"assignments export OWN --{option} FOLDER",
            EXPORT,
            dict.fromkeys(("moodle", "canvas", "csv_file", "feedback")) | {argument: "FOLDER"},
        )
        for option, argument in (
            ("moodle", "moodle"),
            ("canvas", "canvas"),
            ("csv", "csv_file"),
            ("moodle-feedback", "feedback"),
        )
    },
    ("notebooks", "offline"): ("notebooks --offline", "mnist_course.run.runner.refresh_lessons", OFFLINE),
}
# What arrives where nothing is typed, and the defaults that a user relies on.
DEFAULTS = [
    (
        "run",
        RUN,
        {
            "run": "course",
            "settings": {"profile": "class", "dataset": "digits", "seed": 1, "params": {}},
            "lesson_names": list(results.LESSONS),
            "results_dir": "RESULTS",
            "fresh": False,
            "limits": {"threads": 0, "cell_seconds": 0},
        },
    ),
    (
        "study s --seeds 1",
        SPEC,
        {
            "profile": "class",
            "dataset": "auto",
            "params": (),
            "only": (),
            "search_from": "",
            "results_dir": "RESULTS",
        },
    ),
    (
        "study s --seeds 1",
        STUDY,
        {
            "workers": 0,
            "limits": {"threads": 0, "cell_seconds": 0},
            "scheduler": "",
            "results_dir": "RESULTS",
        },
    ),
    (
        "report",
        "mnist_course.cli._existing_run",
        {"run": "course", "results_dir": "RESULTS"},
    ),
    ("data", DATA, {"data_dir": None, "download": False}),
    ("bundle FOLDER", "mnist_course.handout.bundle.bundle", {"datasets": ()}),
    (
        "assignments grade OWN",
        GRADE,
        {
            "limits.seconds": 120,
            "limits.memory_bytes": 4 * 2**30,
            "workers": 0,
            "fresh": False,
            "given": (),
            "pass_mark": 50,
        },
    ),
]


def plain(value):
    """A value with its paths as text and its named tuples as dicts."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def check_arrival(command_line, target, expected, tmp_path, own_folder, monkeypatch):
    (tmp_path / "results" / "here").mkdir(parents=True)
    monkeypatch.setattr("mnist_course.reports.timings.measured", lambda folders: {})
    places = {"OWN": own_folder, "FOLDER": tmp_path / "new", "RESULTS": tmp_path / "results"}
    places["FILE"] = next(own_folder.iterdir())

    def placed(value):
        if isinstance(value, dict):
            return {key: placed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [placed(item) for item in value]
        if isinstance(value, str):
            for word, path in places.items():
                value = value.replace(word, str(path))
        return value

    found = arguments_at(target, [placed(word) for word in command_line.split()], monkeypatch)
    if expected is OFFLINE:
        assert os.environ["MNIST_COURSE_OFFLINE"] == "1"
        return
    for name, value in expected.items():
        name, *attributes = name.split(".")
        arrived = found[name]
        for attribute in attributes:
            arrived = getattr(arrived, attribute)
        assert plain(arrived) == placed(value), name


@pytest.mark.parametrize(("command_line", "target", "expected"), ARRIVALS.values(), ids=map(str, ARRIVALS))
def test_every_option_arrives(command_line, target, expected, tmp_path, own_folder, monkeypatch):
    if expected is OFFLINE:
        monkeypatch.delenv("MNIST_COURSE_OFFLINE")
        monkeypatch.setattr("mnist_helpers.data._download.is_offline", lambda: True)
    if "timings" in target and "write" in target:
        for name in ("content", "times_table", "memory_table"):
            monkeypatch.setattr(f"mnist_course.reports.timings.{name}", lambda profiles: Table("", ["a"], []))
    if "--search-from" in command_line:
        monkeypatch.setattr("mnist_course.run.study.check_search", lambda *_, **__: None)
    check_arrival(command_line, target, expected, tmp_path, own_folder, monkeypatch)


@pytest.mark.parametrize(("command_line", "target", "expected"), DEFAULTS)
def test_defaults_arrive(command_line, target, expected, tmp_path, own_folder, monkeypatch):
    check_arrival(command_line, target, expected, tmp_path, own_folder, monkeypatch)


def test_no_option_is_missing_from_the_table_and_no_value_in_it_is_the_default():
    declared = {
        (" ".join(path), parameter.name): parameter
        for path, command in ALL.items()
        for parameter in command.params
        if parameter.name not in ("help", "version")
    }
    assert declared.keys() == ARRIVALS.keys()
    for key, (command_line, _, expected) in ARRIVALS.items():
        if expected is not OFFLINE:
            assert declared[key].default not in command_line.split()[1:], key


def test_the_spec_that_was_checked_is_the_one_that_is_run(monkeypatch):
    monkeypatch.setattr("mnist_course.run.study.check_spec", lambda **_: "the spec")
    arguments = arguments_at(STUDY, ["study", "s", "--seeds", "1"], monkeypatch)
    assert "the spec" in arguments.values()


@pytest.mark.parametrize(
    ("command_line", "target"),
    [
        ("run -p search_from r --results-dir {}", "mnist_course.run.settings.check_search"),
        ("study s --seeds 1 --search-from r --results-dir {}", SPEC),
    ],
)
def test_a_search_is_looked_for_in_the_folder_of_the_runs(command_line, target, tmp_path, monkeypatch):
    arguments = arguments_at(target, command_line.format(tmp_path / "new").split(), monkeypatch)
    assert (arguments["search_from"], arguments["results_dir"]) == ("r", tmp_path / "new")


# --- paths ---

HOME_PATHS = [("~/x", "home/x"), ("x", "here/x"), ("../x", "x"), ("./a/../x", "here/x")]


@pytest.fixture
def _here(tmp_path, monkeypatch):
    """A home and a current folder."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize(("typed", "path"), HOME_PATHS)
@pytest.mark.parametrize(
    ("command_line", "target", "argument"),
    [
        ("run --results-dir {}", RUN, "results_dir"),
        ("study s --seeds 1 --results-dir {}", STUDY, "results_dir"),
        ("start {}", "mnist_course.handout.student_copy.start", "folder"),
        ("bundle {}", "mnist_course.handout.bundle.bundle", "folder"),
        ("demo {}", "mnist_course.demo.write", "path"),
        ("assignments build {}", BUILD, "folder"),
        ("assignments grade {}", GRADE, "folder"),
        ("assignments collect {0} {0}", COLLECT, "folder"),
        ("assignments collect {0} {0}", COLLECT, "source"),
        ("assignments export {}", EXPORT, "folder"),
        ("data --data-dir {}", DATA, "data_dir"),
        ("data check {}", "mnist_helpers.data.resolve_dataset", "dataset"),
        ("data confirmation {}", f"{FOLDERS}.write_confirmation", "into"),
        ("data qmnist {0} {0}", f"{FOLDERS}.write_qmnist", "source"),
    ],
)
def test_r1_a_typed_path_is_made_absolute_once(
    typed, path, command_line, target, argument, tmp_path, monkeypatch
):
    if any(word in command_line for word in ("grade", "collect", "export", "data")):
        (tmp_path / path).mkdir()
    arrived = arguments_at(target, command_line.format(typed).split(), monkeypatch)[argument]
    assert str(arrived) == str(tmp_path / path)
    assert not list(tmp_path.rglob("~*"))


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize(("typed", "path"), HOME_PATHS)
def test_r1_r2_variables_are_made_absolute_for_the_lessons_too(typed, path, tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_COURSE_RESULTS", typed)
    monkeypatch.setenv("MNIST_DATA_DIR", typed)
    arrived = arguments_at(RUN, ["run"], monkeypatch)
    assert arrived["results_dir"] == tmp_path / path
    assert os.environ["MNIST_COURSE_RESULTS"] == os.environ["MNIST_DATA_DIR"] == str(tmp_path / path)
    assert not list(tmp_path.rglob("~*"))


@pytest.mark.parametrize("name", ["MNIST_COURSE_RESULTS", "MNIST_DATA_DIR"])
def test_r1_an_empty_variable_is_an_unset_one(name, monkeypatch):
    monkeypatch.setenv(name, "")
    assert arguments_at(RUN, ["run"], monkeypatch)["results_dir"] == results.results_dir()
    assert os.environ[name] == ""


@pytest.mark.parametrize("wrong", ["file", "file/below", "~nobody-of-this-name/x"])
@pytest.mark.parametrize("command_line", ["run", "report", "timings a", "study s --seeds 1"])
def test_r1_a_variable_that_names_no_folder_is_one_message(command_line, wrong, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MNIST_COURSE_RESULTS", wrong)
    result = invoke(*command_line.split(), status=2)
    assert "MNIST_COURSE_RESULTS" in result.output and wrong.split("/")[0] in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_an_option_of_the_group_is_not_ignored_by_its_commands(tmp_path):
    assert "--data-dir" in invoke("data", "--data-dir", tmp_path, "fetch", "mnist", status=2).output


ODD_NAMES = ["a [b]", "c%25d", "e?f", "g#h", "i{j}", "k l", "m*n", "o'p\"q", "r$s", "t&u;v", "-w", "é"]


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("is_link", [False, True])
def test_r11_a_folder_with_an_odd_name_works_or_is_refused(name, is_link, tmp_path, monkeypatch):
    """nbgrader cannot use some names; everything else arrives as it was typed."""
    (tmp_path / name).mkdir()
    folder = tmp_path / name
    if is_link:
        folder = tmp_path / "link"
        folder.symlink_to(tmp_path / name)
    for command, target in (
        (["start"], "mnist_course.handout.student_copy.start"),
        (["bundle"], "mnist_course.handout.bundle.bundle"),
        (["data", "check"], "mnist_helpers.data.resolve_dataset"),
        (["run", "--results-dir"], RUN),
    ):
        arguments = arguments_at(target, [*command, str(folder)], monkeypatch)
        assert str(folder) in map(str, arguments.values()), command
    for command in ("build", "grade", "export"):
        if set(name) & set("*?[%"):
            assert "without * ? [ %" in invoke("assignments", command, folder, status=2).output
        else:
            target = {"build": BUILD, "grade": GRADE, "export": EXPORT}[command]
            assert (
                arguments_at(target, ["assignments", command, str(folder)], monkeypatch)["folder"] == folder
            )
    assert not list((tmp_path / name).iterdir())


def test_r11_papermill_takes_a_path_literally():
    assert lessons.papermill_path(Path("/a {b}/{0}.ipynb")).format() == str(Path("/a {b}/{0}.ipynb"))


# --- errors, signals, streams ---


def raising(error):
    def raise_it(*_, **__):
        if isinstance(error, int):
            os.kill(os.getpid(), error)
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (UserError("Expected: x."), 2, "Error: Expected: x."),
        (parameters.ParameterError("Parameter"), 2, "Error: Parameter"),
        (results.MissingLessonError("Run lesson 1."), 2, "Error: Run lesson 1."),
        (runner.LessonFailedError("Lesson 02 did not"), 1, "Error: Lesson 02 did not"),
        (PermissionError(13, "Permission denied", "/x/y.json"), 1, "/x/y.json"),
        (OSError(28, "No space left on device", "/x/z.json"), 1, "/x/z.json"),
        (KeyboardInterrupt(), 130, "Error: Interrupted."),
        (signal.SIGTERM, 143, "Error: Interrupted."),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error, status, words, monkeypatch):
    monkeypatch.setattr(runner, "run_lessons", raising(error))
    result = invoke("run", status=status)
    assert status in cli.EXIT_CODES
    assert words in result.output
    assert result.output.count("Error:") == 1


def test_a_full_disk_is_reported_with_the_file(tmp_path, monkeypatch):
    def run_lessons(*_, **__):
        with _files.atomic_write(tmp_path / "course.json"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(runner, "run_lessons", run_lessons)
    assert f"No space left on device: '{tmp_path / 'course.json'}'" in invoke("run", status=1).output


@pytest.mark.parametrize(
    "error", [ValueError("a fault"), KeyError("a"), RuntimeError("b"), AttributeError("c"), TypeError("d")]
)
def test_any_other_error_keeps_its_traceback(error, monkeypatch):
    monkeypatch.setattr(runner, "run_lessons", raising(error))
    assert CliRunner().invoke(cli.main, ["run"]).exception is error


# In one process that imports everything once, each case is a child: its stream is closed, a pipe without a reader,
# or a full device. It prints the case's exit status, and what the child wrote to its standard error.
STREAMS = """
import os, sys
from mnist_course import cli, doctor
from mnist_course.reports import run_report, study_report, timings
from mnist_course.run import runner
from mnist_helpers import data
from tqdm import tqdm
import papermill

data.load_arrays("digits")
doctor._training = lambda: "not here"

def run_lessons(run, settings, lessons, *, results_dir, **_):
    for number in range(2000):
        tqdm.write("a line of output")
    print(sys.stdout.isatty(), sys.stderr.isatty(), file=sys.stderr)
    raise runner.LessonFailedError("the lesson failed")

runner.run_lessons = run_lessons
errors = os.memfd_create("errors")
for number, name in ((1, "stdout"), (2, "stderr")):
    for how in ("closed", "broken", "full"):
        for command in COMMANDS:
            os.ftruncate(errors, 0)
            if not (child := os.fork()):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 1)
                os.dup2(errors, 2)
                os.lseek(errors, 0, 0)
                if how == "closed":
                    os.close(number)
                    setattr(sys, name, None)
                elif how == "broken":
                    read, write = os.pipe()
                    os.dup2(write, number)
                    os.close(read)
                else:
                    os.dup2(os.open("/dev/full", os.O_WRONLY), number)
                cli.main(command.split())
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            said = os.pread(errors, 5000, 0).decode().splitlines()
            print(number, how, command, status, said[-1:], "Traceback" in str(said), sep="|", flush=True)
"""
STREAM_COMMANDS = [
    "run",
    "report missing",
    "data",
    "params 02",
    "doctor",
    "timings missing",
    "--help",
    "run -h",
]


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux")
def test_r13_closed_broken_and_full_streams():
    done = subprocess.run(
        [sys.executable, "-c", STREAMS.replace("COMMANDS", repr(STREAM_COMMANDS))],
        capture_output=True,
        text=True,
        check=True,
    )
    cases = [line.split("|") for line in done.stdout.splitlines()]
    assert len(cases) == 2 * 3 * len(STREAM_COMMANDS)
    natural = dict.fromkeys(STREAM_COMMANDS, "0") | {
        "run": "1",
        "report missing": "2",
        "timings missing": "2",
    }
    for number, how, command, status, said, traceback in cases:
        case = (number, how, command, status, said)
        assert traceback == "False", case
        prints = (
            command not in ("report missing", "timings missing") if number == "1" else natural[command] != "0"
        )
        if how == "closed" or not prints:
            assert status == natural[command], case
        else:
            assert status in ("1", natural[command]), case
        if (number, how) == ("1", "broken") and prints:
            assert said == "[]", case
        if (number, how) == ("1", "full") and prints:
            assert "No space left on device" in said, case


@pytest.mark.parametrize(
    ("command", "redirection", "status"),
    [
        ("--help", ">&-", 0),
        ("doctor --fast", ">&- 2>&- <&-", 2),
        ("--help", "| (exec <&-; sleep 1)", 1),
        ("--help", "> /dev/full", 1),
    ],
)
def test_r13_from_a_shell(command, redirection, status):
    command = f"set -o pipefail; {sys.executable} -m mnist_course.cli {command} {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_r13_a_closed_stream_becomes_the_null_device(monkeypatch):
    opened = []
    monkeypatch.setattr(os, "dup2", lambda stream, number: opened.append(number))
    monkeypatch.setattr(os, "set_inheritable", lambda number, value: opened.append(value))
    monkeypatch.setattr(sys, "stdout", None)
    cli._open_closed_streams()
    with sys.stdout:
        assert sys.stdout.name == os.devnull and not sys.stdout.isatty()
    assert opened == [1, True]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_r13_what_was_printed_but_not_yet_written_counts(monkeypatch, capsys):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as stopped, cli._one_message():
            print("a line", end="")
    assert stopped.value.code == 1
    assert "No space left on device" in capsys.readouterr().err


# --- configuration files ---


@pytest.mark.parametrize(
    "text",
    [
        "quick: {epochs: 3",
        "quick:\n\tepochs: 3",
        "",
        "[]",
        "quick: 3",
        "quick:",
        "quick: {epochs: many}",
        "quick: {epoch: 3}",
        "1: {2: 3}",
        "- a\nb: c",
        b"\xff\xfe\x00",
        "!!python/object/apply:os.system [ls]",
    ],
)
def test_r10_damaged_profiles_are_one_message_that_names_the_file(text, tmp_path, monkeypatch):
    monkeypatch.setattr(lessons, "NOTEBOOKS", tmp_path)
    path = tmp_path / "profiles.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert str(path) in invoke("run", "--profile", "quick", status=2).output


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"cells": {}}',
        '{"cells": [], "metadata": {}}',
        '{"cells": [{"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "epochs: int = "'
        ', "outputs": [], "execution_count": null}], "metadata": {}}',
        '{"cells": [{"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "epochs: int = 2 * x"'
        ', "outputs": [], "execution_count": null}], "metadata": {}}',
        '{"cells": [{"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "import os"'
        ', "outputs": [], "execution_count": null}], "metadata": {}}',
    ],
)
def test_r10_a_damaged_lesson_is_one_message_that_names_it(text, tmp_path, monkeypatch):
    monkeypatch.setattr(_course, "NOTEBOOKS", tmp_path)
    (tmp_path / "02_baseline.ipynb").write_text(text)
    assert "02_baseline" in invoke("params", "02", status=2).output
    assert lessons.read_notebook(tmp_path / "02_baseline.ipynb") is None or text.startswith('{"cells": [')


# --- help ---


def test_every_command_has_one_complete_line_in_the_list_an_example_and_the_exit_codes():
    for path, command in ALL.items():
        page = CliRunner().invoke(cli.main, [*path, "--help"], terminal_width=80).output
        if path:
            parent = CliRunner().invoke(cli.main, [*path[:-1], "--help"], terminal_width=80).output
            (summary,) = re.findall(rf"^  {path[-1]} +(.+)$", parent, re.M)
            assert summary.endswith(".") and not summary.endswith("..."), path
            assert summary == inspect.cleandoc(command.help).split("\n")[0]
        assert re.search(r"Example:\n +mnist-course ", page), path
        for code, meaning in cli.EXIT_CODES.items():
            assert re.search(rf"^ +{code}  {meaning}$", page, re.M), (path, code)


@pytest.mark.parametrize("path", [path for path in ALL if path], ids=" ".join)
def test_every_example_is_a_right_command_line_of_its_command(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for folder in ("class-2026", "home/mnist", "home/kmnist", "home/Downloads"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("submissions.zip", "roster.csv"):
        (tmp_path / file).touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    page = invoke(*path, "--help").output
    (example,) = re.findall(r"Example:\n +mnist-course (.+)", page)
    words = shlex.split(example)
    if not isinstance(ALL[path], click.Group) or ALL[path].invoke_without_command:
        assert tuple(words[: len(path)]) == path
    target = ALL[
        tuple(
            words[
                : 2
                if words[0] in ("data", "assignments") and words[1:2] and not words[1].startswith("-")
                else 1
            ]
        )
    ]
    called = []
    monkeypatch.setattr(target, "callback", lambda *_, **values: called.append(values))
    invoke(*words)
    assert len(called) == 1
    for name, value in called[0].get("params", ()):
        parameters.check(name, parameters.parse(name, value.split(",")[0]))


# --- the commands ---


@pytest.mark.parametrize("typed", ["02", "02_baseline", "02_b"])
def test_params_lists_the_parameters_of_a_lesson(typed):
    lines = invoke("params", typed).output.splitlines()
    assert lines[0] == "02_baseline"
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in lines[2:] if line}
    assert list(rows) == list(lessons.declared("02_baseline"))
    assert rows["epochs"] == "int 5 1 to 10,000 passes over the training images"
    assert rows["dataset"].startswith('str "auto" auto, mnist, fashion_mnist, digits, or a folder')


def test_params_lists_every_parameter_of_every_lesson():
    output = invoke("params").output
    for lesson in results.LESSONS:
        rows = lessons.parameter_rows(lesson)
        assert [row[0] for row in rows] == list(lessons.declared(lesson))
        for name, kind, default, allowed, meaning in rows:
            assert kind == parameters.PARAMETERS[name].type.__name__
            assert str(lessons.declared(lesson)[name]) == default.strip('"')
            assert meaning and meaning in output
            assert bool(allowed) == (kind != "str" or name == "dataset")


def made_up_run(monkeypatch, finished):
    """Patches the runner and the report; returns the folder for which the report was written."""
    written = []

    def write_report(folder):
        written.append(folder)
        return folder / "report.html"

    def record(lesson):
        return {"dataset": {"name": "digits"}, "conclusion": "tuned is better"}

    monkeypatch.setattr(runner, "run_lessons", lambda run, *_, results_dir, **__: results_dir / run)
    monkeypatch.setattr(runner, "is_finished", lambda folder, lesson: lesson in finished)
    monkeypatch.setattr(run_report, "write_report", write_report)
    monkeypatch.setattr(run_report, "summary", list)
    monkeypatch.setattr(
        run_report, "results_table", lambda rows: Table(f"table of {', '.join(rows)}", ["a"], [])
    )
    monkeypatch.setattr(
        results, "load_records", lambda folder, names: {lesson: record(lesson) for lesson in names}
    )
    return written


@pytest.mark.parametrize("finished", [results.LESSONS[:1], results.LESSONS[1:2], results.LESSONS[:4]])
def test_a_partial_run_ends_with_a_report_of_what_there_is(finished, monkeypatch):
    written = made_up_run(monkeypatch, finished)
    output = invoke("run", "part", "--only", "02").output
    assert written == [results.results_dir() / "part"]
    assert f"table of {', '.join(finished)}" in output
    assert f"Not run: {', '.join(lesson for lesson in results.LESSONS if lesson not in finished)}" in output
    assert "tuned is better" not in output and "report.html" in output


def test_a_whole_run_ends_with_its_conclusion(monkeypatch):
    made_up_run(monkeypatch, results.LESSONS)
    output = invoke("run").output
    assert "tuned is better" in output and "Not run" not in output and "Dataset: digits" in output


def test_report_of_an_unfinished_run_names_the_lesson(tmp_path):
    (tmp_path / "results" / "half").mkdir(parents=True)
    assert "Run lesson 01_data_exploration first" in invoke("report", "half", status=2).output


def test_data_says_where_each_dataset_is_or_why_not(made_up, monkeypatch):
    monkeypatch.setenv("MNIST_DATA_DIR", str(made_up.folder))
    lines = invoke("data").output.splitlines()
    assert "mnist: found in MNIST_DATA_DIR (60,000 + 10,000 images)" in lines
    assert "digits: bundled with scikit-learn (1,437 + 360 images)" in lines
    assert "fashion_mnist: not found" in lines
    assert any("checksum differs" in line for line in lines)


def test_data_check_names_a_folder_and_counts_its_images(made_up, tmp_path, monkeypatch):
    (tmp_path / "mine").symlink_to(made_up.folder)
    monkeypatch.delitem(data.DATASETS, "mnist")
    output = invoke("data", "check", tmp_path / "mine").output
    name, *arrays = [line for line in output.splitlines() if not line.startswith("note:")]
    assert name == "dataset: mine"
    assert arrays[0] == f"  x_train: [60000, 28, 28], sha256 {made_up.sha256['x_train']}"
    assert len(arrays) == 4


def test_doctor_has_exit_code_1_where_a_finding_fails(monkeypatch):
    findings = [doctor.Finding("memory", "enough", True), doctor.Finding("kernel", "none", False)]
    monkeypatch.setattr(doctor, "examine", lambda: iter(findings))
    output = invoke("doctor", status=1).output
    assert "OK    memory: enough\nFAIL  kernel: none\n" in output and "ready" not in output


# --- imports ---


def test_importing_the_package_imports_nothing_heavy():
    heavy = {"tensorflow", "keras", "papermill", "matplotlib", "numpy", "pandas", "sklearn"}
    for module, allowed in (("mnist_helpers", set()), ("mnist_course.cli", set())):
        code = f"import sys, {module}; print(*sys.modules)"
        loaded = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        assert heavy & set(loaded) <= allowed, module


def test_lesson_1_never_waits_for_tensorflow():
    code = (
        "import sys; from mnist_helpers import data, metrics, parameters, plots, results; print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "tensorflow" not in loaded
    assert "keras" not in loaded


# A module imports from its own folder and from the layers before its own.
LAYERS = (
    (
        "lessons",
        "cores",
        "course_file",
        "committed_models",
        "image_folders",
        "predictions",
        "processes",
        "statistics",
        "study_grid",
    ),
    ("reports", "pictures"),
    ("demo",),
    ("run", "handout"),
    ("grading",),
    ("doctor",),
    ("cli",),
)


def test_imports_go_one_way():
    root = Path(cli.__file__).parent
    layer_of = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    assert {path.stem for path in root.glob("[a-z]*")} - {"jupyter"} == layer_of.keys()
    for module in root.rglob("*.py"):
        own = module.relative_to(root).parts[0].removesuffix(".py")
        found = re.findall(r"^\s*from mnist_course(?:\.(\w+)\S*)? import ([\w, ]+)", module.read_text(), re.M)
        for package, names in found if own in layer_of else ():
            for other in [package] if package else names.split(" as ")[0].split(", "):
                assert other == own or layer_of[other] < layer_of[own], f"{module}: {other}"
    for path in (root.parent / "mnist_helpers").rglob("*.py"):
        assert "mnist_course" not in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.M), path


@pytest.mark.parametrize(
    ("command", "names"),
    [("models", committed_models.DEFAULT), ("predictions", predictions.WITH_PROBABILITIES)],
)
def test_the_help_names_the_models_that_are_chosen_by_default(command, names):
    text = " ".join(CliRunner().invoke(cli.main, [command, "--help"]).output.split())
    assert f"{', '.join(names[:-1])} and {names[-1]}" in text
