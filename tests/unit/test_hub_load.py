"""The record of many users of a hub: its numbers, table, picture and page. Nothing is started."""

import json

import psutil
import pytest
from click.testing import CliRunner

from tests.hub import hub as hubs
from tests.hub import load

USERS = [
    {"training_seconds": 10.0, "lesson_seconds": 20.0, "memory_bytes": 8e8},
    {"training_seconds": 14.0, "lesson_seconds": 26.0, "memory_bytes": 9e8},
]


@pytest.fixture
def measured(monkeypatch):
    """Lets every user take ten seconds longer than the one before; returns what was asked for."""
    asked = []

    def measure(count, parameters, *, cores, data_dir):
        asked.append((count, parameters["epochs"], parameters["dataset"], cores))
        return [USERS[0] | {"training_seconds": 10.0 * (n + 1)} for n in range(count)]

    monkeypatch.setattr(load, "measure", measure)
    monkeypatch.setattr(hubs, "missing", lambda: "")
    monkeypatch.setattr(hubs, "has_accounts", lambda: False)
    return asked


def run(folder, *options):
    return CliRunner().invoke(load.main, ["--into", str(folder), *options])


def test_the_summary_of_a_class():
    assert load.summary(USERS) == {
        "users": 2,
        "median_seconds": 12.0,
        "low": 10.0,
        "high": 14.0,
        "lesson_seconds": 23.0,
        "memory_bytes": 9e8,
    }


def test_the_record_the_picture_and_the_page(measured, tmp_path):
    done = run(tmp_path / "new", "--users", "3,1", "--cores", "1")
    assert done.exit_code == 0, done.output
    assert measured == [(1, 3, "digits", 1), (3, 3, "digits", 1)]
    record = json.loads((tmp_path / "new" / "hub-load.json").read_text())
    assert [(point["users"], point["median_seconds"]) for point in record["points"]] == [(1, 10.0), (3, 20.0)]
    assert record["left_out"] == []
    assert "20.0 s with 3 at once: 2.0 times as long" in done.output
    page = (tmp_path / "new" / "hub-load.md").read_text()
    assert "10.0 to 30.0 s" in page
    assert "800 MB" in page
    assert (tmp_path / "new" / "hub-load.png").stat().st_size > 1000


def test_what_does_not_fit_the_memory_is_left_out_and_said(measured, tmp_path, monkeypatch):
    free = psutil.virtual_memory()._replace(available=5 * 10**9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    done = run(tmp_path, "--users", "2,5,8")
    assert done.exit_code == 0
    assert [count for count, *_ in measured] == [2, 5]  # measured: 0.8 GB each
    assert json.loads((tmp_path / "hub-load.json").read_text())["left_out"] == [8]
    assert "8 users: left out, 6.4 GB are needed, 5.0 GB are free" in done.output
    assert "the memory was too small: 8 users" in (tmp_path / "hub-load.md").read_text()
    free = free._replace(available=10**9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    assert run(tmp_path, "--users", "1").exit_code == 1


@pytest.mark.parametrize("users", ["0", "1,,2", "two", "-1"])
def test_numbers_of_users_are_checked(measured, tmp_path, users):
    done = run(tmp_path, f"--users={users}")
    assert done.exit_code == 2
    assert "whole numbers from 1" in done.output
    assert measured == []


def test_mnist_needs_its_folder(measured, tmp_path):
    done = run(tmp_path, "--dataset", "mnist")
    assert (done.exit_code, measured) == (2, [])
    assert "MNIST_DATA_DIR" in done.output
