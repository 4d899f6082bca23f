"""Kernels, runs and studies take the cores that they may use, not those that they see."""

import json
import os
import subprocess
import sys
from pathlib import Path

import joblib
import pytest

from mnist_course import cores
from mnist_course.run import lesson_process, study
from mnist_course.run.settings import Limits

CONFIG = Path(cores.__file__).with_name("jupyter") / "ipython_kernel_config.py"
LIMITS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
needs_cores = pytest.mark.skipif(joblib.cpu_count() < 2, reason="with one core there is nothing to limit")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """An environment of the test's own, without limits; what the test sets is gone after it."""
    kept = {name: value for name, value in os.environ.items() if name not in LIMITS}
    monkeypatch.setattr(os, "environ", kept)
    return kept


def limits(environment):
    return [environment.get(name) for name in LIMITS]


@pytest.mark.parametrize(
    ("seen", "usable", "before", "expected"),
    [
        (64, 2, {}, ["2", "2", "2"]),
        (2, 1, {}, ["1", "1", "1"]),
        (4, 4, {}, [None, None, None]),
        (None, 1, {}, [None, None, None]),
        (64, 2, {LIMITS[0]: "5"}, ["5", "2", "2"]),
        (64, 2, {LIMITS[2]: "5"}, ["2", "2", "5"]),
        (64, 2, dict.fromkeys(LIMITS, "7"), ["7", "7", "7"]),
    ],
)
def test_a_quota_limits_threads_and_a_limit_that_was_set_stays(
    environment, monkeypatch, seen, usable, before, expected
):
    pools = []
    monkeypatch.setattr(os, "cpu_count", lambda: seen)
    monkeypatch.setattr(joblib, "cpu_count", lambda: usable)
    monkeypatch.setattr("threadpoolctl.threadpool_limits", pools.append)
    environment.update(before)
    cores.limit_threads_to_quota()
    assert limits(environment) == expected
    changed_openmp = expected[2] != before.get(LIMITS[2])
    assert pools == ([usable] if changed_openmp else [])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "max 100000"}, 64),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ({}, 64),
    ],
)
def test_the_quota_of_a_container_is_read(monkeypatch, tmp_path, files, expected):
    """The files of both versions of Linux' control groups, read by joblib's own code."""
    from joblib.externals.loky.backend import context

    def here(path):
        return tmp_path / Path(path).relative_to("/sys/fs/cgroup")

    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(context, "open", lambda path: here(path).open(), raising=False)
    monkeypatch.setattr(os.path, "exists", lambda path: here(path).is_file())
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(context, "_cpu_count_affinity", lambda seen: seen)
    found = cores.usable_cores()
    monkeypatch.undo()
    assert found == expected


def test_a_count_that_is_none_is_refused_in_words(environment):
    environment["LOKY_MAX_CPU_COUNT"] = "many"
    with pytest.raises(ValueError, match=r"LOKY_MAX_CPU_COUNT.*whole number.*'many'"):
        cores.usable_cores()


def test_a_run_without_a_limit_keeps_to_the_quota_and_a_limit_wins(environment, monkeypatch, tmp_path):
    monkeypatch.setattr("papermill.execute_notebook", lambda *arguments, **options: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    monkeypatch.setattr("threadpoolctl.threadpool_limits", lambda cores: None)
    lesson_process.execute_notebook("02_baseline", tmp_path / "out.ipynb", {}, Limits())
    assert limits(environment) == ["2", "2", "2"]
    lesson_process.execute_notebook("02_baseline", tmp_path / "out.ipynb", {}, Limits(threads=3))
    assert limits(environment) == ["3", "3", "3"]


def test_a_study_starts_as_many_runs_as_there_are_usable_cores(monkeypatch, tmp_path):
    def stand_in(scheduler, workers):
        raise InterruptedError(f"{workers} workers")

    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    monkeypatch.setattr(study, "client", stand_in)
    spec = study.check_spec(
        seeds="1-9",
        profile="quick",
        dataset="digits",
        params=[],
        only=["02"],
        search_from="",
        results_dir=tmp_path,
    )
    with pytest.raises(InterruptedError, match="3 workers"):
        study.run_study("s", spec, results_dir=tmp_path)


# --- the file that every kernel reads ---

_IN_KERNEL = """
import json, os, sys
from pathlib import Path
from types import SimpleNamespace
c = SimpleNamespace(IPKernelApp=SimpleNamespace())
exec(Path(sys.argv[1]).read_text())
import numpy, threadpoolctl
pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
print(json.dumps([os.environ.get("OMP_NUM_THREADS"), max(pools), c.IPKernelApp.capture_fd_output]))
"""


def in_kernel(**environment):
    done = subprocess.run(
        [sys.executable, "-c", _IN_KERNEL, str(CONFIG)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


@needs_cores
def test_numpy_too_keeps_to_the_quota_in_a_kernel():
    assert in_kernel(LOKY_MAX_CPU_COUNT="1") == ["1", 1, False]


@needs_cores
def test_whatever_goes_wrong_a_kernel_starts():
    assert in_kernel(LOKY_MAX_CPU_COUNT="many") == [None, joblib.cpu_count(), False]


def test_the_installed_copy_is_this_one():
    """Pip copies the file; after a change of it, `pip install -e .` copies it again."""
    installed = Path(sys.prefix) / "etc" / "ipython" / CONFIG.name
    assert installed.read_text() == CONFIG.read_text()
