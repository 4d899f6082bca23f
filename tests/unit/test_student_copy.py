"""A student's folder: what the course gives, and what it never touches."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner

from mnist_course import cli, lessons
from mnist_course.handout import student_copy
from mnist_helpers import _files, results

OLD = {"01.ipynb": b"one", "02.ipynb": b"two", "exercises/01.ipynb": b"task"}
NEW = OLD | {"02.ipynb": b"two, corrected", "exercises/02.ipynb": b"another task"}


@pytest.fixture
def give(tmp_path, monkeypatch):
    """Gives a version of the course, small as it is, to the student of `tmp_path/mine`; returns the lines."""

    def give(files: dict[str, bytes]) -> list[str]:
        monkeypatch.setattr(student_copy, "_course_files", lambda: files)
        return student_copy.start(tmp_path / "mine")

    return give


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> Path:
    """A student's folder with the course as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNIST_COURSE_RESULTS", str(tmp_path_factory.mktemp("results")))
        student_copy.start(tmp_path_factory.mktemp("students") / "mine")
    return tmp_path_factory.getbasetemp() / "students0" / "mine"


def contents(folder: Path) -> dict[str, bytes]:
    """The files that a student sees."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def everything(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


# --- what is given ---


def test_lessons_are_clean_valid_and_otherwise_as_they_were(copies):
    for lesson in results.LESSONS:
        mine = nbformat.read(copies / f"{lesson}.ipynb", as_version=nbformat.NO_CONVERT)
        nbformat.validate(mine)
        original = nbformat.read(lessons.NOTEBOOKS / f"{lesson}.ipynb", as_version=nbformat.NO_CONVERT)
        assert mine.metadata == original.metadata
        assert mine.metadata.kernelspec.name == "python3"
        for cell, before in zip(mine.cells, original.cells, strict=True):
            assert (cell.id, cell.source, cell.cell_type) == (before.id, before.source, before.cell_type)
            assert cell.metadata.get("tags") == before.metadata.get("tags")
            if cell.cell_type == "code":
                assert cell.outputs == []
                assert cell.execution_count is None
        assert any(cell.get("outputs") for cell in original.cells)  # there was something to clear


def test_exercises_come_without_solutions(copies):
    assert len(list((copies / "exercises").glob("*.ipynb"))) == len(results.LESSONS)
    for path in (copies / "exercises").glob("*.ipynb"):
        nbformat.validate(nbformat.read(path, as_version=nbformat.NO_CONVERT))
        text = path.read_text(encoding="utf-8")
        assert "write your code here" in text
        assert "BEGIN SOLUTION" not in text
        assert "BEGIN HIDDEN TESTS" not in text


def test_without_being_asked_it_writes_no_solutions(copies):
    assert not (copies / student_copy.SOLUTIONS).exists()
    assert "solutions" not in (copies / student_copy.MANIFEST).read_text()


def relative_links(folder: Path) -> list[tuple[Path, str]]:
    """Links and pictures of notebooks: the notebook, and the target without its anchor."""
    return [
        (path, link.split("#")[0])
        for path in folder.rglob("*.ipynb")
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
        for link in re.findall(r"(?:\]\(|href=\"|src=\")([^)\s\"]+)[)\"]", cell.source)
        if not re.match(r"https?:|#|attachment:|data:", link)
    ]


def test_links_between_notebooks_work_in_the_students_folder(copies):
    links = relative_links(copies)
    assert links
    for path, link in links:
        assert (path.parent / link).is_file(), f"{path.name} links to {link}"


def test_a_first_page_the_optional_notebooks_and_the_pictures_come_along(copies):
    given = set(contents(copies))
    for folder in ("further", "pictures"):
        originals = {path.name for path in (lessons.NOTEBOOKS / folder).glob("*.*")}
        assert {path.name for path in (copies / folder).iterdir()} == originals
    assert "START_HERE.ipynb" in given
    kinds = {path.suffix for path in copies.rglob("*") if path.is_file() and not path.name.startswith(".")}
    assert kinds == {".ipynb", ".png"}  # nothing that a student cannot explain


def test_the_first_page_leads_to_every_lesson_and_exercise_in_order(copies):
    text = "\n".join(cell.source for cell in nbformat.read(copies / "START_HERE.ipynb", as_version=4).cells)
    links = re.findall(r"\]\(([^)]+\.ipynb)\)", text)
    names = [f"exercises/exercise_{lesson[:2]}.ipynb" for lesson in results.LESSONS]
    rows = [
        link
        for lesson, name in zip(results.LESSONS, names, strict=True)
        for link in (f"{lesson}.ipynb", name)
    ]
    assert links == [*rows, f"{results.LESSONS[0]}.ipynb"]


def notebook(*sources, **more) -> bytes:
    """A notebook as JupyterLab writes it: code cells that ran, if there is an output."""
    metadata = {"kernelspec": {"name": "python3"}} if more else {}
    cells = [
        {
            "cell_type": "code",
            "metadata": {},
            "source": source.splitlines(True),
            "outputs": [more] if more else [],
        }
        for source in sources
    ]
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}).encode()


def test_a_notebook_that_was_only_run_and_saved_is_the_courses(give, tmp_path):  # J3
    mine = tmp_path / "mine" / "a.ipynb"
    one, two = notebook("x = 1", "x"), notebook("x = 2", "x")
    give({"a.ipynb": one})
    saved = notebook("x = 1", "x", "", output_type="stream", name="stdout", text="1")
    mine.write_bytes(saved)
    assert give({"a.ipynb": one}) == ["unchanged   a.ipynb"]
    assert mine.read_bytes() == saved  # its outputs are kept as long as the lesson is the same
    assert give({"a.ipynb": two}) == ["updated     a.ipynb"]
    assert mine.read_bytes() == two


@pytest.mark.parametrize(
    "work",
    [
        notebook("x = 3", "x"),
        notebook("x = 1", "x", "my_own = 2"),
        notebook("x = 1"),
        notebook("x", "x = 1"),
        notebook("x = 1", "x").replace(b"code", b"markdown"),
        b"{}",
        b'{"cells": 3}',
        b"\xff",
    ],
)
def test_a_notebook_with_another_cell_is_the_students(give, tmp_path, work):
    mine = tmp_path / "mine" / "a.ipynb"
    give({"a.ipynb": notebook("x = 1", "x")})
    mine.write_bytes(work)
    (line,) = give({"a.ipynb": notebook("x = 2", "x")})
    assert line == "kept        a.ipynb: it is yours; the course's new version is in a.new.ipynb"
    assert mine.read_bytes() == work


def test_a_manifest_of_an_older_version_still_counts(give, tmp_path):
    """It does not say which cells were given: then only an unchanged file is replaced."""
    give({"a.ipynb": notebook("x = 1"), "b.ipynb": notebook("y = 1")})
    manifest = tmp_path / "mine" / student_copy.MANIFEST
    content = json.loads(manifest.read_text())
    del content["cells"]
    manifest.write_text(json.dumps(content))
    (tmp_path / "mine" / "b.ipynb").write_bytes(notebook("y = 1", text="1"))
    lines = give({"a.ipynb": notebook("x = 2"), "b.ipynb": notebook("y = 2")})
    assert lines[0] == "updated     a.ipynb"
    assert lines[1].startswith("kept        b.ipynb: it is yours")


def test_the_exercises_need_no_nbgrader(tmp_path, monkeypatch):
    """A student's machine has none."""
    monkeypatch.setitem(sys.modules, "nbgrader", None)
    student_copy.start(tmp_path / "mine")
    release = lessons.NOTEBOOKS / "exercises" / "release"
    exercises = {path.name: path.read_bytes() for path in (tmp_path / "mine" / "exercises").glob("*.ipynb")}
    assert exercises == {path.name: path.read_bytes() for path in release.glob("*.ipynb")}


@pytest.mark.long
def test_a_copied_lesson_runs_and_saves_into_the_results_folder(copies, tmp_path):
    command = [sys.executable, "-m", "papermill", "01_data_exploration.ipynb", tmp_path / "out.ipynb"]
    settings = ["-k", "python3", "-p", "dataset", "digits", "-p", "num_train", "200"]
    done = subprocess.run([*command, *settings], cwd=copies, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert results.load_record(results.results_dir() / "lab", "01_data_exploration")


# --- solutions, for those who learn alone ---


@pytest.fixture(scope="module")
def with_solutions(tmp_path_factory) -> Path:
    """A student's folder with the solutions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNIST_COURSE_RESULTS", str(tmp_path_factory.mktemp("results")))
        student_copy.start(tmp_path_factory.mktemp("alone") / "mine", solutions=True)
    return tmp_path_factory.getbasetemp() / "alone0" / "mine"


def parts(source: str, name: str) -> list[str]:
    """The lines between two markers of nbgrader."""
    inside = re.findall(rf"### BEGIN {name}\n(.*?)\n *### END {name}", source, re.S)
    return [line.strip() for part in inside for line in part.splitlines() if line.strip()]


def test_solutions_are_the_exercises_with_answers_and_without_hidden_tests(with_solutions):
    paths = sorted(lessons.NOTEBOOKS.glob("exercises/*.ipynb"))
    written = sorted((with_solutions / student_copy.SOLUTIONS).iterdir())
    assert [path.name for path in written] == [path.name for path in paths]
    for path, original in zip(written, paths, strict=True):
        mine = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        nbformat.validate(mine)
        before = nbformat.read(original, as_version=4)
        assert mine.metadata == before.metadata
        assert not re.search('###  *(BEGIN|END)|HIDDEN|nbgrader"', path.read_text())
        for cell, old in zip(mine.cells, before.cells, strict=True):
            assert (cell.id, cell.cell_type) == (old.id, old.cell_type)
            if cell.cell_type == "markdown":
                assert cell.source.replace("](../", "](") == old.source
                continue
            assert (cell.outputs, cell.execution_count) == ([], None)
            compile(cell.source, cell.id, "exec")
            hidden = parts(old.source, "HIDDEN TESTS")
            kept = [line.strip() for line in old.source.splitlines() if line.strip() and "###" not in line]
            for line in hidden:
                kept.remove(line)
            assert [line.strip() for line in cell.source.splitlines() if line.strip()] == kept


def test_links_of_solutions_work_one_folder_deeper(with_solutions):
    links = relative_links(with_solutions / student_copy.SOLUTIONS)
    assert len({path for path, _ in links}) == len(results.LESSONS)
    for path, link in links:
        assert (path.parent / link).is_file(), f"{path.name} links to {link}"


def test_every_kind_of_link_of_a_solution_leads_one_folder_up(tmp_path):
    links = {
        "[a](../01.ipynb#x)": "[a](../../01.ipynb#x)",
        "![b](pictures/b.png)": "![b](../pictures/b.png)",
        "[c](https://x.org) [d](#d) ![e](attachment:e.png) [f](/lab)": None,
        '<img src="../p.png"> <a href="q.ipynb">': '<img src="../../p.png"> <a href="../q.ipynb">',
        '<a href="https://x.org">': None,
    }
    nbformat.write(
        nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_markdown_cell, links)]), tmp_path / "a.ipynb"
    )
    made = nbformat.reads(student_copy._solution(tmp_path / "a.ipynb"), as_version=4)
    assert [cell.source for cell in made.cells] == [new or old for old, new in links.items()]


def test_solutions_follow_the_rules_of_all_files_and_only_when_asked_for(tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    names = [f"{student_copy.SOLUTIONS}/{name}.ipynb" for name in "abc"]

    def give(text: str, *, solutions: bool = True) -> list[str]:
        monkeypatch.setattr(student_copy, "_course_files", lambda: OLD)
        monkeypatch.setattr(student_copy, "_solutions", lambda: dict.fromkeys(names, notebook(text)))
        return [line for line in student_copy.start(mine, solutions=solutions) if "solutions" in line]

    assert give("1", solutions=False) == []
    assert not (mine / student_copy.SOLUTIONS).exists()
    assert give("1") == [f"new         {name}" for name in names]
    (mine / names[0]).write_bytes(notebook("mine"))
    (mine / names[1]).unlink()
    before = everything(mine)
    told = [f"kept        {name}: --solutions brings its newest version" for name in (names[0], names[2])]
    assert give("2", solutions=False) == told
    after = everything(mine)
    assert after.pop(mine / student_copy.MANIFEST) and before.pop(mine / student_copy.MANIFEST)
    assert after == before
    assert give("2") == [
        f"kept        {names[0]}: it is yours; the course's new version is in a.new.ipynb",
        f"given again {names[1]}",
        f"updated     {names[2]}",
    ]
    assert (mine / names[0]).read_bytes() == notebook("mine")


def test_a_course_without_solutions_says_so_and_writes_nothing(tmp_path, monkeypatch):
    """As the installed package is."""
    source = tmp_path / "site-packages" / "notebooks"
    (source / student_copy.RELEASE).mkdir(parents=True)
    monkeypatch.setattr(lessons, "NOTEBOOKS", source)
    monkeypatch.setattr(student_copy, "_course_files", lambda: OLD)
    done = CliRunner().invoke(cli.main, ["start", str(tmp_path / "mine"), "--solutions"])
    assert (done.exit_code, done.output.count("Error: ")) == (2, 1)
    assert "An installed package has none" in " ".join(done.output.split())
    assert not (tmp_path / "mine").exists()
    done = CliRunner().invoke(cli.main, ["start", str(tmp_path / "mine")])
    assert done.exit_code == 0


def test_a_link_in_place_of_the_folder_of_solutions_is_refused_if_they_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(student_copy, "_course_files", lambda: OLD)
    elsewhere, mine = tmp_path / "elsewhere", tmp_path / "mine"
    elsewhere.mkdir()
    (mine / "exercises").mkdir(parents=True)
    (mine / student_copy.SOLUTIONS).symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(ValueError, match="is a link or a file"):
        student_copy.start(mine, solutions=True)
    assert not list(elsewhere.iterdir())
    student_copy.start(mine)


# --- again, after an update ---


def test_first_new_then_unchanged(give, tmp_path):
    assert give(OLD) == [f"new         {name}" for name in OLD]
    assert contents(tmp_path / "mine") == OLD
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "mine").rglob("*.ipynb")}
    assert give(OLD) == [f"unchanged   {name}" for name in OLD]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "mine").rglob("*.ipynb")} == before


def _touch_nothing(mine):
    pass


def _work(mine):
    (mine / "02.ipynb").write_bytes(b"two, with my answers")


def _work_where_nothing_changes(mine):
    (mine / "01.ipynb").write_bytes(b"one, with my answers")


def _delete(mine):
    (mine / "02.ipynb").unlink()


def _correct_it_oneself(mine):
    (mine / "02.ipynb").write_bytes(NEW["02.ipynb"])


def _a_file_of_that_name(mine):
    (mine / "exercises" / "02.ipynb").write_bytes(b"my own second exercise")


def _a_folder_of_that_name(mine):
    (mine / "02.ipynb").unlink()
    (mine / "02.ipynb").mkdir()


def _work_and_a_file_beside(mine):
    _work(mine)
    (mine / "02.new.ipynb").write_bytes(b"mine too")


def _work_and_a_link_beside(mine):
    _work(mine)
    (mine / "02.new.ipynb").symlink_to("to nothing")


def _lose_the_manifest(mine):
    (mine / student_copy.MANIFEST).unlink()


BESIDE = "kept        02.ipynb: it is yours; the course's new version is in 02.new.ipynb"


@pytest.mark.parametrize(
    ("change", "line", "files"),
    [
        (_touch_nothing, "updated     02.ipynb", {}),
        (_work, BESIDE, {"02.ipynb": b"two, with my answers", "02.new.ipynb": NEW["02.ipynb"]}),
        (_work_where_nothing_changes, "kept        01.ipynb", {"01.ipynb": b"one, with my answers"}),
        (_delete, "given again 02.ipynb", {}),
        (_correct_it_oneself, "unchanged   02.ipynb", {}),
        (
            _a_file_of_that_name,
            "kept        exercises/02.ipynb: it is yours; the course's new version is in 02.new.ipynb",
            {"exercises/02.ipynb": b"my own second exercise", "exercises/02.new.ipynb": b"another task"},
        ),
        (_a_folder_of_that_name, BESIDE, {"02.ipynb": None, "02.new.ipynb": NEW["02.ipynb"]}),
        (
            _work_and_a_file_beside,
            BESIDE.replace(".new", ".new-2"),
            {
                "02.ipynb": b"two, with my answers",
                "02.new.ipynb": b"mine too",
                "02.new-2.ipynb": NEW["02.ipynb"],
            },
        ),
        (
            _work_and_a_link_beside,
            BESIDE.replace(".new", ".new-2"),
            {"02.ipynb": b"two, with my answers", "02.new-2.ipynb": NEW["02.ipynb"]},
        ),
        (_lose_the_manifest, BESIDE, {"02.ipynb": OLD["02.ipynb"], "02.new.ipynb": NEW["02.ipynb"]}),
    ],
)
def test_an_update_keeps_what_the_student_has_touched(give, tmp_path, change, line, files):
    give(OLD)
    change(tmp_path / "mine")
    assert line in give(NEW)
    expected = {name: content for name, content in (NEW | files).items() if content is not None}
    assert contents(tmp_path / "mine") == expected
    again = give(NEW)
    assert contents(tmp_path / "mine") == expected
    assert not [said for said in again if "new" in said.split(":")[0].split()[0]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'{"given": [1], "newest": {}}',
        b'{"given": {}}',
        b'{"given": {"02.ipynb": 1}, "newest": {}}',
        b'{"given": [["02.ipynb", "x"]], "newest": {}}',
        b'{"files": {"02.ipynb": "x"}, "version": 1}',
        b"\xff\xfe{\x00}\x00",
        b"[" * 100_000,
    ],
)
def test_a_manifest_that_cannot_be_used_is_named_and_every_file_counts_as_the_students(
    give, tmp_path, content
):
    give(OLD)
    (tmp_path / "mine" / student_copy.MANIFEST).write_bytes(content)
    lines = give(NEW)
    assert lines[0].startswith(f"{student_copy.MANIFEST} is damaged or of another version")
    assert BESIDE in lines
    assert contents(tmp_path / "mine") == NEW | {"02.ipynb": OLD["02.ipynb"], "02.new.ipynb": NEW["02.ipynb"]}
    assert not [line for line in give(NEW) if student_copy.MANIFEST in line]


@pytest.mark.parametrize("manifest", [True, False])
@pytest.mark.parametrize("touched", [True, False])
def test_what_an_older_version_gave_is_kept_and_named(give, tmp_path, manifest, touched):
    """Exercises had the names of lessons; a lesson may go, too."""
    old = "exercises/01_data_exploration.ipynb"
    give(OLD | {old: b"the first exercise", "06.ipynb": b"a sixth lesson"})
    if touched:
        (tmp_path / "mine" / old).write_bytes(b"my solution")
    if not manifest:
        (tmp_path / "mine" / student_copy.MANIFEST).unlink()
    for _ in range(2):
        named = [line for line in give(OLD) if "from an older version" in line]
        assert [line.split()[1] for line in named] == ["06.ipynb:"] * manifest + [f"{old}:"]
    assert (tmp_path / "mine" / old).read_bytes() == (b"my solution" if touched else b"the first exercise")
    (tmp_path / "mine" / old).unlink()
    assert not [line for line in give(OLD) if old in line]


def test_a_new_version_is_offered_once_and_the_next_one_again(give, tmp_path):
    mine = tmp_path / "mine"
    give(OLD)
    _work(mine)
    give(NEW)
    (mine / "02.new.ipynb").unlink()  # the student has read it
    assert "kept        02.ipynb" in give(NEW)
    assert not (mine / "02.new.ipynb").exists()
    assert BESIDE in give(NEW | {"02.ipynb": b"third"})
    assert BESIDE in give(NEW | {"02.ipynb": b"fourth"})  # in place of the third, which nobody touched
    assert (mine / "02.new.ipynb").read_bytes() == b"fourth"
    (mine / "02.new.ipynb").write_bytes(b"fourth, with my answers")
    assert BESIDE.replace(".new", ".new-2") in give(NEW | {"02.ipynb": b"fifth"})
    assert (mine / "02.new.ipynb").read_bytes() == b"fourth, with my answers"
    assert (mine / "02.ipynb").read_bytes() == b"two, with my answers"


def test_the_new_version_taken_over_is_updated_again(give, tmp_path):
    give(OLD)
    _work(tmp_path / "mine")
    give(NEW)
    (tmp_path / "mine" / "02.new.ipynb").replace(tmp_path / "mine" / "02.ipynb")
    assert "unchanged   02.ipynb" in give(NEW)
    assert "updated     02.ipynb" in give(NEW | {"02.ipynb": b"third"})


def test_links_in_the_folder_are_not_followed(give, tmp_path):
    mine, elsewhere = tmp_path / "mine", tmp_path / "elsewhere.ipynb"
    give(OLD)
    for target in (OLD["02.ipynb"], None):  # what the course gave, moved away; and a link to nothing
        elsewhere.unlink() if target is None else elsewhere.write_bytes(target)
        (mine / "02.ipynb").unlink()
        (mine / "02.ipynb").symlink_to(elsewhere)
        give(NEW)
        assert (mine / "02.ipynb").is_symlink()
        assert (elsewhere.read_bytes() if target else None) == target
        assert elsewhere.exists() == bool(target)
        assert (mine / "02.new.ipynb").read_bytes() == NEW["02.ipynb"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(6))
def test_killed_in_between_the_same_command_goes_on(give, tmp_path, monkeypatch, number, after):
    """Whichever file it was killed at, before or after that came to its place."""
    mine = tmp_path / "mine"
    give(OLD)
    _work(mine)
    replace, calls = os.replace, iter(range(6))  # two files, and the manifest after each of four

    def die(*paths):
        now = next(calls)
        if now < number or after:
            replace(*paths)
        if now == number:
            raise SystemExit

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(SystemExit):
        give(NEW)
    monkeypatch.setattr(os, "replace", replace)
    (mine / f"{_files.PARTIAL}abc").mkdir()  # what a kill leaves
    give(NEW)
    assert contents(mine) == NEW | {"02.ipynb": b"two, with my answers", "02.new.ipynb": NEW["02.ipynb"]}
    assert not list(mine.glob(f"{_files.PARTIAL}*"))
    assert "kept        02.ipynb" in give(NEW)


# R11
@pytest.mark.parametrize(
    "name",
    [
        "a [1]",
        "[ab]",
        "100%",
        "a%25b",
        "why?",
        "*",
        "{}",
        "{0}{run}",
        "a #1",
        "#",
        "two  blanks ",
        "é",
        "$HOME",
    ],
)
def test_a_folder_may_have_any_name(tmp_path, monkeypatch, name):
    monkeypatch.setattr(student_copy, "_course_files", lambda: OLD)
    for state in ("new        ", "unchanged  "):
        assert student_copy.start(tmp_path / name) == [f"{state} {file}" for file in OLD]
    (tmp_path / name / f"{_files.PARTIAL}abc").mkdir()
    (tmp_path / name / "02.ipynb").write_bytes(b"two, with my answers")
    monkeypatch.setattr(student_copy, "_course_files", lambda: NEW)
    assert BESIDE in student_copy.start(tmp_path / name)
    assert not list((tmp_path / name).glob(f"{_files.PARTIAL}*"))
    assert [path.name for path in tmp_path.iterdir()] == [name]


# --- places that are refused ---


def _of_the_course(*parts: str) -> str:
    return str(lessons.NOTEBOOKS.parent.joinpath(*parts))


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("", "Expected: a folder"),
        ("a file", "Expected: a folder"),
        ("a file/x", "Expected: a folder"),
        ("\0", "zero byte"),
        ("/dev/null", "Expected: a folder"),
        (_of_the_course(), "part of the course itself"),
        (_of_the_course("notebooks"), "part of the course itself"),
        (_of_the_course("notebooks", "mine"), "part of the course itself"),
        (_of_the_course("tests", "..", "notebooks", "exercises"), "part of the course itself"),
        (_of_the_course("mnist_helpers"), "part of the course itself"),
        ("link to the lessons", "part of the course itself"),
        ("exercises elsewhere", "is a link or a file"),
        ("exercises a file", "is a link or a file"),
        ("manifest a folder", "is a link or a folder"),
        ("manifest elsewhere", "is a link or a folder"),
        ("lock a folder", "is a link or a folder"),
    ],
)
def test_a_bad_place_is_refused_and_nothing_written(folder, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a file").write_text("mine")
    Path("link to the lessons").symlink_to(lessons.NOTEBOOKS)
    Path("exercises elsewhere").mkdir()
    Path("exercises elsewhere/exercises").symlink_to(tmp_path, target_is_directory=True)
    Path("exercises a file").mkdir()
    Path("exercises a file/exercises").write_text("mine")
    Path("manifest a folder", student_copy.MANIFEST).mkdir(parents=True)
    Path("lock a folder", student_copy._LOCK).mkdir(parents=True)
    Path("manifest elsewhere").mkdir()
    Path("manifest elsewhere", student_copy.MANIFEST).symlink_to("a file")
    before, originals = everything(tmp_path), sorted(lessons.NOTEBOOKS.rglob("*"))
    result = CliRunner().invoke(cli.main, ["start", folder])
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert len(re.findall("^Error: ", result.output, re.M)) == 1
    assert everything(tmp_path) == before
    assert sorted(lessons.NOTEBOOKS.rglob("*")) == originals


@pytest.mark.parametrize("closed", ["mine", "mine/exercises"])
def test_a_place_that_cannot_be_written_is_refused(closed, tmp_path, monkeypatch):
    (tmp_path / "mine" / "exercises").mkdir(parents=True)
    access = os.access  # the tests may run as root, who may write everywhere
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / closed and access(path, mode))
    with pytest.raises(ValueError, match="cannot be written"):
        student_copy.start(tmp_path / "mine")
    assert list((tmp_path / "mine").rglob("*")) == [tmp_path / "mine" / "exercises"]


def test_a_course_without_its_notebooks_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(lessons, "NOTEBOOKS", tmp_path / "site-packages" / "notebooks")
    with pytest.raises(ValueError, match="Install the course again"):
        student_copy.start(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_two_at_once_do_not_mix(give, tmp_path):
    import filelock

    give(OLD)
    with (
        filelock.FileLock(tmp_path / "mine" / ".mnist-course.lock"),
        pytest.raises(ValueError, match="Another"),
    ):
        give(NEW)
    assert contents(tmp_path / "mine") == OLD


def test_a_folder_beside_the_notebooks_may_be_a_students(tmp_path, monkeypatch, give):
    monkeypatch.setattr(lessons, "NOTEBOOKS", tmp_path / "notebooks")
    assert give(OLD) == [f"new         {name}" for name in OLD]
    assert give(OLD) == [f"unchanged   {name}" for name in OLD]
    (tmp_path / "mine" / student_copy.MANIFEST).unlink()  # killed before it was written
    assert give(OLD) == [f"unchanged   {name}" for name in OLD]


def test_it_says_so_where_the_lessons_could_not_save(give, tmp_path, monkeypatch):
    """A course that is installed for everybody, read-only."""
    (tmp_path / "closed").mkdir()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "closed" and access(path, mode))
    monkeypatch.setenv("MNIST_COURSE_RESULTS", str(tmp_path / "closed" / "results"))
    assert "MNIST_COURSE_RESULTS" in give(OLD)[-1]
    monkeypatch.setenv("MNIST_COURSE_RESULTS", str(tmp_path / "open" / "results"))
    assert "MNIST_COURSE_RESULTS" not in give(OLD)[-1]


# --- from the command line ---


def test_the_command_prints_each_file_once(tmp_path):
    result = CliRunner().invoke(cli.main, ["start", str(tmp_path / "mine")])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert len(lines) == len(contents(tmp_path / "mine"))
    assert all(line.startswith("new ") for line in lines)
    assert json.loads((tmp_path / "mine" / student_copy.MANIFEST).read_text())["given"]


def test_make_lab_opens_the_students_folder():
    makefile = (lessons.NOTEBOOKS.parent / "Makefile").read_text()
    for command in ("mnist-course start", "jupyter lab --notebook-dir="):
        assert re.search(rf"^lab: .*\n(?:\t.*\n)*?\t.*{command}", makefile, re.M)
    assert "--solutions" not in makefile
