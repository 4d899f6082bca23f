"""Every fault that is tried leaves a row: what was done, what had to happen, what was seen, and for how long."""

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

from mnist_helpers import results
from mnist_helpers.kit import faults_report

ROWS = pytest.StashKey[list]()


@dataclass
class Row:
    """What became of one fault."""

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
        row = Row(group, what, expected)
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


def pytest_runtest_logreport(report):
    if report.skipped and "faults" in report.nodeid:
        NOT_TRIED.append(f"{report.nodeid.split('::')[-1]}: {report.longrepr[2].removeprefix('Skipped: ')}")


NOT_TRIED: list[str] = []


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


def pytest_sessionfinish(session):
    path = session.config.getoption("--faults")
    if path and (rows := session.config.stash.get(ROWS, [])):
        content = faults_report.content([asdict(row) for row in rows], NOT_TRIED)
        results.write_json(Path(path), content)
        print(f"\nfaults: {content['summary']}")
