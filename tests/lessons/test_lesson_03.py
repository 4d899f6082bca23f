"""Lesson 3: its cells on hand-made names, and the numbers that its text and its quiz state."""

import json
import types

import numpy as np
import pytest
import yaml
from keras import optimizers

from mnist_course import lessons
from mnist_helpers import metrics, quiz, results
from tests.lessons.cells import run_cell

LESSON = "03_batchnorm_dropout"
NOTEBOOK = json.loads(results.notebook_path(LESSON).read_text(encoding="utf-8"))
NAMES = ("plain", "batchnorm", "dropout", "batchnorm_dropout")
DEFAULTS = lessons.declared(LESSON)


def text(cell_id):
    (cell,) = [cell for cell in NOTEBOOK["cells"] if cell["id"] == cell_id]
    return " ".join("".join(cell["source"]).split())


class Network:
    """A network that is not trained: it notes what it was asked."""

    def __init__(self, history=None, size=10):
        self.history, self.size, self.calls = history or {}, size, []

    def fit(self, *arguments, **options):
        self.calls.append((arguments, options))
        return types.SimpleNamespace(history=self.history)

    def count_params(self):
        return self.size


class Stop:
    def __init__(self, *arguments, **options):
        self.asked, self.best_epoch, self.best = (arguments, options), 2, 0.25


@pytest.fixture
def compared(monkeypatch):
    """What the cell compares with the prediction."""
    outcomes = []
    monkeypatch.setattr(quiz, "compare", lambda guess, outcome: outcomes.append(outcome))
    return outcomes


keras = types.SimpleNamespace(
    optimizers=types.SimpleNamespace(
        Adam=lambda rate: ("Adam", rate),
        AdamW=lambda rate, weight_decay: ("AdamW", rate, weight_decay),
    ),
    callbacks=types.SimpleNamespace(
        EarlyStopping=Stop, LambdaCallback=lambda on_epoch_end: ("at the end of an epoch", on_epoch_end)
    ),
)


def curves(values, val_values):
    accuracy = {"accuracy": [0.5] * len(values), "val_accuracy": [0.5] * len(values)}
    return accuracy | {"loss": values, "val_loss": val_values}


def few(cell_id, result, **more):
    """Runs a cell that trains on the small set; returns its names and what it trained, with which options."""
    trained = []

    def train(*arguments, **options):
        trained.append((arguments, options))
        return result

    small = {"x_few": "x", "y_few": "y", "few_epochs": 2, "learning_rate": 0.01, "dataset_used": "digits"}
    network = {"network": lambda optimizer, **options: (optimizer, options), "keras": keras}
    return run_cell(LESSON, cell_id, train=train, **small | network | more), trained


# --- overfitting, dropout, early stopping, weight decay ---


def test_the_trainings_watch_the_validation_images_and_print_each_epoch(capsys):
    model = Network(curves([0.9, 0.12302], [0.9, 0.5]))
    names = run_cell(LESSON, "train", keras=keras, x_val="x_val", y_val="y_val", batch_size=8)
    assert names["train"](model, "x", "y", 2, callbacks=["stop"]) == model.history
    ((arguments, options),) = model.calls
    assert arguments == ("x", "y", 8)
    (when, show), stop = options.pop("callbacks")
    assert (when, stop) == ("at the end of an epoch", "stop")
    assert options == {"epochs": 2, "validation_data": ("x_val", "y_val"), "verbose": 0}
    show(0, {"loss": 0.9, "val_loss": 0.50004})
    assert capsys.readouterr().out == "epoch 1: loss 0.9000, val_loss 0.5000\n"


def test_the_small_training_set_is_the_first_part_of_the_training_images():
    history = curves([0.9, 0.1], [0.9, 0.5])
    names, trained = few("fit-few", history, num_few=20, x_train=np.arange(50), y_train=np.arange(50) + 100)
    ((_, x, y, epochs), _) = trained[0]
    assert (x.tolist(), y.tolist(), epochs) == (list(range(20)), list(range(100, 120)), 2)
    assert names["few_histories"] == {"no dropout": history}


def test_dropout_by_hand_drops_other_neurons_in_each_image_and_keeps_the_mean():
    drawings = types.SimpleNamespace(dropout=lambda rate, title: rate)
    names = run_cell(LESSON, "dropout-by-hand", drawings=drawings)
    assert names["_"] == 0.5
    dropped = names["dropped"]
    assert set(np.unique(dropped)) == {0, 2}
    assert len({tuple(row) for row in dropped[:3].tolist()}) == 3
    assert dropped.mean() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("with_dropout", "lower"), [(0.3, "dropout 0.5"), (0.6, "no dropout")])
def test_the_lower_validation_loss_of_the_last_epoch_is_compared(compared, with_dropout, lower):
    _, trained = few(
        "fit-dropout",
        curves([0.5, 0.4], [0.1, with_dropout]),
        few_histories={"no dropout": curves([0.5, 0.1], [0.2, 0.5])},
        choices=("no dropout", "dropout 0.5"),
        guess=None,
    )
    assert compared == [lower]
    assert trained == [(((("Adam", 0.01), {"drop": 0.5}), "x", "y", 2), {})]


def test_early_stopping_watches_the_validation_loss_and_names_the_best_epoch(capsys):
    _, trained = few("fit-early", curves([1] * 6, [1] * 6), few_histories={})
    (stop,) = trained[0][1]["callbacks"]
    assert stop.asked == (("val_loss",), {"patience": 3, "restore_best_weights": True})
    assert "6 epochs; best: 3 (0.2500)" in capsys.readouterr().out


def test_weight_decay_is_the_optimisers(capsys):
    history = curves([0.4], [0.5])
    names, trained = few("fit-decay", history, few_histories={"no dropout": history})
    (kind, rate, decay), options = trained[0][0][0]
    assert (kind, rate, options) == ("AdamW", 0.01, {})
    assert f"{1 - 0.01 * decay:.4f}" in capsys.readouterr().out
    assert list(names["few_histories"]) == ["no dropout", "weight decay"]


@pytest.mark.parametrize(("cell_id", "name"), [("network", "network"), ("deep-network", "deep_network")])
@pytest.mark.parametrize("normalised", [False, True])
def test_networks_begin_with_the_seed_and_differ_in_their_component_only(cell_id, name, normalised):
    """The seed is set before any layer is made, so that networks of a comparison begin alike."""
    noted = []

    class Sequential:
        def __init__(self, given):
            noted.extend(given)

        def add(self, layer):
            noted.append(layer)

        def compile(self, optimizer, loss, metrics):
            noted.append(("compile", loss, metrics))

    class Layers:
        def __getattr__(self, kind):
            return lambda *values, **options: (kind, *values, *options.items())

    names = run_cell(
        LESSON,
        cell_id,
        keras=types.SimpleNamespace(
            utils=types.SimpleNamespace(set_random_seed=lambda seed: noted.append(("seed", seed))),
            Sequential=Sequential,
            Input=lambda shape: ("Input", shape),
            optimizers=types.SimpleNamespace(Adam=lambda rate: ("Adam", rate)),
        ),
        layers=Layers(),
        seed=7,
        units=8,
        num_layers=2,
        learning_rate=0.01,
    )
    deep = cell_id == "deep-network"
    names[name](*(("sigmoid", "how") if deep else ("optimizer",)), normalised=normalised)
    norm = [("BatchNormalization", ("momentum", 0.9))] * normalised
    hidden = []
    for width in (64, 64) if deep else (8, 4):
        dense = ("Dense", width, ("kernel_initializer", "how")) if deep else ("Dense", width)
        hidden += [dense, *norm, ("Activation", "sigmoid" if deep else "relu")]
    first = [("seed", 7), ("Input", (28, 28)), ("Rescaling", 1 / 255), ("Flatten",)]
    last = [("Dense", 10, ("activation", "softmax"))]
    last.append(("compile", "sparse_categorical_crossentropy", ["accuracy"]))
    assert noted == first + hidden + last


# --- gradients and batch normalisation ---


def test_gradient_sizes_are_those_of_the_dense_layers_in_order():
    class Dense:
        def __init__(self, kernel):
            self.kernel = kernel

    class Tape:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return False

        def gradient(self, loss, kernels):
            assert loss == ("loss", "y" * 512, "seen in training mode")
            return [np.array([-value, value / 3]) for value in kernels]

    class Model:
        layers = (Dense(3.0), "batch normalisation", "activation", Dense(0.3), Dense(6.0))

        def __call__(self, images, training):
            assert (images, training) == ("x" * 512, True)
            return "seen in training mode"

    def loss_function():
        return lambda labels, probabilities: ("loss", labels, probabilities)

    names = run_cell(
        LESSON,
        "gradient-sizes",
        tf=types.SimpleNamespace(GradientTape=Tape),
        layers=types.SimpleNamespace(Dense=Dense),
        keras=types.SimpleNamespace(
            losses=types.SimpleNamespace(SparseCategoricalCrossentropy=loss_function)
        ),
        x_train="x" * 1000,
        y_train="y" * 1000,
    )
    assert names["gradient_sizes"](Model()) == pytest.approx([2.0, 0.2, 4.0])


def test_both_cures_are_measured_before_they_are_trained(capsys):
    order, drawn = [], []
    names = run_cell(
        LESSON,
        "fit-cures",
        deep_network=lambda *built, **options: (*built, *options.items()),
        gradient_sizes=lambda model: order.append(("measured", *model)) or [0.1],
        train=lambda model, x, y, epochs: order.append(("trained", *model)) or {"loss": [epochs]},
        gradients={"sigmoid": [0.2]},
        deep_histories={"sigmoid": {}},
        drawings=types.SimpleNamespace(gradient_sizes=lambda sizes, title: drawn.append(dict(sizes))),
        x_train="x",
        y_train="y",
        deep_epochs=2,
        dataset_used="digits",
    )
    relu, batchnorm = ("relu", "he_normal"), ("sigmoid", "glorot_uniform", ("normalised", True))
    expected = [(verb, *built) for built in (relu, batchnorm) for verb in ("measured", "trained")]
    assert order == expected
    assert drawn == [{"sigmoid": [0.2], "relu": [0.1], "sigmoid, batch norm": [0.1]}]
    assert list(names["deep_histories"]) == ["sigmoid", "relu", "sigmoid, batch norm"]


def test_batch_normalisation_by_hand(capsys):
    names = run_cell(LESSON, "batchnorm-by-hand")
    normalised = names["normalised"]
    assert normalised[:, :2].mean(axis=0) == pytest.approx([0, 0])
    assert normalised[:, :2].std(axis=0) == pytest.approx([1, 1], abs=1e-3)
    assert normalised[:, 0] == pytest.approx(normalised[:, 1], abs=1e-3)
    assert normalised[:, 2].tolist() == [0, 0, 0, 0]
    said = capsys.readouterr().out
    assert "gamma 2, beta 1: [-1.68  0.11  1.89  3.68]" in said
    assert "-0. " not in said


# --- the comparison ---


@pytest.mark.parametrize("best", NAMES)
def test_each_network_of_the_comparison_has_its_components_and_its_own_scores(compared, best):
    """The lowest validation loss of the last epoch is compared, and not the lowest training loss."""
    built, trained = [], []

    def network(optimizer, drop, normalised):
        built.append((drop, normalised))
        return Network(size=len(built))

    def train(model, x, y, epochs):
        name = NAMES[len(trained)]
        trained.append((model, x, y, epochs))
        training_loss, val_loss = (0.5, 0.2) if name == best else (0.1, 0.3)
        history = curves(
            [0.9, 0.05, training_loss], [0.1, 0.9, val_loss]
        )  # the last epoch is neither best nor worst
        return history | {"val_accuracy": [0, 9, model.size]}

    names = run_cell(
        LESSON,
        "fit-comparison",
        keras=keras,
        network=network,
        train=train,
        names=NAMES,
        dropout_rate=0.3,
        learning_rate=0.01,
        falling_rate=0.0,
        falling=None,
        compare_epochs=2,
        x_train="x",
        y_train="y",
        guess=None,
        time=types.SimpleNamespace(perf_counter=iter(range(8)).__next__),
    )
    assert built == [(0, False), (0, True), (0.3, False), (0.3, True)]
    assert compared == [best]
    for number, name in enumerate(NAMES):
        entry = names["models"][name]
        assert names["networks"][name] is trained[number][0]
        assert (entry["val_accuracy"], entry["val_loss"]) == (number + 1, 0.2 if name == best else 0.3)
        assert entry["train_seconds"] == 1
        assert entry["history"]["val_loss"] == [0.1, 0.9, entry["val_loss"]]


def test_all_compared_networks_have_the_same_falling_learning_rate():
    """1,050 images are 11 steps of 100 images, so 2 epochs are 22 steps."""
    used = []
    names = {"x_train": np.zeros(1050), "batch_size": 100, "compare_epochs": 2, "learning_rate": 0.01}
    names |= {"falling_rate": 0.004, "names": NAMES, "keras": types.SimpleNamespace(optimizers=optimizers)}
    names["falling"] = run_cell(LESSON, "guess-comparison", **names)["falling"]

    def network(optimizer, **_):
        used.append(optimizer)
        return types.SimpleNamespace(count_params=lambda: 1)

    def train(*_):
        return {"val_accuracy": [0.5], "val_loss": [0.5]}

    others = {"network": network, "train": train, "dropout_rate": 0.3, "y_train": None, "guess": None}
    run_cell(
        LESSON, "fit-comparison", time=types.SimpleNamespace(perf_counter=lambda: 1.0), **names, **others
    )
    assert len(used) == 4
    for optimizer in used:
        rate = optimizer._learning_rate
        assert [float(rate(step)) for step in (0, 11, 22)] == pytest.approx([0.004, 0.002, 0])


def test_reference_differences_are_paired_and_the_figure_shows_the_loss(capsys):
    records = []
    for seed in range(4):
        entry = {"val_accuracy": 0.9 + seed, "val_loss": 1.0 + seed}
        better = {"val_accuracy": 0.91 + seed, "val_loss": 0.9 + seed + 0.01 * (seed % 2)}
        records.append({"models": dict.fromkeys(NAMES, better) | {"plain": entry}})
    asked = []
    names = run_cell(
        LESSON,
        "reference",
        results=types.SimpleNamespace(reference_records=lambda *names: asked.append(names) or records),
        names=NAMES,
    )
    said = capsys.readouterr().out
    assert asked == [("regularisation", LESSON)]
    assert "val_accuracy of dropout: +0.0100 (+0.0100 to +0.0100)" in said
    assert "val_loss of batchnorm: -0.0950" in said
    assert "batchnorm -0.0950 (-0.1000 to -0.0900, n=4" in names["_"].description


# --- what goes wrong ---


def test_both_modes_are_called_on_a_copy_and_single_images_are_counted(capsys):
    class Model:
        def __init__(self):
            self.calls = []

        def set_weights(self, weights):
            self.weights = weights

        def get_weights(self):
            return "weights"

        def __call__(self, images, training):
            self.calls.append((len(images), training))
            digits = images[:, 0] % 10 if len(images) > 1 else np.array([3])  # alone: always the same
            return np.eye(10)[digits]

    original, copy = Model(), Model()
    run_cell(
        LESSON,
        "training-mode",
        keras=types.SimpleNamespace(models=types.SimpleNamespace(clone_model=lambda model: copy)),
        networks={"batchnorm_dropout": original},
        x_val=np.arange(600)[:, np.newaxis],
        y_val=np.arange(600) % 10,
    )
    assert copy.weights == "weights"
    assert copy.calls == [(500, False)] * 2 + [(500, True)] * 2 + [(1, True)] * 100
    assert original.calls == []
    said = capsys.readouterr().out
    assert said.count("accuracy 100.0%") == 4
    assert "one image at a time: 10 of 100 correct" in said


def test_the_record_holds_what_reports_and_exercises_read(monkeypatch, tmp_path):
    saved = {}
    helpers = types.SimpleNamespace(
        save_model=lambda folder, lesson, model, name: {"file": f"{lesson}.{name}.keras"},
        save_record=lambda folder, lesson, **content: saved.update(content, lesson=lesson),
    )
    run_cell(
        LESSON,
        "record",
        results=helpers,
        data=types.SimpleNamespace(describe=lambda dataset, **arrays: {"name": dataset, **arrays}),
        folder=tmp_path,
        networks=dict.fromkeys(NAMES, "network"),
        models={name: {"val_loss": 0.1} for name in NAMES},
        dataset_used="digits",
        deep_histories={"sigmoid": {}},
        few_histories={"no dropout": {}},
        gradients={"sigmoid": [1.0]},
        **{name: name for name in ("params", "started", "x_train", "y_train", "x_val", "y_val")},
    )
    assert saved["lesson"] == LESSON
    assert saved["models"]["dropout"] == {"val_loss": 0.1, "file": f"{LESSON}.dropout.keras"}
    assert saved["experiments"] == {"deep": {"sigmoid": {}}, "wide": {"no dropout": {}}}
    assert saved["gradient_sizes"] == {"sigmoid": [1.0]}
    assert saved["dataset"]["y_val"] == "y_val"


# --- what the text says ---

REFERENCE = results.reference_records("regularisation", LESSON)
ABLATION = results.reference_records("ablation", LESSON)


def of_reference(name, metric):
    return np.array([record["models"][name][metric] for record in REFERENCE])


def mean_curve(name, metric):
    """The mean learning curve over the seeds."""
    return np.mean([record["models"][name]["history"][metric] for record in REFERENCE], axis=0)


def interval(name, metric):
    difference = metrics.paired_difference(of_reference("plain", metric), of_reference(name, metric))
    return difference.low, difference.mean, difference.high


def spread_of_differences(name):
    """Standard deviation, over the seeds, of an accuracy difference between two short trainings."""
    pairs = [record["ablation"] for record in ABLATION]
    return np.std([pair[name]["val_accuracy"] - pair["plain"]["val_accuracy"] for pair in pairs], ddof=1)


def stopped(val_losses, patience):
    """The epoch after which early stopping ends, and the epoch whose weights it restores."""
    best = 0
    for epoch, loss in enumerate(val_losses):
        best = epoch if loss < val_losses[best] else best
        if epoch - best == patience:
            return epoch + 1, best + 1
    return len(val_losses), best + 1


MOVED = (5 - 0.1 * 5) / np.sqrt(0.9 * 1 + 0.1 * 9), 3 / np.sqrt(0.9 * 1 + 0.1 * 9)
Z = np.random.default_rng(3).normal(size=100_000)
SLOPES = 1 / (1 + np.exp(-Z)) * (1 - 1 / (1 + np.exp(-Z)))
LOSS, ACCURACY = "val_loss", "val_accuracy"
OTHERS = NAMES[1:]
CLAIMS = [
    ("title", "twelve hidden layers", DEFAULTS["num_layers"] == 12),
    ("overfitting", "−log(1/10) = log 10, about 2.3", round(-np.log(1 / 10), 1) == 2.3),
    ("overfitting-why", "more than 500,000 parameters", 785 * 512 + 513 * 256 + 257 * 10 > 500_000),
    ("overfitting-why", "can memorise 5,000 images", DEFAULTS["num_few"] == 5000),
    (
        "dropout-why",
        "are divided by 0.5, so the mean stays about 1",
        "activations / (1 - 0.5)" in text("dropout-by-hand"),
    ),
    ("dropout", "with dropout rate 0.5", "drop=0.5" in text("fit-dropout")),
    ("early-stopping", "if the patience is 3", "patience=3" in text("fit-early")),
    ("decay-why", "three epochs after the lowest", stopped([3, 1, 2, 2, 2, 0], 3) == (5, 2)),
    (
        "early-stopping",
        "1 − learning rate · weight decay",
        "1 - learning_rate * weight_decay" in text("fit-decay"),
    ),
    ("deep", "12 hidden layers of 64 neurons", "layers.Dense(64" in text("deep-network")),
    ("gradients", "near log 10, about 2.30", f"{np.log(10):.2f}" == "2.30"),
    ("gradients", "never larger than 0.25", 0.249 < SLOPES.max() <= 0.25),
    ("gradients", "0.25¹² ≈ 0.00000006", f"{0.25**12:.8f}" == "0.00000006"),
    ("batchnorm", "about half of the activations to zero", abs(np.mean(Z > 0) - 0.5) < 0.01),
    (
        "batchnorm",
        "whose variance (the square of the standard deviation) is 2/n",
        abs(2 * np.mean(np.maximum(Z, 0) ** 2) - 1) < 0.02,
    ),
    ("modes", "differ by a factor of 100", "[1.0, 100, 5]" in text("batchnorm-by-hand")),
    ("modes", "`momentum=0.9` nine tenths", "momentum=0.9" in text("deep-network")),
    ("modes", "mean 5 and standard deviation 3", "normal(5, 3" in text("batchnorm-modes")),
    ("batchnorm-why", "wrong after the first batch", min(MOVED) > 2),
    ("batchnorm-why", "After 50 more batches", "(1, 50)" in text("batchnorm-modes")),
    ("batchnorm-why", "both modes agree", 5 * 0.9**51 < 0.05),
    ("batchnorm-why", "Compare 0.25³ with 0.25¹²", 0.25**3 > 0.01),
    ("comparison", "fewer epochs than in lesson 2", DEFAULTS["compare_epochs"] < 5),
    ("comparison-why", "3,072 for the 512 + 256 neurons", 4 * (512 + 256) == 3072),
    (
        "comparison-why",
        "3,072",
        REFERENCE[0]["models"]["batchnorm"]["num_params"] - REFERENCE[0]["models"]["plain"]["num_params"]
        == 3072,
    ),
    (
        "comparison-why",
        "below about half a percentage point",
        0.004 < 2 * np.median([spread_of_differences(name) for name in ABLATION[0]["ablation"]]) < 0.008,
    ),
    ("comparison-why", "(8 epochs) with ten seeds", len(REFERENCE) == 10),
    (
        "comparison-why",
        "longer training runs (8 epochs)",
        len(REFERENCE[0]["models"]["plain"]["history"]["loss"]) == 8 > DEFAULTS["compare_epochs"],
    ),
    (
        "reference-why",
        "The intervals of the loss are below zero with dropout and with both",
        all(interval(name, LOSS)[2] < 0 for name in ("dropout", "batchnorm_dropout")),
    ),
    (
        "reference-why",
        "The mean is lowest with both. Its interval overlaps with that of dropout alone",
        min(OTHERS, key=lambda name: interval(name, LOSS)[1]) == "batchnorm_dropout"
        and interval("batchnorm_dropout", LOSS)[2] > interval("dropout", LOSS)[0],
    ),
    (
        "reference-why",
        "The interval of batch normalisation alone contains zero",
        interval("batchnorm", LOSS)[0] < 0 < interval("batchnorm", LOSS)[2],
    ),
    (
        "reference-why",
        "its accuracy is even lower than that of `plain`",
        interval("batchnorm", ACCURACY)[2] < 0,
    ),
    (
        "reference-why",
        "in each of the first six epochs its mean validation loss is lower than that of `plain`",
        all(mean_curve("batchnorm", LOSS)[:6] < mean_curve("plain", LOSS)[:6]),
    ),
    (
        "reference-why",
        "Then its validation loss rises",
        mean_curve("batchnorm", LOSS)[-1] > mean_curve("batchnorm", LOSS).min() + 0.01,
    ),
    (
        "reference-why",
        "in most runs even its training loss rises a little",
        np.mean(
            [
                record["models"]["batchnorm"]["history"]["loss"][-1]
                > record["models"]["batchnorm"]["history"]["loss"][5]
                for record in REFERENCE
            ]
        )
        > 0.7,
    ),
    (
        "reference-why",
        "With dropout as well, the mean validation loss hardly changes in the last epochs",
        np.ptp(mean_curve("batchnorm_dropout", LOSS)[-4:]) < 0.003,
    ),
    (
        "reference-why",
        "needs fewer epochs to fit the training images",
        all(mean_curve("batchnorm", "loss")[:6] < mean_curve("plain", "loss")[:6]),
    ),
    (
        "reference-why",
        "The mean accuracies differ from that of `plain` by less than a third of a percentage point",
        all(abs(interval(name, ACCURACY)[1]) < 0.0033 for name in OTHERS),
    ),
    ("failure", "with 500 images in one batch", "x_val[:500]" in text("training-mode")),
    ("key-points", "about half a percentage point", "half a percentage point" in text("comparison-why")),
]


@pytest.mark.parametrize(("cell_id", "claim", "holds"), CLAIMS, ids=[claim[1] for claim in CLAIMS])
def test_what_the_text_says_is_so(cell_id, claim, holds):
    assert claim in text(cell_id)
    assert holds


# --- the quiz ---

QUESTIONS = yaml.safe_load((quiz.QUIZZES / f"{LESSON}.yaml").read_text(encoding="utf-8"))
MOVING_MEAN = 0.9 * (0.9 * 0 + 0.1 * 5) + 0.1 * 5
VAL_LOSSES = [0.40, 0.31, 0.27, 0.29, 0.28, 0.30, 0.26, 0.25]
QUIZ = [
    (0, "stay at 2.30", ["The learning rate", "The size of the gradient in each layer"], np.log(10) > 2.295),
    (1, "`Dropout(0.2)` receives the activation 4.0", ["5.0"], 4.0 / (1 - 0.2) == 5.0),
    (
        2,
        "0.40, 0.31, 0.27, 0.29, 0.28, 0.30, 0.26, 0.25",
        ["Those of epoch 3"],
        stopped(VAL_LOSSES, 3) == (6, 3),
    ),
    (3, "two batches, each with mean 5", ["0.95"], pytest.approx(0.95) == MOVING_MEAN),
    (4, "the same image twice", ["It was called with `training=True`."], True),
    (5, "with one seed", ["Nothing certain yet: repeat with more seeds."], 98.1 - 97.9 < 0.5),
]


@pytest.mark.parametrize(("number", "said", "right", "holds"), QUIZ)
def test_the_right_answers_of_the_quiz_are_right(number, said, right, holds):
    question = QUESTIONS[number]
    assert said in question["question"]
    assert [choice["text"] for choice in question["choices"] if choice.get("right")] == right
    assert holds


def test_the_right_answer_is_not_the_longest_one():
    for question in QUESTIONS:
        lengths = {bool(choice.get("right")): 0 for choice in question["choices"]}
        for choice in question["choices"]:
            right = bool(choice.get("right"))
            lengths[right] = max(lengths[right], len(choice["text"]))
        assert lengths[True] <= lengths[False], question["question"]
