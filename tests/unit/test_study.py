"""Studies: the question, the grid, the report's arithmetic; then real Dask workers and real lessons."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from click.testing import CliRunner

from mnist_course import cli, lessons
from mnist_course.run import runner, study
from mnist_course.run.settings import Limits
from mnist_helpers import _files, results
from tests.processes import alive, family, kernels, kill_all, until, until_gone

DATASET = {"name": "digits", "shapes": {}, "sha256": {}}
TINY = ["--profile", "quick", "--dataset", "digits", "--offline"]


def invoke(*arguments):
    return CliRunner().invoke(cli.main, list(map(str, arguments)))


def question(**changes):
    asked = {"profile": "quick", "dataset": "digits", "seeds": [1, 2], "fixed": {}, "swept": {}}
    return study.StudySpec(**asked | {"lessons": list(results.LESSONS), "search_from": ""} | changes)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("1-3", [1, 2, 3]), ("7", [7]), ("1,2,5", [1, 2, 5]), ("1-2,9", [1, 2, 9]), (" 3 - 4 ", [3, 4])],
)
def test_seeds_are_read_as_typed(text, seeds):
    assert study.parse_seeds(text) == seeds


def test_one_value_is_fixed_and_several_are_swept():
    fixed, swept = study.parse_params([("epochs", "3"), ("units", "16,32"), ("learning_rate", "1e-3,0.01")])
    assert fixed == {"epochs": 3}
    assert swept == {"units": [16, 32], "learning_rate": [0.001, 0.01]}


def test_the_grid_is_every_setting_with_every_seed():
    runs = study.grid(question(swept={"units": [16, 32], "learning_rate": [0.001, 0.01]}))
    assert len(runs) == 8
    assert runs["units-16_learning_rate-0.01_seed-2"] == (2, {"units": 16, "learning_rate": 0.01})
    assert list(study.grid(question())) == ["seed-1", "seed-2"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["s", "--seeds", "3-1"], ["--seeds", "'3-1'"]),
        (["s", "--seeds", "a"], ["--seeds", "1-10", "'a'"]),
        (["s", "--seeds", "1,,2"], ["--seeds"]),
        (["s", "--seeds", ""], ["--seeds"]),
        (["s", "--seeds", "1,1"], ["twice"]),
        (["s", "--seeds", "0"], ["'seed'", "Received: 0"]),
        (["s"], ["--seeds"]),
        (["../s", "--seeds", "1"], ["'run'", "plain name"]),
        (["s", "--seeds", "1", "-p", "unit", "16,32"], ["Unknown parameter", "'units'"]),
        (["s", "--seeds", "1", "-p", "units", "16,x"], ["'units'", "'x'"]),
        (["s", "--seeds", "1", "-p", "units", "16,16"], ["names a value twice"]),
        (["s", "--seeds", "1", "-p", "units", "16", "-p", "units", "32"], ["given twice"]),
        (["s", "--seeds", "1", "-p", "seed", "1,2"], ["--seed"]),
        (["s", "--seeds", "1", "--profile", "fast"], ["Unknown profile"]),
        (["s", "--seeds", "1", "--only", "06"], ["Unknown lesson"]),
        (["s", "--seeds", "1", "--only", "02,,03"], ["Unknown lesson", "''"]),
        (["s", "--seeds", "1", "--only", "02,05"], ["--only", "05_evaluation measures what"]),
        (
            ["s", "--seeds", "1", "--only", "02", "-p", "max_trials", "2,3"],
            ["-p max_trials", "none of the lessons", "batch_size"],
        ),
        (["s", "--seeds", "1", "--workers", "-1"], ["--workers", "-1"]),
        (["s", "--seeds", "1", "--threads", "0"], ["--threads", "0"]),
        (["s", "--seeds", "1", "--scheduler", "here"], ["--scheduler", "tcp://HOST:8786", "'here'"]),
        (["s", "--seeds", "1", "--search-from", "nowhere"], ["--search-from", "'nowhere'", "04_tuning"]),
    ],
)
def test_bad_input_is_one_message_and_status_2(arguments, words, tmp_path):
    result = invoke("study", *arguments, "--dataset", "digits")
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.output
    assert not (tmp_path / "results").exists()


def test_another_question_is_refused_and_more_seeds_are_welcome(tmp_path):
    folder = tmp_path / "s"
    with study._locked_study(folder, question(swept={"units": [16, 32]})):
        pass
    for changes, words in (
        ({"profile": "full"}, "--profile was quick and is now full"),
        ({"swept": {"units": [8]}}, "-p with several values was units 16, 32 and is now units 8"),
        ({"swept": {}}, "is now not given"),
        ({"lessons": ["02_baseline"]}, "and is now 02_baseline"),
    ):
        with pytest.raises(ValueError, match=words):
            study.run_study(
                "s", question(**{"swept": {"units": [16, 32]}} | changes), results_dir=str(tmp_path)
            )
    with study._locked_study(folder, question(swept={"units": [16, 32]}, seeds=[2, 3])):
        assert json.loads((folder / "study.json").read_text())["seeds"] == [1, 2, 3]


def test_a_run_is_no_study(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / runner.COURSE_FILE).write_text("{}")
    with pytest.raises(ValueError, match="is not a study"):
        study.run_study("s", question(), results_dir=str(tmp_path))


def test_done_is_a_run_of_the_same_question_with_all_its_lessons(tmp_path, monkeypatch):
    job = study._job(tmp_path, question(lessons=["02_baseline"]), "", Limits(), "seed-1", 1, {"epochs": 3})
    settings = study._settings(job)._asdict()
    finished = ["02_baseline"]
    monkeypatch.setattr(runner, "is_finished", lambda folder, lesson, models: lesson in finished)
    assert not study._is_done(tmp_path, job)
    _files.write_json(tmp_path / runner.COURSE_FILE, {"settings": settings})
    assert study._is_done(tmp_path, job)
    assert not study._is_done(tmp_path, job | {"seed": 2})
    assert not study._is_done(tmp_path, job | {"params": [["epochs", "4"]]})
    assert not study._is_done(tmp_path, job | {"lessons": ["02_baseline", "04_tuning"]})
    with monkeypatch.context() as edited:
        edited.setattr(lessons, "profiles", lambda: {"quick": {"units": 8}})
        assert not study._is_done(tmp_path, job)
    finished += results.LESSONS
    assert not study._is_done(tmp_path, job | {"lessons": list(results.LESSONS)})  # its report is not there
    (tmp_path / "report.html").write_text("")
    assert study._is_done(tmp_path, job | {"lessons": list(results.LESSONS)})


def test_a_run_whose_scheduler_was_lost_is_reported():
    class Lost:
        def cancelled(self):
            return True

    outcome = study._outcome(Lost(), "seed-1")
    assert outcome.run == "seed-1"
    assert "scheduler was lost" in outcome.error


# --- real workers, real lessons ---


def accuracies(folder):
    """What every run of a study has found, and nothing that may differ between repetitions."""
    found = {}
    for path in sorted(folder.glob("*/0*.json")):
        models = json.loads(path.read_text())["models"]
        found[f"{path.parent.name}/{path.stem}"] = {
            name: (entry.get("val_accuracy"), entry.get("val_loss")) for name, entry in models.items()
        }
    return found


@contextlib.contextmanager
def dask_cluster(tmp_path, workers=1):
    """A scheduler and workers as processes of their own, as a user starts them."""
    file = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    scheduler = subprocess.Popen(
        [
            *dask,
            "scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            file,
        ],
        **quiet,
    )
    for _ in range(600):
        with contextlib.suppress(OSError, ValueError):
            address = json.loads(file.read_text())["address"]
            break
        time.sleep(0.1)
    command = [*dask, "worker", address, "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard"]
    processes = [
        subprocess.Popen([*command, "--local-directory", tmp_path / f"w{number}"], **quiet)
        for number in range(workers)
    ]
    try:
        yield address, processes
    finally:
        for process in [*processes, scheduler]:
            kill_all(process)


def orphans():
    """Processes that work on a study's job."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if "mnist_course.run.study" in (process.info["cmdline"] or []):
            found.append(process)
    return found


@pytest.mark.course
def test_a_cluster_finds_what_this_machine_finds_and_a_failing_run_stops_no_other(tmp_path):
    options = ["--seeds", "1", "--only", "01", "-p", "num_train", "5,20", *TINY, "--results-dir", tmp_path]
    local = invoke("study", "local", *options, "--workers", 2, "--threads", 1)
    assert local.exit_code == 1
    assert "1 of the runs failed" in local.output
    assert "num_train-5_seed-1 failed" in local.output
    assert "num_train=5" in local.output  # the lesson's own message
    with dask_cluster(tmp_path) as (address, _):
        cluster = invoke("study", "cluster", *options, "--scheduler", address)
        assert cluster.exit_code == 1
        again = invoke("study", "cluster", *options, "--scheduler", address)
    assert accuracies(tmp_path / "cluster") == accuracies(tmp_path / "local")
    assert list(accuracies(tmp_path / "local")) == ["num_train-20_seed-1/01_data_exploration"]
    assert again.output.count("finished before") == 1
    assert (tmp_path / "local" / "report.html").is_file()


@pytest.mark.long
@pytest.mark.course
def test_a_killed_worker_loses_nothing_and_leaves_nobody_behind(tmp_path):
    with dask_cluster(tmp_path, workers=2) as (address, workers):
        command = [sys.executable, "-m", "mnist_course.cli", "study", "s", "--seeds", "1", *TINY]
        command += ["--only", "01", "--only", "02", "-p", "epochs", "2", "--results-dir", str(tmp_path)]
        client = subprocess.Popen(
            [*command, "--scheduler", address], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        first = tmp_path / "s" / "seed-1" / "01_data_exploration.ipynb"
        for _ in range(1200):
            if first.is_file():
                break
            time.sleep(0.1)
        made = first.stat().st_mtime_ns
        (child,) = orphans()
        (worker,) = [
            worker for worker in workers if child in psutil.Process(worker.pid).children(recursive=True)
        ]
        for process in [worker, *psutil.Process(worker.pid).children()]:
            os.kill(process.pid, signal.SIGKILL)  # the nanny and the worker; the child is left to itself
        worker.wait()
        said, _ = client.communicate(timeout=240)
        assert client.returncode == 0, said
        assert first.stat().st_mtime_ns == made  # the finished lesson was not run again
        assert (tmp_path / "s" / "seed-1" / "02_baseline.json").is_file()
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert not orphans()


@pytest.mark.course
def test_a_worker_that_does_not_see_the_folder_sends_the_evidence(tmp_path):
    job = study._job(
        tmp_path / "elsewhere",
        question(lessons=["01_data_exploration"]),
        "token",
        Limits(1),
        "seed-1",
        1,
        {},
    )
    outcome = study.run_job(job)
    assert outcome.error == ""
    assert {"01_data_exploration.json", "01_data_exploration.ipynb", "course.json"} <= set(outcome.files)
    assert not any(name.endswith((".npz", ".keras")) for name in outcome.files)
    study._keep(tmp_path / "seed-1", outcome.files)
    assert results.load_record(tmp_path / "seed-1", "01_data_exploration")["params"]["seed"] == 1


def family_with_a_kernel():
    """The process of a run and all below it, once its kernel has begun."""
    for child in orphans():
        with contextlib.suppress(psutil.NoSuchProcess):
            members = family(child.pid)
            if kernels(members):
                return members
    return []


@pytest.mark.course
@pytest.mark.parametrize(
    "victim",
    [
        pytest.param("client of a cluster", marks=pytest.mark.long),
        "study on this machine",
        "process of a run",
    ],
)
def test_nobody_goes_on_alone(tmp_path, victim):
    """A lesson of an hour is under way when somebody above it is killed: all below end at once."""
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-m", "mnist_course.cli", "study", "s", "--seeds", "1", *TINY]
        command += ["--only", "02", "-p", "epochs", "10000", "--results-dir", str(tmp_path)]
        if victim == "client of a cluster":
            command += ["--scheduler", stack.enter_context(dask_cluster(tmp_path))[0]]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        stack.callback(kill_all, client)
        members = until(family_with_a_kernel)
        stack.callback(lambda: [process.kill() for process in alive(members)])
        (members[0] if victim == "process of a run" else client).kill()
        until_gone(members, 60)
        said, _ = client.communicate(timeout=60)
        if victim == "process of a run":
            assert client.returncode == 1
            assert "seed-1: FAILED" in said
            assert "status -9" in said
