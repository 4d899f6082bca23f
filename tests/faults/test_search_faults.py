"""Damaged and failed searches on the smallest networks: each is set aside whole, and the search starts again."""

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
    return searched(tuning.search_folder(folder), build_wide_model, lines=True, max_trials=4)


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


def _set_aside(folder: Path) -> list[Path]:
    return sorted((folder / tuning.SEARCHES / tuning.QUARANTINE).glob("*"))


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
@pytest.mark.parametrize("file", ["trial_0/trial.json", "trial_2/trial.json", "oracle.json", "tuner0.json"])
@pytest.mark.usefixtures("scores")
def test_a_damaged_file(fault, tmp_path, capsys, file, share):
    with fault(
        "search", f"{file} cut at {share:.0%}", "set aside whole, printed; the search starts again"
    ) as row:
        path = next((tmp_path / tuning.SEARCHES).glob(f"random-*/{file}"))
        _cut(path, share)
        damaged = path.read_bytes()
        tuning.search_folder(tmp_path)
        printed = capsys.readouterr().out
        assert "is damaged or has a failed trial: moved to set_aside; the search starts again" in printed
        (search,) = _set_aside(tmp_path)
        assert (search / file).read_bytes() == damaged
        assert not path.parent.exists()
        row.seen = "set aside"


def test_a_search_that_starts_again_finds_the_same(fault, tmp_path, capsys, scores):
    with fault("search", "all files of a search cut in half", "set aside; it starts again") as row:
        for path in (tmp_path / tuning.SEARCHES).rglob("*.json"):
            _cut(path, 0.5)
        assert tuning.completed_trials(_search(tmp_path))["score"].tolist() == scores
        assert "trial  4 of 4" in capsys.readouterr().out
        row.seen = "the same four scores again"


def _edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("what", "damage"),
    [
        ("oracle.json is a list", lambda project: (project / "oracle.json").write_text("[]")),
        ("oracle.json is missing", lambda project: (project / "oracle.json").unlink()),
        ("a trial is missing", lambda project: shutil.rmtree(project / "trial_1")),
        (
            "a trial that the state does not know",
            lambda project: _edit(project / "oracle.json", start_order=["0"]),
        ),
        ("two trials of one number", lambda project: _edit(project / "trial_3/trial.json", trial_id="1")),
        (
            "a trial without its values",
            lambda project: _edit(project / "trial_3/trial.json", hyperparameters=None),
        ),
        ("a trial that failed", lambda project: _edit(project / "trial_2/trial.json", status="FAILED")),
    ],
)
def test_an_inconsistent_search(fault, tmp_path, capsys, scores, what, damage):
    with fault("search", what, "set aside whole, printed; the search starts again") as row:
        damage(next((tmp_path / tuning.SEARCHES).glob("random-*")))
        tuning.search_folder(tmp_path)
        assert "moved to set_aside" in capsys.readouterr().out
        assert len(_set_aside(tmp_path)) == 1
        assert not list((tmp_path / tuning.SEARCHES).glob("random-*"))
        row.seen = "set aside"


def test_a_search_that_is_damaged_twice(fault, tmp_path, capsys, scores):
    with fault("search", "another search damaged later", "both are kept aside") as row:
        first = next((tmp_path / tuning.SEARCHES).glob("random-*"))
        shutil.copytree(first, first.with_name("random-other"))
        for project in (first, first.with_name("random-other")):
            _cut(project / "oracle.json", 0.5)
            tuning.search_folder(tmp_path)
        assert [path.name[:2] for path in _set_aside(tmp_path)] == ["1-", "2-"]
        row.seen = "two searches aside"


@pytest.mark.usefixtures("scores")
def test_a_search_that_was_killed_in_a_trial_is_resumed(tmp_path, capsys):
    project = next((tmp_path / tuning.SEARCHES).glob("random-*"))
    state = json.loads((project / "oracle.json").read_text())
    _edit(project / "oracle.json", ongoing_trials={"tuner0": "3"}, end_order=state["end_order"][:3])
    _edit(project / "trial_3/trial.json", status="RUNNING", score=None)
    after = tuning.completed_trials(_search(tmp_path))
    printed = capsys.readouterr().out
    assert "set_aside" not in printed
    assert len(re.findall("^trial ", printed, re.M)) == 1
    assert len(after) == 4


def test_a_search_that_has_not_begun_is_left_alone(tmp_path, capsys):
    (tmp_path / tuning.SEARCHES / "bayesian-1").mkdir(parents=True)
    tuning.search_folder(tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("scores")
def test_an_intact_search_is_left_alone(tmp_path, capsys):
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    tuning.search_folder(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == files
    assert capsys.readouterr().out == ""


def test_a_failed_trial(fault, tmp_path, capsys):
    with fault(
        "search", "a trial that failed, as on a full disk", "set aside; the search starts again"
    ) as row:
        folder = tuning.search_folder(tmp_path)
        searched(folder, build_failing_model)
        assert tuning.search_folder(tmp_path) == folder  # Keras Tuner would keep it for ever
        assert "moved to set_aside" in capsys.readouterr().out
        assert not list(folder.glob("random-*"))
        row.seen = "set aside"
