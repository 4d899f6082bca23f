"""The sandbox: its watch, its limits, what comes back from it, and what a program in it can see."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from mnist_course.grading import isolation, sandbox, sandbox_child
from mnist_helpers import _course
from tests.grading.tiny import tiny
from tests.processes import alive, family, kill_all, until, until_gone

NO_NAMESPACES = "no namespaces for ordinary accounts here"
# Whether a tool works at all is found out without our own commands, so that a fault of ours is no reason to skip.
PLAIN = {
    "bwrap": ["bwrap", "--unshare-user", "--disable-userns", "--ro-bind", "/", "/", "true"],
    "unshare": ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "plain", "/tmp"],
}


def works(tool: str) -> bool:
    return bool(shutil.which(tool)) and subprocess.run(PLAIN[tool], capture_output=True).returncode == 0


AVAILABLE = [tool for tool in isolation.TOOLS if works(tool)]
MANY = 150  # processes, more than are allowed


@pytest.fixture(params=isolation.TOOLS)
def tool(request) -> str:
    """Each tool for isolation that works here."""
    if request.param not in AVAILABLE:
        pytest.skip(f"{NO_NAMESPACES} with {request.param}")
    return request.param


@pytest.fixture
def work(tmp_path) -> Path:
    folder = tmp_path / "hidden" / "work"
    folder.mkdir(parents=True)
    (folder.parent / "neighbour").write_text("another submission")
    return folder


def command(tool: str, work: Path, program: str) -> list[str]:
    return [*isolation.command(tool, work, [work.parent]), sys.executable, "-P", "-c", program]


def said(tool: str, work: Path, program: str) -> list[str]:
    """Runs a program in isolation; returns the lines that it prints."""
    ran = subprocess.run(command(tool, work, program), capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def attempts(*lines: str) -> str:
    """A program that tries each line, and prints which kind of error it raises."""
    program = "import ctypes, os, socket, subprocess, sys\n"
    for line in lines:
        program += f"try:\n    {line}\n    print('done')\n"
        program += "except Exception as error:\n    print(type(error).__name__)\n"
    return program


# --- the view ---


def test_only_three_places_can_be_written(tool, work):
    refused = ["/", "/etc", "/run", "/var/tmp", "/dev", "/dev/pts", "/proc", "/sys", str(Path.home())]
    refused += [str(work.parent), str(_course.ROOT), sys.prefix, "/proc/sys/kernel"]
    allowed = [str(work), ".", "/tmp", "/dev/shm"]
    program = attempts(*(f"open({folder!r} + '/planted', 'w')" for folder in (*refused, *allowed)))
    lines = said(tool, work, program)
    assert [folder for folder, line in zip(refused, lines, strict=False) if line == "done"] == []
    assert lines[len(refused) :] == ["done"] * len(allowed)
    assert [path.name for path in work.parent.rglob("*")] == ["work", "neighbour"]
    assert not Path("/tmp/planted").exists() and not Path("/dev/shm/planted").exists()


def test_what_is_hidden_is_empty(tool, work, monkeypatch, tmp_path):
    home, other = tmp_path / "home", tmp_path / "other"
    for folder in (home, other):
        folder.mkdir()
        (folder / "secret").write_text("secret")
    monkeypatch.setenv("HOME", str(home))
    answers = [_course.NOTEBOOKS / "exercises", _course.ROOT / "tests"] if _course.IS_CHECKOUT else []
    folders = [work.parent, work, home, Path("/run"), Path("/var/tmp"), *answers]
    lines = said(tool, work, f"import os\nfor f in {list(map(str, folders))}: print(os.listdir(f))")
    assert lines == ["['work']", *["[]"] * (len(folders) - 1)]
    assert said(tool, work, f"import os; print(os.path.exists({str(other)!r}), os.getcwd())") == [
        f"False {work}"
    ]


def test_python_and_the_course_work_from_a_home_that_is_hidden(tool, work, monkeypatch):
    """A checkout and an environment in the home, as on most machines."""
    home = _course.ROOT.parent
    monkeypatch.setenv("HOME", str(home))
    program = "import os, mnist_course, psutil, mnist_helpers._course as c\n"
    program += f"print(c.IS_CHECKOUT, c.REFERENCE.is_dir(), sorted(os.listdir({str(home)!r})))"
    (line,) = said(tool, work, program)
    shown = {
        folder.relative_to(home).parts[0]
        for folder in (*isolation._needed_folders(), work)
        if folder.is_relative_to(home)
    }
    assert line == f"{_course.IS_CHECKOUT} True {sorted(shown)}"


def test_a_python_that_is_reached_through_links_is_shown(work, monkeypatch, tmp_path):
    real = tmp_path / "python-3.11.9"
    (real / "bin").mkdir(parents=True)
    (real / "bin" / "python3.11").touch()
    (tmp_path / "python-3.11").symlink_to(real)
    (tmp_path / "environment" / "bin").mkdir(parents=True)
    program = tmp_path / "environment" / "bin" / "python"
    program.symlink_to(tmp_path / "python-3.11" / "bin" / "python3.11")
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "python-3.11"))
    shown = isolation._needed_folders()
    assert {real, tmp_path / "python-3.11", program.parent} <= set(shown)


def test_there_is_no_network(tool, work):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0isolation-{os.getpid()}")
        abstract.listen()
        lines = said(
            tool,
            work,
            attempts(
                f"socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 5)",
                f"socket.socket(socket.AF_UNIX).connect('\\0isolation-{os.getpid()}')",
                "socket.getaddrinfo('example.org', 80)",
            ),
        )
    assert "done" not in lines


def test_other_processes_cannot_be_seen(tool, work):
    program = "import os; print(sum(name.isdigit() for name in os.listdir('/proc')), os.uname().nodename)"
    count, _ = said(tool, work, program)[0].split(" ", 1)
    assert int(count) <= 3
    assert said(tool, work, attempts(f"os.kill({os.getpid()}, 0)")) == ["ProcessLookupError"]


def test_privileges_cannot_be_gained(tool, work):
    new_user = "libc = ctypes.CDLL(None); assert libc.unshare(0x10000000) == 0"
    mount = "libc = ctypes.CDLL(None); assert libc.mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0"
    uncover = "libc = ctypes.CDLL(None); assert libc.umount2(b'/tmp', 2) == 0"
    assert said(tool, work, attempts(new_user, mount, uncover)) == ["AssertionError"] * 3
    status = said(tool, work, "print(open('/proc/self/status').read())")
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{name}:\t{0:016x}" in status
    assert "NoNewPrivs:\t1" in status


def test_devices_that_programs_need_are_there_and_no_others(tool, work):
    program = (
        "import os, pty\nfrom pathlib import Path\n"
        "Path('/dev/null').write_text('x'); open('/dev/urandom', 'rb').read(1); open('/dev/fd/1'); pty.openpty()\n"
        "devices = [p for p in Path('/dev').iterdir() if p.name == 'ptmx' or not p.is_symlink()]\n"
        "print([p.name for p in devices if p.is_block_device()])\n"
        "print(sorted(p.name for p in devices if p.is_char_device() and p.name != 'console'))"
    )
    expected = ["full", "null", "ptmx", "random", "tty", "urandom", "zero"]
    assert said(tool, work, program) == ["[]", str(expected)]


@pytest.mark.parametrize("place", [".", "/tmp", "/dev/shm", "/var/tmp"])
def test_a_full_disk_is_an_error_in_the_program_only(tool, work, monkeypatch, place):
    monkeypatch.setattr(isolation, "WORK_BYTES", 4 * 2**20)
    monkeypatch.setattr(isolation, "_TMP_BYTES", 4 * 2**20)
    program = "for number in range(20):\n"
    program += f"    with open({place!r} + f'/{{number}}', 'wb') as file: file.write(bytes(2**20))"
    ran = subprocess.run(command(tool, work, program), capture_output=True, text=True, timeout=60)
    assert ("No space left" if place != "/var/tmp" else "Read-only") in ran.stderr
    assert not list(work.iterdir())


def test_it_ends_with_its_parent(tool, work):
    """With `unshare` it ends when its standard input does, as `sandbox_child` does."""
    program = "import sys, time; time.sleep(300)" if tool == "bwrap" else "import sys; sys.stdin.read()"
    inner = command(tool, work, program)
    starter = f"import subprocess, time\nsubprocess.Popen({inner}, stdin=subprocess.PIPE)\ntime.sleep(300)"
    process = subprocess.Popen([sys.executable, "-c", starter])
    members = []
    try:
        until(
            lambda: any(
                _words(p)[-1:] == [program] and _words(p)[0] == sys.executable for p in family(process.pid)
            ),
            30,
        )
        members = family(process.pid)
        process.kill()
        process.wait()
        until_gone(members)
    finally:
        kill_all(process)
        for member in alive(members):
            member.kill()


def test_all_processes_are_ended_at_once_however_many_there_are(tool, work):
    program = "import os, time\nfor _ in range(400):\n    if os.fork() == 0: break\ntime.sleep(60)"
    with subprocess.Popen(command(tool, work, program), stdin=subprocess.DEVNULL) as process:
        until(lambda: len(family(process.pid)) > 300, 60)
        members = family(process.pid)
        began = time.monotonic()
        sandbox._kill(process, isolated=True)
        assert time.monotonic() - began < 5
    until_gone(members, 1)


# --- which tool is used ---


def test_a_tool_that_works_gives_the_view(tool):
    assert isolation.problem_with(tool) == ""


@pytest.mark.parametrize("left_out", ["close", "empty"])
def test_a_tool_whose_view_is_not_complete_is_not_used(tool, monkeypatch, left_out):
    real = isolation._steps
    monkeypatch.setattr(isolation, "_steps", lambda *of: [step for step in real(*of) if step[0] != left_out])
    assert isolation.problem_with(tool)


@pytest.mark.skipif(sys.platform != "linux", reason="the view exists on Linux only")
def test_what_is_wrong_without_isolation_is_noticed(work):
    wrong = "\n".join(isolation._look(work, [work.parent]))
    for part in (
        f"{work.parent} is not empty",
        "can be written",
        "other processes",
        "privileges",
        "the work folder",
    ):
        assert part in wrong


WEAKER = [("--unshare-net", 1, "there is a network"), ("--unshare-pid", 1, "other processes")]
if hasattr(os, "geteuid") and os.geteuid() == 0:  # others have no privileges in any case
    WEAKER.append(("--cap-drop", 2, "privileges"))


@pytest.mark.parametrize(("option", "length", "expected"), WEAKER)
def test_a_bwrap_without_an_option_is_not_used(monkeypatch, option, length, expected):
    if "bwrap" not in AVAILABLE:
        pytest.skip(f"{NO_NAMESPACES} with bwrap")
    real = isolation._bwrap

    def without(*of):
        words = real(*of)
        place = words.index(option)
        return words[:place] + words[place + length :]

    monkeypatch.setattr(isolation, "_bwrap", without)
    assert expected in isolation.problem_with("bwrap")


def test_bwrap_is_preferred_and_unshare_is_the_fallback(monkeypatch):
    tried = {"bwrap": "", "unshare": ""}
    monkeypatch.setattr(isolation, "problem_with", tried.get)
    monkeypatch.setattr(sys, "platform", "linux")
    assert isolation.find() == ("bwrap", "Submissions run in isolation, with bwrap.")
    tried["bwrap"] = "Permission denied"
    assert isolation.find() == ("unshare", "Submissions run in isolation, with unshare.")
    tried["unshare"] = "Operation not permitted"
    tool, explanation = isolation.find()
    assert tool == ""
    assert "(bwrap: Permission denied; unshare: Operation not permitted)" in explanation


@pytest.mark.parametrize(
    ("has_bwrap", "restricted", "cure"),
    [
        (False, None, "sudo apt install bubblewrap"),
        (False, "1", "sudo apt install bubblewrap"),
        (True, "1", "AppArmor forbids it: add a profile"),
        (True, "0", "separate account"),
        (True, None, "separate account"),
    ],
)
def test_the_cure_depends_on_the_cause(monkeypatch, tmp_path, has_bwrap, restricted, cure):
    setting = tmp_path / "restricted"
    if restricted:
        setting.write_text(f"{restricted}\n")
    monkeypatch.setattr(isolation, "_APPARMOR", setting)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(isolation, "problem_with", lambda tool: "no")
    monkeypatch.setattr(isolation.shutil, "which", lambda name: "/usr/bin/bwrap" if has_bwrap else None)
    assert cure in isolation.find().explanation


LINUX_ONLY = "Isolation is available on Linux only. Grade there, or with a separate account."


def test_elsewhere_there_is_none(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(isolation, "problem_with", lambda tool: pytest.fail("tried"))
    assert isolation.find() == (
        "",
        "Isolation is available on Linux only. Grade there, or with a separate account.",
    )


def test_a_missing_program_is_named(monkeypatch):
    monkeypatch.setattr(
        isolation.shutil, "which", lambda name: None if name in ("bwrap", "setpriv") else name
    )
    assert isolation.problem_with("bwrap") == "bwrap is not installed"
    assert isolation.problem_with("unshare") == "setpriv is not installed"


def test_what_a_tool_says_is_the_reason(monkeypatch):
    says = ["sh", "-c", "echo one >&2; echo no permission >&2; exit 3", "sh"]
    monkeypatch.setattr(isolation, "command", lambda *of: says)
    monkeypatch.setattr(isolation.shutil, "which", lambda name: name)
    assert isolation.problem_with("bwrap") == "no permission"
    says[2] = "exit 3"
    assert isolation.problem_with("bwrap") == "exit status 3"
    says[2] = "sleep 60"
    monkeypatch.setattr(isolation, "_TRY_SECONDS", 0.1)
    assert "timed out" in isolation.problem_with("bwrap")


KEY = b"key"


def signed(text: str) -> str:
    """Text whose whole lines are signed with `KEY`."""
    signer = sandbox.Signer(KEY)
    *whole, rest = text.split("\n")
    return "".join(f"{signer.signature(line)} {line}\n" for line in whole) + rest


# --- out of time: a field, which no wording decides ---


@pytest.mark.parametrize(("stopped", "seconds", "expected"), [(True, 60, False), (False, -60, True)])
def test_the_watch_says_whether_the_time_was_over(tmp_path, stopped, seconds, expected):
    stop = threading.Event()
    if stopped:
        stop.set()
    with subprocess.Popen(["sleep", "30"]) as process:
        problem, out_of_time = sandbox._watch(
            process, tmp_path, time.monotonic(), sandbox.Limits(seconds), stop
        )
        sandbox._kill(process)
    assert problem
    assert out_of_time == expected


@pytest.mark.parametrize(("name", "expected"), [(sandbox_child._TIME_LIMIT, True), ("KernelDied", False)])
def test_the_child_writes_whether_the_time_was_over(tmp_path, name, expected):
    written = io.StringIO()
    run = sandbox_child._Run(tiny(), 30, written, KEY)
    assert run.leave_out(2, name, "has a problem")
    run.save()
    (tmp_path / sandbox._OUTPUTS).write_text(written.getvalue())
    assert sandbox._collect(tmp_path, KEY) == ({}, ["cell 3 (double) has a problem"], expected)


@pytest.mark.parametrize("forged", ["yes", 1, None, [], {}])
def test_a_forged_field_is_not_taken_for_true(tmp_path, forged):
    content = {"cells": {}, "problems": ["it ran longer than the 30 s"], "out_of_time": forged}
    (tmp_path / sandbox._OUTPUTS).write_text(signed(json.dumps(content) + "\n"))
    assert sandbox._collect(tmp_path, KEY) == ({}, ["it ran longer than the 30 s"], False)


# --- what comes back ---


def printed(text: str, count: int = 1) -> nbformat.NotebookNode:
    output = nbformat.v4.new_output("stream", name="stdout", text=text)
    return nbformat.v4.new_code_cell("", outputs=[output], execution_count=count)


def test_each_line_adds_what_is_new_and_half_a_line_does_not_count(tmp_path):
    written = io.StringIO()
    run = sandbox_child._Run(tiny(), 30, written, KEY)
    run.keep(2, printed("a"))
    run.problems.append("first")
    run.keep(3, printed("b\ud83d"))
    run.keep(2, printed("c", 2))
    whole = written.getvalue()
    assert whole.count('"text": "a"') == 1  # a cell is written once
    run.keep(4, printed("d"))
    (tmp_path / sandbox._OUTPUTS).write_text(written.getvalue()[:-1])
    cells, problems, _ = sandbox._collect(tmp_path, KEY)
    assert {position: cell["outputs"][0]["text"] for position, cell in cells.items()} == {
        2: "c",
        3: "b\ud83d",
    }
    assert cells[2]["execution_count"] == 2
    assert problems == ["first"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "it could not be started"),
        ("", "it could not be started"),
        ('{"cells": {}', "it could not be started"),
        ("not JSON\n", "its outputs cannot be read (JSONDecodeError)"),
        (
            '{"cells": {"2": {"outputs": [7], "execution_count": 1}}, "problems": []}\n',
            "its outputs cannot be read",
        ),
        ("[" * 100_000 + "\n", "its outputs cannot be read (RecursionError)"),
        ('{"cells": {}}\n', "its outputs cannot be read (KeyError)"),
        (" " * (sandbox._MAX_OUTPUT_BYTES + 1), "its outputs are too large"),
    ],
)
def test_what_cannot_be_read_is_a_problem(tmp_path, content, problem):
    if content is not None:
        (tmp_path / sandbox._OUTPUTS).write_text(signed(content))
    cells, problems, out_of_time = sandbox._collect(tmp_path, KEY)
    assert (cells, out_of_time) == ({}, False)
    assert problems[0].startswith(problem)


def test_outputs_that_another_program_wrote_are_not_taken(tmp_path):
    forged = ["its outputs were written by another program than the grader"]
    written = io.StringIO()
    run = sandbox_child._Run(tiny(), 30, written, KEY)
    run.keep(2, printed("a"))
    run.keep(2, printed("b", 2))
    first, second = written.getvalue().splitlines(keepends=True)
    repeated, reordered, changed = (
        first + second + first,
        second + first,
        first + second.replace('"b"', '"c"'),
    )
    unsigned = first + second.partition(" ")[2]
    without_signature, not_ascii = first + "\n", first + second.replace(" ", "\u00e4 ", 1)
    for text in (repeated, reordered, changed, unsigned, without_signature, not_ascii):
        (tmp_path / sandbox._OUTPUTS).write_text(text, encoding="utf-8")
        assert sandbox._collect(tmp_path, KEY) == ({}, forged, False), text
    (tmp_path / sandbox._OUTPUTS).write_text(first + second)
    assert sandbox._collect(tmp_path, b"guessed") == ({}, forged, False)
    assert list(sandbox._collect(tmp_path, KEY)[0]) == [2]


# --- limits on files, without isolation ---


def test_files_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "_MAX_FILES", 20)
    monkeypatch.setattr(sandbox, "_MAX_FILES_BYTES", 10_000)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "link").symlink_to("/")
    (tmp_path / "a" / "gone").symlink_to("nowhere")
    assert sandbox._too_many_files(tmp_path) == ""
    (tmp_path / "a" / "b" / "large").write_bytes(bytes(10_001))
    assert "GiB of files" in sandbox._too_many_files(tmp_path)
    (tmp_path / "a" / "b" / "large").unlink()
    for number in range(20):
        (tmp_path / "a" / str(number)).touch()
    assert sandbox._too_many_files(tmp_path) == "more than 20 files"


# --- whole runs, with each tool and without one ---

SLEEP = ["sleep", f"986.{os.getpid()}"]  # nobody else's
FILLS_THE_DISK = (
    "for n in range(64):\n    with open(f'file-{n}', 'wb') as file:\n        file.write(bytes(2**24))"
)
FILLS_THE_MEMORY = "import numpy as np\nkept = [np.ones(2**24) for _ in range(100)]"
STARTS_PROCESSES = (
    f"import subprocess, time\nfor _ in range({MANY}):\n    subprocess.Popen({SLEEP})\ntime.sleep(60)"
)
FILLS_TOGETHER = (
    "import subprocess, sys, time\n"
    "hog = 'import time; kept = b\"x\" * (600 * 2**20); time.sleep(30)'\n"
    "hogs = [subprocess.Popen([sys.executable, '-c', hog]) for _ in range(6)]\ntime.sleep(30)"
)


def notebook_of(*sources: str) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell(source, id=f"cell-{n}") for n, source in enumerate(sources)]
    return nbformat.v4.new_notebook(
        cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": ""}}
    )


def run(tool: str, work: Path, *sources: str) -> tuple[sandbox.Outcome, list[str]]:
    """Runs sources as the cells of a notebook; returns the outcome, and the name of each cell's error, or ""."""
    limits, stop = sandbox.Limits(40, 2**30), threading.Event()
    notebook = notebook_of(*sources)
    outcome = sandbox.run(notebook, work, limits=limits, hidden=[work.parent], tool=tool, stop=stop)
    outputs = [cell["outputs"] for cell in outcome.cells.values()]
    return outcome, [next((o["ename"] for o in of_cell if "ename" in o), "") for of_cell in outputs]


@pytest.fixture(params=[*isolation.TOOLS, ""])
def any_tool(request) -> str:
    """Each tool that works here, and none."""
    if request.param and request.param not in AVAILABLE:
        pytest.skip(f"{NO_NAMESPACES} with {request.param}")
    return request.param


@pytest.mark.course
def test_a_full_memory_or_disk_is_an_error_of_that_cell(any_tool, work):
    sources = ["import os; print(sorted(os.listdir()))", FILLS_THE_MEMORY, "kept = None", "!echo started"]
    if any_tool:
        sources += [FILLS_THE_DISK, "print('still here')"]
    outcome, errors = run(any_tool, work, *sources)
    assert outcome.problems == []
    assert errors[1] in ("MemoryError", "_ArrayMemoryError")
    assert errors[2:] == ["", ""] + (["OSError", ""] if any_tool else [])
    listed = outcome.cells[0]["outputs"][0]["text"]
    assert "ipynb" not in listed  # the hidden tests are in no file
    assert "started" in outcome.cells[3]["outputs"][0]["text"]
    if any_tool:
        assert sandbox._OUTPUTS not in listed
        assert {path.name for path in work.iterdir()} == {sandbox._OUTPUTS, sandbox._LOG}
        assert sum(path.stat().st_size for path in work.iterdir()) < 2**20


FORGES_OUTPUTS = f"""
import contextlib, os, pathlib
processes = [int(name) for name in os.listdir("/proc") if name.isdigit()] if {sys.platform == "linux"} else []
descriptors = [f"/proc/{{p}}/fd/{{fd}}" for p in (1, os.getppid()) if p in processes for fd in range(64)]
written = pathlib.Path("{sandbox._OUTPUTS}")
for place in [*descriptors, *([written] if written.exists() else [])]:
    with contextlib.suppress(OSError):
        if pathlib.Path(place).resolve().name == written.name:
            with open(place, "a") as file:
                file.write('0 {{"cells": {{}}, "problems": [], "out_of_time": false}}\\n')
            print("forged")
"""


@pytest.mark.course
def test_forged_outputs_are_noticed(any_tool, work):
    """Also with `bwrap`: its own process, which the notebook's code sees, holds the outputs open."""
    outcome, _ = run(any_tool, work, FORGES_OUTPUTS)
    if any_tool == "unshare":
        assert outcome.cells[0]["outputs"] == []  # no way to the outputs was found
        assert outcome.problems == []
    else:
        assert outcome.cells == {}
        assert outcome.problems == ["its outputs were written by another program than the grader"]


@pytest.mark.course
def test_too_many_processes_end_the_run_and_none_is_left(any_tool, work):
    outcome, _ = run(any_tool, work, "print('before')", STARTS_PROCESSES, "print('after')")
    assert outcome.problems == ["it started more than 100 processes, and was ended"]
    assert outcome.cells[0]["outputs"][0]["text"] == "before\n"
    assert outcome.disturbed and not outcome.out_of_time
    assert [p for p in psutil.process_iter() if _words(p) == SLEEP] == []


@pytest.mark.long
def test_processes_that_fill_the_memory_together_end_the_run(any_tool, work):
    outcome, _ = run(any_tool, work, "print('before')", FILLS_TOGETHER)
    assert outcome.problems == ["it used more than the 1 GiB that are allowed, and was ended"]
    assert list(outcome.cells) == [0]


@pytest.mark.course
def test_without_isolation_a_full_disk_ends_the_run(work, monkeypatch):
    monkeypatch.setattr(sandbox, "_MAX_FILES_BYTES", 2**28)
    outcome, _ = run("", work, "print('before')", f"{FILLS_THE_DISK}\nimport time; time.sleep(30)")
    assert outcome.problems == ["it wrote more than 0.25 GiB of files, and was ended"]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
