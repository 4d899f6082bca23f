"""Each house rule is silent on a made-up lesson that keeps it, and speaks where it is broken."""

from __future__ import annotations

import copy
import hashlib

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.lessons import house_rules
from tests.lessons.house_rules import Notebook

NAME = "02_baseline"
TITLE = f"""# 2 · A made-up lesson

![A picture](pictures/{NAME}.png)

What does it ask? It asks for an hour.

**After this lesson you can**

- *build* a network
- *train* it
- *read* its curves

**Time:** 50 minutes, of which the computer needs about one minute

**You need:** lesson 1."""
PARAMETERS = """run: str = "lab"  # folder
results_dir: str = ""  # where the folders are
profile: str = "class"  # its name
seed: int = 1  # of everything
epochs: int = 5  # passes"""
SETUP = """import keras

from mnist_helpers import parameters, quiz, results

params = parameters.of_notebook(globals())
folder, started = results.open_run(run, results_dir)"""
FIT = """history{n} = None  # until the training has ended
keras.utils.set_random_seed(seed)
model = keras.Sequential([layers.Dense(10)])
model.compile("adam")
history{n} = model.fit(x, y, epochs=epochs).history"""
WHY = "<details><summary>What happened, and why</summary>\n\nIt learned.\n\n</details>"
POINTS = f"""## Key points

- A network learns from its examples.
- A loss says how wrong it is.
- A curve shows how it went.
- A seed makes it repeatable.

Your numbers will differ slightly from a neighbour's.

**Practise:** [exercise 2](exercises/exercise_02.ipynb)

**Next:** [lesson 2]({NAME}.ipynb)"""


def cell(kind: str, source: str, *tags: str, hidden: bool = False) -> dict:
    slide = "slide" if source.startswith(("# ", "## ")) else "subslide"
    metadata = {"slideshow": {"slide_type": slide}} | ({"tags": list(tags)} if tags else {})
    metadata |= {"jupyter": {"source_hidden": True}} if hidden else {}
    return {"cell_type": kind, "metadata": metadata, "source": source.splitlines(True)}


def text(source: str) -> dict:
    return cell("markdown", source)


def code(source: str, *tags: str, hidden: bool = False) -> dict:
    return cell("code", source, *tags, hidden=hidden)


def made_up() -> list[dict]:
    """The cells of a lesson that keeps all rules, with outputs."""
    cells = [
        text(TITLE),
        text("## Set-up\n\nYou can skip the details. Edit, then *Run All*; or `papermill -p`."),
        code(PARAMETERS, "parameters", hidden=True),
        code(SETUP, hidden=True),
    ]
    for n in range(1, 6):
        cells += [
            text(f"## {n}. What is step {n}?\n\nA *term{n}* is a word. **Predict:** what comes out?"),
            code(f'guess = quiz.predict("loss {n}")'),
            text("Now it runs."),
            code(FIT.format(n=n)),
            text(f"{WHY}\n\n**Try it:** with more epochs, you will see 97.5 to 98.5 %."),
            code(f"quiz.compare(guess, history{n})", house_rules.TESTED),
        ]
    cells += [
        text("## 6. What goes wrong: nothing"),
        code("plots.learning_curves(history1)"),
        text("## Quiz\n\nClick an answer, or use Tab, arrow keys and Space. Then read on."),
        code(f'quiz.show("{NAME}")', house_rules.TESTED),
        text(POINTS),
        code(
            f'results.save_record(folder, "{NAME}", params=params, models={{}}, started=started)', hidden=True
        ),
    ]
    number = 0
    for place, one in enumerate(cells):
        one["id"] = f"cell-{place}"
        if one["cell_type"] == "code":
            number += 1
            picture = {
                "output_type": "display_data",
                "data": {"image/png": "", "text/plain": "The loss falls from 2.3 to 0.1."},
                "metadata": {"image/png": {"alt": "The loss falls from 2.3 to 0.1."}},
            }
            one["execution_count"], one["outputs"] = number, [picture]
            one["metadata"]["source_sha256"] = hashlib.sha256("".join(one["source"]).encode()).hexdigest()
    return cells


@pytest.fixture
def check(tmp_path):
    """`check(rule, old, new)`: what a rule says of the made-up lesson in which `old` was replaced once."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "exercises").mkdir()
    described = PngInfo()
    described.add_itxt("Description", "A picture")
    Image.new("L", (2, 2)).save(tmp_path / "pictures" / f"{NAME}.png", pnginfo=described)
    for name in (f"{NAME}.ipynb", "exercises/exercise_02.ipynb"):
        (tmp_path / name).write_text("{}")

    def check(rule, old="", new="", change=None, name=NAME):
        cells = made_up()
        if old:
            found = [one for one in cells if old in "".join(one["source"])]
            assert found, old
            found[0]["source"] = "".join(found[0]["source"]).replace(old, new).splitlines(True)
        if change:
            change(cells)
        return list(rule(Notebook(name, {"cells": cells, "metadata": {}}, tmp_path)))

    return check


ALL = [*house_rules.OF_ALL, *house_rules.OF_LESSONS, *house_rules.OF_OUTPUTS]


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.__name__)
def test_a_lesson_that_keeps_the_rules_is_left_alone(check, rule):
    assert check(rule) == []


BROKEN = {
    "parameters_are_readable_and_in_the_table": [
        ("epochs: int = 5  # passes", "epochs: int = 5  # passes = rounds"),
        ("epochs: int = 5", "epoch: int = 5"),
        ("epochs: int = 5", "epochs: float = 5.0"),
    ],
    "parameters_are_checked_recorded_used_and_kept": [
        ("parameters.of_notebook(globals())", "{}"),
        ("params=params", "params={}"),
        (", started=started", ""),
        ("epochs: int = 5  # passes", "epochs: int = 5  # passes\nbatch_size: int = 5  # images"),
        ("plots.learning_curves(history1)", "epochs = 7"),
    ],
    "all_imports_are_in_the_set_up": [("plots.learning_curves(history1)", "import time")],
    "cells_are_short_and_narrow": [
        ("plots.learning_curves(history1)", "x\n" * 16),
        ("plots.learning_curves(history1)", "x = " + "1" * 85),
    ],
    "code_is_simple": [
        ("plots.learning_curves(history1)", "sorted(x, key=lambda y: -y)"),
        ("plots.learning_curves(history1)", "(y := 2)"),
        ("plots.learning_curves(history1)", "[[a for a in b] for b in c]"),
        ("plots.learning_curves(history1)", "[a for b in c for a in b]"),
        ("plots.learning_curves(history1)", "x = y | {'a': 1}"),
    ],
    "terms_are_few_and_introduced_once": [
        ("Now it runs.", "A *term1*, again."),
        ("Now it runs.", " ".join(f"*word{n}*" for n in range(20))),
    ],
    "randomness_comes_from_the_seed": [
        ("set_random_seed(seed)", "set_random_seed(1)"),
        ("plots.learning_curves(history1)", "tuner = RandomSearch(seed=3)"),
        ("plots.learning_curves(history1)", "np.random.rand(3)"),
    ],
    "a_training_cell_can_be_run_twice": [
        ("keras.utils.set_random_seed(seed)\n", ""),
        ("model = keras.Sequential([layers.Dense(10)])\n", ""),
        ("history5 = None  # until the training has ended\n", ""),
    ],
    "the_test_set_is_opened_where_it_may_be": [
        ("plots.learning_curves(history1)", "data.load_test(dataset)"),
        ("plots.learning_curves(history1)", "keras.datasets.mnist.load_data()"),
    ],
    "the_lesson_is_on_the_page": [
        ("plots.learning_curves(history1)", "mnist_course.run()"),
    ],
    "the_last_cell_saves_the_record": [(f'(folder, "{NAME}"', '(folder, "03"')],
    "folds_and_links_work": [
        ("</details>", ""),
        ("exercises/exercise_02.ipynb", "exercises/exercise_09.ipynb"),
    ],
    "the_title_cell_makes_one_want_the_lesson": [
        ("# 2 · A", "# 3 · A"),
        ("![A picture]", "![Another]"),
        ("pictures/02", "pictures/03"),
        ("What does it ask?", "It asks."),
        ("- *train* it\n", ""),
        ("50 minutes, of which", "reading 20 min"),
        ("**You need:**", "You need"),
    ],
    "the_headings_are_in_order": [
        ("## Set-up", "## Setting up"),
        ("## 2. What is step 2?", "## 7. What is step 2?"),
        ("## Quiz", "## 7. Quiz"),
        ("## 6. What goes wrong: nothing", "## 6. Nothing goes wrong"),
    ],
    "set_up_and_record_are_folded_away": [
        ("You can skip the details", "Read this"),
        ("results.open_run(run, results_dir)", "None"),
    ],
    "text_and_code_take_turns": [],
    "students_predict_run_and_are_told_why": [
        ("quiz.compare(guess, history1)", "print(history1)"),
        ('guess = quiz.predict("loss 1")', "pass"),
        ('guess = quiz.predict("loss 1")', 'guess = quiz.predict("loss 1")\nquiz.compare(guess, 1)'),
    ],
    "the_quiz_is_shown": [
        ("Click an answer, or use", "Use"),
        (f'quiz.show("{NAME}")', 'quiz.show("03_batchnorm_dropout")'),
    ],
    "it_ends_with_key_points_and_what_comes_next": [
        ("- A seed makes it repeatable.\n", ""),
        ("- A seed makes it repeatable.", "- Seeds"),
        ("**Practise:**", "Practise:"),
        ("**Next:**", "Next:"),
        ("Your numbers will differ slightly", "Numbers may differ"),
    ],
    "no_result_is_typed_by_hand": [
        ("Now it runs.", "The accuracy is 98.31 %."),
        ("Now it runs.", "The accuracy is 0.9831."),
    ],
    "outputs_are_those_of_the_code": [("plots.learning_curves(history1)", "plots.learning_curves(history2)")],
}


@pytest.mark.parametrize(
    ("name", "old", "new"), [(name, old, new) for name, pairs in BROKEN.items() for old, new in pairs]
)
def test_a_broken_rule_is_noticed(check, name, old, new):
    assert len(check(getattr(house_rules, name), old, new)) >= 1


def output(place, **more):
    return lambda cells: cells[place]["outputs"][0].update(more)


def metadata(place, **more):
    return lambda cells: cells[place]["metadata"].update(more)


def few_predictions(cells):
    del cells[10:34]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("parameters_are_readable_and_in_the_table", metadata(5, tags=["parameters"])),
        ("parameters_are_readable_and_in_the_table", metadata(2, tags=[])),
        ("a_training_cell_can_be_run_twice", metadata(7, tags=[house_rules.TESTED])),
        ("the_last_cell_saves_the_record", lambda cells: cells.append(copy.deepcopy(cells[-1]))),
        ("the_last_cell_saves_the_record", lambda cells: cells.append(text("The end."))),
        ("every_cell_has_its_place_among_slides", metadata(4, slideshow={"slide_type": "subslide"})),
        ("every_cell_has_its_place_among_slides", metadata(5, slideshow={"slide_type": "-"})),
        ("every_cell_has_its_place_among_slides", metadata(5, slideshow={})),
        ("the_headings_are_in_order", lambda cells: cells.__delitem__(slice(10, 34))),
        ("set_up_and_record_are_folded_away", metadata(2, jupyter={})),
        ("set_up_and_record_are_folded_away", metadata(-1, jupyter={})),
        ("text_and_code_take_turns", lambda cells: cells.__delitem__(slice(10, 22))),
        ("text_and_code_take_turns", lambda cells: cells.__setitem__(slice(6, 6), [cells[5]] * 3)),
        ("students_predict_run_and_are_told_why", few_predictions),
        ("the_quiz_is_shown", metadata(37, tags=[])),
        ("outputs_are_those_of_the_code", lambda cells: cells[5].update(execution_count=9)),
        ("outputs_are_clean", output(5, data={"application/vnd.jupyter.widget-view+json": {}})),
        ("outputs_are_clean", output(5, output_type="stream", name="stderr", text="oh")),
        ("outputs_are_clean", output(5, output_type="error")),
        ("outputs_are_clean", output(5, text="the same: True\n")),
        ("outputs_are_clean", output(5, text="see /home/me/x")),
        ("figures_are_described_from_the_data", output(5, metadata={})),
        ("figures_are_described_from_the_data", lambda cells: [one.update(outputs=[]) for one in cells]),
        ("stable_outputs_are_compared", lambda cells: cells[9].update(outputs=[])),
        ("stable_outputs_are_compared", lambda cells: [one["metadata"].pop("tags", 0) for one in cells]),
    ],
)
def test_a_rule_that_is_broken_beside_the_sources_is_noticed(check, name, change):
    assert len(check(getattr(house_rules, name), change=change)) >= 1


def test_lesson_5_must_open_the_test_set_and_only_lesson_2_explains_differences(check):
    rule = house_rules.the_test_set_is_opened_where_it_may_be
    opens = ("plots.learning_curves(history1)", "data.load_test(dataset)")
    assert check(rule, name="05_evaluation")
    assert not check(rule, *opens, name="05_evaluation")
    assert not check(rule, *opens, name="trust")
    assert check(house_rules.it_ends_with_key_points_and_what_comes_next, name="03_batchnorm_dropout")


def test_every_rule_is_broken_here():
    broken = {*BROKEN, "every_cell_has_its_place_among_slides", "text_and_code_take_turns"}
    broken |= {"outputs_are_clean", "figures_are_described_from_the_data", "stable_outputs_are_compared"}
    assert {rule.__name__ for rule in ALL} == broken


def test_a_function_that_builds_and_seeds_makes_a_training_cell_complete(check):
    rule = house_rules.a_training_cell_can_be_run_twice
    build = "def build():\n    keras.utils.set_random_seed(seed)\n    return keras.Sequential([])\n\n\n"
    compiled = "def compiled():\n    model = build()\n    return model\n\n\n"
    seeded = "keras.utils.set_random_seed(seed)\nmodel = keras.Sequential([layers.Dense(10)])\n"

    def change(cells, without=""):
        cells[3]["source"] = SETUP + "\n\n\n" + (build + compiled).replace(without, "")
        cells[7]["source"] = FIT.format(n=1).replace(seeded, "model = compiled()\n")

    assert check(rule, change=change) == []
    assert check(rule, change=lambda cells: change(cells, "keras.utils.set_random_seed(seed)\n    "))


def test_terms_are_told_from_emphasis_code_and_formulas(tmp_path):
    content = {
        "cells": [
            text(TITLE),
            text("A *learning rate* is **not *this*** but `a*b*c` and $x*y*z$ 2*3*4.\n- *item* one"),
        ]
    }
    assert house_rules.terms(Notebook(NAME, content, tmp_path)) == ["learning rate", "item"]
