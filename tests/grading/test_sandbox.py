"""The sandbox: its watch, its limits, what comes back from it, and what a program in it can see."""

from __future__ import annotations

import json
import subprocess
import threading
import time

import pytest

from mnist_course.grading import sandbox, sandbox_child
from tests.grading.tiny import tiny

# --- out of time: a field, which no wording decides ---


@pytest.mark.parametrize(("stopped", "seconds", "expected"), [(True, 60, False), (False, -60, True)])
def test_the_watch_says_whether_the_time_was_over(stopped, seconds, expected):
    stop = threading.Event()
    if stopped:
        stop.set()
    with subprocess.Popen(["sleep", "30"]) as process:
        problem, out_of_time = sandbox._watch(process, time.monotonic(), sandbox.Limits(seconds), stop)
        sandbox._kill(process)
    assert problem
    assert out_of_time == expected


@pytest.mark.parametrize(("name", "expected"), [(sandbox_child._TIME_LIMIT, True), ("KernelDied", False)])
def test_the_child_writes_whether_the_time_was_over(tmp_path, monkeypatch, name, expected):
    monkeypatch.chdir(tmp_path)
    run = sandbox_child._Run(tiny(), 30)
    assert run.leave_out(2, name, "has a problem")
    run.save()
    assert sandbox._collect(tmp_path) == ({}, ["cell 3 (double) has a problem"], expected)


@pytest.mark.parametrize("forged", ["yes", 1, None, [], {}])
def test_a_forged_field_is_not_taken_for_true(tmp_path, forged):
    content = {"cells": {}, "problems": ["it ran longer than the 30 s"], "out_of_time": forged}
    (tmp_path / sandbox.OUTPUTS).write_text(json.dumps(content))
    assert sandbox._collect(tmp_path)[2] is False
