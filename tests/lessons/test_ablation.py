"""The optional notebook on ablation: its cells on hand-made names, and the numbers that it states."""

import json
import types

import numpy as np
import pytest
import yaml

from mnist_course import lessons
from mnist_helpers import metrics, quiz, results
from tests.lessons.cells import run_cell

LESSON = "ablation"
NOTEBOOK = json.loads(results.notebook_path(LESSON).read_text(encoding="utf-8"))
COMPONENTS = ["batchnorm", "dropout", "noise", "schedule", "averaging"]
NAMES = ["plain", "all", *COMPONENTS]


def text(cell_id):
    (cell,) = [cell for cell in NOTEBOOK["cells"] if cell["id"] == cell_id]
    return " ".join("".join(cell["source"]).split())


class Layers:
    """Notes which layers a network is built of."""

    def __getattr__(self, kind):
        return lambda *values, **options: (kind, values, options)


class Model:
    def __init__(self, inputs=()):
        self.layers = [*inputs]

    def add(self, layer):
        self.layers.append(layer)

    def compile(self, optimizer, loss, metrics):
        self.optimizer = optimizer

    def fit(self, x, y, **options):
        self.trained = x, y, options

    def evaluate(self, x, y, verbose):
        self.measured = x, y
        return 0.25, 0.75


def kinds(components):
    names = run_cell(
        LESSON,
        "build",
        keras=types.SimpleNamespace(Sequential=Model, Input=lambda shape: ("Input", shape)),
        layers=Layers(),
        units=8,
        noise_stddev=0.3,
        dropout_rate=0.2,
    )
    return [layer[0] for layer in names["build"](components).layers]


@pytest.mark.parametrize(
    ("component", "layer"),
    [("batchnorm", "BatchNormalization"), ("noise", "GaussianNoise"), ("dropout", "Dropout")],
)
def test_a_component_adds_its_layer_to_both_hidden_layers_and_nothing_else(component, layer):
    assert kinds([component]).count(layer) == 2
    assert [kind for kind in kinds([component]) if kind != layer] == kinds([])


@pytest.mark.parametrize("components", [[], ["schedule"], ["averaging"], ["schedule", "averaging"]])
def test_schedule_and_averaging_are_the_optimisers(components):
    seeds, models = [], []

    def build(components):
        models.append(Model())
        return models[-1]

    keras = types.SimpleNamespace(
        utils=types.SimpleNamespace(set_random_seed=seeds.append),
        optimizers=types.SimpleNamespace(
            Adam=lambda rate, use_ema: {"rate": rate, "use_ema": use_ema},
            schedules=types.SimpleNamespace(CosineDecay=lambda rate, steps: (rate, steps)),
        ),
    )
    names = run_cell(
        LESSON,
        "train",
        keras=keras,
        build=build,
        time=types.SimpleNamespace(perf_counter=iter((3.0, 5.0)).__next__),
        learning_rate=0.01,
        ablation_epochs=2,
        batch_size=4,
        x_train=np.arange(10),
        y_train=np.arange(10),
        x_val="x_val",
        y_val="y_val",
    )
    scores = names["train"](components, 7)
    assert seeds == [7]
    assert scores == {"val_loss": 0.25, "val_accuracy": 0.75, "train_seconds": 2.0}
    rate = (0.01, 6) if "schedule" in components else 0.01  # 10 images make 3 batches of 4, twice
    assert models[0].optimizer == {"rate": rate, "use_ema": "averaging" in components}
    assert "validation_data" not in models[0].trained[2]
    assert [part.tolist() for part in models[0].trained[:2]] == [list(range(10))] * 2
    assert models[0].measured == ("x_val", "y_val")


@pytest.mark.parametrize("best", COMPONENTS)
def test_every_network_is_trained_with_every_seed_and_the_best_single_one_compared(monkeypatch, capsys, best):
    asked, outcomes = [], []
    monkeypatch.setattr(quiz, "compare", lambda guess, outcome: outcomes.append(outcome))

    def train(components, weights_seed):
        asked.append((tuple(components), weights_seed))
        loss = 1.0 if components == [best] else 0.5 if len(components) > 1 else 2.0
        return {"val_loss": loss + weights_seed, "val_accuracy": 0.5, "train_seconds": 1.0}

    names = run_cell(
        LESSON,
        "run",
        train=train,
        components=COMPONENTS,
        seed=4,
        num_seeds=2,
        guess=None,
        dataset_used="digits",
    )
    assert list(names["ablation"]) == NAMES
    expected = [(), tuple(COMPONENTS), *[(component,) for component in COMPONENTS]]
    assert asked == [(components, seed) for components in expected for seed in (4, 5)]
    assert names["ablation"]["all"]["val_loss"] == [4.5, 5.5]
    assert "all: mean loss 5.0000" in capsys.readouterr().out
    assert outcomes == [best]
    assert "all 5.0000 (4.5000 to 5.5000, n=2)" in names["_"].description


def test_a_verdict_follows_from_the_interval(capsys):
    plain = np.array([0.5, 0.6, 0.7])
    changes = {"batchnorm": -0.1, "dropout": 0.1, "noise": np.array([-1, 0, 1])}
    scores = {name: {"val_loss": plain + changes.get(name, 0.2), "val_accuracy": plain} for name in NAMES}
    run_cell(
        LESSON,
        "paired-differences",
        components=COMPONENTS,
        ablation=scores | {"plain": {"val_loss": plain, "val_accuracy": plain}},
    )
    said = capsys.readouterr().out
    assert "val_loss, batchnorm: -0.1000 (-0.1000 to -0.1000), below zero" in said
    assert "val_loss, dropout: +0.1000 (+0.1000 to +0.1000), above zero" in said
    assert "val_loss, noise: +0.0000" in said
    noise = next(line for line in said.splitlines() if line.startswith("val_loss, noise"))
    assert noise.endswith("contains zero")


def test_the_average_of_independent_jumps_varies_fourteen_times_less(capsys):
    names = run_cell(LESSON, "averaging-by-hand")
    ratio = names["jumping"].std() / np.std(names["averages"])
    assert 12 < ratio < 16
    assert "about 14 times less" in text("averaging-why")
    assert round(np.sqrt(1.99 / 0.01)) == 14
    assert "square root of 0.01 / 1.99, about 0.07" in text("averaging-why")
    assert round(np.sqrt(0.01 / 1.99), 2) == 0.07


def test_intervals_of_nothing_exclude_zero_more_often_than_one_in_twenty(capsys):
    names = run_cell(LESSON, "many-comparisons")
    share = names["num_false"] / 2000
    assert 0.15 < share < 1 - 0.95**6
    half_width = names["half_width"][0]
    interval = metrics.mean_interval(names["differences"][0])
    assert (interval.high - interval.low) / 2 == pytest.approx(half_width, rel=1e-3)


def test_the_record_has_every_seed_and_no_model():
    saved = {}
    helpers = types.SimpleNamespace(
        save_record=lambda folder, lesson, **content: saved.update(content, lesson=lesson)
    )
    run_cell(
        LESSON,
        "record",
        results=helpers,
        data=types.SimpleNamespace(describe=lambda dataset, **arrays: arrays),
        ablation={"plain": {"val_loss": [0.1, 0.2]}},
        dataset_used="digits",
        **{name: name for name in ("folder", "params", "started", "x_train", "y_train", "x_val", "y_val")},
    )
    assert (saved["lesson"], saved["models"]) == (LESSON, {})
    assert saved["ablation"] == {"plain": {"val_loss": [0.1, 0.2]}}


# --- what the text says ---

RECORDS = results.reference_records("ablation", "03_batchnorm_dropout")
LOSS, ACCURACY = "val_loss", "val_accuracy"


def of_reference(name, metric):
    return np.array([record["ablation"][name][metric] for record in RECORDS])


def difference(first, second, metric):
    return metrics.paired_difference(of_reference(first, metric), of_reference(second, metric))


def excludes_zero(name, metric):
    found = difference("plain", name, metric)
    return found.low > 0 or found.high < 0


EFFECTIVE, OPEN = ("dropout", "schedule", "averaging", "all"), ("batchnorm", "noise")
CALM = ("schedule", "averaging")
CLAIMS = [
    ("paired-why", "only three seeds", lessons.declared(LESSON)["num_seeds"] == 3),
    ("reference-text", "six epochs, five seeds", len(RECORDS) == 5),
    ("reference-text", "twice the learning rate", lessons.declared(LESSON)["learning_rate"] == 0.001),
    (
        "reference-text",
        "twice the learning rate",
        all(r["params"]["learning_rate"] == 0.002 for r in RECORDS),
    ),
    ("reference-text", "six epochs", all(r["params"]["ablation_epochs"] == 6 for r in RECORDS)),
    (
        "reference-why",
        "Dropout, schedule, averaging and all components together lower the loss and raise the accuracy",
        all(
            difference("plain", name, LOSS).high < 0 < difference("plain", name, ACCURACY).low
            for name in EFFECTIVE
        ),
    ),
    (
        "reference-why",
        "The intervals of batch normalisation and noise contain zero",
        not any(excludes_zero(name, metric) for name in OPEN for metric in (LOSS, ACCURACY)),
    ),
    (
        "reference-why",
        "schedule and averaging have the largest effects",
        min(-difference("plain", name, LOSS).mean for name in CALM)
        > 1.5 * max(-difference("plain", name, LOSS).mean for name in ("batchnorm", "dropout", "noise")),
    ),
    (
        "reference-why",
        "their seeds lie closer together than those of `plain`. The seeds of dropout lie closer together, too",
        all(
            of_reference(name, LOSS).std() < 0.7 * of_reference("plain", LOSS).std()
            for name in (*CALM, "dropout")
        ),
    ),
    (
        "disagreement-why",
        "`all` has the lowest mean loss",
        min(NAMES, key=lambda name: of_reference(name, LOSS).mean()) == "all",
    ),
    (
        "disagreement-why",
        "about 0.2 percentage points lower than that of averaging alone",
        -0.0025 < difference("averaging", "all", ACCURACY).mean < -0.0015,
    ),
    (
        "disagreement-why",
        "this interval does not contain zero",
        difference("averaging", "all", ACCURACY).high < 0,
    ),
    ("failure-why", "1 − 0.95⁶ ≈ 26 %", round(1 - 0.95**6, 2) == 0.26),
    (
        "failure-why",
        "the accuracy interval of dropout begins just above zero",
        0 < difference("plain", "dropout", ACCURACY).low < 0.0005,
    ),
    (
        "failure-why",
        "so far from zero that the number of comparisons does not matter much",
        all(difference("plain", name, LOSS).high < -0.015 for name in CALM),
    ),
]


@pytest.mark.parametrize(("cell_id", "claim", "holds"), CLAIMS, ids=[claim[1][:40] for claim in CLAIMS])
def test_what_the_text_says_is_so(cell_id, claim, holds):
    assert claim in text(cell_id)
    assert holds


QUESTIONS = yaml.safe_load((quiz.QUIZZES / f"{LESSON}.yaml").read_text(encoding="utf-8"))
PLAIN, OTHER = [0.10, 0.08, 0.09, 0.11], [0.08, 0.07, 0.08, 0.09]
QUIZ = [
    (1, "0.004 · (1 + cos(π · t)) / 2", ["0.002"], np.isclose(0.004 * (1 + np.cos(np.pi / 2)) / 2, 0.002)),
    (2, "0.08, 0.07, 0.08, 0.09", ["−0.015"], np.isclose(np.subtract(OTHER, PLAIN).mean(), -0.015)),
    (4, "twenty components", ["About one"], round(0.05 * 20) == 1),
]


@pytest.mark.parametrize(("number", "said", "right", "holds"), QUIZ)
def test_the_right_answers_of_the_quiz_are_right(number, said, right, holds):
    question = QUESTIONS[number]
    assert said in question["question"]
    assert [choice["text"] for choice in question["choices"] if choice.get("right")] == right
    assert holds
