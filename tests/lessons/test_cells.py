"""Single cells of lessons on made-up names: paths that a run takes only on MNIST or in the full profile.

Each cell runs as it is in the notebook. What it needs is made by hand, so that each answer is known.
"""

import types

import numpy as np
import pandas as pd
import pytest

from mnist_helpers import results
from tests.lessons.cells import run_cell

RNG = np.random.default_rng(3)

# --- lesson 4: the final training ---


class Network:
    """Remembers what it was trained on."""

    def __init__(self, *built):
        self.built = built

    def fit(self, x, y, **options):
        self.trained = x, y, options
        return types.SimpleNamespace(history={"loss": [1.0]})

    def evaluate(self, x, y, **options):
        return len(x) / 100, 0.5

    def predict(self, x, **options):
        return np.full((len(x), 10), 0.1)


@pytest.mark.parametrize("refit_on_all", [0, 1])
@pytest.mark.parametrize(("refit_dropout_rate", "dropout_rate"), [(-1, 0.4), (0, 0), (0.2, 0.2)])
def test_the_final_training_takes_the_validation_images_only_if_told_to(
    refit_on_all, refit_dropout_rate, dropout_rate
):
    built = []

    def build_model(values, *sizes):
        built.append(Network(values, *sizes))
        return built[-1]

    x_train, y_train = np.arange(50), np.arange(50) + 1000
    x_val, y_val = np.arange(100, 120), np.arange(100, 120) + 1000
    names = run_cell(
        "04_tuning",
        "refit",
        time=types.SimpleNamespace(perf_counter=lambda: 0.0),
        refit_on_all=refit_on_all,
        refit_dropout_rate=refit_dropout_rate,
        refit_epochs=7,
        batch_size=250,
        best={"dropout_rate": 0.4, "units": 64},
        build_model=build_model,
        fixed=lambda values: values,
        without_noise=lambda model, values, images: ("without noise", model, values, len(images)),
        x_train=x_train,
        y_train=y_train,
        x_val=x_val,
        y_val=y_val,
    )
    (network,) = built
    x, y, options = network.trained
    assert network.built == ({"dropout_rate": dropout_rate, "units": 64}, len(x), 7)
    assert (y == x + 1000).all()
    assert x.tolist() == [*x_train, *(x_val if refit_on_all else [])]
    assert (options["batch_size"], options["epochs"]) == (250, 7)
    watched = options.get("validation_data")
    assert (watched is None) == bool(refit_on_all)
    if watched:
        assert (watched[0].tolist(), watched[1].tolist()) == (x_val.tolist(), y_val.tolist())
    assert names["networks"]["tuned"] == ("without noise", network, names["recipe"], len(x))
    assert names["best"]["dropout_rate"] == 0.4  # the winner of the search stays what it was


@pytest.mark.parametrize(
    ("refit_on_all", "earlier", "expected"),
    [
        (0, {}, {"val_accuracy": 0.9, "val_loss": 0.3, "temperature": 1.1}),
        (1, {}, {"val_accuracy": None, "val_loss": None, "temperature": None}),
        (
            1,
            {"models": {"tuned": {"temperature": 1.3}}},
            {"val_accuracy": None, "val_loss": None, "temperature": 1.3},
        ),
    ],
)
def test_images_that_a_network_was_trained_on_give_it_no_validation_score(
    monkeypatch, tmp_path, refit_on_all, earlier, expected
):
    saved = {}
    monkeypatch.setattr(results, "save_model", lambda folder, lesson, model, name: {"file": f"{name}.keras"})
    monkeypatch.setattr(results, "save_record", lambda folder, lesson, **content: saved.update(content))
    run_cell(
        "04_tuning",
        "record",
        results=results,
        folder=tmp_path,
        networks={"tuned": Network()},
        models={"tuned": {"val_accuracy": 0.9, "val_loss": 0.3, "temperature": 1.1}},
        histories={"tuned": {"loss": [1.0]}},
        train_seconds={"tuned": 2.0},
        refit_on_all=refit_on_all,
        earlier=earlier,
        trials={"random": pd.DataFrame({"score": [1.0]})},
        final_scores=pd.DataFrame({"again": [1.0]}),
        **dict.fromkeys(("params", "used", "started", "asked", "best", "recipe", "finals", "default_score")),
    )
    entry = saved["models"]["tuned"]
    assert {key: entry[key] for key in expected} == expected
    assert entry["file"] == "tuned.keras"
    assert (entry["history"], entry["train_seconds"]) == ({"loss": [1.0]}, 2.0)
