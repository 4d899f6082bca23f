"""Lesson 2: single cells on made-up names, whose right answers are known, and the claims of its text."""

import inspect
import math
import types

import keras
import numpy as np
import pytest
import yaml
from sklearn import decomposition, neighbors

from mnist_course import lessons
from mnist_helpers import data, drawings, quiz, results
from tests.lessons.cells import run_cell

LESSON = "02_baseline"
CELLS = {cell["id"]: "".join(cell["source"]) for cell in lessons.read_lesson(LESSON)["cells"]}
QUIZ = yaml.safe_load((quiz.QUIZZES / f"{LESSON}.yaml").read_text(encoding="utf-8"))
DEFAULTS = lessons.declared(LESSON)
RNG = np.random.default_rng(2)


class Asked:
    """In place of `quiz`: notes with which outcome a prediction is compared."""

    def __init__(self):
        self.outcomes = []

    def predict(self, what, unit="", choices=()):
        self.choices = choices

    def compare(self, guess, outcome):
        self.outcomes.append(outcome)


class Model:
    """In place of a network: answers in `predict`, and scores in `evaluate`, that a test has made up."""

    def __init__(self, answers=None, scores=None, weights=None):
        self.answers, self.scores, self.weights = answers, scores, weights
        self.evaluated, self.layers = [], ["hidden_1", "hidden_2", "output"]

    def predict(self, images, batch_size=None, verbose=0):
        return self.answers[: len(images)]

    def __call__(self, images):
        return self.answers[: len(images)]

    def evaluate(self, images, labels, batch_size=None, verbose=0):
        self.evaluated.append((images, labels))
        return self.scores.pop(0)

    def get_layer(self, name):
        self.asked = name
        return types.SimpleNamespace(output=name, get_weights=lambda: [self.weights, None])

    def save(self, path):
        self.saved = path

    def summary(self):
        print("the summary")

    def count_params(self):
        return 12_345


def fake_keras(**more):
    """Keras without TensorFlow: notes seeds and layers."""
    seeds = []
    utils = types.SimpleNamespace(set_random_seed=seeds.append)
    keras = types.SimpleNamespace(
        utils=utils, seeds=seeds, Sequential=list, Input=lambda shape: shape, **more
    )
    layers = types.SimpleNamespace(
        Rescaling=lambda scale: ("Rescaling", scale),
        Flatten=lambda: ("Flatten",),
        Dense=lambda count, activation, name: ("Dense", count, activation, name),
    )
    return keras, layers


# --- idea by idea ---


def test_the_neuron_computes_what_its_drawing_shows(capsys):
    names = run_cell(LESSON, "neuron", drawings=drawings)
    by_hand = 0.9 * 1.5 + 0.2 * -2 + 0.5 * 0.5 - 0.5
    assert names["weighted_sum"] == pytest.approx(by_hand)
    assert capsys.readouterr().out == f"weighted sum plus bias: {by_hand:.2f}\n"
    assert f"ReLU makes it {by_hand:g}" in names["_"].description


def test_softmax_is_that_of_scipy():
    from scipy.special import softmax

    names = run_cell(LESSON, "softmax", drawings=drawings)
    assert names["probabilities"] == pytest.approx(softmax(names["logits"]))
    ratio = names["probabilities"][2] / names["probabilities"][3]
    assert ratio == pytest.approx(math.e)
    assert names["probabilities"].argmax() == 2
    assert softmax(names["logits"] + 1) == pytest.approx(names["probabilities"])


def test_the_network_is_the_one_in_the_drawing():
    keras, layers = fake_keras()
    found = run_cell(LESSON, "build", keras=keras, layers=layers, seed=7, units=40)["build"]()
    assert found == [
        (28, 28),
        ("Rescaling", 1 / 255),
        ("Flatten",),
        ("Dense", 40, "relu", "hidden_1"),
        ("Dense", 20, "relu", "hidden_2"),
        ("Dense", 10, "softmax", "output"),
    ]
    assert keras.seeds == [7]
    drawing = run_cell(LESSON, "network", drawings=drawings, units=40)["_"].description
    for size in ("784 pixels", "40 hidden layer 1 ReLU", "20 hidden layer 2 ReLU", "10 output layer softmax"):
        assert size in drawing


@pytest.mark.parametrize(
    ("units", "counted"), [(512, "401,920 + 131,328 + 2,570 = 535,818"), (4, "3,140 + 10 + 30 = 3,180")]
)
def test_parameters_are_counted_by_hand(units, counted, capsys):
    run_cell(LESSON, "count", build=Model, units=units)
    assert capsys.readouterr().out == f"the summary\nby hand: {counted}\nKeras:   12,345\n"


def test_the_loss_of_the_untrained_network_is_the_mean_over_its_labels(capsys):
    answers = np.full((3, 10), 0.05)
    answers[[0, 1, 2], [4, 5, 6]] = 0.55
    asked, y_val = Asked(), np.array([4, 0, 1])
    names = {"untrained": Model(answers), "x_val": np.zeros(3), "y_val": y_val, "guess": None, "quiz": asked}
    run_cell(LESSON, "untrained", **names)
    loss = -(math.log(0.55) + 2 * math.log(0.05)) / 3
    assert capsys.readouterr().out == f"accuracy: 33.3%\nloss: {loss:.2f}, log 10: 2.30\n"
    assert asked.outcomes == [pytest.approx(1 / 3)]


def test_gradient_descent_makes_five_steps(capsys):
    run_cell(LESSON, "descent")
    lines = capsys.readouterr().out.splitlines()
    weights = [-1.6 * 0.4**step for step in range(1, 6)]
    assert lines == [f"step {step}: w = {w:.3f}, loss = {w * w:.4f}" for step, w in enumerate(weights, 1)]


def test_the_highest_of_three_learning_rates_ends_with_the_highest_loss():
    asked = Asked()
    run_cell(LESSON, "rates-guess", quiz=asked)
    figure = run_cell(LESSON, "rates", quiz=asked, drawings=drawings, guess=None)["_"]
    losses = {rate: 1.6**2 * (1 - 2 * float(rate)) ** 16 for rate in asked.choices}
    assert asked.outcomes == [max(losses, key=losses.get)]
    assert [axes.get_title() for axes in figure.figure.axes] == [f"learning rate {rate}" for rate in losses]
    low, right, high = losses.values()
    assert 1.6**2 / 2 < low < 1.6**2 < high
    assert right < 0.0001


@pytest.mark.parametrize(
    ("images", "batch_size", "steps"), [(50_000, 128, 391), (1000, 100, 10), (1001, 100, 11)]
)
def test_steps_of_an_epoch_are_rounded_up(images, batch_size, steps, capsys):
    names = {"x_train": np.zeros(images), "batch_size": batch_size, "epochs": 3, "drawings": drawings}
    run_cell(LESSON, "steps", **names)
    out = capsys.readouterr().out
    assert f"{images:,} images / {batch_size}, rounded up: {steps} steps\n" in out
    assert f"3 epochs: {3 * steps:,} steps\n" in out


# --- training, and what was learned ---


def test_compiled_takes_the_learning_rate_that_it_is_given():
    built = types.SimpleNamespace(compile=lambda **options: vars(built).update(options))
    optimizers = types.SimpleNamespace(Adam=lambda learning_rate: ("Adam", learning_rate))
    names = {"build": lambda: built, "learning_rate": 0.1}
    compiled = run_cell(LESSON, "compiled", keras=types.SimpleNamespace(optimizers=optimizers), **names)
    assert compiled["compiled"](0.25) is built
    assert built.optimizer == ("Adam", 0.25)
    assert built.loss == "sparse_categorical_crossentropy"


class Trained:
    """In place of what `compiled` returns: notes how it was made and with which images it was trained."""

    def __init__(self, learning_rate):
        self.learning_rate = learning_rate

    def fit(self, *images, **options):
        self.images, self.options = images, options
        return types.SimpleNamespace(history={name: [0.2, 0.9, 0.7] for name in CURVES})


CURVES = ("loss", "accuracy", "val_loss", "val_accuracy")


@pytest.mark.parametrize(
    ("cell", "trained", "rate", "used"), [("fit", "model", 0.01, 12_000), ("failing", "failing", 0.5, 10_000)]
)
def test_both_trainings_learn_from_training_images_and_count_the_last_epoch(cell, trained, rate, used):
    """Validation images are only for `validation_data`; the last epoch is neither the best nor the worst."""
    asked, images = Asked(), np.arange(12_000)
    names = {"x_train": images, "y_train": images + 1, "x_val": "validation images", "y_val": "their labels"}
    names |= {"learning_rate": 0.01, "too_high_learning_rate": 0.5, "batch_size": 100, "epochs": 3}
    names |= {"falling_rate": 0.0, "keras": keras}
    names |= {"compiled": Trained, "quiz": asked, "guess": None, "dataset_used": "made up"}
    names |= {
        "history": {name: [0.5] for name in CURVES},
        "time": types.SimpleNamespace(perf_counter=lambda: 1.0),
    }
    made = run_cell(LESSON, cell, **names)[trained]
    assert made.learning_rate == rate
    x, y = made.images
    assert (x.tolist(), y.tolist()) == (list(range(used)), list(range(1, used + 1)))
    assert made.options["validation_data"] == ("validation images", "their labels")
    assert (made.options["batch_size"], made.options["epochs"]) == (100, 3)
    assert asked.outcomes == [0.7]


def test_a_falling_learning_rate_reaches_zero_after_the_last_step():
    """12,050 images are 121 steps of 100 images, so 3 epochs are 363 steps."""
    images, asked = np.arange(12_050), Asked()
    names = dict.fromkeys(("x_train", "y_train", "x_val", "y_val"), images) | {
        "compiled": Trained,
        "keras": keras,
    }
    names |= {"learning_rate": 0.01, "falling_rate": 0.004, "batch_size": 100, "epochs": 3}
    names |= {"quiz": asked, "guess": None, "time": types.SimpleNamespace(perf_counter=lambda: 1.0)}
    rate = run_cell(LESSON, "fit", **names)["model"].learning_rate
    assert [float(rate(step)) for step in (0, 363)] == pytest.approx([0.004, 0])
    assert float(rate(181.5)) == pytest.approx(0.002)
    assert float(rate(362)) > 0


def test_losses_and_accuracies_are_those_of_their_own_images(capsys):
    model = Model(scores=[(0.01, 0.999), (0.08, 0.9752)])
    x_train, x_val = np.zeros(4), np.zeros(10_000)
    history = {"loss": [1, 0.5], "accuracy": [0.5, 0.9], "val_loss": [1, 0.7], "val_accuracy": [0.5, 0.8]}
    names = {"x_train": x_train, "y_train": x_train, "x_val": x_val, "y_val": x_val, "history": history}
    found = run_cell(LESSON, "curves", model=model, dataset_used="made up", **names)
    assert [len(images) for images, _ in model.evaluated] == [4, 10_000]
    out = capsys.readouterr().out
    assert "training images:   loss 0.0100, accuracy 99.90%\n" in out
    assert "validation images: loss 0.0800, accuracy 97.52%\n" in out
    assert "248 of 10,000 validation images are misclassified\n" in out
    assert (found["val_loss"], found["val_accuracy"]) == (0.08, 0.9752)
    assert "after 2 epochs: accuracy 0.9000 in training and 0.8000 in validation" in found["_"].description


def test_weights_of_pixels_that_are_always_0_are_apart(capsys):
    x_train = np.zeros((5, 28, 28), np.uint8)
    x_train[3, 1, 1] = 9
    x_train[:, 2, 2] = 1
    before = RNG.normal(size=(784, 20))
    after = before.copy()
    after[[29, 58]] += 0.5
    names = {"untrained": Model(weights=before), "model": Model(weights=after), "x_train": x_train}
    found = run_cell(LESSON, "weights", drawings=drawings, dataset_used="made up", **names)
    assert names["untrained"].asked == names["model"].asked == "hidden_1"
    out = capsys.readouterr().out
    assert out.startswith("782 of 784 pixels are 0 in every training image\n")
    assert "mean change of their weights: 0.0000\n" in out
    assert "mean change of the others:    0.5000\n" in out
    assert "before training, weights up to" in found["_"].description


def test_the_projections_are_of_the_same_images(capsys):
    labels = np.repeat(np.arange(10), 8)
    centers = np.stack([np.cos(np.arange(10) / 10 * 2 * np.pi), np.sin(np.arange(10) / 10 * 2 * np.pi)], 1)
    activations = np.zeros((80, 5))
    activations[:, :2] = centers[labels]
    asked = []

    def sequential(layers):
        asked.append(layers)
        return Model(activations)

    names = {"x_val": RNG.integers(0, 256, (80, 28, 28)), "y_val": labels, "dataset_used": "made up"}
    names |= {"decomposition": decomposition, "neighbors": neighbors, "drawings": drawings, "seed": 6}
    found = run_cell(
        LESSON, "projection", keras=types.SimpleNamespace(Sequential=sequential), model=Model(), **names
    )
    assert asked == [["hidden_1", "hidden_2"]]
    pixels, other = capsys.readouterr().out.splitlines()
    assert other == "activations in two dimensions: nearest centroid 100% correct"
    expected = decomposition.PCA(2, random_state=6).fit_transform(names["x_val"].reshape(80, 784) / 255)
    score = neighbors.NearestCentroid().fit(expected, labels).score(expected, labels)
    assert pixels == f"pixels in two dimensions: nearest centroid {score:.0%} correct"
    assert "100% of the variation is between digits" in found["_"].description


def test_mistakes_are_captioned_with_label_and_prediction():
    answers = np.full((4, 10), 0.01)
    answers[[0, 1, 2, 3], [3, 4, 5, 6]] = 0.91, 0.81, 0.71, 0.95
    answers /= answers.sum(axis=1, keepdims=True)
    names = {"model": Model(answers), "x_val": np.zeros((4, 28, 28)), "y_val": np.array([3, 0, 1, 2])}
    found = run_cell(LESSON, "mistakes", dataset_used="made up", **names)
    assert found["captions"] == [
        "2 read as 6\np = 0.91",
        f"0 read as 4\np = {0.81 / 0.9:.2f}",
        f"1 read as 5\np = {0.71 / 0.8:.2f}",
    ]


def test_a_loaded_network_that_differs_is_noticed(tmp_path, capsys):
    first, second = RNG.random((6, 10)), RNG.random((6, 10))
    model, images = Model(first), np.zeros(6)
    for answers in (first, second):
        keras = types.SimpleNamespace(
            models=types.SimpleNamespace(load_model=lambda path, answers=answers: Model(answers))
        )
        run_cell(LESSON, "saving", keras=keras, folder=tmp_path, model=model, images=images)
        difference = np.abs(answers - first).max()
        assert capsys.readouterr().out == f"largest of 60 differences: {difference:.4f}\n"
    assert model.saved.name.startswith(LESSON)


# --- the learning rate that is far too high ---


@pytest.mark.parametrize(("num_rare", "always"), [(0, 0.0), (2, 0.0), (0, 3.0), (2, 3.0)])
def test_dead_relus_are_counted_and_the_two_groups_of_images_are_evaluated(num_rare, always, capsys):
    """Four neurons: one fires for a few images, one for all or none, one for 1 % of the images, one for none."""
    activations = np.zeros((300, 4))
    activations[5 : 5 + num_rare, 1] = 1000.0
    activations[:, 2] = always
    activations[:3, 3] = 1.0
    failing = Model(scores=[(2.314, 0.1), (500.0, 0.0)])
    asked = []

    def sequential(layers):
        asked.append(layers)
        return Model(activations)

    x_val = np.arange(300)
    names = {"x_val": x_val, "y_val": x_val + 10, "units": 8, "failing": failing}
    run_cell(LESSON, "dead", keras=types.SimpleNamespace(Sequential=sequential), **names)
    assert asked == [["hidden_1", "hidden_2"]]
    dead, *groups = capsys.readouterr().out.splitlines()
    assert dead == f"{2 if always else 3} of 4 neurons are 0 for more than 99 % of the images"
    assert groups[0] == f"{300 - num_rare} images activate none of them: loss 2.31"
    assert groups[1:] == ["2 images activate at least one of them: loss 500.00"][: bool(num_rare)]
    rare = [5, 6][:num_rare]
    others = [image for image in range(300) if image not in rare]
    for (images, labels), group in zip(failing.evaluated, [others, rare], strict=False):
        assert images.tolist() == group
        assert labels.tolist() == [image + 10 for image in group]


# --- what the text and the quiz claim ---

LOG = math.log
IMAGES = data.load_training("digits", num_train=1000, num_validation=200, seed=1)[0][0]
CLAIMS = [
    (
        "neuron-idea",
        "The shape is 28×28, the data type is `uint8`, and the values range from 0 to 255.",
        (IMAGES.shape[1:], IMAGES.dtype, IMAGES.min(), IMAGES.max()) == ((28, 28), np.uint8, 0, 255),
    ),
    ("neuron-idea", "inputs", len(run_cell(LESSON, "neuron", drawings=drawings)["inputs"]) == 3),
    ("activation-idea", "change the bias to −1.5", 0.9 * 1.5 - 0.2 * 2 + 0.5 * 0.5 - 1.5 < 0),
    ("softmax-answer", "e ≈ 2.7", round(math.e, 1) == 2.7),
    ("softmax-answer", "The logits of the digits 2 and 3 differ by 1", "3.5, 2.5" in CELLS["softmax"]),
    ("network-idea", "one image as a row of 784 pixel values", 28 * 28 == 784),
    ("build-text", "divides the pixel values by 255", "Rescaling(1 / 255)" in CELLS["build"]),
    ("count-text", "(n + 1)·m parameters", "(784 + 1) * units" in CELLS["count"]),
    ("loss-idea", "Most of the parameters are in the first hidden layer", 401_920 > 131_328 + 2_570),
    ("untrained-predict", "0 0 0 1 0 0 0 0 0 0", np.eye(10, dtype=int)[3].tolist() == [0, 0, 0, 1] + [0] * 6),
    ("untrained-answer", "−log(1/10) = log 10 ≈ 2.30", f"{LOG(10):.2f}" == f"{-LOG(1 / 10):.2f}" == "2.30"),
    (
        "descent-idea",
        "The slope (in calculus, the *derivative*) of this curve at w is 2w",
        "slope = 2 * w" in CELLS["descent"],
    ),
    ("descent-idea", "Here it is 0.3", "w - 0.3 * slope" in CELLS["descent"]),
    (
        "rates-predict",
        "eight steps",
        "steps: int = 8" in inspect.getsource(drawings.gradient_descent),
    ),
    ("rates-answer", "it is still more than half of what it was", (1 - 2 * 0.02) ** 16 > 0.5),
    ("rates-answer", "in a single step", 1 - 2 * 0.5 == 0),
    ("rates-answer", "The gradient computed from 128 images", DEFAULTS["batch_size"] == 128),
    ("rates-answer", "section 9 shows an example", CELLS["failing-idea"].startswith("## 9.")),
    ("compile-text", "0.001 is its default learning rate", DEFAULTS["learning_rate"] == 0.001),
    ("curves-answer", "set `epochs` to 15", DEFAULTS["epochs"] < 15),
    ("curves-answer", "`epochs` to 5", DEFAULTS["epochs"] == 5),
    ("curves-answer", "set `units` to 4", 4 // 2 >= 1),
    ("projection-idea", "the same 1,000 validation images", "x_val[:1000]" in CELLS["projection"]),
    ("failing-idea", "only 10,000 images", "x_train[:10_000]" in CELLS["failing"]),
    ("failing-idea", "a learning rate that is far too high", DEFAULTS["too_high_learning_rate"] > 0.1),
    (
        "key-points",
        "all ten probabilities are near 1/10, so the loss is about log 10",
        -LOG(0.1) == pytest.approx(LOG(10)),
    ),
]
QUIZ_CLAIMS = [
    ("the inputs 2 and −1, the weights 0.5 and 3, and the bias 1", max(0, 2 * 0.5 - 1 * 3 + 1), "0."),
    ("`Dense(128)` follows a layer with 64 neurons", (64 + 1) * 128, "8,320."),
    (
        "The training loss after epochs 1, 5 and 15",
        0.004 < 0.05 < 0.28 and 0.08 < 0.11,
        "The network overfits.",
    ),
    ("a loss of 45", 10 * LOG(10) < 45, "Whether the pixel values are divided by 255."),
]


@pytest.mark.parametrize(("cell", "text", "holds"), CLAIMS)
def test_the_text_claims_what_holds(cell, text, holds):
    assert text in CELLS[cell]
    assert holds


@pytest.mark.parametrize(("words", "result", "answer"), QUIZ_CLAIMS)
def test_the_quiz_takes_the_right_answer(words, result, answer):
    (question,) = [question for question in QUIZ if words in question["question"]]
    (right,) = [choice["text"] for choice in question["choices"] if choice.get("right")]
    assert right == answer
    assert result is True or right == f"{result:,.0f}."
    wrong = {"8,192.": 64 * 128, "8,256.": 64 * 129, "16,384.": 128 * 128, "−1.": 2 * 0.5 - 3 + 1}
    for choice in question["choices"]:
        if choice["text"] in wrong:
            assert f"{wrong[choice['text']]:,.0f}." == choice["text"].replace("−", "-")
            assert not choice.get("right")


def test_the_lesson_is_for_two_classes_with_a_marked_break():
    cells = list(CELLS)
    assert "the second class begins here" in CELLS["break"]
    assert "two classes of 50 minutes (the break is marked)" in CELLS["title"]
    assert len(cells) / 3 < cells.index("break") < 2 * len(cells) / 3


def test_the_record_holds_the_baseline_as_reports_need_it(tmp_path, monkeypatch):
    saved = {}
    stub = types.SimpleNamespace(
        save_model=lambda folder, lesson, model: {"file": f"{lesson}.keras", "num_params": 3},
        save_record=lambda folder, lesson, **content: saved.update(content, lesson=lesson),
    )
    names = {name: name for name in ("folder", "model", "x_train", "y_train", "x_val", "y_val", "started")}
    names |= {"params": {"seed": 1}, "dataset_used": "made up", "history": {"loss": [1.0]}}
    names |= {"val_accuracy": 0.98, "val_loss": 0.07, "train_seconds": 9.0, "results": stub}
    names["data"] = types.SimpleNamespace(describe=lambda name, **arrays: sorted(arrays))
    run_cell(LESSON, "record", **names)
    scores = {"val_accuracy": 0.98, "val_loss": 0.07, "train_seconds": 9.0, "history": {"loss": [1.0]}}
    assert saved["models"] == {"baseline": {"file": f"{LESSON}.keras", "num_params": 3} | scores}
    assert saved["dataset"] == ["x_train", "x_val", "y_train", "y_val"]
    assert saved["lesson"] == LESSON in results.LESSONS
