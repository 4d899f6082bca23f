"""The house rules of notebooks: each is a function that returns what breaks it.

`test_notebooks.py` holds them over the notebooks, `test_house_rules.py` over a made-up one, so that each rule is
seen to bite.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
import statistics
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

from PIL import Image

from mnist_course import lessons
from mnist_helpers import parameters, results

LONGEST_CELL, WIDEST_LINE, MOST_TERMS = 15, 88, 20
MOST_PARAMETERS = 21  # one line each
TESTED = "nbval-check-output"
OPENS_TEST_SET = ("05_evaluation", "trust")
_PLACES = ("profile", "data_dir")  # recorded, but not computed with
_TERM = re.compile(r"(?<![*\w\\])\*(?![\s*])([^*\n]+?)(?<![\s*])\*(?![*\w])")
_CODE_OR_MATH = re.compile(r"```.*?```|`[^`\n]*`|\$[^$\n]*\$", re.S)


class Notebook:
    """A notebook of the course, with what the rules ask of it.

    Attributes:
        name: one of `results.IN_ORDER`.
        content: its JSON.
        folder: where it is; links and pictures are relative to it.
    """

    def __init__(self, name: str, content: dict, folder: Path):
        self.name, self.content, self.folder = name, content, folder

    @classmethod
    def read(cls, name: str) -> Notebook:
        path = results.notebook_path(name)
        return cls(name, json.loads(path.read_text(encoding="utf-8")), path.parent)

    @property
    def cells(self) -> list[dict]:
        return self.content["cells"]

    @cached_property
    def code_cells(self) -> list[dict]:
        return [cell for cell in self.cells if cell["cell_type"] == "code"]

    @cached_property
    def texts(self) -> list[str]:
        return [source(cell) for cell in self.cells if cell["cell_type"] == "markdown"]

    @cached_property
    def prose(self) -> str:
        return "\n\n".join(self.texts)

    @cached_property
    def code(self) -> str:
        return "\n".join(map(source, self.code_cells))

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.code)

    @cached_property
    def declared(self) -> list[str]:
        """The parameters, by name."""
        cells = [cell for cell in self.code_cells if "parameters" in tags(cell)]
        lines = [line for cell in cells for line in ast.parse(source(cell)).body]
        return [line.target.id for line in lines if isinstance(line, ast.AnnAssign)]  # type: ignore[union-attr]

    @cached_property
    def outputs(self) -> list[dict]:
        return [output for cell in self.code_cells for output in cell["outputs"]]

    def section(self, heading: str) -> str:
        """The text below a heading, up to the next one; empty if there is no such heading."""
        found = re.search(rf"^## {re.escape(heading)}[^\n]*\n(.*?)(?=^## |\Z)", self.prose, re.M | re.S)
        return found[1] if found else ""


def takes_two_classes(notebook: Notebook) -> bool:
    """Whether a lesson is longer, with a marked break: then it may have more of everything."""
    return "two classes" in notebook.texts[0]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    """Returns the calls of `data.load_test`, or, with `.fit`, of a method of that name."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if name.startswith("."):
        return [c for c in found if isinstance(c.func, ast.Attribute) and c.func.attr == name[1:]]
    return [call for call in found if ast.unparse(call.func) == name]


def trains(tree: ast.AST) -> bool:
    """Whether Keras' `fit` is called: it is given epochs."""
    return any("epochs" in [word.arg for word in call.keywords] for call in calls(tree, ".fit"))


def terms(notebook: Notebook) -> list[str]:
    """The terms that a notebook introduces: in single asterisks, except the verbs of the objectives."""
    prose = _CODE_OR_MATH.sub("", re.sub(r"^- \*.*$", "", notebook.texts[0], flags=re.M))
    rest = [_CODE_OR_MATH.sub("", text) for text in notebook.texts[1:]]
    return [term for text in (prose, *rest) for term in _TERM.findall(text)]


# --- every notebook ---


def parameters_are_readable_and_in_the_table(notebook: Notebook) -> Iterator[str]:
    cells = [cell for cell in notebook.code_cells if "parameters" in tags(cell)]
    if cells != notebook.code_cells[:1]:
        yield "the first code cell, and no other, has the tag 'parameters': papermill adds its cell below it"
    for line in source(cells[0]).splitlines() if cells else []:
        match = re.fullmatch(r"(\w+): (int|float|str) = ([^#=|]+?)  # ([^=|]+)", line)
        if not match:
            yield f"papermill's inspector cannot read: {line}"
            continue
        name, kind, default, _ = match.groups()
        known = parameters.PARAMETERS.get(name)
        if not known or known.type.__name__ != kind or type(ast.literal_eval(default)) is not known.type:
            yield f"{name} is not in the table of parameters, or its type is another one"


def parameters_are_checked_recorded_used_and_kept(notebook: Notebook) -> Iterator[str]:
    if "params = parameters.of_notebook(globals())" not in notebook.code:
        yield "parameters.of_notebook is not called"
    for word in ("params", "started"):
        if not re.search(rf"\b{word}\b(?!=|\")", source(notebook.cells[-1])):
            yield f"the record lacks {word}"
    names = [node for node in ast.walk(notebook.tree) if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    for name in notebook.declared:
        only_recorded = name in _PLACES or (name == "seed" and notebook.name in OPENS_TEST_SET)
        if name not in read and not only_recorded:
            yield f"{name} is declared and not used"
        stored = [node for node in names if node.id == name and isinstance(node.ctx, ast.Store)]
        if len(stored) > (2 if name == "data_dir" else 1):
            yield f"{name} is a parameter, and a later cell gives it another value"


def all_imports_are_in_the_set_up(notebook: Notebook) -> Iterator[str]:
    for number, cell in enumerate(notebook.code_cells):
        nodes = [
            node
            for node in ast.walk(ast.parse(source(cell)))
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        optional = notebook.name == "pytorch" and all("torch" in ast.unparse(node) for node in nodes)
        if number != 1 and nodes and not optional:
            yield f"cell {cell['id']} imports; imports belong in the second code cell"


def cells_are_short_and_narrow(notebook: Notebook) -> Iterator[str]:
    for cell in notebook.code_cells:
        lines = source(cell).splitlines()
        if len(lines) > (MOST_PARAMETERS if "parameters" in tags(cell) else LONGEST_CELL):
            yield f"cell {cell['id']} has {len(lines)} lines"
        if any(len(line) > WIDEST_LINE for line in lines):
            yield f"cell {cell['id']} has a line of more than {WIDEST_LINE} characters"


def code_is_simple(notebook: Notebook) -> Iterator[str]:
    for node in ast.walk(notebook.tree):
        if isinstance(node, ast.Lambda | ast.NamedExpr):
            yield f"lambda or walrus: {ast.unparse(node)}"
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            inner = [child for child in ast.walk(node) if isinstance(child, type(node)) and child is not node]
            if inner or len(node.generators) > 1:
                yield f"nested comprehension: {ast.unparse(node)}"
        is_union = isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)
        if is_union and (isinstance(node.left, ast.Dict) or isinstance(node.right, ast.Dict)):
            yield f"union of dicts: {ast.unparse(node)}"


def terms_are_few_and_introduced_once(notebook: Notebook) -> Iterator[str]:
    found = terms(notebook)
    if len(found) > (1.5 if takes_two_classes(notebook) else 1) * MOST_TERMS:
        yield f"{len(found)} new terms: {', '.join(found)}"
    for term in sorted({term for term in found if found.count(term) > 1}):
        yield f"introduced twice: {term}"


def randomness_comes_from_the_seed(notebook: Notebook) -> Iterator[str]:
    """A constant seed would still repeat, and nobody would notice that `-p seed` does nothing."""
    for name in ("keras.utils.set_random_seed", "torch.manual_seed"):
        for call in calls(notebook.tree, name):
            names = [node.id for node in ast.walk(call) if isinstance(node, ast.Name)]
            if not any("seed" in name for name in names):
                yield f"not from the seed: {ast.unparse(call)}"
    for word in ("seed", "random_state"):
        for call in (node for node in ast.walk(notebook.tree) if isinstance(node, ast.Call)):
            values = [keyword.value for keyword in call.keywords if keyword.arg == word]
            if any(isinstance(value, ast.Constant) and value.value is not None for value in values):
                yield f"not from the seed: {ast.unparse(call)}"
    if re.search(r"np\.random\.(?!default_rng|RandomState|Generator)\w+\(", notebook.code):
        yield "numpy's global generator is used"


def functions_that(notebook: Notebook, do: Callable[[ast.AST], bool]) -> set[str]:
    """Returns the notebook's functions that do something, or call a function of the notebook that does."""
    bodies = {node.name: node for node in ast.walk(notebook.tree) if isinstance(node, ast.FunctionDef)}
    found = {name for name, body in bodies.items() if do(body)}
    while more := {name for name in bodies.keys() - found if called(bodies[name]) & found}:
        found |= more
    return found


def called(tree: ast.AST) -> set[str]:
    return {ast.unparse(call.func) for call in ast.walk(tree) if isinstance(call, ast.Call)}


def a_training_cell_can_be_run_twice(notebook: Notebook) -> Iterator[str]:
    def sets_seed(tree: ast.AST) -> bool:
        return bool(calls(tree, "keras.utils.set_random_seed"))

    def builds(tree: ast.AST) -> bool:
        return bool(called(tree) & {"keras.Sequential", "keras.Model", "keras.models.clone_model"})

    seeded, training, builders = (functions_that(notebook, do) for do in (sets_seed, trains, builds))
    for number, cell in enumerate(notebook.code_cells):
        tree = ast.parse(source(cell))
        run = ast.Module([line for line in tree.body if not isinstance(line, ast.FunctionDef)], [])
        if not trains(run) and not called(run) & training:
            continue
        if not sets_seed(run) and not called(run) & seeded:
            yield f"cell {cell['id']} trains and sets no seed: run twice, it gives another result"
        if not builds(run) and not called(run) & builders:
            yield f"cell {cell['id']} trains a network that another cell has built"
        if TESTED in tags(cell):
            yield f"cell {cell['id']} trains, so its numbers differ between machines: no tag {TESTED}"
        later = "\n".join(map(source, notebook.code_cells[number + 1 :]))
        for line in run.body:
            if isinstance(line, ast.Assign) and trains(line):
                name = ast.unparse(line.targets[0])
                is_used = re.search(rf"\b{re.escape(name)}\b", later)
                if is_used and ast.unparse(tree.body[0]) != f"{name} = None":
                    yield f"cell {cell['id']} must begin with: {name} = None  # until the training has ended"


def the_test_set_is_opened_where_it_may_be(notebook: Notebook) -> Iterator[str]:
    opens = any(
        word in notebook.code for word in ("load_test", "load_arrays", "keras.datasets", "x_test.npy")
    )
    if opens and notebook.name not in OPENS_TEST_SET:
        yield "only lesson 5 and trust may open the test set"
    if notebook.name == "05_evaluation" and not opens:
        yield "lesson 5 opens the test set"


def the_lesson_is_on_the_page(notebook: Notebook) -> Iterator[str]:
    if "mnist_course" in notebook.code:
        yield "no notebook imports mnist_course"
    if notebook.name in results.LESSONS[1:4]:
        for word in ("keras.utils.set_random_seed(", "layers.Dense(", ".compile(", ".fit("):
            if word not in notebook.code:
                yield f"{word} is not on the page"


def the_last_cell_saves_the_record(notebook: Notebook) -> Iterator[str]:
    last = source(notebook.cells[-1])
    if "results.save_record(" not in last or f'"{notebook.name}"' not in last:
        yield "the last cell does not save the record under the notebook's name"
    if notebook.code.count("results.save_record(") != 1:
        yield "the record is saved once"


def folds_and_links_work(notebook: Notebook) -> Iterator[str]:
    for text in notebook.texts:
        if text.count("<details") != text.count("</details>"):
            yield f"a <details> is not closed in its cell: {text[:60]!r}"
        for link in re.findall(r"\]\((?!https?:|#|attachment:)([^)\s]+)\)", text):
            if not (notebook.folder / link.split("#")[0]).is_file():
                yield f"a link leads nowhere: {link}"


def every_cell_has_its_place_among_slides(notebook: Notebook) -> Iterator[str]:
    for cell in notebook.cells:
        kind = cell["metadata"].get("slideshow", {}).get("slide_type")
        if kind not in ("slide", "subslide", "fragment", "skip", "notes", "-"):
            yield f"cell {cell['id']} has no slide_type"
        starts = cell["cell_type"] == "markdown" and source(cell).startswith(("# ", "## "))
        if starts and kind not in ("slide", "skip"):
            yield f"cell {cell['id']} begins a section, so it begins a slide"
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])) and kind not in (
            "subslide",
            "skip",
        ):
            yield f"the figure of {cell['id']} needs a slide of its own"


# --- the five lessons ---


def the_title_cell_makes_one_want_the_lesson(notebook: Notebook) -> Iterator[str]:
    title = notebook.texts[0]
    if notebook.cells[0]["cell_type"] != "markdown" or not re.match(
        rf"# {int(notebook.name[:2])} · \S", title
    ):
        yield "the first cell begins with `# NUMBER · TITLE`"
    picture = f"pictures/{notebook.name}.png"
    described = re.search(rf"!\[([^\]]+)\]\({picture}\)", title)
    if not described:
        yield f"the title has no picture {picture} with a description"
    elif (notebook.folder / picture).is_file():
        with Image.open(io.BytesIO((notebook.folder / picture).read_bytes())) as image:
            if image.info.get("Description", described[1]) != described[1]:
                yield "the picture's description is another one than that in the file"
    if "?" not in title:
        yield "the title asks no question"
    _, _, after = title.partition("**After this lesson you can**")
    if not 3 <= len(re.findall(r"^- \*\w[^*]*\* \S", after, re.M)) <= 5:
        yield "`**After this lesson you can**` is followed by 3 to 5 bullets `- *verb* ...`"
    length = r"[^\n]*\d+ minutes[^\n]*"
    if not re.search(rf"\*\*Time:\*\* {length}, of which the computer needs (about|less than) \S", title):
        yield "the line `**Time:** 50 minutes, of which the computer needs about ...` is missing"
    if "**You need:**" not in title:
        yield "the line `**You need:** ...` is missing"


def the_headings_are_in_order(notebook: Notebook) -> Iterator[str]:
    headings = re.findall(r"^## (.+)$", notebook.prose, re.M)
    first, rounds, last = headings[:1], headings[1:-2], headings[-2:]
    if headings and re.match(r"Save the record|The record|Record", headings[-1]):
        rounds, last = headings[1:-3], headings[-3:-1]
    if first != ["Set-up"] or last != ["Quiz", "Key points"]:
        yield f"expected: Set-up, numbered rounds, Quiz, Key points; received: {headings}"
    if [int(number) for number in re.findall(r"^(\d+)\. \S", "\n".join(rounds), re.M)] != list(
        range(1, len(rounds) + 1)
    ):
        yield f"the rounds are numbered from 1: {rounds}"
    if not 5 <= len(rounds) <= (13 if takes_two_classes(notebook) else 10):
        yield f"5 to 9 rounds and one that goes wrong; received: {len(rounds)}"
    if not rounds or not re.match(r"\d+\. What goes wrong: \S", rounds[-1]):
        yield "the last round is `N. What goes wrong: ...`"


def set_up_and_record_are_folded_away(notebook: Notebook) -> Iterator[str]:
    for cell in (*notebook.code_cells[:2], notebook.cells[-1]):
        if not cell["metadata"].get("jupyter", {}).get("source_hidden"):
            yield f"cell {cell['id']} is not folded away"
    if "You can skip the details" not in notebook.section("Set-up"):
        yield "the set-up does not say: You can skip the details"
    if "papermill" not in notebook.section("Set-up"):
        yield "the set-up does not say how to change a parameter"
    if not re.search(
        r"results\.open_run\(run, results_dir(, trains=False)?\)", source(notebook.code_cells[1])
    ):
        yield "the set-up does not call results.open_run"


def text_and_code_take_turns(notebook: Notebook) -> Iterator[str]:
    if not 35 <= len(notebook.cells) <= (65 if takes_two_classes(notebook) else 45):
        yield f"35 to 45 cells; received: {len(notebook.cells)}"
    shares = len(notebook.texts) / len(notebook.code_cells)
    if not 0.7 <= shares <= 1.6:
        yield f"text and code are about one to one; received {shares:.1f} text cells for each code cell"
    median = statistics.median(len(source(cell).splitlines()) for cell in notebook.code_cells)
    if median > 7:  # 4 to 5 is the aim; lessons 4 and 5 have fewer, longer cells
        yield f"the median code cell has at most 7 lines; received: {median}"
    kinds = "".join(cell["cell_type"][0] for cell in notebook.cells)
    if "cccc" in kinds:
        yield "four code cells without a text between them"


def students_predict_run_and_are_told_why(notebook: Notebook) -> Iterator[str]:
    if len(re.findall(r"\*\*Predict:\*\* \S", notebook.prose)) < 3:
        yield "fewer than three times `**Predict:** ...`"
    if len(re.findall(r"<details><summary>What happened, and why</summary>", notebook.prose)) < 3:
        yield "fewer than three times `What happened, and why`"
    if len(re.findall(r"\*\*Try it:\*\* \S", notebook.prose)) < 2:
        yield "fewer than twice `**Try it:** ...`"
    if len(calls(notebook.tree, "quiz.predict")) < 3:
        yield "fewer than three predictions are asked for with quiz.predict"
    waiting: dict[str, str] = {}
    for cell in notebook.code_cells:
        tree = ast.parse(source(cell))
        for call in calls(tree, "quiz.compare"):
            name = ast.unparse(call.args[0])
            if waiting.pop(name, cell["id"]) == cell["id"]:
                yield f"cell {cell['id']} compares {name}, which no cell before it has asked for"
        for line in tree.body:
            if isinstance(line, ast.Assign) and calls(line.value, "quiz.predict"):
                name = ast.unparse(line.targets[0])
                if name in waiting:
                    yield f"{name} of cell {waiting[name]} is asked for and never compared"
                waiting[name] = cell["id"]
    for name, cell_id in waiting.items():
        yield f"{name} of cell {cell_id} is asked for and never compared"


def the_quiz_is_shown(notebook: Notebook) -> Iterator[str]:
    if not notebook.section("Quiz").strip().startswith("Click an answer, or use Tab, arrow keys and Space."):
        yield "the quiz does not say how to answer"
    shown = [cell for cell in notebook.code_cells if "quiz.show(" in source(cell)]
    if [source(cell) for cell in shown] != [f'quiz.show("{notebook.name}")']:
        yield "one cell shows the quiz, and nothing else"
    if any(TESTED not in tags(cell) for cell in shown):
        yield f"the quiz has no tag {TESTED}"


def it_ends_with_key_points_and_what_comes_next(notebook: Notebook) -> Iterator[str]:
    points = notebook.section("Key points")
    bullets = re.findall(r"^- (.+(?:\n(?![-*\n]|\*\*).+)*)", points, re.M)
    if not 4 <= len(bullets) <= 6:
        yield f"4 to 6 key points; received: {len(bullets)}"
    for bullet in bullets:
        if len(bullet.split()) < 5 or not bullet.rstrip().endswith((".", ".*", "?", ".)")):
            yield f"a key point is a full sentence: {bullet}"
    number = int(notebook.name[:2])
    exercise = f"exercises/exercise_0{number}.ipynb"
    if f"**Practise:** [exercise {number}]({exercise})" not in points:
        yield f"`**Practise:** [exercise {number}]({exercise})` is missing"
    if "**Next:**" not in points and number < 5:
        yield "`**Next:** ...` is missing"
    if ("Your numbers will differ slightly" in notebook.prose) != (number == 2):
        yield "lesson 2, and no other, says why a neighbour's numbers differ"


def no_result_is_typed_by_hand(notebook: Notebook) -> Iterator[str]:
    """Prose states ranges of accuracies; the accuracy of one run is in an output."""
    text = re.sub(r"[\d.]+ ?%? (?:to|and) [\d.]+ ?%", "", notebook.prose)
    for number in re.findall(r"\b9\d\.\d+ ?%|\b0\.9\d{2,}\b", text):
        yield f"the result of one run: {number}"


# --- what is committed of a run ---


def outputs_are_those_of_the_code(notebook: Notebook) -> Iterator[str]:
    for number, cell in enumerate(notebook.code_cells, 1):
        if cell["metadata"].get("source_sha256") != hashlib.sha256(source(cell).encode()).hexdigest():
            yield f"the code of cell {cell['id']} was changed after it ran: make notebooks"
        if cell["execution_count"] != number:
            yield f"cell {cell['id']} was not run in its place"


def outputs_are_clean(notebook: Notebook) -> Iterator[str]:
    kinds = {kind for output in notebook.outputs for kind in output.get("data", {})}
    if not kinds <= {"text/plain", "text/html", "text/markdown", "image/png"}:
        yield f"an output needs a kernel or the network to be shown: {kinds}"
    for output in notebook.outputs:
        text = "".join(output.get("text", ""))
        if output["output_type"] == "error" or output.get("name") == "stderr" or "WARNING" in text:
            yield f"an error or a warning: {text[:100]}"
        if re.search(r": (True|False)$", text, re.M):
            yield f"a verdict instead of a number: {text[:100]}"
    everything = json.dumps(notebook.content)
    if "widgets" in notebook.content["metadata"] or "papermill" in notebook.content["metadata"]:
        yield "the notebook holds the state of a run"
    if re.search(
        r"/(home|root|tmp|work|Users)/", re.sub(r'"image/png": "[^"]*"|base64,[\w+/=]*', "", everything)
    ):
        yield "an output names a place of one machine"
    if len(everything) > 1_000_000:
        yield "the notebook is larger than 1 MB"


def figures_are_described_from_the_data(notebook: Notebook) -> Iterator[str]:
    figures = [output for output in notebook.outputs if "image/png" in output.get("data", {})]
    if len(figures) < 2:
        yield "fewer than two figures"
    for output in figures:
        description = "".join(output["data"]["text/plain"])
        if output["metadata"].get("image/png", {}).get("alt") != description or len(description) < 20:
            yield f"a figure without its description: {description[:60]}"


def stable_outputs_are_compared(notebook: Notebook) -> Iterator[str]:
    tested = [cell for cell in notebook.code_cells if TESTED in tags(cell)]
    if len(tested) < 4:
        yield f"fewer than four cells have the tag {TESTED}"
    for cell in tested:
        if not cell["outputs"]:
            yield f"cell {cell['id']} is compared and has no output"


Rule = Callable[[Notebook], Iterator[str]]
OF_ALL: list[Rule] = [
    parameters_are_readable_and_in_the_table,
    parameters_are_checked_recorded_used_and_kept,
    all_imports_are_in_the_set_up,
    cells_are_short_and_narrow,
    code_is_simple,
    terms_are_few_and_introduced_once,
    randomness_comes_from_the_seed,
    a_training_cell_can_be_run_twice,
    the_test_set_is_opened_where_it_may_be,
    the_lesson_is_on_the_page,
    the_last_cell_saves_the_record,
    folds_and_links_work,
    every_cell_has_its_place_among_slides,
]
OF_LESSONS: list[Rule] = [
    the_title_cell_makes_one_want_the_lesson,
    the_headings_are_in_order,
    set_up_and_record_are_folded_away,
    text_and_code_take_turns,
    students_predict_run_and_are_told_why,
    the_quiz_is_shown,
    it_ends_with_key_points_and_what_comes_next,
    no_result_is_typed_by_hand,
]
OF_OUTPUTS: list[Rule] = [
    outputs_are_those_of_the_code,
    outputs_are_clean,
    figures_are_described_from_the_data,
    stable_outputs_are_compared,
]


def were_never_run(notebook: Notebook) -> bool:
    """Whether a notebook that needs another package has no outputs yet."""
    return bool(lessons._NEEDS.get(notebook.name)) and not notebook.outputs
