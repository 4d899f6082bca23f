"""What students get, and what a grading folder may hold."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner

from mnist_course import cli
from mnist_course.grading import grade, release
from tests.grading.tiny import SENTENCE, STUB, copy_of, snapshot, submit, tiny

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # nbgrader's and its libraries'
    pytest.mark.filterwarnings("ignore::nbformat.warnings.MissingIDFieldWarning"),
    pytest.mark.filterwarnings("ignore::nbformat.warnings.DuplicateCellId"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),  # nbgrader's
]


def test_students_get_gaps_and_no_hidden_tests(folder, exercises):
    notebook = nbformat.read(folder / "release" / "tiny" / "tiny.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert text.count("# write your code here") == 2
    assert not re.search(r"HIDDEN TESTS|SOLUTION|2 \* x|number = 7|531", text)
    assert "NotImplementedError" not in text
    assert (notebook.cells[-1].cell_type, notebook.cells[-1].source) == ("markdown", STUB)
    assert SENTENCE not in text
    assert (folder / "source" / "tiny" / "tiny.ipynb").read_text() == (exercises / "tiny.ipynb").read_text()
    assert not list((folder / "submitted").iterdir())


def test_release_writes_what_build_releases(folder, tmp_path):
    written = release.write_release(tmp_path / "own")
    assert written == [tmp_path / "own" / "tiny.ipynb"]
    assert written[0].read_text() == (folder / "release" / "tiny" / "tiny.ipynb").read_text()
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["tiny.ipynb"]


def test_without_nbgrader_the_message_names_the_extra(exercises, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nbgrader", None)
    for call in (release.build, release.write_release, grade.grade):
        with pytest.raises(ValueError, match="extra `teach`"):
            call(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_exercise_that_nbgrader_refuses_is_named_and_nothing_is_written(exercises, tmp_path):
    broken = tiny()
    broken.cells.append(copy_of(broken.cells[2], "again"))
    nbformat.write(broken, exercises / "tiny.ipynb")
    with pytest.raises(ValueError, match=r"refuses tiny: .*Duplicate grade id: double"):
        release.build(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_students_versions_that_come_with_the_course_are_those_of_the_solution_versions(tmp_path):
    """After a change to an exercise: mnist-course assignments release"""
    written = release.write_release(tmp_path)
    committed = sorted(release.RELEASE.glob("*.ipynb"))
    assert [path.name for path in committed] == [f"exercise_0{k}.ipynb" for k in range(1, 6)]
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in committed]


# --- bad input ---


def _other_things(place: Path) -> None:
    (place / "c").mkdir()
    (place / "c" / "thesis.txt").write_text("mine")


def _foreign_course(place: Path) -> None:
    (place / "c" / "source").mkdir(parents=True)
    (place / "c" / "nbgrader_config.py").write_text("c = get_config()\n")


def _file(place: Path) -> None:
    (place / "c").write_text("a file")


def _no_exercises(place: Path) -> None:
    (place / "exercises" / "tiny.ipynb").unlink()


def _nothing(place: Path) -> None:
    pass


def _empty(place: Path) -> None:
    (place / "c").mkdir()


def _built(place: Path) -> None:
    (place / "course").rename(place / "c")


def _stray_file(place: Path) -> None:
    _built(place)
    (place / "c" / "submitted" / "tiny.ipynb").write_text("{}")


BAD_OPTIONS = {
    "--seconds": ("", "0", "-1", "1.5", "many", "nan", "9" * 20),
    "--memory": ("", "0", "0.5", "-1", "much", "nan", "inf"),
    "--workers": ("", "0", "-1", "1.5", "two", "9" * 9),
}


def check_message(folder: Path, arguments: list[str], *words: str) -> None:
    """Bad input: one message with these words, exit status 2, nothing written."""
    before = snapshot(folder)
    done = CliRunner().invoke(cli.main, ["assignments", *arguments])
    assert done.exit_code == 2, done.output
    assert [word for word in words if word not in done.output] == [], done.output
    assert len(re.findall("^Error", done.output, re.MULTILINE)) == 1
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    ("prepare", "arguments", "words"),
    [
        (_other_things, ["build", "c"], "holds other things"),
        (_foreign_course, ["build", "c"], "holds other things"),
        (_file, ["build", "c"], "a folder that can be written"),
        (_nothing, ["build", "exercises/tiny.ipynb/c"], "a folder that can be written"),
        (_no_exercises, ["build", "c"], "The solutions of the exercises were not found"),
        (_no_exercises, ["release"], "The solutions of the exercises were not found"),
        (_nothing, ["build", ""], "a folder that can be written"),
        (_nothing, ["build", "."], "holds other things"),
        (_nothing, ["build", "\0"], "zero byte"),
        (_nothing, ["build"], "Missing argument"),
        (_nothing, ["grade", "c"], "a folder that exists"),
        (_nothing, ["grade", "\0"], "zero byte"),
        (_empty, ["grade", "c"], "is not a grading folder"),
        (_other_things, ["grade", "c"], "is not a grading folder"),
        (_foreign_course, ["grade", "c"], "is not a grading folder"),
        (_file, ["grade", "c"], "a folder that exists"),
        (_built, ["grade", "c"], "There are no submissions"),
        (_stray_file, ["grade", "c"], "There are no submissions"),
        *(
            (_nothing, ["grade", "c", option, value], option)
            for option in BAD_OPTIONS
            for value in BAD_OPTIONS[option]
        ),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_written(
    folder, tmp_path, monkeypatch, prepare, arguments, words
):
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    check_message(tmp_path, arguments, words)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def _graded(content: object) -> Callable[[Path], None]:
    return lambda folder: (folder / "graded.json").write_text(json.dumps(content)) and None


def _config(line: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "nbgrader_config.py"
        path.write_text(f"{path.read_text()}{line}\n")

    return damage


def _foreign_database(folder: Path) -> None:
    (folder / "gradebook.db").unlink()
    with contextlib.closing(sqlite3.connect(folder / "gradebook.db")) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")


def _bad_page(folder: Path) -> None:
    """Damages the last page of the database, which is read late; size and schema stay as they were."""
    path = folder / "gradebook.db"
    path.write_bytes(path.read_bytes()[:-4096] + b"\xff" * 4096)


def _older_version(folder: Path) -> None:
    for kind in ("release", "source"):
        (folder / kind / "tiny").rename(folder / kind / "02_baseline")


ENTRY = {"key": "k", "isolated": True}
DAMAGES = {
    "graded.json cut": (
        lambda folder: (folder / "graded.json").write_text('{"anna/tiny": {"ke'),
        "graded.json",
    ),
    "graded.json empty": (lambda folder: (folder / "graded.json").write_text(""), "graded.json"),
    "graded.json binary": (lambda folder: (folder / "graded.json").write_bytes(b"\xff\0"), "graded.json"),
    **{
        f"graded.json {number}": (_graded(content), "graded.json")
        for number, content in enumerate(
            (
                *(
                    [],
                    [1],
                    ["anna/tiny"],
                    7,
                    None,
                    "text",
                    {"anna/tiny": 7},
                    {"anna/tiny": None},
                    {"anna/tiny": []},
                ),
                *({"anna/tiny": {}}, {"anna/tiny": {"key": "k"}}, {"anna/tiny": ENTRY | {"points": 7}}),
                *({"anna/tiny": ENTRY | {"key": 7}}, {"anna/tiny": ENTRY | {"problems": [7]}}),
                *(
                    {"anna/tiny": ENTRY | {"messages": {"double": None}}},
                    {"anna/tiny": ENTRY | {"messages": []}},
                ),
                *({"anna/tiny": ENTRY | {"seconds": "1 s"}}, {"anna/tiny": ENTRY | {"too_small": [30]}}),
                *(
                    {"anna/tiny": ENTRY | {"too_small": ["30", "40"]}},
                    {"anna/tiny": ENTRY | {"not_done": "a"}},
                ),
                *(
                    {"anna/tiny": ENTRY | {"not_done": [7]}},
                    {"anna/tiny": ENTRY | {"sentences": {"explain": 7}}},
                ),
            )
        )
    },
    "graded.json of an older version": (_graded({"anna/02_baseline": ENTRY}), "older version"),
    "folder of an older version": (_older_version, "older version"),
    "gradebook.db cut": (lambda folder: _cut(folder / "gradebook.db"), "gradebook.db"),
    "gradebook.db empty": (lambda folder: (folder / "gradebook.db").write_text(""), "gradebook.db"),
    "gradebook.db text": (lambda folder: (folder / "gradebook.db").write_text("hello" * 999), "gradebook.db"),
    "gradebook.db with a bad page": (_bad_page, "gradebook.db"),
    "gradebook.db of another program": (_foreign_database, "gradebook.db"),
    **{
        f"nbgrader_config.py {number}": (_config(line), "nbgrader_config.py")
        for number, line in enumerate(
            (
                *(
                    "c.A = (",
                    "c.A = x",
                    "import nothing_of_this_name",
                    "1 / 0",
                    "raise SystemExit(1)",
                    "\0",
                    "  x = 1",
                ),
                *(
                    "c.IgnorePattern.enabled = 'perhaps'",
                    "c.ClearSolutions.enforce_metadata = 'perhaps'",
                    "c.SanitizeHTML.tags = 7",
                ),
            )
        )
    },
    "release cut": (lambda folder: _cut(folder / "release" / "tiny" / "tiny.ipynb"), "tiny.ipynb"),
    "release missing": (lambda folder: (folder / "release" / "tiny" / "tiny.ipynb").unlink(), "tiny.ipynb"),
    "source cut": (lambda folder: _cut(folder / "source" / "tiny" / "tiny.ipynb"), "tiny.ipynb"),
    "source a list": (
        lambda folder: (folder / "source" / "tiny" / "tiny.ipynb").write_text("[]"),
        "tiny.ipynb",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_r10_a_damaged_file_is_named_and_nothing_is_written(folder, name):
    damage, words = DAMAGES[name]
    submit(folder, "anna", tiny())
    damage(folder)
    check_message(folder, ["grade", str(folder)], words)
    if not name.startswith(("release", "source")):  # these are made again
        check_message(folder, ["build", str(folder)], words)


def test_a_gradebook_that_another_program_uses_is_not_called_damaged(folder):
    submit(folder, "anna", tiny())
    with contextlib.closing(sqlite3.connect(folder / "gradebook.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        check_message(folder, ["grade", str(folder)], "gradebook.db", "Another program is using it")


def test_damaged_exercises_of_a_grading_folder_are_made_again(folder):
    expected = (folder / "release" / "tiny" / "tiny.ipynb").read_bytes()
    for kind in ("release", "source"):
        _cut(folder / kind / "tiny" / "tiny.ipynb")
    release.build(folder)
    assert (folder / "release" / "tiny" / "tiny.ipynb").read_bytes() == expected
