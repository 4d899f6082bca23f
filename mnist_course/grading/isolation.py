"""Isolation of a process on Linux: what it sees of the system, with `bwrap` or with `unshare`.

Both tools use namespaces, which the kernel offers to ordinary accounts, and give a process the same view:

- The system is read-only. There is no network, and there are no other processes.
- These folders are empty: the folders to hide, `/tmp`, `/var/tmp`, `/run` (its sockets lead to services),
  the account's home, and the solutions and tests of a checkout of the course. Of these, only what Python and
  the course need remains, read-only.
- It can write to three places in memory, of a limited size: its work folder, `/tmp` and `/dev/shm`. What it writes
  there is lost when it ends.
- It has no privileges, cannot gain any, and cannot create namespaces of its own.
- It ends when the process that started it ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import site
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from mnist_helpers import _course

TOOLS = ("bwrap", "unshare")  # in the order in which they are tried
_PROGRAMS = {"bwrap": ("bwrap",), "unshare": ("unshare", "mount", "setpriv", "sh")}
WORK_BYTES = 512 * 2**20
_TMP_BYTES = 256 * 2**20
_EMPTY_BYTES = 2**20
_TRY_SECONDS = 60
_MAX_PROCESSES_SEEN = 10
_MOUNT_FLAGS = {"nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime"}
_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")

# Arguments: the work folder; options and place of each mount, --; the steps (see `_steps`), --; the command.
# The shell remains as process 1 of the namespace: when it ends, Linux kills all other processes there.
_ENTER = """
set -e
work=$1; shift
echo 0 >/proc/sys/user/max_user_namespaces
while [ "$1" != -- ]; do mount -n -o "$1" "$2" 2>/dev/null || [ "$2" != / ]; shift 2; done; shift
# Everything once more, at a place that is covered at the end: folders that are covered by then are shown from here.
mount -n -t tmpfs -o size=1m all "$work"
mkdir "$work/all"
mount -n --rbind / "$work/all"
cd "$work/all"
while [ "$1" != -- ]; do
  case $1 in
    empty) mkdir -p "$3"; mount -n -t tmpfs -o "size=$2,mode=755,nosuid,nodev" empty "$3" ;;
    show) mkdir -p "$3"; mount -n --no-canonicalize --rbind ".$3" "$3" ;;
    device) : >"$3"; mount -n --no-canonicalize --bind ".$3" "$3" ;;
    terminals) mkdir "$3"; mount -n -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$3" ;;
    link) ln -s "$2" "$3" ;;
    close) mount -n -o remount,ro "$3" ;;
  esac
  shift 3
done; shift
cd "$work"
setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@" || exit $?
"""


class Isolation(NamedTuple):
    """What this system offers.

    Attributes:
        tool: one of `TOOLS`, or empty if none works.
        explanation: a sentence for a person: which tool is used, or why none works and what to do about it.
    """

    tool: str
    explanation: str


def find() -> Isolation:
    """Tries the tools and returns the first that gives the view that this module describes."""
    if sys.platform != "linux":
        return Isolation("", "Isolation is available on Linux only. Grade there, or with a separate account.")
    problems = {}
    for tool in TOOLS:
        problems[tool] = problem_with(tool)
        if not problems[tool]:
            return Isolation(tool, f"Submissions run in isolation, with {tool}.")
    reasons = "; ".join(f"{tool}: {problem}" for tool, problem in problems.items())
    return Isolation("", f"There is no isolation on this system ({reasons}). {_cure()}")


def problem_with(tool: str) -> str:
    """Returns why a tool cannot be used; empty if it gives the view that this module describes."""
    missing = [program for program in _PROGRAMS[tool] if not shutil.which(program)]
    if missing:
        return f"{', '.join(missing)} is not installed"
    with tempfile.TemporaryDirectory(prefix="isolation-") as temporary:
        hidden = Path(temporary).resolve()
        work = hidden / "work"
        work.mkdir()
        look = [sys.executable, "-P", "-m", __name__, str(work), str(hidden)]
        try:
            tried = subprocess.run(
                [*command(tool, work, [hidden]), *look],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TRY_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    said = [line for line in tried.stderr.splitlines() if line.strip() and not line[0].isspace()]
    return (said[-1][:300] if said else f"exit status {tried.returncode}") if tried.returncode else ""


def _cure() -> str:
    with contextlib.suppress(OSError):
        if shutil.which("bwrap") and _APPARMOR.read_text().strip() == "1":
            return "Here AppArmor forbids it: add a profile for bwrap, as SECURITY.md shows."
    if not shutil.which("bwrap"):
        return "Install bubblewrap, for example with `sudo apt install bubblewrap`; on Ubuntu, see SECURITY.md too."
    return "Grade on another Linux system, or with a separate account."


def command(tool: str, work: Path, hidden: Sequence[Path]) -> list[str]:
    """Returns the command that isolates a process; the command of the process is appended to it.

    Args:
        tool: one of `TOOLS`.
        work: an existing folder, an absolute path without links. The process starts in an empty folder with this
            name; what it writes there is lost when it ends.
        hidden: folders to hide, absolute paths without links.
    """
    steps = list(_steps(work, hidden))
    return _bwrap(work, steps) if tool == "bwrap" else _unshare(work, steps)


def _steps(work: Path, hidden: Sequence[Path]) -> Iterator[tuple[str, str, str]]:
    """Yields how to change a read-only view of the whole system: kind of step, its argument, and the folder."""
    emptied = _private_folders()
    closed = [folder for folder in emptied if folder != Path("/tmp").resolve()]
    for folder in emptied:
        yield "empty", str(_EMPTY_BYTES if folder in closed else _TMP_BYTES), str(folder)
    for folder in _needed_folders():
        if any(folder.is_relative_to(of) for of in emptied):
            yield "show", "", str(folder)
    for folder in (*_answers(), *hidden):
        closed.append(folder)
        yield "empty", str(_EMPTY_BYTES), str(folder)
    yield "empty", str(WORK_BYTES), str(work)
    for folder in closed:
        yield "close", "", str(folder)


def _private_folders() -> list[Path]:
    """Returns folders with files of this account or of other programs, an outer folder before an inner one."""
    found = {Path(name).resolve() for name in ("/tmp", "/var/tmp", "/run") if Path(name).is_dir()}
    with contextlib.suppress(RuntimeError):  # no home
        home = Path.home().resolve()
        if home.is_dir() and home != Path(home.anchor):
            found.add(home)
    return sorted(found, key=lambda folder: len(folder.parts))


def _needed_folders() -> list[Path]:
    """Returns the folders of Python, its packages and the course."""
    folders = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, site.getusersitepackages()}
    found = {Path(folder) for folder in folders} | {_course.ROOT, Path(__file__).parents[1]}
    program = Path(sys.executable)
    found.add(program.parent)
    while program.is_symlink():  # each link on the way from an environment's Python to the program itself
        program = program.parent / program.readlink()
        found.add(program.parent)
    as_named = {folder.parent.resolve() / folder.name for folder in found}
    existing = {folder for folder in as_named | {folder.resolve() for folder in found} if folder.is_dir()}
    return sorted(existing, key=lambda folder: len(folder.parts))


def _answers() -> list[Path]:
    """Returns the folders of a checkout of the course that hold answers to exercises."""
    if not _course.IS_CHECKOUT:
        return []
    folders = (_course.NOTEBOOKS / "exercises", _course.ROOT / "tests", _course.ROOT / ".git")
    return [folder for folder in folders if folder.is_dir()]


def _bwrap(work: Path, steps: Sequence[tuple[str, str, str]]) -> list[str]:
    spaces = [f"--unshare-{space}" for space in ("user", "ipc", "pid", "net", "uts")]
    words = ["bwrap", *spaces, "--disable-userns", "--die-with-parent", "--cap-drop", "ALL"]
    words += ["--ro-bind", "/", "/", "--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev"]
    words += ["--size", str(_TMP_BYTES), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    for kind, argument, folder in steps:
        words += {
            "empty": ["--size", argument, "--tmpfs", folder],
            "show": ["--ro-bind", folder, folder],
            "close": ["--remount-ro", folder],
        }[kind]
    return [*words, "--chdir", str(work), "--"]


def _unshare(work: Path, steps: Sequence[tuple[str, str, str]]) -> list[str]:
    spaces = ("--user", "--map-root-user", "--mount", "--net", "--ipc", "--uts", "--pid", "--mount-proc")
    read_only = []
    for mount in psutil.disk_partitions(all=True):
        kept = _MOUNT_FLAGS.intersection(mount.opts.split(","))
        read_only += [",".join(["remount", "bind", "ro", *sorted(kept)]), mount.mountpoint]
    devices = [
        ("empty", str(_EMPTY_BYTES), "/dev"),
        *(("device", "", f"/dev/{name}") for name in ("null", "zero", "full", "random", "urandom", "tty")),
        ("terminals", "", "/dev/pts"),
        ("link", "pts/ptmx", "/dev/ptmx"),
        ("link", "/proc/self/fd", "/dev/fd"),
        *(("link", f"/proc/self/fd/{n}", f"/dev/std{name}") for n, name in enumerate(("in", "out", "err"))),
        ("empty", str(_TMP_BYTES), "/dev/shm"),
        ("close", "", "/dev"),
    ]
    words = [word for step in (*devices, *steps) for word in step]
    return [
        *("unshare", *spaces, "--fork", "--kill-child"),
        *("sh", "-c", _ENTER, "sh", str(work), *read_only, "--", *words, "--"),
    ]


def _look(work: Path, hidden: Sequence[Path]) -> list[str]:
    """Returns what is wrong with the view that this process has."""
    may_write = (work, Path("/tmp").resolve(), Path("/dev"))
    visible = {mount.mountpoint: mount.opts.split(",") for mount in psutil.disk_partitions(all=True)}
    wrong = [
        f"{place} can be written"
        for place, options in visible.items()
        if "ro" not in options and not any(Path(place).is_relative_to(folder) for folder in may_write)
    ]
    wrong += [f"{folder} is not empty" for folder in hidden if set(folder.iterdir()) - {work}]
    if any(name != "lo" for _, name in socket.if_nameindex()):
        wrong.append("there is a network")
    if len(psutil.pids()) > _MAX_PROCESSES_SEEN:
        wrong.append("other processes can be seen")
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    if int(status["CapEff"], 16) or status["NoNewPrivs"] != "1":
        wrong.append("there are privileges")
    if Path.cwd() != work or not os.access(work, os.W_OK):
        wrong.append("the work folder cannot be written")
    return wrong


if __name__ == "__main__":
    sys.exit("; ".join(_look(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])) or 0)
