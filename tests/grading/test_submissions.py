"""Submissions are found, read and repaired, without a kernel."""

from __future__ import annotations

import json

import nbformat
import pytest

from mnist_course.grading import reading, submissions
from tests.grading.tiny import CELLS, STUB, answered, code, tiny

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nbgrader's and its libraries'
    pytest.mark.filterwarnings("ignore::nbformat.warnings.MissingIDFieldWarning"),
    pytest.mark.filterwarnings("ignore::nbformat.warnings.DuplicateCellId"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),  # nbgrader's
]


def repaired(notebook: nbformat.NotebookNode) -> tuple[list[str], list[str]]:
    done, problems = submissions.repair(notebook, given_out(), tiny())
    nbformat.validate(done)
    names = [submissions.name_of(cell) for cell in done.cells if submissions.name_of(cell)]
    assert sorted(names) == sorted(CELLS)
    for cell in done.cells:
        if submissions.name_of(cell).endswith(("tests", "hidden")):
            (original,) = [
                known for known in tiny().cells if submissions.name_of(known) == submissions.name_of(cell)
            ]
            assert (cell.source, cell.metadata) == (original.source, original.metadata)
    return names, problems


def test_what_is_whole_is_left_as_it_is():
    assert repaired(tiny()) == (list(CELLS), [])


@pytest.mark.parametrize("missing", range(10))
def test_any_missing_cell_is_put_back_in_its_place(missing):
    notebook = tiny()
    removed = notebook.cells.pop(missing)
    names, problems = repaired(notebook)
    assert names == list(CELLS)
    expected = [] if removed.id.startswith("task-") else [f"cell {removed.id} was missing"]
    assert [problem.split(";")[0] for problem in problems] == expected


def test_an_empty_notebook_is_filled():
    names, problems = repaired(nbformat.v4.new_notebook())
    assert names == list(CELLS)
    assert len(problems) == 7


def _tag_to_skip(notebook):
    notebook.cells[3].metadata["tags"] = ["skip-execution"]


def _more_points(notebook):
    notebook.cells[3].metadata["nbgrader"]["points"] = 100


def _as_solution(notebook):
    notebook.cells[3].metadata["nbgrader"]["solution"] = True


def _without_metadata(notebook):
    for cell in notebook.cells:
        cell.metadata = {}


def _strange_metadata(notebook):
    notebook.cells[3].metadata["nbgrader"] = "none"
    notebook.cells[4].metadata["nbgrader"] = {"grade_id": ["x"], "schema_version": 99}
    notebook.metadata["kernelspec"] = {"name": "bash", "display_name": "bash"}


@pytest.mark.parametrize(
    "change", [_tag_to_skip, _more_points, _as_solution, _without_metadata, _strange_metadata]
)
def test_metadata_are_the_teachers(change):
    notebook = tiny()
    change(notebook)
    assert repaired(notebook)[1] == []


@pytest.mark.parametrize("kind", ["markdown", "raw"])
@pytest.mark.parametrize("number", [2, 3])
def test_the_type_of_a_cell_is_the_teachers(number, kind):
    notebook = tiny()
    old = notebook.cells[number]
    new = {"markdown": nbformat.v4.new_markdown_cell, "raw": nbformat.v4.new_raw_cell}[kind]
    notebook.cells[number] = new(old.source, id=old.id, metadata=old.metadata)
    assert repaired(notebook)[1] == [f"cell {old.id} was a {kind} cell; it is a code cell again"]


@pytest.mark.parametrize("kind", ["markdown", "code", "raw"])
@pytest.mark.parametrize("with_metadata", [True, False])
@pytest.mark.parametrize("place", [0, 4, 9])
def test_a_sentence_is_kept_whatever_became_of_its_cell(kind, with_metadata, place):
    notebook = tiny()
    old = notebook.cells.pop()
    metadata = old.metadata if with_metadata else {}
    new = {"markdown": nbformat.v4.new_markdown_cell, "raw": nbformat.v4.new_raw_cell}
    make = new.get(kind, nbformat.v4.new_code_cell)
    notebook.cells.insert(place, make("Mine, twice.", id=old.id, metadata=metadata))
    done, problems = submissions.repair(notebook, given_out(), tiny())
    (cell,) = [cell for cell in done.cells if submissions.name_of(cell) == "explain"]
    assert (cell.cell_type, cell.source, cell.metadata) == ("markdown", "Mine, twice.", old.metadata)
    assert "outputs" not in cell
    said = "; ".join(problems)
    assert ("another order" in said) == (place != 9)
    assert ("is a markdown cell again" in said) == (kind != "markdown")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "7",
        '"text"',
        "{}",
        '{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
        '{"cells": [{}], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
        '{"nbformat": 99}',
        "[" * 100_000,
        '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": ' + "9" * 5000 + "}",
        "\ud800",
        "\0",
        "<html>please log in</html>",
    ],
)
def test_a_file_that_is_not_a_notebook_is_named_as_such(tmp_path, content):
    path = tmp_path / "tiny.ipynb"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match="is not a notebook "):
        reading.read(path)


def test_old_notebooks_can_be_read(tmp_path):
    notebook = tiny()
    notebook.nbformat_minor = 2
    for cell in notebook.cells:
        del cell["id"]
    (tmp_path / "tiny.ipynb").write_text(json.dumps(notebook))
    assert repaired(reading.read(tmp_path / "tiny.ipynb"))[1] == []


def given_out() -> nbformat.NotebookNode:
    """The students' version of the tiny exercise."""
    given = {"double": "def double(x):\n    pass", "number": "number = None", "explain": STUB}
    release = answered(tiny(), given)
    release.cells[4].source = "# Hidden tests"
    return release


def of_cells(*names: str) -> nbformat.NotebookNode:
    cells = [code(name, f"{name} = None", solution=True, locked=False) for name in names]
    return nbformat.v4.new_notebook(cells=cells)


def test_submissions_are_found_by_name(tmp_path):
    for name in (
        "anna/a/a.ipynb",
        "anna/b.ipynb",
        "anna/notes.txt",
        "anna/c.ipynb",
        "anna/.ipynb_checkpoints/a.ipynb",
        "anna/a/timestamp.txt",
        "ben/a-Copy1.ipynb",
        "ben/b (2).ipynb",
        "eve/a.ipynb",
        "eve/a-Copy2.ipynb",
        "=cmd()/a.ipynb",
        "[x]/a.ipynb",
        "jo.doe+1@x.org/a_copy.ipynb",
        "b.ipynb",
        "Ann O'Hara/a.ipynb",
        "Zo\u0065\u0308/a.ipynb",  # as macOS writes it
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "eve" / "b.ipynb").symlink_to(tmp_path / "anna" / "b.ipynb")
    (tmp_path / "mallory").symlink_to(tmp_path / "anna")
    (tmp_path / "zoe").mkdir()
    nbformat.write(tiny(), tmp_path / "eve" / "homework.ipynb")
    exercises = {"a": of_cells("x", "y"), "b": of_cells("x", "z"), "tiny": given_out()}
    found, students, remarks = submissions.find(tmp_path, exercises)

    def texts(student: str) -> list[str]:
        return [remark.text for remark in remarks if remark.student == student]

    assert {
        (of.student, of.exercise, str(of.path.relative_to(tmp_path))) for of in found if of.can_be_graded
    } == {
        ("=cmd()", "a", "=cmd()/a.ipynb"),
        ("[x]", "a", "[x]/a.ipynb"),
        ("Ann O'Hara", "a", "Ann O'Hara/a.ipynb"),
        ("Zoe\u0308", "a", "Zoe\u0308/a.ipynb"),
        ("eve", "tiny", "eve/homework.ipynb"),
        ("anna", "a", "anna/a/a.ipynb"),
        ("anna", "b", "anna/b.ipynb"),
        ("ben", "a", "ben/a-Copy1.ipynb"),
        ("ben", "b", "ben/b (2).ipynb"),
        ("eve", "a", "eve/a.ipynb"),
        ("jo.doe+1@x.org", "a", "jo.doe+1@x.org/a_copy.ipynb"),
    }
    assert students == [
        *("=cmd()", "[x]", "Ann O'Hara", "anna", "ben", "eve", "jo.doe+1@x.org", "zoe", "Zoe\u0308")
    ]
    assert texts("anna") == [
        "c.ipynb belongs to no exercise: it is not a notebook (JSONDecodeError: Expecting value: line 1 column 1 "
        "(char 0))",
        "notes.txt belongs to no exercise",
    ]
    assert texts("eve") == [
        "b.ipynb is a link; it was not followed",
        "a-Copy2.ipynb was left out: a.ipynb counts",
        "homework.ipynb was taken for tiny.ipynb",
    ]
    assert texts("zoe") == []
    assert [text.split()[0] for text in texts("")] == ["'b.ipynb'", "'mallory'"]
    # Two files of no exercise, two of no student.
    assert sum(remark.not_graded for remark in remarks) == 4
    assert not any(remark.not_graded for remark in remarks if remark.student in ("ben", "eve"))
