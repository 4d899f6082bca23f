"""Real searches on the smallest possible networks."""

import json
import re
import shutil

import keras
import keras_tuner
import numpy as np
import pytest

from mnist_helpers import tuning

pytestmark = [
    # Keras Tuner and TensorFlow, not ours: a deprecated NumPy call, and a file left to the garbage collector.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
X, Y = np.random.default_rng(1).random((32, 4), np.float32), np.arange(32) % 2


def build_model(hp):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(hp.Choice("units", [2, 3, 4]))])
    model.add(keras.layers.Dense(2, activation="softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def build_other_model(hp):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(hp.Choice("units", [2, 3, 5]))])
    model.add(keras.layers.Dense(2, activation="softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def build_failing_model(hp):
    if hp.Choice("units", [2, 3]) == 3:
        raise ValueError("three is too many")
    return build_model(hp)


def searched(tmp_path, build, lines=False, max_trials=2):
    tuner = keras_tuner.RandomSearch(
        build,
        objective="val_loss",
        max_trials=max_trials,
        seed=1,
        directory=tmp_path,
        project_name=tuning.project_name("random", build, max_trials=max_trials),
    )
    tuner.search(
        X,
        Y,
        validation_data=(X, Y),
        epochs=1,
        verbose=0,
        callbacks=[tuning.TrialLines(tuner)] if lines else [],
    )
    return tuner


def test_another_question_has_another_name():
    names = {
        tuning.project_name("search", build_model, seed=1),
        tuning.project_name("search", build_other_model, seed=1),
        tuning.project_name("search", build_model, seed=2),
        tuning.project_name("other", build_model, seed=1),
    }
    assert len(names) == 4
    assert tuning.project_name("search", build_model, seed=1) in names


def test_trials_are_listed_printed_and_resumed(tmp_path, capsys):
    tuner = searched(tmp_path, build_model, lines=True)
    lines = capsys.readouterr().out.splitlines()
    table = tuning.completed_trials(tuner)
    assert [line.split(":")[0] for line in lines] == ["trial  1 of 2", "trial  2 of 2"]
    assert table["trial"].tolist() == [1, 2]
    assert set(table["units"]) <= {2, 3, 4}
    for line, score in zip(lines, table["score"], strict=True):
        assert f"val_loss {score:.4f}" in line
    again = searched(tmp_path, build_model, lines=True)
    assert "trial " not in capsys.readouterr().out  # nothing was trained anew
    assert tuning.completed_trials(again)["score"].tolist() == table["score"].tolist()


def test_an_edited_search_space_starts_a_new_search(tmp_path, capsys):
    searched(tmp_path, build_model)
    searched(tmp_path, build_other_model, lines=True)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_checkpoints_go_and_scores_stay(tmp_path):
    tuner = searched(tmp_path, build_model)
    assert list(tmp_path.rglob("checkpoint*"))
    tuning.delete_checkpoints(tuner)
    assert not list(tmp_path.rglob("checkpoint*"))
    assert len(list(tmp_path.rglob("trial.json"))) == 2
    assert len(tuning.completed_trials(searched(tmp_path, build_model))) == 2


def test_a_failed_trial_is_not_swallowed(tmp_path, capsys):
    tuner = searched(tmp_path, build_failing_model)
    with pytest.raises(RuntimeError, match=r"1 of 2 trials did not complete.*three is too many"):
        tuning.completed_trials(tuner)


def test_a_run_gets_its_own_copy_of_the_search_that_it_uses_again(tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    folder = tuning.search_folder(first, first)
    assert not folder.exists()
    table = tuning.completed_trials(searched(folder, build_model))
    copy = tuning.search_folder(second, first)
    assert copy != folder
    capsys.readouterr()
    again = searched(copy, build_model, lines=True)
    assert "trial " not in capsys.readouterr().out  # nothing was trained anew
    assert tuning.completed_trials(again)["score"].tolist() == table["score"].tolist()


def test_a_run_without_searches_cannot_lend_them(tmp_path):
    with pytest.raises(ValueError, match="run 'first' has no searches"):
        tuning.search_folder(tmp_path / "second", tmp_path / "first")


# --- damaged searches ---


def _cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def _search(tmp_path):
    return searched(tuning.search_folder(tmp_path, tmp_path), build_wide_model, lines=True, max_trials=4)


def build_wide_model(hp):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(hp.Int("units", 2, 60))])
    model.add(keras.layers.Dense(2, activation="softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


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
def test_a_search_goes_on_without_its_damaged_files(tmp_path, capsys, scores, file, share, trained_again):
    path = next((tmp_path / tuning.SEARCHES).glob(f"random-*/{file}"))
    _cut(path, share)
    after = tuning.completed_trials(_search(tmp_path))
    printed = capsys.readouterr().out
    assert len(re.findall("^trial ", printed, re.M)) == trained_again
    assert after["trial"].tolist() == [1, 2, 3, 4]
    assert after["units"].is_unique
    lost = file.startswith("trial_")
    assert len(set(scores) & set(after["score"])) == (3 if lost else 4)
    if file != "tuner0.json":  # it holds nothing
        assert "the search goes on" in printed
        assert list((tmp_path / tuning.SEARCHES / tuning.SET_ASIDE).glob(f"*{path.parent.name}*"))


def test_a_search_without_its_state_begins_anew_and_says_so(tmp_path, capsys, scores):
    for path in (tmp_path / tuning.SEARCHES).rglob("oracle*.json"):
        _cut(path, 0.5)
    assert tuning.completed_trials(_search(tmp_path))["score"].tolist() == scores
    printed = capsys.readouterr().out
    assert printed.count("set_aside") == 5
    assert "trial  4 of 4" in printed


@pytest.mark.usefixtures("scores")
def test_an_intact_search_is_left_alone(tmp_path, capsys):
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    tuning.search_folder(tmp_path, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == files
    assert capsys.readouterr().out == ""


def test_failed_trials_are_set_aside_and_others_tried(tmp_path, capsys):
    """As after a full disk: Keras Tuner would keep them as failed for ever."""
    folder = tuning.search_folder(tmp_path, tmp_path)
    searched(folder, build_failing_model)
    assert tuning.search_folder(tmp_path, tmp_path) == folder
    assert "was damaged or not complete" in capsys.readouterr().out
    assert len(list(folder.glob("random-*/trial_*"))) == 1
