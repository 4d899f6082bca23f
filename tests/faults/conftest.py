"""Every fault that is tried leaves a row: what was done, what had to happen, what was seen, and for how long.

A test that tries faults asks for the fixture `fault`. The names of these tests, collected without running them, are
compared with the committed table, so that a fault that was added or deleted since is noticed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from mnist_helpers import _files
from tests.faults import report

ROWS = pytest.StashKey[list]()
NOT_TRIED = pytest.StashKey[dict]()
DECLARED = pytest.StashKey[set]()


@dataclass
class Row:
    """What became of one fault; `test` is the name of the test, with its parameters."""

    test: str
    group: str
    what: str
    expected: str
    seen: str = ""
    seconds: float = 0.0
    survived: bool = False


@pytest.fixture
def fault(request):
    """`with fault(group, what, expected) as row`: keeps a row of the fault, whether it was survived or not."""

    @contextlib.contextmanager
    def kept(group: str, what: str, expected: str) -> Iterator[Row]:
        row = Row(request.node.name, group, what, expected)
        request.config.stash.setdefault(ROWS, []).append(row)
        started = time.perf_counter()
        try:
            yield row
            row.survived = True
        except BaseException as error:
            row.seen = f"LOST: {type(error).__name__}: {error}".splitlines()[0]
            raise
        finally:
            row.seconds = time.perf_counter() - started

    return kept


@pytest.hookimpl(tryfirst=True)  # before the options -m and -k leave tests out
def pytest_collection_modifyitems(config, items):
    config.stash[DECLARED] = {item.name for item in items if "fault" in getattr(item, "fixturenames", ())}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    if outcome.skipped and "fault" in item.fixturenames:
        reason = outcome.longrepr[2].removeprefix("Skipped: ")
        item.config.stash.setdefault(NOT_TRIED, {})[item.name] = reason
    return outcome


@pytest.fixture
def declared(request) -> set[str]:
    """The tests of this folder that try faults; a test that asks for them skips where not all were collected."""
    folder = Path(__file__).parent
    start = request.config.invocation_params.dir
    if not any(folder.is_relative_to((start / argument).resolve()) for argument in request.config.args):
        pytest.skip("only a part of the tests in tests/faults was collected: run pytest tests/faults")
    return request.config.stash[DECLARED]


@pytest.fixture
def read_only():
    """Makes a folder read-only; returns the beginning of a command to which it is so.

    A mode does not stop an administrator, so for one it is a read-only mount, which only that command sees.
    """
    changed = []

    def make(folder: Path) -> list[str]:
        if os.geteuid():
            changed.append(folder)
            folder.chmod(0o555)
            return []
        mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", mount, str(folder)]
        if not shutil.which("unshare") or subprocess.run([*command, "true"], capture_output=True).returncode:
            pytest.skip("an administrator who may not mount: no folder is read-only to this process")
        return command

    yield make
    for folder in changed:
        folder.chmod(0o755)


class SmallDisk:
    """A file system of its own, of some MB.

    Attributes:
        folder: where a command sees it that begins with `inside`.
        inside: the beginning of such a command.
        seen: where this process sees it.
    """

    def __init__(self, folder: Path, megabytes: int):
        folder.mkdir()
        mount = 'mount -t tmpfs -o size="$1"m tmpfs "$0" && echo mounted && exec sleep 3600'
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", mount, str(folder), str(megabytes)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.mounted = self._holder.stdout.readline() == "mounted\n"
        self.folder, self.inside = folder, ["nsenter", "-t", str(self._holder.pid), "--mount", "--wd=."]
        self.seen = Path(f"/proc/{self._holder.pid}/root{folder}")

    def fill(self, left_kib: int) -> None:
        """Leaves so much space, in KiB."""
        free = shutil.disk_usage(self.seen).free
        (self.seen / "filler").write_bytes(bytes(max(0, free - left_kib * 1024)))

    def make_space(self) -> None:
        (self.seen / "filler").unlink()

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


@pytest.fixture
def small_disk(tmp_path):
    """Makes a file system that can be filled; whoever may not mount one skips."""
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        pytest.skip("no small file system can be mounted here")
    disks = []

    def make(megabytes: int = 200) -> SmallDisk:
        disks.append(SmallDisk(tmp_path / f"disk-{len(disks)}", megabytes))
        if not disks[-1].mounted:
            pytest.skip("no small file system can be mounted by this user")
        return disks[-1]

    yield make
    for disk in disks:
        disk.close()


def pytest_sessionfinish(session):
    path = session.config.getoption("--faults")
    if path and (rows := session.config.stash.get(ROWS, [])):
        content = report.content([asdict(row) for row in rows], session.config.stash.get(NOT_TRIED, {}))
        _files.write_json(Path(path), content)
        print(f"\nfaults: {content['summary']}, {report.write(Path(path))}")
