"""A class on a JupyterHub, in a browser: lessons, exercises, whose files are whose, threads, memory, culling."""

import json
import os
import stat
from pathlib import Path

import pytest

from mnist_course.cores import usable_cores
from mnist_helpers import results
from tests import processes
from tests.hub import hub as hubs
from tests.hub.conftest import CORES, USER_ENVIRONMENT, log_in

expect = pytest.importorskip("playwright.sync_api").expect

pytestmark = pytest.mark.hub
LESSON = results.LESSONS[0]
IDLE_SECONDS = 15
RIGHT = "num_bytes = 60_000 * 28 * 28\nnum_bytes_float32 = 4 * num_bytes"

# What a student's kernel may do. It prints one line of JSON.
PROBE = """
import json, os, pathlib
import tensorflow as tf

def tried(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"

def read(folder):
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.is_file():
            path.read_bytes()

data = os.environ["MNIST_DATA_DIR"]
kernel = "/proc/{pid}/environ"
tf.constant([[1.0]]) @ tf.constant([[1.0]])
print(json.dumps({{
    "threads": [os.environ[name] for name in {limits!r}],
    "account": os.getuid(),
    "neighbour's results": tried(lambda: os.listdir({home!r} + "/mnist-results")),
    "neighbour's copy": tried(lambda: os.listdir({home!r} + "/my-course")),
    "neighbour's sockets": tried(lambda: os.listdir({runtime!r})),
    "neighbour's environment": tried(lambda: open(kernel).read()),
    "write data": tried(lambda: open(data + "/new", "w")),
    "read data": tried(lambda: read(data)),
    "hub": tried(lambda: os.listdir({hub!r})),
}}))
"""

needs_accounts = pytest.mark.skipif(
    not hubs.has_accounts(), reason="no accounts can be made here that can run this Python"
)


def test_each_student_gets_a_copy_and_the_first_page(students):
    for student in students:
        student.page.bring_to_front()
        student.page.get_by_role("heading", name="Start here").wait_for(timeout=60_000)
        copy = student.user.home / "my-course"
        assert {"01_data_exploration.ipynb", "exercises", "further"} <= {path.name for path in copy.iterdir()}
        assert copy.owner() == student.user.account


def test_three_run_lesson_1_at_once_from_the_read_only_folder(students, lessons, data_folder):
    before = {path: path.stat().st_mtime_ns for path in data_folder.iterdir()}
    for student, lesson in zip(students, lessons, strict=True):
        kinds = {output["kind"] for output in lesson.outputs()}
        assert not kinds & {"application/vnd.jupyter.stderr", "application/vnd.jupyter.error"}
        record = json.loads(
            (student.user.home / "mnist-results" / "lab" / f"{LESSON}.json").read_text(encoding="utf-8")
        )
        wanted = "mnist" if "MNIST_DATA_DIR" in USER_ENVIRONMENT else "data"
        assert record["dataset"]["name"] == wanted
    assert {path: path.stat().st_mtime_ns for path in data_folder.iterdir()} == before


def test_an_exercise_is_checked(students):
    path = "my-course/exercises/exercise_01.ipynb"
    for student in students:
        file = student.user.home / path
        notebook = json.loads(file.read_text(encoding="utf-8"))
        (answer,) = [cell for cell in notebook["cells"] if cell["id"] == "memory"]
        answer["source"] = RIGHT
        file.write_text(json.dumps(notebook), encoding="utf-8")
        opened = student.open(path)
        opened.run_all()  # it stops at the second task, which has no answer yet
        shown = opened.output(opened.number_of("checks.exercise_01.memory("))
        expect(shown).to_have_text("Task 1: correct (1 of 1 point)")
        opened.page.close()


def test_results_and_sockets_are_the_students_own(students, lessons, hub):
    for student in students:
        made = [student.user.home / "mnist-results" / "lab" / f"{LESSON}.json", *_runtime(hub, student)]
        assert len(made) > 1
        for path in made:
            assert path.owner() == student.user.account
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    assert len({path for student in students for path in _runtime(hub, student)}) >= len(students)


def test_a_student_is_refused_by_the_server_of_another(students):
    for student, other in zip(students, students[1:] + students[:1], strict=True):
        answers = [
            student.context.request.get(f"{server.url}api/contents/my-course").status
            for server in (student, other)
        ]
        assert answers == [200, 403]


def test_a_wrong_password_is_refused(browser, hub, users):
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{hub.url}hub/login")
    page.get_by_label("Username").fill(users[0].name)
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Invalid username or password").wait_for()
    assert context.request.get(f"{hub.url}user/{users[0].name}/api/contents").status == 403
    context.close()


@pytest.fixture(scope="module")
def probed(students, lessons, hub):
    """What the kernel of the first student may do with the files of the second, of the hub and of the data."""
    first, second, _ = students
    (runtime,) = {path.parent for path in _runtime(hub, second)}
    (kernel, *_) = processes.kernels(hub.processes_of(second.user))
    limits = ["TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"]
    names = {"limits": limits, "home": str(second.user.home), "runtime": str(runtime), "pid": kernel.pid}
    first.write("my-course/probe.ipynb", PROBE.format(hub=str(hub.log.parent), **names))
    notebook = first.open("my-course/probe.ipynb")
    notebook.run_all()
    (printed,) = [o["text"] for o in notebook.outputs() if o["text"].startswith("{")]
    notebook.page.close()
    return json.loads(printed)


@pytest.mark.skipif((os.cpu_count() or 1) <= CORES, reason="with one core there is nothing to limit")
def test_threads_are_those_of_docs_hubs(probed):
    assert usable_cores() > CORES
    assert probed["threads"] == [str(CORES)] * 3


def test_data_can_be_read(probed):
    assert probed["read data"] == "done"


@needs_accounts
def test_no_student_reads_the_files_of_another_or_of_the_hub(probed, students):
    assert probed["account"] == (students[0].user.home / "my-course").stat().st_uid != 0
    for whose in ("neighbour's results", "neighbour's copy", "neighbour's sockets", "hub"):
        assert probed[whose] == "PermissionError", whose
    assert probed["neighbour's environment"] == "PermissionError"
    assert probed["write data"] == "PermissionError"


def test_memory_of_each_student(students, lessons, hub, capsys):
    for lesson in lessons:
        lesson.page.bring_to_front()
        assert lesson.panel.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').count() == 1
    measured = [hub.memory_bytes(student.user) for student in students]
    with capsys.disabled():
        shown = ", ".join(f"{memory * 1e-6:,.0f} MB" for memory in measured)
        print(f"\nMemory of each student, the server and the kernels of what is open: {shown}")
    for memory in measured:
        assert 200e6 < memory < 4e9


def test_idle_kernels_are_culled_then_the_server_ends(browser, start_hub, users):
    """Although the notebook is still open in the browser; its outputs are kept."""
    options = {
        "--MappingKernelManager.cull_idle_timeout": IDLE_SECONDS,
        "--MappingKernelManager.cull_interval": 1,
        "--ServerApp.shutdown_no_activity_timeout": 2 * IDLE_SECONDS,
    }
    hub, user = start_hub("culling", arguments=options), users[0]
    (student,) = log_in(browser, hub, [user])
    student.write("my-course/idle.ipynb", "print('kept')")
    notebook = student.open("my-course/idle.ipynb")
    notebook.run_all()
    expect(notebook.output(0)).to_have_text("kept")
    kernels = f"user/{user.name}/api/kernels"
    assert hub.request("get", kernels)
    processes.until(lambda: not processes.kernels(hub.processes_of(user)))
    # The server takes it off its list a moment after the process has ended.
    processes.until(lambda: hub.request("get", kernels) == [])
    expect(notebook.output(0)).to_have_text("kept")
    student.context.close()
    processes.until(lambda: not hub.processes_of(user))


def _runtime(hub: hubs.Hub, student) -> list[Path]:
    """Returns the sockets of a student's kernels."""
    kernels = processes.kernels(hub.processes_of(student.user))
    files = [Path(part) for kernel in kernels for part in kernel.cmdline() if part.endswith(".json")]
    return [socket for file in files for socket in file.parent.glob(f"{file.stem}-ipc-*")]
