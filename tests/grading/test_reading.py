"""What is read of a damaged file, and which exercise a notebook belongs to, without a kernel."""

from __future__ import annotations

import copy
import json
import os
import unicodedata
from pathlib import Path

import nbformat
import pytest

from mnist_course.grading import reading, recognition, submissions
from mnist_course.grading.submissions import Submission
from mnist_helpers._course import NOTEBOOKS
from tests.grading.test_submissions import given_out
from tests.grading.tiny import CELLS, code, copy_of, solved, submit, tiny

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

OWN = "# Mine: é\ndef double(x):\n    return x + x"


def mine() -> nbformat.NotebookNode:
    return solved(double=OWN, number="number = 7", explain="It adds.")


def written(path: Path, content: object, encoding: str = "utf-8") -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(text.encode(encoding))
    return path


def check_read(path: Path) -> None:
    """All cells are there, each with its type, its text and its name."""
    notebook = reading.read(path)
    nbformat.validate(notebook)
    assert [(cell.cell_type, cell.source, reading.name_of(cell)) for cell in notebook.cells] == [
        (cell.cell_type, cell.source, submissions.name_of(cell)) for cell in mine().cells
    ]


def _format_4_4(notebook):
    notebook["nbformat_minor"] = 4  # with ids, which this format does not have


def _no_ids(notebook):
    for cell in notebook["cells"]:
        cell["id"] = None


def _foreign_ids(notebook):
    for number, cell in enumerate(notebook["cells"]):
        cell["id"] = ["{7f3c}", "a b", "x" * 99, 7, ""][number % 5]


def _same_ids(notebook):
    for cell in notebook["cells"]:
        cell["id"] = "same"


def _bare_outputs(notebook):
    notebook["cells"][2]["outputs"] = [{"output_type": "display_data", "data": {"text/plain": "x"}}, 7]


def _markdown_with_outputs(notebook):
    notebook["cells"][1] |= {"outputs": [], "execution_count": None}


def _code_without_outputs(notebook):
    del notebook["cells"][2]["outputs"], notebook["cells"][2]["execution_count"]


def _old_outputs(notebook):
    notebook["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x" * 24 * 2**20}]


def _no_version(notebook):
    del notebook["nbformat"], notebook["nbformat_minor"], notebook["metadata"]


def _lists_of_lines(notebook):
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)


def _windows_lines(notebook):
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].replace("\n", "\r\n")


def _old_mac_lines(notebook):
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].replace("\n", "\r")


def _strange_metadata(notebook):
    notebook["cells"][0]["metadata"] = [1]
    notebook["cells"][1]["metadata"] = None
    notebook["cells"][2]["metadata"]["tags"] = ["skip-execution"]
    notebook["cells"][5]["attachments"] = {"x": 7}


def _format_3(notebook):
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["input"] = cell.pop("source")
    notebook["worksheets"] = [{"cells": notebook.pop("cells")}]


@pytest.mark.parametrize(
    "fault",
    [
        _format_4_4,
        _no_ids,
        _foreign_ids,
        _same_ids,
        _bare_outputs,
        _markdown_with_outputs,
        _code_without_outputs,
        _old_outputs,
        _no_version,
        _lists_of_lines,
        _windows_lines,
        _old_mac_lines,
        _strange_metadata,
        _format_3,
    ],
)
def test_small_faults_do_not_matter(tmp_path, fault):
    notebook = json.loads(json.dumps(mine()))
    fault(notebook)
    check_read(written(tmp_path / "tiny.ipynb", notebook))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
def test_any_encoding_is_read(tmp_path, encoding):
    check_read(written(tmp_path / "tiny.ipynb", json.dumps(mine(), ensure_ascii=False), encoding))


def test_half_a_character_is_replaced(tmp_path):
    notebook = solved(double="# \ud83d\ndef double(x):\n    return 2 * x")
    notebook.cells[0].metadata = {"nbgrader": {"grade_id": "\ud83d"}}
    read = reading.read(written(tmp_path / "tiny.ipynb", notebook))
    assert read.cells[2].source.startswith("# \ufffd\n")
    nbformat.writes(read).encode()


def test_a_file_that_is_too_large_is_named_as_such(tmp_path, monkeypatch):
    path = written(tmp_path / "tiny.ipynb", solved(double="# " + "x" * 2000))
    monkeypatch.setattr(reading, "MAX_BYTES", 1000)
    with pytest.raises(reading.NotReadableError, match="without its outputs"):
        reading.read(path)
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 1000)
    with pytest.raises(reading.NotReadableError, match=r"MiB are read"):
        reading.read(path)


def test_a_merge_conflict_is_named_as_such(tmp_path):
    path = written(tmp_path / "tiny.ipynb", '{"cells": [\n<<<<<<< HEAD\n]}')
    with pytest.raises(reading.NotReadableError, match="merge conflict of Git"):
        reading.read(path)


def test_a_cut_file_is_not_a_notebook(tmp_path):
    text = json.dumps(mine())
    for end in range(0, len(text) - 1, 97):
        with pytest.raises(reading.NotReadableError, match="is not a notebook"):
            reading.read(written(tmp_path / "tiny.ipynb", text[:end]))


# --- recognising ---


def stripped(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without metadata and cell ids, as some editors and clouds save it."""
    for number, cell in enumerate(notebook.cells):
        cell.metadata, cell.id = nbformat.from_dict({}), f"new-{number}"
    return notebook


def repaired(notebook: nbformat.NotebookNode) -> tuple[dict[str, str], list[str]]:
    done, problems = submissions.repair(notebook, given_out(), tiny())
    names = [name for cell in done.cells if (name := submissions.name_of(cell))]
    assert sorted(names) == sorted(CELLS)
    return {submissions.name_of(cell): cell.source for cell in done.cells}, problems


def check_mine(notebook: nbformat.NotebookNode) -> list[str]:
    sources, problems = repaired(notebook)
    assert (sources["double"], sources["number"], sources["explain"]) == (OWN, "number = 7", "It adds.")
    return problems


def as_student(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    notebook.cells[4].source = "# Hidden tests"
    return notebook


def test_a_notebook_without_names_and_ids_is_recognised():
    (problem,) = check_mine(stripped(as_student(mine())))
    lost = "the names of cells are lost; their content was recognised"
    assert problem == f"{lost} (double, double-tests, double-hidden, ...)"


@pytest.mark.parametrize("place", [0, 2, 3, 5, 9])
def test_a_note_of_the_student_is_not_taken_for_an_answer(place):
    notebook = stripped(as_student(mine()))
    notebook.cells.insert(place, nbformat.v4.new_code_cell("double(4)"))
    check_mine(notebook)


def test_an_answer_in_a_new_cell_is_recognised():
    notebook = as_student(mine())
    notebook.cells[2] = nbformat.v4.new_code_cell(OWN)
    (problem,) = check_mine(notebook)
    assert problem.endswith("(double)")


def test_lines_of_windows_accuse_nobody():
    notebook = as_student(mine())
    for cell in notebook.cells:
        cell.source = cell.source.replace("\n", " \r\n") + "\r\n"
    assert repaired(notebook)[1] == []


@pytest.mark.parametrize("first", [True, False])
def test_an_untouched_copy_does_not_undo_an_answer(first):
    notebook = as_student(mine())
    for name in ("double", "explain"):
        place = next(place for place, cell in enumerate(notebook.cells) if cell.id == name)
        copied = copy_of(notebook.cells[place], f"{name}-copy")
        copied.source = next(cell.source for cell in given_out().cells if cell.id == name)
        notebook.cells.insert(place if first else place + 1, copied)
    problems = check_mine(notebook)
    assert [problem[:24] for problem in problems] == ["cell double is there 2 t", "cell explain is there 2 "]
    done, _ = submissions.repair(notebook, given_out(), tiny())
    assert len(done.cells) == len(tiny().cells)


# --- finding ---


def found(folder: Path) -> tuple[dict[str, str], dict[str, list[str]], list[str]]:
    """Student -> file that counts; student -> what is not graded; all other remarks."""
    submitted = folder / "submitted"
    of, students, remarks = submissions.find(submitted, {"tiny": given_out()})
    return (
        {one.student: str(one.path.relative_to(submitted / one.student)) for one in of if one.can_be_graded},
        {
            student: [remark.text for remark in remarks if remark.student == student and remark.not_graded]
            for student in students
        },
        [remark.text for remark in remarks if not remark.not_graded],
    )


def test_the_notebook_with_answers_counts_and_it_is_said(tmp_path):
    submit(tmp_path, "a", mine(), "tiny-Copy1.ipynb")
    os.utime(submit(tmp_path, "a", given_out()), (2e9, 2e9))
    submit(tmp_path, "b", mine())
    submit(tmp_path, "b", solved(double="def double(x):\n    pass"), "tiny-Copy1.ipynb")
    submit(tmp_path, "c", mine())
    submit(tmp_path, "c", mine(), "tiny (1).ipynb")
    submit(tmp_path, "d", mine(), "tiny (1).ipynb")
    (tmp_path / "submitted" / "d" / "tiny.ipynb").write_text("damaged")
    submit(tmp_path, "e", given_out())
    chosen, not_graded, said = found(tmp_path)
    assert chosen == {
        "a": "tiny-Copy1.ipynb",
        "b": "tiny.ipynb",
        "c": "tiny.ipynb",
        "d": "tiny (1).ipynb",
        "e": "tiny.ipynb",
    }
    assert not any(not_graded.values())
    assert said[:2] == [
        "tiny-Copy1.ipynb was taken for tiny.ipynb",
        "tiny.ipynb was left out: tiny-Copy1.ipynb, which has more answers, counts",
    ]
    assert said[-1] == "tiny.ipynb is as it was given out: it has no answers"


def test_a_lesson_is_named_as_such(tmp_path):
    lesson = nbformat.read(NOTEBOOKS / "01_data_exploration.ipynb", as_version=4)
    submit(tmp_path, "alone", lesson, "01_data_exploration.ipynb")
    submit(tmp_path, "as exercise", lesson)
    submit(tmp_path, "both", lesson, "01_data_exploration.ipynb")
    submit(tmp_path, "both", mine())
    submit(tmp_path, "other", nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]))
    chosen, not_graded, said = found(tmp_path)
    is_lesson = "is the notebook 01_data_exploration of the course, not an exercise"
    assert chosen == {"both": "tiny.ipynb"}
    assert not_graded == {
        "alone": [f"01_data_exploration.ipynb {is_lesson}"],
        "as exercise": [f"tiny.ipynb {is_lesson}"],
        "both": [],
        "other": ["tiny.ipynb has none of the answers of tiny"],
    }
    assert said == [f"01_data_exploration.ipynb {is_lesson}"]


def test_a_whole_course_folder_is_looked_through(tmp_path):
    submit(tmp_path, "a", mine(), "course/one/two/three/four/tiny.ipynb")
    for number in range(7):
        (tmp_path / "submitted" / "a" / "course" / f"picture-{number}.png").write_bytes(b"x")
    chosen, not_graded, _ = found(tmp_path)
    assert chosen == {"a": "course/one/two/three/four/tiny.ipynb"}
    (text,) = not_graded["a"]
    assert text.startswith("7 files (course/picture-0.png, ")
    assert text.endswith(": each belongs to no exercise")


def test_what_an_operating_system_adds_is_ignored(tmp_path):
    submit(tmp_path, "a", mine())
    for name in (
        "__MACOSX/a/._tiny.ipynb",
        "a/__MACOSX/._tiny.ipynb",
        "a/Thumbs.db",
        ".DS_Store",
        "desktop.ini",
    ):
        path = tmp_path / "submitted" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert found(tmp_path) == ({"a": "tiny.ipynb"}, {"a": []}, [])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("all.zip", "is an archive; `mnist-course assignments collect` unpacks it"),
        ("tiny.tar.gz", "is an archive; `mnist-course assignments collect` unpacks it"),
        ("tiny.py", "is a program; submit the notebook itself (.ipynb)"),
        ("tiny.html", "is a web page; submit the notebook itself (.ipynb)"),
        ("tiny.pdf", "belongs to no exercise"),
        ("other.ipynb", "belongs to no exercise: it is not a notebook"),
        ("other.ipynb.txt", "belongs to no exercise: it is not a notebook"),
    ],
)
def test_what_cannot_be_graded_is_named_with_its_reason(tmp_path, name, why):
    path = tmp_path / "submitted" / "a" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK")
    chosen, not_graded, _ = found(tmp_path)
    assert chosen == {}
    assert not_graded["a"][0].startswith(f"{name} {why}")


@pytest.mark.parametrize("name", ["tiny.ipynb.txt", "tiny.ipynb.json", "tiny", "work.txt", "work.IPYNB"])
def test_a_notebook_with_another_ending_is_graded(tmp_path, name):
    submit(tmp_path, "a", mine(), name)
    assert found(tmp_path) == ({"a": name}, {"a": []}, [f"{name} was taken for tiny.ipynb"])


# --- names ---

NAMES = (
    "अनिल कुमार", "தமிழ்ச்செல்வன்", "สมชาย", "مُحَمَّد", "Müller, Anna", "Ann (2)", "B & C", "O'Hara", "=cmd()",
    unicodedata.normalize("NFD", "Zoë"), "🙂",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_in_any_script_stay_as_they_are(name):
    assert submissions.working_name(name) == name


UNSAFE = (
    "a*b",
    "a?b",
    "a_b",
    "[x]",
    "a\nb",
    "a\tb",
    " a",
    "a ",
    ".a",
    "-a",
    "a" * 300,
    "é" * 100,
    "*",
    "a\\udce9",
)


def test_unsafe_names_are_cleaned_and_stay_different():
    working = [submissions.working_name(name) for name in UNSAFE]
    assert len(set(working)) == len(UNSAFE)
    for name in working:
        assert not set("*?[]\n\t\\") & set(name)
        assert name == name.strip(" .")
        assert len(name.encode()) < 200
        assert submissions.working_name(name) == name
    assert submissions.working_name("a_b") == "a_b"
    assert Submission("a*b", "tiny", Path()).label == f"{working[0]}/tiny"


def test_imports_and_answers_of_an_exercise_are_the_teachers():
    release = given_out()
    release.cells[
        0
    ].source = "import numpy as np, os.path\nfrom mnist_helpers import checks, data as d\n%matplotlib"
    known = recognition.names_of_exercise(release, tiny())
    assert known == {"imports": {}, "answers": ["double", "number"]}  # a magic command: not Python
    release.cells[0].source = release.cells[0].source.removesuffix("\n%matplotlib")
    assert recognition.names_of_exercise(release, tiny())["imports"] == {
        "np": "import numpy as np",
        "os": "import os.path",
        "checks": "from mnist_helpers import checks",
        "d": "from mnist_helpers import data as d",
    }
    other = code("double", "str = 3", solution=True)
    done, _ = submissions.repair(nbformat.v4.new_notebook(cells=[copy.deepcopy(other)]), release, tiny())
    assert done.metadata["mnist_course"]["answers"] == ["double", "number"]


def test_of_two_answers_in_new_cells_the_last_one_counts():
    notebook = as_student(mine())
    notebook.cells[2:3] = [
        nbformat.v4.new_code_cell(source) for source in ("def double(x):\n    return 3", OWN)
    ]
    check_mine(notebook)


def test_a_few_cells_of_an_exercise_are_enough_only_under_its_name():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(OWN), *given_out().cells[6:7]])
    exercises = {"tiny": given_out()}
    assert recognition.exercise_of(notebook, exercises) == ""
    assert recognition.exercise_of(notebook, exercises, "tiny") == "tiny"


def test_of_two_exercises_with_the_same_texts_the_names_of_cells_decide_and_then_the_file():
    renamed = tiny()
    for cell in renamed.cells:
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader.grade_id = cell.id = "second-" + cell.id
    exercises = {"second": renamed, "tiny": tiny(), "twin": tiny()}
    assert recognition.exercise_of(copy.deepcopy(renamed), exercises, "tiny") == "second"
    assert recognition.exercise_of(tiny(), exercises, "second") == "tiny"
    assert recognition.exercise_of(tiny(), exercises, "twin") == "twin"
