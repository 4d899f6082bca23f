"""The house rules, held over the notebooks' JSON. What the lessons compute is tested in `test_lessons.py`."""

import ast
import re
from pathlib import Path

import pytest

import mnist_helpers
from mnist_course import lessons
from mnist_helpers import data, results
from tests.lessons import house_rules
from tests.lessons.house_rules import Notebook

NOTEBOOKS = {name: Notebook.read(name) for name in results.IN_ORDER}


def each(rules, names):
    pairs = [pytest.param(name, rule, id=f"{name}-{rule.__name__}") for name in names for rule in rules]
    return pytest.mark.parametrize(("name", "rule"), pairs)


@each(house_rules.OF_ALL, NOTEBOOKS)
def test_every_notebook_keeps_the_rules(name, rule):
    assert list(rule(NOTEBOOKS[name])) == []


@each(house_rules.OF_LESSONS, results.LESSONS)
def test_every_lesson_keeps_the_rules_of_a_lesson(name, rule):
    assert list(rule(NOTEBOOKS[name])) == []


@each(house_rules.OF_OUTPUTS, NOTEBOOKS)
def test_what_is_committed_of_a_run_keeps_the_rules(name, rule):
    if house_rules.were_never_run(NOTEBOOKS[name]):
        assert not NOTEBOOKS[name].outputs
        return
    broken = list(rule(NOTEBOOKS[name]))
    if name in results.FURTHER and rule is house_rules.stable_outputs_are_compared:
        broken = [text for text in broken if "fewer" not in text]  # they may train in nearly every cell
    assert broken == []


def test_the_folders_hold_these_notebooks_and_no_other():
    assert {path.stem for path in lessons.NOTEBOOKS.glob("*.ipynb")} == {"START_HERE", *results.LESSONS}
    assert {path.stem for path in lessons.NOTEBOOKS.glob("further/*.ipynb")} <= set(results.FURTHER)


def test_the_same_parameter_has_the_same_default_in_all_lessons():
    defaults = {}
    for lesson in results.LESSONS:
        for name, default in lessons.declared(lesson).items():
            assert defaults.setdefault(name, default) == default, f"{name} in {lesson}"


class LoadedError(Exception):
    """Ends a cell at `load_training`."""


REFITTING = [*results.LESSONS[:4], "stronger_networks"]


@pytest.mark.parametrize("refit_on_all", [0, 1])
@pytest.mark.parametrize("name", REFITTING)
def test_a_notebook_passes_its_parameters_on_to_the_split(name, refit_on_all, monkeypatch, tmp_path):
    """`refit_on_all` decides in every notebook whether the validation images are training images, too."""
    asked = []

    def load_training(dataset, **sizes):
        asked.append((dataset, sizes))
        raise LoadedError

    monkeypatch.setattr(data, "load_training", load_training)
    cells = NOTEBOOKS[name].code_cells
    (last,) = [i for i, cell in enumerate(cells) if "load_training(" in house_rules.source(cell)]
    names = {}
    exec(house_rules.source(cells[0]), names)
    own = {"num_train": 70, "num_validation": 30, "seed": 4, "refit_on_all": refit_on_all}
    names |= own | {"dataset": "digits", "results_dir": str(tmp_path)}
    with pytest.raises(LoadedError):
        for cell in cells[1 : last + 1]:
            exec(house_rules.source(cell), names)
    ((dataset, sizes),) = asked
    assert dataset == "digits"
    assert sizes.pop("data_dir") == names["data_dir"]
    assert sizes == own


def test_only_these_notebooks_train_on_validation_images():
    """Those whose models lesson 5 compares, so that all of a run are trained on the same images."""
    assert [name for name in NOTEBOOKS if "refit_on_all" in lessons.declared(name)] == REFITTING


def test_no_two_lessons_introduce_the_same_term():
    introduced = {}
    for lesson in results.LESSONS:
        for term in house_rules.terms(NOTEBOOKS[lesson]):
            assert introduced.setdefault(term.lower(), lesson) == lesson, f"{term}, again in {lesson}"


def test_committed_outputs_are_of_mnist():
    for lesson in results.LESSONS:
        printed = ["".join(output["text"]) for output in NOTEBOOKS[lesson].outputs if "text" in output]
        assert re.search(r"\bmnist\b", "".join(printed[:2]))


def test_no_helper_trains():
    """The lesson is on the page: a helper finds files, draws and writes; it never fits a model."""
    for path in Path(mnist_helpers.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                is_training = node.func.attr in ("fit", "compile", "evaluate")
                assert not is_training or ast.unparse(node.func) == "re.compile", f"{path.name} trains"


def test_the_first_page_has_narrow_code_and_no_output():
    first = Notebook.read("START_HERE")
    assert list(house_rules.cells_are_short_and_narrow(first)) == []
    assert list(house_rules.folds_and_links_work(first)) == []
    assert not first.outputs
