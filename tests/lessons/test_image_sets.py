"""In every notebook: who learns from which images, whose labels go with them, and which epoch counts."""

import ast
import itertools
import json
import re

import pytest

from mnist_helpers import results

LEARN = {"fit", "train", "train_on_batch"}
SCORES = {"evaluate", "score"}
PARTS = re.compile(r"\b[xy]_(\w+)")


def code_of(name):
    cells = json.loads(results.notebook_path(name).read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def called(call):
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def sets_in(node):
    """Names of the sets, such as `val`, whose images or labels an expression uses."""
    names = [child.id for child in ast.walk(node) if isinstance(child, ast.Name)]
    return {found[1] for name in names if (found := PARTS.fullmatch(name))}


def slips(code):
    """What is learned from, compared or chosen in the wrong way; one sentence for each."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and called(node) in LEARN:
            learned = set().union(*map(sets_in, node.args)) | {
                part
                for word in node.keywords
                if word.arg != "validation_data"
                for part in sets_in(word.value)
            }
            if learned & {"val", "test", "report"}:
                yield f"learns from {learned}: {ast.unparse(node)}"
        if isinstance(node, ast.keyword) and node.arg == "validation_data" and sets_in(node.value) - {"val"}:
            yield f"validates on {sets_in(node.value)}"
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and called(node.value) in SCORES:
            named = " ".join(n.id for n in ast.walk(node.targets[0]) if isinstance(n, ast.Name))
            used = sets_in(node.value)
            if ("val" in named.split("_") or "val_" in named) and used and used != {"val"}:
                yield f"{named} is measured on {used}"
            if "train_" in named and used != {"train"}:
                yield f"{named} is measured on {used}"
        if isinstance(node, ast.Call):
            texts = [ast.unparse(argument) for argument in node.args]
            for images, labels in itertools.pairwise(texts):
                pair = (
                    re.match(r"x_(\w+)(\[.*\])?(\.reshape\(-1, 784\))?$", images),
                    re.match(r"y_(\w+)(\[.*\])?$", labels),
                )
                if all(pair) and (pair[0][1], pair[0][2]) != (pair[1][1], pair[1][2]):
                    yield f"the labels {labels} do not belong to {images}"
            if called(node) in {"max", "min", "argmax", "argmin"} and any("histor" in text for text in texts):
                yield f"takes the best epoch instead of the last: {ast.unparse(node)}"


@pytest.mark.parametrize("name", results.IN_ORDER)
def test_each_set_has_its_own_use(name):
    assert list(slips(code_of(name))) == []


@pytest.mark.parametrize(
    "code",
    [
        "model.fit(x_val[:10_000], y_val[:10_000], epochs=3)",
        "model.fit(x=x_val, y=y_train)",
        "model.fit(x_train, y_train, validation_data=(x_train, y_train))",
        "options = dict(validation_data=(x_val, y_test))",
        "val_loss, val_accuracy = model.evaluate(x_train, y_train)",
        "train_scores = model.evaluate(x_val, y_val)",
        "memory.fit(x_train[:2000].reshape(-1, 784), y_train[1:2001])",
        "model.fit(x_few, y_train)",
        "quiz.compare(guess, max(history['val_accuracy']))",
        "best = min(few_histories['a']['val_loss'])",
    ],
)
def test_a_slip_is_noticed(code):
    assert list(slips(code))
