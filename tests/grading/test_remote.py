"""Grading on a Dask cluster: the same marks as on one machine, whatever happens to a worker."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter

import pytest
from click.testing import CliRunner

from mnist_course import cli
from mnist_course.grading import grade, remote, sandbox, submissions
from mnist_course.run import study
from mnist_helpers import _files
from mnist_helpers._errors import UserError
from tests.grading.test_submissions import given_out
from tests.grading.tiny import points, solved, submit, tiny
from tests.processes import until

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nbgrader's and its libraries'
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),  # nbgrader's
]
LIMITS = sandbox.Limits(60, 2**30)
DONE = sandbox.Outcome({}, [], 1.0, False, False, True)


class Future:
    """A task whose result needs several attempts."""

    def __init__(self, *results):
        self.results = list(results)
        self.was_cancelled = False

    def result(self, timeout):
        result = self.results.pop(0)
        if isinstance(result, BaseException):
            raise result
        return result

    def cancel(self):
        self.was_cancelled = True


class Client:
    """A cluster of three workers that has one result."""

    def __init__(self, future=None):
        self.future, self.sent = future, []

    def submit(self, function, *arguments, pure):
        assert not pure  # the same submission of two students runs twice
        self.sent.append((function, arguments))
        return self.future

    def nthreads(self):
        return {"one": 1, "two": 1, "three": 20}


def run(client, stop=None):
    return remote.run(client, solved(), "a folder", limits=LIMITS, hidden=[], stop=stop or threading.Event())


def test_a_job_holds_the_notebook_and_the_limits_only():
    client = Client(Future(TimeoutError(), TimeoutError(), DONE))
    assert run(client) == DONE
    ((function, (job,)),) = client.sent
    assert function is remote.run_job
    assert (json.loads(job.notebook), job.limits) == (solved(), LIMITS)
    assert job.versions == remote.versions()


def test_who_stops_waits_no_longer_and_tells_the_cluster():
    client, stop = Client(Future()), threading.Event()
    stop.set()
    outcome = run(client, stop)
    assert (outcome.problems, outcome.disturbed) == (["grading was interrupted"], True)
    assert client.future.was_cancelled


def test_a_lost_scheduler_is_an_error_with_a_sentence():
    with pytest.raises(UserError, match="connection to the scheduler was lost"):
        run(Client(Future(remote.CancelledError())))


def test_more_submissions_are_handed_over_than_run():
    assert remote.num_waiting(Client()) == 44


def test_a_wrong_address_or_a_second_kind_of_workers_is_refused_and_nothing_is_written(folder):
    submit(folder, "anna", solved())
    for options, words in (
        (["--scheduler", "nowhere"], "Expected: an address such as tcp://HOST:8786"),
        (["--scheduler", "tcp://127.0.0.1:8786", "--workers", "2"], "Leave --workers or --scheduler out"),
    ):
        result = CliRunner().invoke(cli.main, ["assignments", "grade", str(folder), *options])
        assert (result.exit_code, words in result.output + result.stderr) == (2, True)
        assert not [name for name in ("graded.json", "report.html", "marks.csv") if (folder / name).exists()]


def test_a_job_keeps_what_the_guards_know_of_the_exercise(monkeypatch):
    """Without it, a worker could not tell the names of Python from those of answers."""
    client, ran = Client(Future(DONE)), []
    repaired, _ = submissions.repair(solved(), given_out(), tiny())
    remote.run(client, repaired, limits=LIMITS, stop=threading.Event())
    monkeypatch.setattr(remote, "_tool", lambda: "")
    monkeypatch.setattr(sandbox, "run", lambda notebook, *_, **__: ran.append(notebook) or DONE)
    ((function, arguments),) = client.sent
    assert function(*arguments) == DONE
    assert repaired.metadata.mnist_course.answers
    assert ran == [repaired]


@pytest.mark.parametrize("name", remote.versions())
def test_a_worker_with_other_versions_is_refused(monkeypatch, name):
    other = remote.versions() | {name: "other"}
    monkeypatch.setattr(
        Client, "run", lambda *_: {"tcp://w:1": remote.versions(), "tcp://w:2": other}, raising=False
    )
    with pytest.raises(
        UserError, match=rf"worker at tcp://w:2 has {name} other instead of \S+\. Install the same"
    ):
        remote._check_workers(Client())
    with pytest.raises(UserError, match=f"A worker has {name} {remote.versions()[name]} instead of other"):
        remote.run_job(remote.Job(b"", LIMITS, other))


def test_a_worker_without_the_package_is_refused(monkeypatch):
    def run(*_):
        raise ModuleNotFoundError("No module named 'mnist_course'")

    monkeypatch.setattr(Client, "run", run, raising=False)
    with pytest.raises(UserError, match=r"A worker cannot use this package \(ModuleNotFoundError"):
        remote._check_workers(Client())


@pytest.mark.course
def test_a_job_runs_without_a_cluster_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(remote.tempfile, "tempdir", str(tmp_path))
    outcome = remote.run_job(remote.Job(json.dumps(solved()).encode(), LIMITS, remote.versions()))
    assert outcome.problems == []
    assert outcome.isolated == bool(remote._tool())
    assert len(outcome.cells) == 6
    assert list(tmp_path.iterdir()) == []


@pytest.mark.course
def test_a_job_that_nobody_waits_for_ends(monkeypatch):
    monkeypatch.setattr(study, "is_still_wanted", lambda: lambda: False)
    notebook = solved(number="import time\ntime.sleep(100)")
    outcome = remote.run_job(remote.Job(json.dumps(notebook).encode(), LIMITS, remote.versions()))
    assert outcome.problems[-1] == "grading was interrupted"
    assert outcome.seconds < 30


@pytest.mark.long
def test_a_class_gets_the_same_marks_with_a_worker_killed(folder, number=40):
    """Two workers; one is killed in the middle, and its submission runs again."""
    from distributed import Client, LocalCluster

    answers = ["number = 7", "number = 8", "number = None", "import os\nos._exit(1)"]
    students = {f"student-{n:02}": answers[n % len(answers)] for n in range(number)}
    for student, answer in students.items():
        submit(folder, student, solved(number=answer))
    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:

        def kill_one():
            until(lambda: len(_files.read_json_or_none(folder / "graded.json") or {}) >= number // 4, 600)
            with Client(cluster) as client:
                processes = list(client.run(os.getpid).values())
            os.kill(processes[0], signal.SIGKILL)

        killer = threading.Thread(target=kill_one, daemon=True)
        killer.start()
        grade.grade(folder, limits=LIMITS, scheduler=cluster.scheduler_address)
        killer.join(10)
        assert not killer.is_alive()
    marks = {student: points(folder, student)["number-tests"] for student in students}
    assert marks == {student: float(answer == "number = 7") for student, answer in students.items()}
    report = _files.read_json(folder / "report.json")
    assert report["about_isolation"] == "Submissions ran on a Dask cluster."
    others = [remark for remark in report["remarks"] if "identical" not in remark["text"]]
    assert Counter(remark["student"] for remark in others) == Counter(
        student for student, answer in students.items() if "exit" in answer
    )
