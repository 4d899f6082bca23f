"""The optional notebook on PyTorch, which also runs where PyTorch is missing: its cells, and what its text says."""

import ast
import inspect
import json
import types

import keras
import numpy as np
import pytest
import yaml
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans

from mnist_helpers import quiz, results
from tests.lessons.cells import run_cell

try:
    import torch
    from torch import nn
except ImportError:
    torch = None

LESSON = "pytorch"
NOTEBOOK = json.loads(results.notebook_path(LESSON).read_text(encoding="utf-8"))
CELLS = {cell["id"]: "".join(cell["source"]) for cell in NOTEBOOK["cells"]}
QUIZ = yaml.safe_load((quiz.QUIZZES / f"{LESSON}.yaml").read_text(encoding="utf-8"))
with_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")


def network_cell():
    return run_cell(LESSON, "torch-network", torch=torch, nn=nn, units=8, seed=1)["torch_network"]


# --- without PyTorch ---


def outside_guards(body):
    """Statements that run without PyTorch: not in a function and not under `if torch:`."""
    for node in body:
        if isinstance(node, ast.FunctionDef):
            continue
        if isinstance(node, ast.If) and "torch" in ast.unparse(node.test):
            yield from outside_guards(node.orelse)
        elif isinstance(node, ast.For | ast.If | ast.With):
            yield from outside_guards(node.body)
        else:
            yield node


def test_no_cell_needs_pytorch_unless_it_is_there():
    names = {"nn", "train_pixels", "train_labels", "val_pixels", "val_labels"}
    names |= {"torch_network", "train_one_epoch", "evaluate", "copy_weights", "to_tensors"}
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            for node in outside_guards(ast.parse("".join(cell["source"])).body):
                used = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
                assert not used & names, cell["id"]
                if "torch" in used:  # only as a value that may be None
                    assert "torch = " in ast.unparse(node) or "if torch else None" in ast.unparse(node)


def test_without_pytorch_the_notebook_says_how_to_get_it(capsys):
    missing = types.SimpleNamespace(util=types.SimpleNamespace(find_spec=lambda name: None))
    names = run_cell(LESSON, "installed", importlib=missing)
    assert names["torch"] is names["largest_difference"] is names["difference"] is None
    assert "pip install torch" in capsys.readouterr().out


def test_without_pytorch_the_record_holds_the_trainings_in_keras(monkeypatch, capsys):
    saved = {}
    monkeypatch.setattr(results, "save_record", lambda folder, lesson, **content: saved.update(content))
    curves = run_cell(
        LESSON, "curves", torch=None, keras_curves=[[0.5, 0.9]], num_seeds=1, dataset_used="digits"
    )["curves"]
    run_cell(LESSON, "difference", torch=None, stats=None, curves={"Keras": [[0.5, 0.9], [0.5, 0.8]]})
    assert "Keras: mean 85.00%" in capsys.readouterr().out
    run_cell(
        LESSON,
        "record",
        torch=None,
        results=results,
        data=types.SimpleNamespace(describe=lambda name, **arrays: {"name": name}),
        dataset_used="digits",
        curves=curves,
        **dict.fromkeys(("x_train", "y_train", "x_val", "y_val", "folder", "params", "started")),
        **dict.fromkeys(("difference", "largest_difference")),
    )
    assert saved["torch_version"] is None
    assert saved["curves"] == {"Keras": [[0.5, 0.9]]}
    assert saved["models"] == {}


# --- the same network ---


@with_torch
def test_weights_copied_from_keras_give_the_same_logits_and_probabilities(capsys):
    rng = np.random.default_rng(2)
    x_val = rng.integers(0, 256, (20, 28, 28)).astype(np.uint8)
    keras_network = run_cell(LESSON, "keras-model", keras=keras, layers=keras.layers, units=8, seed=1)
    to_tensors = run_cell(LESSON, "data", torch=None)["to_tensors"]
    to_tensors.__globals__["torch"] = torch
    pixels, labels = to_tensors(x_val, np.arange(20) % 10)
    assert (tuple(pixels.shape), pixels.dtype, labels.dtype) == ((20, 784), torch.float32, torch.int64)
    assert np.allclose(pixels.numpy(), x_val.reshape(20, 784) / 255)
    names = run_cell(
        LESSON,
        "copy",
        torch=torch,
        seed=1,
        val_pixels=pixels,
        x_val=x_val,
        keras_network=keras_network["keras_network"],
        torch_network=network_cell(),
    )
    assert 0 <= names["largest_difference"] < 1e-5
    model, hidden = names["keras_model"], x_val.reshape(20, 784) / 255
    for number in (0, 2, 4):
        weights, bias = model.get_weights()[number : number + 2]
        hidden = hidden @ weights + bias
        hidden = np.maximum(hidden, 0) if number < 4 else hidden
    assert np.allclose(names["torch_model"](pixels).detach().numpy(), hidden, atol=1e-5)
    said = "".join(capsys.readouterr().out.split("parameters")[0])
    assert f"{(784 + 1) * 8 + (8 + 1) * 4 + (4 + 1) * 10:,}" in said


@with_torch
def test_the_initial_weights_are_those_of_keras():
    model = run_cell(LESSON, "torch-network", torch=torch, nn=nn, units=512, seed=1)["torch_network"](1)
    shapes = [(784, 512), (512, 256), (256, 10)]
    for layer, (inputs, outputs) in zip((model[0], model[2], model[4]), shapes, strict=True):
        limit = np.sqrt(6 / (inputs + outputs))
        weights = layer.weight.detach().numpy()
        assert weights.shape == (outputs, inputs)
        assert 0.98 * limit < np.abs(weights).max() <= limit * 1.0001
        assert weights.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)
        assert not layer.bias.detach().numpy().any()
    default = nn.Linear(784, 512)  # what the text says about PyTorch's own default
    for values in (default.weight, default.bias):
        assert 0.95 / 28 < values.abs().max().item() <= 1.0001 / 28
    assert isinstance(keras.layers.Dense(2).kernel_initializer, keras.initializers.GlorotUniform)
    assert isinstance(keras.layers.Dense(2).bias_initializer, keras.initializers.Zeros)


@with_torch
def test_a_network_of_the_same_seed_is_the_same():
    first, again, other = (network_cell()(seed)[0].weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# --- the training loop ---


@with_torch
def test_two_epochs_of_the_loop_are_two_steps_of_gradient_descent_by_hand():
    """One batch per epoch; a gradient that is not set to zero would make the second step too long."""
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(6, 5)), np.array([0, 1, 2, 2, 1, 0])
    names = run_cell(
        LESSON,
        "loop",
        torch=torch,
        nn=nn,
        batch_size=6,
        train_pixels=torch.tensor(x, dtype=torch.float32),
        train_labels=torch.tensor(y),
        val_pixels=torch.tensor(x, dtype=torch.float32),
        val_labels=torch.tensor(y),
    )
    model = nn.Sequential(nn.Linear(5, 3))
    weights = model[0].weight.detach().numpy().astype(float).T.copy()
    bias = model[0].bias.detach().numpy().astype(float).copy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(2):
        names["train_one_epoch"](model, optimizer)
        answer = np.exp(x @ weights + bias)
        error = answer / answer.sum(axis=1, keepdims=True) - np.eye(3)[y]
        weights -= 0.5 * x.T @ error / 6
        bias -= 0.5 * error.mean(axis=0)
    assert np.allclose(model[0].weight.detach().numpy(), weights.T, atol=1e-5)
    assert np.allclose(model[0].bias.detach().numpy(), bias, atol=1e-5)
    expected = ((x @ weights + bias).argmax(axis=1) == y).mean()
    assert names["evaluate"](model) == pytest.approx(expected)
    assert not model.training


@with_torch
def test_every_image_is_seen_once_in_an_epoch():
    seen = []

    class Recorder(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, rows):
            seen.append(rows[:, 0].tolist())
            assert self.training
            return rows[:, :3] * self.scale

    model = Recorder().eval()
    pixels = torch.arange(10.0).repeat(3, 1).T
    labels = torch.zeros(10, dtype=torch.int64)
    names = run_cell(
        LESSON, "loop", torch=torch, nn=nn, batch_size=4, train_pixels=pixels, train_labels=labels
    )
    names["train_one_epoch"](model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert [len(batch) for batch in seen] == [4, 4, 2]
    assert sorted(row for batch in seen for row in batch) == list(range(10))


# --- the comparison and what goes wrong ---


@pytest.mark.parametrize("shift", [0.0, 0.05])
def test_the_difference_has_the_interval_of_two_independent_groups(shift, capsys):
    first, second = [0.97, 0.98, 0.985], [0.975 + shift, 0.972 + shift, 0.98 + shift]
    names = run_cell(
        LESSON,
        "difference",
        torch=True,
        stats=stats,
        guess=None,
        curves={"Keras": [[0.1, value] for value in first], "PyTorch": [[0.1, value] for value in second]},
    )
    low, high = CompareMeans.from_data(second, first).tconfint_diff(usevar="unequal")
    assert names["difference"]["mean"] == pytest.approx(np.mean(second) - np.mean(first))
    assert names["difference"]["low"] == pytest.approx(low)
    assert names["difference"]["high"] == pytest.approx(high)
    assert (low < 0 < high) == (shift == 0)
    assert "PyTorch minus Keras: " in capsys.readouterr().out


def test_the_lowest_loss_with_two_softmaxes(capsys):
    names = run_cell(LESSON, "wrong", torch=None, guess=None)
    once = np.exp([1] + [0] * 9)
    assert names["lowest"] == pytest.approx(-np.log(once[0] / once.sum()))
    assert f"{names['lowest']:.2f}" == "1.46"
    assert f"{np.e / (np.e + 9):.0%}" == "23%"
    assert "above 1.46" in CELLS["wrong-why"]
    assert "e / (e + 9) = 23 %" in CELLS["wrong-why"]


@with_torch
def test_pytorch_computes_this_loss_without_a_message():
    perfect = torch.eye(10)[[3]]
    lowest = run_cell(LESSON, "wrong", torch=None, guess=None)["lowest"]
    assert nn.CrossEntropyLoss()(perfect, torch.tensor([3])).item() == pytest.approx(lowest)


# --- claims ---

ADAM = inspect.signature(keras.optimizers.Adam).parameters
CLAIMS = [
    ("init-text", "a = √(6 / (n + m))", "np.sqrt(6 / (784 + 512))" in CELLS["init"]),
    ("init-text", "a = 1 / √n", "1 / np.sqrt(784)" in CELLS["init"]),
    ("init-why", "nearly twice as large", 1.8 < np.sqrt(6 / (784 + 512)) / (1 / np.sqrt(784)) < 2),
    ("same-text", "784 rows and 512 columns", keras.layers.Dense(512).units == 512),
    ("loss-text", "10⁻⁷ in Keras", ADAM["epsilon"].default == 1e-7),
    ("loss-text", "use the same value in both libraries", "epsilon=1e-7" in CELLS["train-keras"]),
    ("loss-text", "use the same value in both libraries", "eps=1e-7" in CELLS["train-torch"]),
    ("seeds-text", "`num_seeds` networks", "range(seed, seed + num_seeds)" in CELLS["train-keras"]),
    ("difference-text", "Welch's method", "equal_var=False" in CELLS["difference"]),
    ("loss-text", "1. `zero_grad`", "optimizer.zero_grad()  # 1" in CELLS["loop"]),
    ("loss-text", "2. The forward pass", "(logits, train_labels[rows])  # 2" in CELLS["loop"]),
    ("loss-text", "3. `backward`", "loss.backward()  # 3" in CELLS["loop"]),
    ("loss-text", "4. `step`", "optimizer.step()  # 4" in CELLS["loop"]),
]


@pytest.mark.parametrize(("cell_id", "text", "is_true"), CLAIMS)
def test_the_text_and_the_code_agree(cell_id, text, is_true):
    assert text in CELLS[cell_id]
    assert is_true


@with_torch
def test_pytorch_has_the_epsilon_that_the_text_names():
    assert inspect.signature(torch.optim.Adam).parameters["eps"].default == 1e-8
    assert "10⁻⁸ in PyTorch" in CELLS["loss-text"]


def test_both_cells_that_train_use_the_same_numbers():
    for cell_id in ("train-keras", "train-torch"):
        assert "learning_rate" in CELLS[cell_id]
        assert "epochs" in CELLS[cell_id]
    assert "split(batch_size)" in CELLS["loop"]
    assert '"batch_size": batch_size' in CELLS["train-keras"]


@pytest.mark.parametrize(
    ("letter", "value"),
    [("a", 6 / 266), ("b", np.sqrt(6 / 266)), ("c", np.sqrt(6 / 256)), ("d", 1 / np.sqrt(256))],
)
def test_the_numbers_of_the_quiz_are_right(letter, value):
    choice = QUIZ[1]["choices"]["abcd".index(letter)]
    assert float(choice["text"]) == pytest.approx(value, abs=0.0005)
    assert bool(choice.get("right")) == (letter == "b")
