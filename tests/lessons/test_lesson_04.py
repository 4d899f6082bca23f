"""Lesson 4: cells that compare and select, on made-up numbers; and what its text claims."""

import ast
import json
import re
import types
import warnings
from typing import ClassVar
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import yaml

from mnist_course import lessons
from mnist_helpers import _course, drawings, quiz, results, tuning
from tests.lessons.cells import run_cell

LESSON = "04_tuning"
CELLS = {
    cell["id"]: "".join(cell["source"])
    for cell in json.loads((lessons.NOTEBOOKS / f"{LESSON}.ipynb").read_text())["cells"]
}
DEFAULT = {"units": 512, "dropout_rate": 0.2, "learning_rate": 0.001}
QUIZ = yaml.safe_load((quiz.QUIZZES / f"{LESSON}.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def compared(monkeypatch):
    """What a cell says to `quiz.compare`."""
    outcomes = []
    monkeypatch.setattr(quiz, "compare", lambda guess, outcome: outcomes.append(outcome))
    return outcomes


def trial(number, score, **changes):
    return {"trial": number, **DEFAULT, **changes, "score": score}


# --- the budget ---


class Network:
    """Keeps how it was built and trained; its loss depends on the configuration, and rises after epoch 1."""

    made: ClassVar[list] = []

    def __init__(self, steps, weights_seed=1, **values):
        self.steps, self.values, self.weights_seed = steps, values, weights_seed
        Network.made.append(self)

    def fit(self, x, y, **options):
        self.trained = x, y, options
        loss = self.values["learning_rate"] + self.weights_seed / 1000
        history = {"val_loss": [loss - 0.5, loss], "val_accuracy": [0.5, 1 - loss], "loss": [0.3, 0.2]}
        return types.SimpleNamespace(history=history)


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(Network, "made", [])
    return Network.made


@pytest.mark.parametrize(
    ("num_search", "used", "steps"), [(20, 20, 6), (30, 25, 8), (25, 25, 8), (16, 16, 4)]
)
def test_a_score_is_the_last_epochs_loss_on_validation_images(capsys, made, num_search, used, steps):
    names = run_cell(
        LESSON,
        "default-trial",
        network=Network,
        default=DEFAULT,
        default_score=None,
        num_search=num_search,
        search_epochs=2,
        batch_size=8,
        seed=3,
        search_from="",
        x_train=np.arange(50),
        y_train=np.arange(50) + 1000,
        x_val="validation images",
        y_val="validation labels",
    )
    (network,) = made
    x, y, options = network.trained
    assert (x.tolist(), y.tolist()) == ([*range(used)], [*range(1000, 1000 + used)])
    assert options["validation_data"] == ("validation images", "validation labels")
    assert (options["epochs"], options["batch_size"], options["validation_freq"]) == (2, 8, 2)
    assert network.steps == names["few_steps"] == steps
    assert names["default_score"] == pytest.approx(0.004)  # not the better first epoch's
    assert names["validation_loss"]({"learning_rate": 0.5}, 7) == pytest.approx(0.507)
    assert "validation loss 0.0040" in capsys.readouterr().out


def test_with_another_runs_search_the_default_is_not_scored_again(made, capsys):
    shape = {"x_train": np.arange(9), "y_train": np.arange(9), "x_val": 0, "y_val": 0}
    settings = {"num_search": 9, "search_epochs": 1, "batch_size": 1, "seed": 1}
    names = run_cell(
        LESSON,
        "default-trial",
        network=Network,
        default=DEFAULT,
        default_score=0.25,
        search_from="other",
        **shape,
        **settings,
    )
    assert (names["default_score"], made) == (0.25, [])


# --- the network ---


def test_noise_is_added_to_the_pixels_and_dropout_follows_each_hidden_layer():
    """In this order: noise on raw bytes, or after the first layer, would be another network."""
    layers, keras = mock.MagicMock(), mock.MagicMock()
    keras.Sequential.side_effect = lambda begun: types.SimpleNamespace(
        add=lambda layer: None, compile=lambda *_, **__: None
    )
    built = run_cell(
        LESSON, "network", keras=keras, layers=layers, seed=4, noise_stddev=0.25, learning_rate=0.1
    )["network"]
    built(40, 0.3, 0.01, steps=70, weights_seed=9)
    called = [(name, arguments, options) for name, arguments, options in layers.mock_calls if "." not in name]
    assert [(name, *arguments) for name, arguments, _ in called] == [
        ("Rescaling", 1 / 255),
        ("Flatten",),
        ("GaussianNoise", 0.25),
        ("Dense", 40),
        ("Dropout", 0.3),
        ("Dense", 20),
        ("Dropout", 0.3),
        ("Dense", 10),
    ]
    keras.utils.set_random_seed.assert_called_once_with(9)
    keras.optimizers.schedules.CosineDecay.assert_called_once_with(0.01, 70)


@pytest.mark.parametrize("noise_stddev", [0.0, 0.3])
def test_another_noise_is_another_search(noise_stddev):
    """The name of a search is made from `asked`: a search with other noise must not be resumed."""
    loaded = (("x_train", "y_train"), ("x_val", "y_val"))
    helpers = {
        "data": types.SimpleNamespace(
            load_training=lambda *_, **__: loaded, describe=lambda *_, **__: {"sha256": "images"}
        ),
        "tuning": types.SimpleNamespace(
            search_folder=lambda folder: folder, earlier_search=lambda *_: ({}, [], None)
        ),
    }
    settings = dict.fromkeys(("num_train", "num_validation", "seed", "refit_on_all", "num_search"), 1)
    settings |= dict.fromkeys(("search_epochs", "batch_size", "max_trials"), 2)
    names = run_cell(
        LESSON,
        "load",
        **helpers,
        **settings,
        noise_stddev=noise_stddev,
        data_dir="",
        dataset_used="digits",
        folder="f",
        search_from="",
        results_dir="",
        warnings=warnings,
    )
    assert names["asked"]["noise_stddev"] == noise_stddev


# --- the searches ---


class Tuner:
    """Records how it was made and what it searched."""

    def __init__(self, build_model, **options):
        self.options, self.searched = options, None

    def search(self, x, y, **options):
        self.searched = x, y, options


@pytest.mark.parametrize("cell_id", ["random-search", "bayesian-search"])
@pytest.mark.parametrize("search_from", ["", "other"])
def test_both_searches_have_the_same_budget(monkeypatch, tmp_path, capsys, cell_id, search_from):
    scores = {"random": [0.3, 0.2], "Bayesian": [0.25, 0.15]}
    recorded = {name: pd.DataFrame({"score": values}) for name, values in scores.items()}
    monkeypatch.setattr(tuning, "TrialLogger", lambda tuner: ("logger", tuner))
    monkeypatch.setattr(tuning, "project_name", lambda *parts, **asked: (parts, asked))
    name = {"random-search": "random", "bayesian-search": "Bayesian"}[cell_id]
    monkeypatch.setattr(tuning, "completed_trials", lambda tuner: recorded[name])
    names = run_cell(
        LESSON,
        cell_id,
        keras_tuner=types.SimpleNamespace(RandomSearch=Tuner, BayesianOptimization=Tuner),
        tuning=tuning,
        build_model="the space",
        network="the network",
        max_trials=6,
        seed=5,
        search_dir=tmp_path,
        search_from=search_from,
        asked={"images": "sha"},
        trials=dict(recorded) if search_from else {"random": recorded["random"]},
        x_few="few images",
        y_few="few labels",
        budget={"epochs": 3, "validation_data": "validation"},
        default_score=0.22,
        best_random=0.2,
    )
    tuner = names["random_search" if name == "random" else "bayesian_search"]
    options = tuner.options
    assert (options["objective"], options["max_trials"], options["seed"]) == ("val_loss", 6, 5)
    assert options["directory"] == tmp_path
    assert options["project_name"][0] == (name.lower(), "the space", "the network")
    assert options["project_name"][1] == {"images": "sha"}
    if search_from:
        assert tuner.searched is None
    else:
        x, y, searched = tuner.searched
        assert (x, y, searched["epochs"]) == ("few images", "few labels", 3)
        last_epoch, logger = searched["callbacks"]
        assert isinstance(last_epoch, tuning.LastEpoch)
        assert logger == ("logger", tuner)
    lowest = {"random": "best random trial 0.2000, default 0.2200"}
    lowest["Bayesian"] = "best Bayesian trial 0.1500, best random trial 0.2000"
    assert lowest[name] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("best_random", "best_bayesian", "outcome"),
    [(0.2, 0.1, "Bayesian"), (0.1, 0.2, "random"), (0.1, 0.1, "tie")],
)
def test_the_better_search_is_the_one_with_the_lower_loss(compared, best_random, best_bayesian, outcome):
    table = pd.DataFrame([trial(1, 0.3), trial(2, 0.2)])
    names = run_cell(
        LESSON,
        "trials",
        guess=None,
        best_random=best_random,
        best_bayesian=best_bayesian,
        trials={"random": table, "Bayesian": table},
        max_trials=2,
        default_score=0.25,
        dataset_used="digits",
    )
    assert compared == [outcome]
    assert f'"{outcome}"' in CELLS["bayesian-guess"]
    assert "default configuration 0.2500" in names["_"].description


def test_trials_that_both_searches_tried_count_once():
    shared = trial(1, 0.3, units=128)
    tables = {
        "random": pd.DataFrame([shared, trial(2, 0.2, units=256)]),
        "Bayesian": pd.DataFrame([shared, trial(2, 0.1, units=1024)]),
    }
    names = run_cell(LESSON, "mattered", trials=tables, default=DEFAULT, dataset_used="digits")
    assert names["both"]["units"].tolist() == [128, 256, 1024]
    assert "3 trials; the star is the best, 0.1000" in names["_"].description


# --- retraining and selection ---


def test_the_best_trials_and_the_default_are_retrained_with_other_seeds(capsys):
    asked = []

    def validation_loss(values, seed):
        asked.append((values["units"], seed))
        return values["units"] + seed / 100

    both = pd.DataFrame([trial(n, s, units=u) for n, s, u in [(1, 0.3, 64), (2, 0.1, 32), (3, 0.2, 16)]])
    names = run_cell(
        LESSON,
        "finals",
        both=both,
        default=DEFAULT,
        default_score=0.25,
        num_finalists=2,
        num_seeds=3,
        seed=4,
        search_from="",
        validation_loss=validation_loss,
    )
    assert asked == [(units, seed) for units in (512, 32, 16) for seed in (5, 6, 7)]
    last = names["finals"][-1]
    assert last == DEFAULT | {"units": 16, "rank": 2, "in_search": 0.2, "seed": 7, "retrained": 16.07}
    assert names["finals"][0]["in_search"] == 0.25
    json.dumps(names["finals"])


def test_with_another_runs_search_nothing_is_retrained():
    names = run_cell(
        LESSON,
        "finals",
        both=pd.DataFrame([trial(1, 0.3)]),
        default=DEFAULT,
        default_score=0.25,
        num_finalists=1,
        num_seeds=3,
        seed=4,
        search_from="other",
        finals=["recorded"],
    )
    assert names["finals"] == ["recorded"]


def retrained(rank, units, in_search, losses):
    common = {"rank": rank, **DEFAULT, "units": units, "in_search": in_search}
    return [common | {"seed": seed, "retrained": loss} for seed, loss in enumerate(losses, 2)]


@pytest.mark.parametrize(
    ("rank_1", "rank_2", "selected", "outcome"),
    [
        ([0.31, 0.32, 0.33], [0.21, 0.22, 0.26], 2, "higher"),  # rank 1 was lucky in the search
        ([0.11, 0.12, 0.16], [0.21, 0.22, 0.26], 1, "lower"),
        ([0.20, 0.50, 0.50], [0.35, 0.36, 0.37], 0, "higher"),  # one low loss is not a low mean
    ],
)
def test_the_lowest_mean_of_the_new_losses_is_selected(capsys, compared, rank_1, rank_2, selected, outcome):
    default_losses = [0.29, 0.30, 0.34]
    rows = retrained(0, 512, 0.1, default_losses)  # the lowest score of the search is not used to select
    rows += retrained(1, 128, 0.18, rank_1) + retrained(2, 256, 0.19, rank_2)
    names = run_cell(LESSON, "choose", finals=rows, default=DEFAULT, guess=None)
    units = [512, 128, 256][selected]
    assert names["best"] == DEFAULT | {"units": units}
    assert type(names["best"]["units"]) is int
    means = [np.mean(losses) for losses in (default_losses, rank_1, rank_2)]
    assert names["gain"] == pytest.approx(means[0] - means[selected])
    variances = [np.var(losses, ddof=1) for losses in (default_losses, rank_1, rank_2)]
    assert names["spread"] == pytest.approx(np.sqrt(np.mean(variances)))
    assert compared == [outcome]
    assert f'"{outcome}"' in CELLS["finals-guess"]
    printed = capsys.readouterr().out
    assert f"selected: rank {selected}" in printed
    assert f"gain over the default {names['gain']:.4f}, spread between seeds {names['spread']:.4f}" in printed
    assert names["_"]["mean"].tolist() == [round(mean, 4) for mean in means]


def test_default_and_tuned_network_are_trained_alike(capsys, compared, made):
    best = {"units": 128, "dropout_rate": 0.4, "learning_rate": 0.002}
    names = run_cell(
        LESSON,
        "final",
        time=types.SimpleNamespace(perf_counter=lambda: 1.0),
        network=Network,
        default=DEFAULT,
        best=best,
        x_train="i" * 40,
        y_train="labels",
        x_val="validation images",
        y_val="validation labels",
        batch_size=16,
        refit_epochs=4,
        guess=None,
    )
    first, second = made
    assert (first.values, second.values) == (DEFAULT, best)
    assert first.weights_seed == second.weights_seed
    assert first.steps == second.steps == 4 * 3  # 40 images in batches of 16
    assert first.trained == second.trained
    x, y, options = second.trained
    assert (x, y, options["epochs"], options["batch_size"]) == ("i" * 40, "labels", 4, 16)
    assert options["validation_data"] == ("validation images", "validation labels")
    assert names["final_models"]["tuned"] is second
    assert names["final"]["tuned"]["val_loss"] == pytest.approx(0.003)
    assert compared == [names["final"]["tuned"]["val_accuracy"]] == [pytest.approx(0.997)]


@pytest.mark.parametrize(("max_trials", "trained"), [(2, 3), (6, 6)])
def test_the_search_for_a_seed_changes_the_seed_only(capsys, max_trials, trained):
    asked = []

    def validation_loss(values, seed):
        asked.append((values, seed))
        return seed / 10

    names = run_cell(
        LESSON,
        "seed-search",
        seed=1,
        max_trials=max_trials,
        default=DEFAULT,
        validation_loss=validation_loss,
        final_scores=pd.DataFrame({"mean": [0.5, 0.4]}),
    )
    seeds = [*range(12, 12 + trained)]
    assert asked == [(DEFAULT, seed) for seed in seeds]  # at least three: no spread of two
    printed = capsys.readouterr().out
    losses = np.array(seeds) / 10
    assert f"best seed 1.2000, mean of all seeds {losses.mean():.4f}" in printed
    assert f"standard deviation between seeds: {losses.std(ddof=1):.4f}" in printed
    assert "retrained in section 8: mean 0.5000" in printed
    json.dumps(names["seed_losses"])


def test_the_record_holds_what_reports_and_other_runs_need(monkeypatch, tmp_path):
    saved, deleted = {}, []
    monkeypatch.setattr(
        results, "save_model", lambda folder, lesson, model, name: {"file": f"{name}: {model}"}
    )
    monkeypatch.setattr(results, "save_record", lambda folder, lesson, **content: saved.update(content))
    monkeypatch.setattr(tuning, "delete_checkpoints", deleted.append)
    finals = retrained(0, 512, 0.3, [0.2]) + retrained(1, 128, 0.25, [0.1])
    entry = {"val_accuracy": 0.9, "val_loss": 0.3, "history": {"loss": [1.0]}, "train_seconds": 2.0}
    table = pd.DataFrame([trial(1, 0.5)])
    run_cell(
        LESSON,
        "record",
        results=results,
        tuning=tuning,
        folder=tmp_path,
        random_search="first tuner",
        bayesian_search="second tuner",
        final_models={"default": "not saved", "tuned": "network"},
        final={"default": entry | {"val_loss": 0.4}, "tuned": entry},
        default=DEFAULT,
        best={"units": 128},
        finals=finals,
        final_scores=pd.DataFrame({"mean": [0.2, 0.1]}),
        trials={"random": table, "Bayesian": table},
        seed_losses=[0.1],
        default_score=0.3,
        asked={"images": "sha"},
        params={"seed": 1},
        used={"name": "digits"},
        started=0.0,
    )
    assert saved["models"] == {"tuned": entry | {"file": "tuned: network"}}
    assert saved["default"] == DEFAULT | entry | {"val_loss": 0.4}
    assert saved["search"]["random"] == {name: [value] for name, value in trial(1, 0.5).items()}
    assert saved["best"] == {"units": 128}
    assert (saved["finals"], saved["default_score"]) == (finals, 0.3)
    assert (saved["params"], saved["dataset"]) == ({"seed": 1}, {"name": "digits"})
    assert deleted == ["first tuner", "second tuner"]
    json.dumps(saved)


def test_the_simulation_takes_the_best_of_twelve_scores_in_each_repetition(capsys):
    """The text says by how much the best of 12 is too low, so it is a minimum over configurations."""
    scores = run_cell(LESSON, "simulation", seed=1)["scores"]
    assert scores.shape == (10_000, 12)
    mean, best = (line.split()[-1] for line in capsys.readouterr().out.splitlines())
    assert float(mean) == pytest.approx(0.1, abs=0.0002)
    assert float(best) == pytest.approx(np.mean([min(row) for row in scores.tolist()]), abs=0.0001)
    assert f"too low by {float(mean) - float(best):.3f} on average" in CELLS["finals-text"]


# --- what the text claims ---


def draws(scale):
    rng = np.random.default_rng(1)
    low, high = 0.0001, 0.01
    if scale == "linear":
        return rng.uniform(low, high, 100_000)
    return np.exp(rng.uniform(np.log(low), np.log(high), 100_000))


def best_of(count):
    return 0.005 * np.random.default_rng(2).standard_normal((100_000, count)).min(axis=1).mean()


def grid_values(search):
    words = drawings.grid_and_random("T").description
    return int(re.search(rf"{search} search tries (\d+) values", words)[1])


CLAIMS = [
    (
        "grid-text",
        "4 values for the number of neurons, 6 dropout rates and 10 learning rates",
        lambda: 4 * 6 * 10 == 240,
    ),
    ("grid-why", "4 · 6 · 10 = 240", lambda: "4 * 6 * 10" in CELLS["grid"]),
    ("grid-why", "only three different values", lambda: grid_values("grid") == 3),
    ("grid-why", "nine different values", lambda: grid_values("random") == 9),
    ("space-text", "only 9 % of the linear range", lambda: round(0.0009 / 0.0099, 2) == 0.09),
    (
        "space-text",
        "only 9 % of the linear range",
        lambda: abs(np.mean(draws("linear") < 0.001) - 0.09) < 0.01,
    ),
    ("space-text", "half of the range", lambda: abs(np.mean(draws("log") < 0.001) - 0.5) < 0.01),
    ("finals-text", "too low by 0.008", lambda: round(best_of(12), 3) == -0.008),
    ("optimism", "12 configurations", lambda: "(10_000, 12)" in CELLS["simulation"]),
    ("optimism", "standard deviation 0.005", lambda: "0.005 * rng" in CELLS["simulation"]),
    ("seed-why", "about one to two standard deviations", lambda: 1 < -best_of(6) / 0.005 < 2),
    ("seed-why", "about one to two standard deviations", lambda: 0.8 < -best_of(3) / 0.005 < 2),
    (
        "score",
        "The loss after the **last** epoch counts",
        lambda: '["val_loss"][-1]' in CELLS["default-trial"],
    ),
    ("space-text", "Our default configuration lies in this space", lambda: "512" in CELLS["space"]),
]


@pytest.mark.parametrize(("cell_id", "text", "holds"), CLAIMS)
def test_a_claim_of_the_text_holds(cell_id, text, holds):
    assert text in CELLS[cell_id]
    assert holds()


def test_the_default_configuration_lies_in_the_search_space():
    """Each declared range holds the value of the parameters cell; both ends of a range belong to it."""
    parameters = {}
    exec(CELLS["parameters"], parameters)
    asked = {}

    class Asked:
        """Answers like Keras Tuner's `hp`."""

        def Choice(self, name, values):  # noqa: N802
            asked[name] = parameters[name] in values
            return values[0]

        def Float(self, name, low, high, step=None, sampling="linear"):  # noqa: N802
            asked[name] = low <= parameters[name] <= high
            if step:
                asked[name] &= np.isclose((parameters[name] - low) / step % 1, 0)
            return high

    names = run_cell(LESSON, "space", network=lambda **values: values, few_steps=7)
    built = names["build_model"](Asked())
    assert asked == dict.fromkeys(DEFAULT, True)
    assert built == {"units": 256, "dropout_rate": 0.4, "learning_rate": 0.01, "steps": 7}


def test_each_range_with_a_step_reaches_its_upper_end():
    """Keras Tuner divides floats: from 0.0 to 0.5 with the step 0.1 it never draws 0.5."""
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    run_cell(LESSON, "space", network=lambda **values: values, few_steps=7)["build_model"](hp)
    stepped = [choice for choice in hp.space if getattr(choice, "step", None)]
    assert [choice.name for choice in stepped] == ["dropout_rate"]
    for choice in stepped:
        assert list(choice.values)[-1] == pytest.approx(choice.max_value)


def test_the_learning_rate_is_drawn_on_a_logarithmic_scale_of_two_powers_of_ten():
    (call,) = re.findall(r'hp\.Float\("learning_rate", (\S+), (\S+), sampling="log"\)', CELLS["space"])
    assert np.log10(ast.literal_eval(call[1]) / ast.literal_eval(call[0])) == pytest.approx(2)


def answers(number):
    return {choice["text"]: choice for choice in QUIZ[number - 1]["choices"] if choice.get("right")}


def test_the_numbers_of_the_quiz():
    assert set(answers(2)) == {f"{5 * 4 * 3 * 2 / 60:.0f} hours."}
    assert set(answers(3)) == {"One third."}
    assert np.log10(0.001 / 0.0001) / np.log10(0.1 / 0.0001) == pytest.approx(1 / 3)
    losses = [
        [float(value) for value in re.findall(r"0\.\d{3}", part)]
        for part in re.split("Default:|A:|B:", QUIZ[3]["question"])[1:]
    ]
    in_search = [values[0] for values in losses]
    means = [np.mean(values[1:]) for values in losses]
    sds = [np.std(values[1:], ddof=1) for values in losses]
    assert means == pytest.approx([0.112, 0.118, 0.102])
    assert sds == pytest.approx([0.003] * 3)
    assert set(answers(4)) == {f"B, with a gain of {means[0] - means[2]:.3f}."}
    wrong = {f"A, with a gain of {in_search[0] - in_search[1]:.3f}."}
    wrong.add(f"B, with a gain of {means[0] - in_search[2]:.3f}.")
    assert wrong <= {choice["text"] for choice in QUIZ[3]["choices"]}
    assert (means[0] - means[2]) / sds[2] > 3


def test_the_page_of_the_reference_says_what_its_search_has_chosen():
    reference = _course.REFERENCE
    record = results.load_record(reference / "search" / "seed-1", "04_tuning")
    page = (reference / "README.md").read_text(encoding="utf-8")
    scores = record["final_scores"]
    first, second = sorted(range(len(scores["mean"])), key=lambda row: scores["mean"][row])[:2]
    assert record["best"]["dropout_rate"] == scores["dropout_rate"][first] == 0
    assert "The search chose a network without dropout." in page
    losses = [f"{scores['mean'][row]:.4f}" for row in (first, second)]
    assert f"over five new seeds is {losses[0]}, and that of the second best" in page
    assert f"dropout rate of {scores['dropout_rate'][second]:.1f}, is {losses[1]}:" in page
    assert scores["mean"][second] - scores["mean"][first] < max(scores["std"][first], scores["std"][second])
    assert record["params"]["num_seeds"] == 5
