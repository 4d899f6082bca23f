"""Keras Tuner's chief and workers, with the very script that the documentation shows."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "studies.md"


@pytest.mark.full
@pytest.mark.course
def test_a_chief_and_two_workers_share_one_search(tmp_path):
    (script,) = re.findall(r"```python\n(# search\.py\n.*?)```", DOCUMENT.read_text(), re.S)
    (tmp_path / "search.py").write_text(script)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = os.environ | {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
    processes = {
        name: subprocess.Popen(
            [sys.executable, "search.py"],
            cwd=tmp_path,
            env=shared | {"KERASTUNER_TUNER_ID": name},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in ("chief", "worker0", "worker1")
    }
    said = {name: process.communicate(timeout=240)[0] for name, process in processes.items()}
    assert [process.returncode for process in processes.values()] == [0, 0, 0], said
    trials = [
        json.loads(path.read_text()) for path in (tmp_path / "search" / "shared").glob("trial_*/trial.json")
    ]
    assert len(trials) == 6
    assert {trial["status"] for trial in trials} == {"COMPLETED"}
    oracle = json.loads((tmp_path / "search" / "shared" / "oracle.json").read_text())
    assert len(oracle["start_order"]) == 6
