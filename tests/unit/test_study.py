"""Studies: the specification, the grid, the report's arithmetic; then real Dask workers and real lessons."""

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
from click.testing import CliRunner

from mnist_course import cli, course_file, lessons, processes
from mnist_course.run import runner, study
from mnist_course.run.settings import Limits
from mnist_helpers import _files, results
from mnist_helpers._errors import UserError
from tests.processes import alive, family, kernels, kill_all, until, until_gone
from tests.unit.searched import searched_run

DATASET = {"name": "digits", "shapes": {}, "sha256": {}}
TINY = ["--profile", "quick", "--dataset", "digits", "--offline"]


def invoke(*arguments):
    return CliRunner().invoke(cli.main, list(map(str, arguments)))


def spec(**changes):
    values = {"profile": "quick", "dataset": "digits", "seeds": [1, 2], "fixed": {}, "swept": {}}
    return study.StudySpec(**values | {"lessons": list(results.LESSONS), "search_from": ""} | changes)


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
    runs = study.grid(spec(swept={"units": [16, 32], "learning_rate": [0.001, 0.01]}))
    assert len(runs) == 8
    assert runs["units-16_learning_rate-0.01_seed-2"] == (2, {"units": 16, "learning_rate": 0.01})
    assert list(study.grid(spec())) == ["seed-1", "seed-2"]


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
        (["s", "--seeds", "1", "--only", "ablation,trust"], ["--only", "trust measures what"]),
        (
            ["s", "--seeds", "1", "--only", "02", "-p", "max_trials", "2,3"],
            ["-p max_trials", "none of the lessons", "batch_size"],
        ),
        (["s", "--seeds", "1", "--workers", "-1"], ["--workers", "-1"]),
        (["s", "--seeds", "1", "--threads", "0"], ["--threads", "0"]),
        (["s", "--seeds", "1", "--scheduler", "here"], ["--scheduler", "tcp://HOST:8786", "'here'"]),
        (["s", "--seeds", "1", "--search-from", "nowhere"], ["--search-from", "'nowhere'", "04_tuning"]),
        (
            ["s", "--seeds", "1", "--search-from", "reference/recipe-3/seed-1"],
            ["--search-from", "'reference/recipe-3/seed-1'", "another version of lesson 4"],
        ),
    ],
)
def test_bad_input_is_one_message_and_status_2(arguments, words, tmp_path):
    result = invoke("study", *arguments, "--dataset", "digits")
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.output
    assert not (tmp_path / "results").exists()


def test_another_specification_is_refused_and_more_seeds_are_welcome(tmp_path):
    folder = tmp_path / "s"
    with study._claimed(folder, spec(swept={"units": [16, 32]})):
        pass
    for changes, words in (
        ({"profile": "full"}, "--profile was quick and is now full"),
        ({"swept": {"units": [8]}}, "-p with several values was units 16, 32 and is now units 8"),
        ({"swept": {}}, "is now not given"),
        ({"lessons": ["02_baseline"]}, "and is now 02_baseline"),
    ):
        with pytest.raises(ValueError, match=words):
            study.run_study("s", spec(**{"swept": {"units": [16, 32]}} | changes), results_dir=tmp_path)
    with study._claimed(folder, spec(swept={"units": [16, 32]}, seeds=[2, 3])):
        assert json.loads((folder / "study.json").read_text())["seeds"] == [1, 2, 3]


def test_a_run_is_no_study(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / course_file.COURSE_FILE).write_text("{}")
    with pytest.raises(ValueError, match="is not a study"):
        study.run_study("s", spec(), results_dir=tmp_path)


def task(folder, **changes):
    """A task with a value of its own in every field."""
    values = {
        "run": "seed-5",
        "results_dir": folder,
        "profile": "quick",
        "dataset": "digits",
        "seed": 5,
        "params": {"epochs": 3},
        "lessons": ["02_baseline"],
        "limits": Limits(3, 77),
        "marker": "",
        "offline": False,
    }
    return study.RunTask(**values | changes)


def test_done_is_a_run_of_the_same_settings_with_all_its_lessons(tmp_path, monkeypatch):
    one = task(tmp_path)
    finished = ["02_baseline"]
    monkeypatch.setattr(runner, "is_finished", lambda folder, lesson, models: lesson in finished)
    assert not study._is_done(one)
    course = tmp_path / "seed-5" / course_file.COURSE_FILE
    course.parent.mkdir()
    _files.write_json(course, {"settings": one.settings()._asdict(), "lessons": {}})
    assert study._is_done(one)
    assert not study._is_done(one._replace(seed=2))
    assert not study._is_done(one._replace(params={"epochs": 4}))
    assert not study._is_done(one._replace(lessons=["02_baseline", "04_tuning"]))
    with monkeypatch.context() as edited:
        edited.setattr(lessons, "profiles", lambda: {"quick": {"units": 8}})
        assert not study._is_done(one)
    finished += results.LESSONS
    all_lessons = one._replace(lessons=list(results.LESSONS))
    assert not study._is_done(all_lessons)  # its report is not there
    (tmp_path / "seed-5" / "report.html").write_text("")
    assert study._is_done(all_lessons)
    course.write_text("{")
    assert not study._is_done(all_lessons)  # the run will say what is wrong with it


# --- from the options of a study to the command of each run ---


class FakeClient:
    """Runs the tasks of a study at once, in this process."""

    def __init__(self):
        self.tasks = []

    def submit(self, function, task, pure):
        assert (function, pure) == (study.run_task, False)
        self.tasks.append(task)
        return FakeFuture(study.RunResult(task.run, 1.0, "", {}))


class FakeFuture:
    def __init__(self, result, error=None, cancelled=False):
        self.result, self.exception, self.cancelled = lambda: result, lambda: error, lambda: cancelled


@pytest.fixture
def tasks_of(monkeypatch, tmp_path):
    """Invokes `mnist-course study` on four cores and returns its tasks; no worker is started."""
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    monkeypatch.setattr("distributed.as_completed", list)
    monkeypatch.setenv("MNIST_COURSE_OFFLINE", "")

    def invoke_study(*arguments):
        client = FakeClient()
        client.asked = []

        def connect(scheduler, workers):
            client.asked.append((scheduler, workers))
            return contextlib.nullcontext(client)

        monkeypatch.setattr(study, "client", connect)
        result = invoke("study", "s", *arguments, "--results-dir", tmp_path)
        assert result.exit_code == 0, result.output
        return client.tasks, client.asked

    return invoke_study


def words(command, option):
    """What follows an option of a command, each time that it is given."""
    after = 3 if option == "-p" else 2
    return [
        tuple(command[i + 1 : i + after]) if after > 2 else command[i + 1]
        for i, word in enumerate(command)
        if word == option
    ]


def test_every_option_of_a_study_arrives_in_the_command_of_each_run(tasks_of, tmp_path, monkeypatch):
    """Kind E: each option has a value that is not its default."""
    searched_run(tmp_path / "searches" / "seed-1")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    options = ["--seeds", "3,9", "--profile", "full", "--dataset", "digits", "--only", "02", "--only", "04"]
    options += ["-p", "epochs", "2", "-p", "units", "16,32", "-p", "data_dir", "here", "--threads", 3]
    options += ["-p", "learning_rate", "1e-3", "-p", "num_train", "900", "-p", "num_validation", "100"]
    options += [
        "-p",
        "num_search",
        "300",
        "--cell-seconds",
        77,
        "--search-from",
        "searches/seed-1",
        "--offline",
    ]
    tasks, asked = tasks_of(*options, "--workers", 2)
    assert asked == [("", 2)]
    assert [task.run for task in tasks] == [f"units-{u}_seed-{s}" for u in (16, 32) for s in (3, 9)]
    for task, (units, seed) in zip(tasks, [(16, 3), (16, 9), (32, 3), (32, 9)], strict=True):
        command = task.command(tmp_path / "elsewhere")
        assert command[:6] == [
            *(sys.executable, "-m", "mnist_course.cli", "run", f"units-{units}_seed-{seed}"),
            "--part-of-study",
        ]
        expected = {
            "--profile": ["full"],
            "--dataset": ["digits"],
            "--seed": [str(seed)],
            "--results-dir": [str(tmp_path / "elsewhere")],
            "--threads": ["3"],
            "--cell-seconds": ["77"],
            "--only": ["02_baseline", "04_tuning"],
        }
        assert {option: words(command, option) for option in expected} == expected
        assert dict(words(command, "-p")) == {
            "epochs": "2",
            "data_dir": str(tmp_path / "here"),
            "learning_rate": "0.001",
            "num_train": "900",
            "num_validation": "100",
            "num_search": "300",
            "units": str(units),
            "search_from": "../searches/seed-1",
        }
        assert "--offline" in command
        assert task.results_dir == tmp_path / "s"


def test_the_command_of_a_run_is_read_as_it_was_meant(tmp_path, monkeypatch):
    """What `mnist-course run` makes of the command: the same settings, limits and folder."""
    received = {}

    def run_lessons(run, settings, lesson_names, **options):
        received.update(run=run, settings=settings, lessons=lesson_names, **options)
        raise UserError("the options have arrived")

    monkeypatch.setattr(runner, "run_lessons", run_lessons)
    monkeypatch.setattr(processes, "end_with_parent", lambda: received.update(ends_with_parent=True))
    one = task(tmp_path, params={"epochs": 3, "learning_rate": 1e-05})
    result = invoke(*one.command(tmp_path / "there")[3:])
    assert "the options have arrived" in result.output
    assert received == {
        "run": "seed-5",
        "settings": one.settings(),
        "lessons": ["02_baseline"],
        "results_dir": tmp_path / "there",
        "fresh": False,
        "limits": Limits(3, 77),
        "wait_seconds": runner.PREDECESSOR_SECONDS,
        "ends_with_parent": True,
    }


@pytest.mark.parametrize(
    ("options", "workers", "threads"),
    [
        (["--seeds", "1-9"], 4, "1"),
        (["--seeds", "1-2"], 2, "2"),
        (["--seeds", "1"], 1, "4"),
        (["--seeds", "1-9", "--workers", "3"], 3, "1"),
        (["--seeds", "1-9", "--workers", "2"], 2, "2"),
        (["--seeds", "1-9", "--workers", "2", "--threads", "5"], 2, "5"),
        (["--seeds", "1-9", "--scheduler", "tcp://10.0.0.5:8786"], 4, "1"),
    ],
)
def test_every_run_of_a_study_gets_its_share_of_the_cores(tasks_of, options, workers, threads):
    tasks, asked = tasks_of(*options, "--dataset", "digits", "--profile", "quick", "--only", "02")
    assert asked == [(options[-1] if "--scheduler" in options else "", workers)]
    commands = [task.command(task.results_dir) for task in tasks]
    assert {tuple(words(command, "--threads")) for command in commands} == {(threads,)}
    assert not any("--cell-seconds" in command or "--offline" in command for command in commands)


# --- names of runs ---

LONG = "x" * 300
FOUR = {
    "units": [16, 32],
    "learning_rate": [0.001, 0.01],
    "batch_size": [32, 64],
    "dropout_rate": [0.1, 0.25],
}


@pytest.mark.parametrize(
    ("swept", "seeds"),
    [
        pytest.param(FOUR, [1, 2], id="R4: four parameters"),
        pytest.param(FOUR | {"too_high_learning_rate": [1.5, 9000.0]}, [1, 2**31 - 1], id="five parameters"),
        pytest.param(
            {"data_dir": ["/a/b", "/a b", "/a_b", "/a.b", "/ä_b", "/A/B"]}, [1], id="sanitised alike"
        ),
        pytest.param({"data_dir": ["/" + LONG, "/" + LONG + "y"]}, [1, 2], id="long paths"),
        pytest.param({"search_from": ["s/a", "s_a", "S_a", "", "a"]}, [1], id="texts"),
        pytest.param(
            {"search_from": ["a", "a_units-1"], "data_dir": ["", "/1_units-1"]}, [1], id="separators"
        ),
        pytest.param({"learning_rate": [1e-07, 1e20]}, [1], id="exponents"),
    ],
)
def test_names_of_runs_are_short_unique_and_stable(swept, seeds):
    runs = study.grid(spec(swept=swept, seeds=seeds))
    settings = len(seeds) * math.prod(map(len, swept.values()))
    assert len({name.casefold() for name in runs}) == len(runs) == settings
    for name, (seed, _) in runs.items():
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name)
        assert name.endswith(f"seed-{seed}")
    more = study.grid(spec(swept=swept, seeds=[*seeds, 77]))
    assert {name: more[name] for name in runs} == runs
    name, (seed, setting) = next(iter(runs.items()))
    assert study.grid(spec(swept={key: [value] for key, value in setting.items()}, seeds=[seed])) == {
        name: (seed, setting)
    }


def test_a_shortened_name_is_the_same_in_every_process():
    assert list(study.grid(spec(swept={name: values[:1] for name, values in FOUR.items()}, seeds=[1]))) == [
        "units-16_learning_rate-0.001_batch_size-32_dro-425bbb7192_seed-1"
    ]


# --- files of an earlier study ---


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "is damaged: it is not JSON"),
        ('{"profile": "quick", "da', "is damaged: it is not JSON"),
        ("garbage", "is damaged: it is not JSON"),
        ("[]", "this command did not write it"),
        ("3", "this command did not write it"),
        ("null", "this command did not write it"),
        ("{}", "Missing or of another type: profile, dataset"),
        ("ok - seeds", "Missing or of another type: seeds"),
        ("ok seeds: 3", "Missing or of another type: seeds"),
        ("ok swept: []", "Missing or of another type: swept"),
        ('ok seeds: ["1"]', "seeds are not whole numbers"),
        ("ok seeds: [[1]]", "seeds are not whole numbers"),
        ("ok stages: []", "was made by an older version"),
        ('{"stages": [], "seeds": [1]}', "was made by an older version"),
    ],
)
def test_a_damaged_or_foreign_study_file_is_named(tmp_path, content, expected):
    """R10. In `content`, "ok" is a right file with one entry changed or removed."""
    if content.startswith("ok"):
        name, _, value = content[3:].partition(": ")
        entries = spec()._asdict()
        if value:
            entries[name] = json.loads(value)
        else:
            del entries[name.removeprefix("- ")]
        content = json.dumps(entries)
    path = tmp_path / "s" / "study.json"
    path.parent.mkdir()
    path.write_text(content)
    options = ["--seeds", "1", "--profile", "quick", "--dataset", "digits", "--results-dir", tmp_path]
    result = invoke("study", "s", *options)
    assert result.exit_code == 2, result.output
    assert expected in result.output
    assert str(path) in result.output
    assert "Give another name for this study" in result.output
    assert "Traceback" not in result.output
    assert path.read_text() == content


# --- what a worker reports ---


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("", ""),
        (
            "import sys; print('Error: no disk', file=sys.stderr); sys.exit(1)",
            "Error: no disk\nIts process ended with exit status 1.",
        ),
        ("print('lost'); raise SystemExit(3)", "Its process ended with exit status 3."),
        ("import os; os.kill(os.getpid(), 11)", "Its process was ended by SIGSEGV."),
        (
            "import os; os.kill(os.getpid(), 9)",
            "Its process was ended by SIGKILL, as the system does if memory runs out.",
        ),
    ],
)
def test_a_run_that_fails_says_why(tmp_path, monkeypatch, code, expected):
    """R7: memory is mentioned for SIGKILL only."""
    monkeypatch.setattr(study.RunTask, "command", lambda self, folder: [sys.executable, "-c", code])
    (tmp_path / "marker").touch()
    result = study.run_task(task(tmp_path, marker="marker"))
    assert result.error == expected
    assert result.files == {}
    assert [path.name for path in tmp_path.glob("*.*")] == ["seed-5.log"] * bool(expected)


@pytest.mark.parametrize("end", ["parent is killed", "nobody waits"])
def test_the_child_of_a_study_ends_with_its_parent(tmp_path, monkeypatch, end):
    """Without a kernel: the child watches its standard input and ends as SIGTERM would end it."""
    child = f"""
import pathlib, signal, sys, time
from mnist_course import processes
def stop(*_):
    pathlib.Path({str(tmp_path / "stopped")!r}).touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
processes.end_with_parent()
pathlib.Path({str(tmp_path / "begun")!r}).touch()
time.sleep(60)
"""
    begun = tmp_path / "begun"
    if end == "nobody waits":
        monkeypatch.setattr(study, "is_still_wanted", lambda: lambda: not begun.exists())
        assert study._run_child([sys.executable, "-c", child], tmp_path / "log") == 143
    else:
        run = "import subprocess as s, sys; s.Popen([sys.executable, '-c', sys.argv[1]], stdin=s.PIPE).wait()"
        command = [sys.executable, "-c", run, child]
        parent = subprocess.Popen(command)
        until(begun.exists)
        parent.kill()
        parent.wait()
    until((tmp_path / "stopped").exists, 10)


def test_a_run_whose_scheduler_was_lost_is_reported():
    result = study._result(FakeFuture(None, cancelled=True), "seed-1")
    assert result.run == "seed-1"
    assert "scheduler was lost" in result.error


def test_a_worker_that_was_lost_is_reported():
    result = study._result(FakeFuture(None, error=OSError("gone")), "seed-1")
    assert (result.run, result.error) == ("seed-1", "The worker was lost: gone")


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


def runs_below(*parents):
    """Processes below `parents` that run a task of a study."""
    return [
        process
        for parent in parents
        for process in family(parent.pid)
        if "--part-of-study" in command_of(process)
    ]


def command_of(process):
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return process.cmdline()
    return []


@pytest.mark.full
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


@pytest.mark.full
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
        (worker,) = [worker for worker in workers if runs_below(worker)]
        (child,) = runs_below(worker)
        for process in [worker, *psutil.Process(worker.pid).children()]:
            os.kill(process.pid, signal.SIGKILL)  # the nanny and the worker; the child is left to itself
        worker.wait()
        output, _ = client.communicate(timeout=240)
        assert client.returncode == 0, output
        assert first.stat().st_mtime_ns == made  # the finished lesson was not run again
        assert (tmp_path / "s" / "seed-1" / "02_baseline.json").is_file()
        assert not alive([child])
        assert not runs_below(*workers)


def test_a_worker_that_does_not_see_the_folder_sends_the_evidence(tmp_path, monkeypatch):
    code = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
folder.mkdir()
for name in ("course.json", "02_baseline.ipynb", "02_baseline.json", "02_baseline.keras", "02_baseline.npz"):
    (folder / name).write_text(name)
"""
    monkeypatch.setattr(
        study.RunTask,
        "command",
        lambda self, folder: [sys.executable, "-c", code, str(folder / self.run)],
    )
    result = study.run_task(task(tmp_path / "elsewhere", marker="marker"))
    assert result.error == ""
    assert set(result.files) == {"course.json", "02_baseline.ipynb", "02_baseline.json"}
    study._write_files(tmp_path / "seed-5", result.files)
    assert (tmp_path / "seed-5" / "course.json").read_text() == "course.json"


@pytest.mark.course
@pytest.mark.parametrize(
    "victim",
    [
        pytest.param("client of a cluster", marks=pytest.mark.full),
        "study on this machine",
        pytest.param("process of a run", marks=pytest.mark.full),
    ],
)
def test_nobody_goes_on_alone(tmp_path, victim):
    """A lesson of an hour is under way when somebody above it is killed: all below end at once.

    The path of the folder for temporary files is longer than that of a socket may be (case R3).
    """
    temporary = tmp_path / ("t" * 120)
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary)}
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-m", "mnist_course.cli", "study", "s", "--seeds", "1", *TINY]
        command += ["--only", "02", "-p", "epochs", "10000", "--results-dir", str(tmp_path)]
        workers = []
        if victim == "client of a cluster":
            address, workers = stack.enter_context(dask_cluster(tmp_path))
            command += ["--scheduler", address]
        client = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        stack.callback(kill_all, client)

        def run_with_a_kernel():
            for run in runs_below(client, *workers):
                if kernels(family(run.pid)):
                    return family(run.pid)
            return []

        members = until(run_with_a_kernel, 300)
        stack.callback(lambda: [process.kill() for process in alive(members)])
        (members[0] if victim == "process of a run" else client).kill()
        until_gone(members, 60)
        output, _ = client.communicate(timeout=60)
        if victim == "process of a run":
            assert client.returncode == 1
            assert "seed-1: FAILED" in output
            assert "was ended by SIGKILL" in output
