"""Damaged and failed trials of real searches on the smallest networks: set aside, and the search goes on."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import keras
import pytest

from mnist_helpers import tuning
from tests.unit.test_tuning import build_failing_model, searched

pytestmark = [
    # Keras Tuner and TensorFlow, not ours: a deprecated NumPy call, and a file left to the garbage collector.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def build_wide_model(hp):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(hp.Int("units", 2, 60))])
    model.add(keras.layers.Dense(2, activation="softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def _cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def _search(folder: Path):
    return searched(tuning.search_folder(folder, folder), build_wide_model, lines=True, max_trials=4)


@pytest.fixture(scope="module")
def _finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    _search(folder)
    return folder


@pytest.fixture
def scores(_finished, tmp_path, capsys):
    """A finished search of four trials in `tmp_path`; its scores."""
    shutil.copytree(_finished, tmp_path, dirs_exist_ok=True)
    trials = (tmp_path / tuning.SEARCHES).glob("random-*/trial_*/trial.json")
    return [json.loads(path.read_text())["score"] for path in sorted(trials)]


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
@pytest.mark.parametrize(
    ("file", "trained_again"),
    [("trial_0/trial.json", 1), ("trial_2/trial.json", 1), ("oracle.json", 1), ("tuner0.json", 0)],
)
def test_a_damaged_file(fault, tmp_path, capsys, scores, file, share, trained_again):
    with fault("search", f"{file} cut at {share:.0%}", "set aside, said; the search goes on") as row:
        path = next((tmp_path / tuning.SEARCHES).glob(f"random-*/{file}"))
        _cut(path, share)
        after = tuning.completed_trials(_search(tmp_path))
        printed = capsys.readouterr().out
        assert len(re.findall("^trial ", printed, re.M)) == trained_again
        assert after["trial"].tolist() == [1, 2, 3, 4]
        assert after["units"].is_unique
        kept = len(set(scores) & set(after["score"]))
        assert kept == (3 if file.startswith("trial_") else 4)
        row.seen = f"{kept} of 4 trials kept, {trained_again} tried anew or again"
        if file != "tuner0.json":  # it holds nothing
            assert "the search goes on" in printed
            assert list((tmp_path / tuning.SEARCHES / tuning.QUARANTINE).glob(f"*{path.parent.name}*"))


def test_a_lost_state(fault, tmp_path, capsys, scores):
    with fault(
        "search", "the state of a search and its copy cut in half", "set aside, said; it begins anew"
    ) as row:
        for path in (tmp_path / tuning.SEARCHES).rglob("oracle*.json"):
            _cut(path, 0.5)
        assert tuning.completed_trials(_search(tmp_path))["score"].tolist() == scores
        printed = capsys.readouterr().out
        assert printed.count("set_aside") == 5
        assert "trial  4 of 4" in printed
        row.seen = "the same four scores again"


@pytest.mark.usefixtures("scores")
def test_an_intact_search_is_left_alone(tmp_path, capsys):
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    tuning.search_folder(tmp_path, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == files
    assert capsys.readouterr().out == ""


def test_a_failed_trial(fault, tmp_path, capsys):
    with fault("search", "a trial that failed, as on a full disk", "set aside; another is tried") as row:
        folder = tuning.search_folder(tmp_path, tmp_path)
        searched(folder, build_failing_model)
        assert tuning.search_folder(tmp_path, tmp_path) == folder  # Keras Tuner would keep it for ever
        assert "was damaged or not complete" in capsys.readouterr().out
        assert len(list(folder.glob("random-*/trial_*"))) == 1
        row.seen = "set aside"
