"""Real searches on the smallest possible networks."""

import itertools

import keras
import keras_tuner
import numpy as np
import pytest

from mnist_helpers import tuning
from mnist_helpers._errors import UserError
from tests.unit.searched import FINALS, TABLES, searched_run

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


def build_diverging_model(hp):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
    model.compile(keras.optimizers.SGD(hp.Choice("rate", [float("nan")])), "sparse_categorical_crossentropy")
    return model


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
        callbacks=[tuning.TrialLogger(tuner)] if lines else [],
    )
    return tuner


def test_another_question_has_another_name():
    names = {
        tuning.project_name("search", build_model, seed=1),
        tuning.project_name("search", build_other_model, seed=1),
        tuning.project_name("search", build_model, seed=2),
        tuning.project_name("other", build_model, seed=1),
        tuning.project_name("search", build_model, build_other_model, seed=1),
        tuning.project_name("search", build_model, build_failing_model, seed=1),
    }
    assert len(names) == 6
    assert tuning.project_name("search", build_model, seed=1) in names


@pytest.mark.course
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


@pytest.mark.course
def test_an_edited_search_space_starts_a_new_search(tmp_path, capsys):
    searched(tmp_path, build_model)
    searched(tmp_path, build_other_model, lines=True)
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.course
def test_checkpoints_go_and_scores_stay(tmp_path):
    tuner = searched(tmp_path, build_model)
    assert list(tmp_path.rglob("checkpoint*"))
    tuning.delete_checkpoints(tuner)
    assert not list(tmp_path.rglob("checkpoint*"))
    assert len(list(tmp_path.rglob("trial.json"))) == 2
    assert len(tuning.completed_trials(searched(tmp_path, build_model))) == 2


@pytest.mark.course
def test_a_failed_trial_is_not_swallowed(tmp_path, capsys):
    tuner = searched(tmp_path, build_failing_model)
    with pytest.raises(UserError, match=r"1 of 2 trials did not complete.*three is too many"):
        tuning.completed_trials(tuner)


@pytest.mark.course
def test_a_loss_that_is_not_a_number_ends_the_search_with_a_message(tmp_path, capsys):
    """R12"""
    with pytest.raises(
        UserError, match=r"Trial 1 has no score\. Expected: a number as val_loss.*'rate': nan.*Narrow"
    ):
        searched(tmp_path, build_diverging_model, lines=True)
    with pytest.raises(UserError, match="Trial 1 has no score"):  # again, without a word of a damaged search
        searched(tuning.search_folder(tmp_path), build_diverging_model, lines=True)
    assert "set_aside" not in capsys.readouterr().out


@pytest.mark.course
def test_a_search_space_smaller_than_the_number_of_trials_is_counted(tmp_path, capsys):
    """R12: three configurations, five trials."""
    table = tuning.completed_trials(searched(tmp_path, build_model, lines=True, max_trials=5))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"trial  {number} of 3" for number in (1, 2, 3)]
    assert sorted(table["units"]) == [2, 3, 4]


def space(*define):
    hp = keras_tuner.HyperParameters()
    for function in define:
        function(hp)
    return hp.space


def conditional(hp):
    hp.Boolean("deep")
    with hp.conditional_scope("deep", [True]):
        hp.Choice("layers", [2, 3, 4])


@pytest.mark.parametrize(
    ("define", "count"),
    [
        ([], 1),
        ([lambda hp: hp.Choice("a", [1, 2])], 2),
        ([lambda hp: hp.Fixed("a", 1)], 1),
        ([lambda hp: hp.Int("a", 1, 4), lambda hp: hp.Boolean("b")], 8),
        ([lambda hp: hp.Float("a", 0, 0.4, step=0.1)], 5),
        ([lambda hp: hp.Float("a", 0, 1), lambda hp: hp.Choice("b", [1, 2])], 50),
        ([lambda hp: hp.Choice("b", [1, 2]), lambda hp: hp.Float("a", 1e-3, 1, sampling="log")], 50),
        ([lambda hp: hp.Int("a", 32, 512, sampling="log", step=2)], 5),
        ([conditional], 4),
    ],
)
def test_configurations_of_a_search_space_are_counted(define, count):
    assert len(list(itertools.islice(tuning._configurations({}, space(*define)), 50))) == count


class Scripted(keras.callbacks.Callback):
    """Sets the validation loss of each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = [0.5, 0.1, 0.3][epoch]


@pytest.mark.course
@pytest.mark.parametrize(("last_only", "score"), [(True, 0.3), (False, 0.1)])
def test_a_trial_is_scored_by_its_last_epoch(tmp_path, capsys, last_only, score):
    tuner = keras_tuner.RandomSearch(
        build_model, objective="val_loss", max_trials=2, seed=1, directory=tmp_path, project_name="random"
    )
    callbacks = [Scripted(), *[tuning.LastEpoch()] * last_only, tuning.TrialLogger(tuner)]
    tuner.search(X, Y, validation_data=(X, Y), epochs=3, verbose=0, callbacks=callbacks)
    assert tuning.completed_trials(tuner)["score"].tolist() == [score, score]
    assert capsys.readouterr().out.count("val_loss 0.3000") == 2


def test_trials_of_another_run_come_from_its_record(tmp_path):
    """No search folder is there: it is not committed, and need not be."""
    searched_run(tmp_path / "study" / "first")
    trials, finals, default_score = tuning.earlier_search("study/first", str(tmp_path))
    assert {name: table.to_dict(orient="list") for name, table in trials.items()} == TABLES
    assert (finals, default_score) == (FINALS, 0.3)


def test_without_another_run_there_is_nothing_to_reuse(tmp_path):
    trials, finals, default_score = tuning.earlier_search("", str(tmp_path))
    assert (trials, finals) == ({}, [])
    assert np.isnan(default_score)


@pytest.mark.parametrize(
    "changes",
    [
        {"finals": []},
        {"finals": [{"place": 0, "seed": 2, "again": 0.31}]},
        {"finals": None},
        {"search": {"random": TABLES["random"]}},
        {"search": None},
        {"default_score": None},
    ],
)
def test_a_record_of_another_version_cannot_lend_its_search(tmp_path, changes):
    searched_run(tmp_path / "first", **changes)
    with pytest.raises(UserError, match="The record of run 'first' is of another version of lesson 4"):
        tuning.earlier_search("first", str(tmp_path))


def test_a_run_without_a_record_cannot_lend_its_search(tmp_path):
    with pytest.raises(UserError, match="Run 'first' has no record of lesson 04_tuning"):
        tuning.earlier_search("first", str(tmp_path))
