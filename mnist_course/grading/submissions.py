"""What students submit: find it and repair it, before anything of it runs.

A faulty submission never raises an error: what is wrong with it becomes a remark in the report.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import nbformat

from mnist_course.grading import reading, recognition
from mnist_course.grading.reading import name_of
from mnist_course.grading.recognition import is_locked, lines

_MAX_FILES = 2000  # of a student
# nbgrader uses a student's name as a folder and as a glob pattern.
_UNSAFE = re.compile(r'[*?\[\]<>:"|\\]')
_MAX_NAME_BYTES = 150
# JupyterLab and browsers give these names to copies.
_COPY = re.compile(r"(.+?)(?:-Copy\d*|[ _]?\(\d+\)|_?copy\d*)", re.IGNORECASE)
# nbgrader's own, and what operating systems and their archives add.
_IGNORED = {"timestamp.txt", "thumbs.db", "desktop.ini", "__macosx", "__pycache__", "@eadir", "lost+found"}
_ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz"}
# Editors and browsers save notebooks under these names, too.
_MAYBE_NOTEBOOKS = {".ipynb", ".txt", ".json", ""}
_LISTED = 5  # files in a remark


@dataclasses.dataclass(frozen=True)
class Submission:
    """One notebook of one student.

    Attributes:
        student: the name of the student's folder.
        exercise: the exercise that it belongs to.
        path: the file.
        can_be_graded: False if the file has the exercise's name, but none of its answers.
    """

    student: str
    exercise: str
    path: Path
    can_be_graded: bool = True

    @property
    def working_name(self) -> str:
        """The student's name in nbgrader's gradebook and folders."""
        return working_name(self.student)

    @property
    def label(self) -> str:
        """Its name in `graded.json` and in messages."""
        return f"{self.working_name}/{self.exercise}"


@dataclasses.dataclass(frozen=True)
class Remark:
    """Something that the teacher should know.

    Attributes:
        student: the student concerned, or the empty string.
        exercise: the exercise concerned, or the empty string.
        text: what is wrong.
        not_graded: True if something was not graded for this reason.
    """

    student: str
    exercise: str
    text: str
    not_graded: bool = False


def working_name(student: str) -> str:
    """Returns a student's name as nbgrader can use it; most names, in any script, stay as they are.

    A name that has to be changed gets a number made from the whole name, so that two students never share one.
    """
    safe = "".join(sign if sign.isprintable() else "_" for sign in _UNSAFE.sub("_", student)).strip(" .-")
    if safe == student and len(student.encode()) <= _MAX_NAME_BYTES:
        return student
    safe = safe.encode()[: _MAX_NAME_BYTES - 9].decode(errors="ignore")
    digest = hashlib.sha256(student.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{safe}-{digest[:8]}"


# --- finding ---


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """A file that may be the submission of an exercise; `num_answers` is -1 if it cannot be read."""

    path: Path
    num_answers: int
    can_be_graded: bool = True


def find(
    submitted: Path, exercises: Mapping[str, nbformat.NotebookNode]
) -> tuple[list[Submission], list[str], list[Remark]]:
    """Finds submissions in the students' folders, at any depth; the content decides to which exercise each belongs.

    Args:
        submitted: the folder with one folder per student.
        exercises: exercise -> the student's version.

    Returns:
        The submissions, all students (also those without a submission), and remarks about everything else that
        was found.
    """
    found: list[Submission] = []
    students: list[str] = []
    remarks: list[Remark] = []
    for folder in sorted(submitted.iterdir(), key=lambda path: (path.name.casefold(), path.name)):
        if _is_ignored(folder):
            continue
        if not is_of_student(folder):
            remarks.append(Remark("", "", f"{folder.name!r} is not a student's folder", not_graded=True))
            continue
        student = folder.name.encode("utf-8", "backslashreplace").decode()
        students.append(student)
        found += _of_student(folder, student, exercises, remarks)
    return found, students, remarks


def is_of_student(path: Path) -> bool:
    """Returns whether something in `submitted/` is the folder of a student."""
    return not _is_ignored(path) and not path.is_symlink() and path.is_dir()


def _of_student(
    folder: Path, student: str, exercises: Mapping[str, nbformat.NotebookNode], remarks: list[Remark]
) -> list[Submission]:
    candidates: dict[str, list[_Candidate]] = {}
    others: list[tuple[str, str]] = []  # file, why it is not graded
    lessons: list[str] = []
    for path in _files(folder, remarks, student):
        exercise, candidate, why = _judged(path, exercises)
        name = str(path.relative_to(folder)).encode("utf-8", "backslashreplace").decode()
        if candidate:
            candidates.setdefault(exercise, []).append(candidate)
        if why.startswith("is the notebook") and not candidate:
            lessons.append(f"{name} {why}")
        elif why:
            others.append((name, why))
    remarks += [Remark(student, "", text, not_graded=not candidates) for text in lessons]
    remarks += [Remark(student, "", text, not_graded=True) for text in _grouped(others)]
    chosen = []
    for exercise, of_exercise in sorted(candidates.items()):
        best, texts = _chosen(of_exercise, exercise, folder)
        chosen.append(Submission(student, exercise, best.path, best.can_be_graded))
        remarks += [Remark(student, "", text) for text in texts]
    return chosen


def _grouped(others: list[tuple[str, str]]) -> list[str]:
    """Returns remarks on files that are not graded, one for all files with the same reason."""
    by_reason: dict[str, list[str]] = {}
    for name, why in others:
        by_reason.setdefault(why, []).append(name)
    texts = []
    for why, names in by_reason.items():
        if len(names) <= _LISTED:
            texts += [f"{name} {why}" for name in names]
        else:
            listed = ", ".join(names[:_LISTED])
            texts.append(f"{len(names)} files ({listed}, ...): each {why}")
    return texts


def _is_ignored(path: Path) -> bool:
    return path.name.startswith(".") or path.name.casefold() in _IGNORED


def _files(folder: Path, remarks: list[Remark], student: str) -> list[Path]:
    """Returns the files of a student at any depth; links are not followed."""
    files: list[Path] = []
    for path in _walked(folder):
        if path.is_symlink():
            text = f"{path.relative_to(folder)} is a link; it was not followed"
            remarks.append(Remark(student, "", text))
        elif len(files) == _MAX_FILES:
            text = f"there are more than {_MAX_FILES} files; the others were not looked at"
            remarks.append(Remark(student, "", text, not_graded=True))
            break
        else:
            files.append(path)
    return files


def _walked(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if _is_ignored(path):
            continue
        is_folder = path.is_dir() and not path.is_symlink()
        if is_folder and (path.suffix != ".ipynb" or any(path.iterdir())):
            yield from _walked(path)
        else:
            yield path


def _judged(path: Path, exercises: Mapping[str, nbformat.NotebookNode]) -> tuple[str, _Candidate | None, str]:
    """Returns the exercise of a file with what is known about it, and why it is not graded, if it is not."""
    named = _exercise_by_name(path.name, exercises)
    suffix = path.suffix.casefold()
    if suffix in _ARCHIVES:
        return "", None, "is an archive; `mnist-course assignments collect` unpacks it"
    if suffix not in _MAYBE_NOTEBOOKS:
        kind = {".py": "a program", ".html": "a web page"}.get(suffix)
        why = f"is {kind}; submit the notebook itself (.ipynb)" if kind else "belongs to no exercise"
        return "", None, why
    try:
        notebook = reading.read(path)
    except (reading.NotReadableError, OSError) as error:
        if named:  # the reason is given when it is graded
            return named, _Candidate(path, -1), ""
        is_notebook = ".ipynb" in path.suffixes
        return "", None, f"belongs to no exercise{f': it {error}' if is_notebook else ''}"
    if exercise := recognition.exercise_of(notebook, exercises, named):
        answers = recognition.num_answers(notebook, exercises[exercise])
        return exercise, _Candidate(path, answers), ""
    if lesson := recognition.lesson_of(notebook):
        why = f"is the notebook {lesson} of the course, not an exercise"
    elif named:
        why = f"has none of the answers of {named}"
    else:
        why = "belongs to no exercise"
    return named, _Candidate(path, -2, can_be_graded=False) if named else None, why


def _exercise_by_name(name: str, exercises: Collection[str]) -> str:
    """Returns the exercise that a file belongs to by its name, or the empty string."""
    stem, dot, _ = name.partition(".ipynb")
    copied = _COPY.fullmatch(stem)
    known = (known for known in (stem, copied[1] if copied else "") if known in exercises)
    return next(known, "") if dot else ""


def _chosen(candidates: list[_Candidate], exercise: str, folder: Path) -> tuple[_Candidate, list[str]]:
    """Returns the file with the most answers; of equal ones that with the exercise's own name, then the newest.

    Remarks say which files were left out.
    """

    def preferred(candidate: _Candidate) -> tuple[int, bool, float]:
        path = candidate.path
        return candidate.num_answers, path.name == f"{exercise}.ipynb", path.stat().st_mtime

    chosen = max(candidates, key=preferred)
    name = chosen.path.relative_to(folder)
    texts = [] if chosen.path.name == f"{exercise}.ipynb" else [f"{name} was taken for {exercise}.ipynb"]
    for other in candidates:
        if other is chosen:
            continue
        more = "" if chosen.num_answers == other.num_answers else ", which has more answers,"
        texts.append(f"{other.path.relative_to(folder)} was left out: {name}{more} counts")
    if chosen.num_answers == 0:
        texts.append(f"{name} is as it was given out: it has no answers")
    return chosen, texts


# --- repairing ---


def repair(
    notebook: nbformat.NotebookNode, release: nbformat.NotebookNode, source: nbformat.NotebookNode
) -> tuple[nbformat.NotebookNode, list[str]]:
    """Brings a submission into the form that nbgrader expects: each cell once, with the teacher's tests.

    Args:
        notebook: the submission.
        release: the student's version of the exercise.
        source: the solution version, with the hidden tests.

    Returns:
        The notebook to run, and what was wrong.
    """
    given = recognition.named_cells(release)
    tests = recognition.named_cells(source)
    cells, problems = _single(copy.deepcopy(notebook.cells), release)
    names = [cells_name for cells_name, _ in cells if cells_name]
    in_order = sorted(names, key=list(given).index)
    if names != in_order:
        moved = next(name for name, right in zip(names, in_order, strict=True) if name != right)
        problems.append(f"the cells are in another order than in the exercise, from {moved} on")
    cells = [(name, _restored(name, cell, given, tests, problems)) for name, cell in cells]
    _put_back(cells, release, tests, problems)
    repaired = copy.deepcopy(release)
    repaired.cells = [cell for _, cell in cells]
    repaired.metadata["mnist_course"] = recognition.names_of_exercise(release, source)  # for `sandbox_child`
    return nbformat.validator.normalize(repaired)[1], problems


def _single(
    cells: list[nbformat.NotebookNode], release: nbformat.NotebookNode
) -> tuple[list[tuple[str, nbformat.NotebookNode]], list[str]]:
    """Names the cells, each name once: the last of several copies counts, but an answer before what has none."""
    given = recognition.named_cells(release)
    names, by_content = recognition.names(cells, release)
    problems = []
    if by_content:
        listed = ", ".join([*by_content[:3], *(["..."] if len(by_content) > 3 else [])])
        problems.append(f"the names of cells are lost; their content was recognised ({listed})")
    for cell in cells:
        cell.metadata.pop("nbgrader", None)
    left_out: set[int] = set()
    for name, original in given.items():
        places = [place for place, known in enumerate(names) if known == name]
        if len(places) < 2:
            continue
        answered = [place for place in places if recognition.is_answered(cells[place], original)]
        chosen = ((not is_locked(original) and answered) or places)[-1]
        for place in places:
            names[place] = name if place == chosen else ""
        if not is_locked(original):  # an untouched copy below the answer would undo it
            left_out.update(place for place in places if place != chosen and place not in answered)
        which = "last one" if chosen == places[-1] else "last one with an answer"
        problems.append(f"cell {name} is there {len(places)} times; the {which} counts")
    kept = [place for place in range(len(cells)) if place not in left_out]
    return [(names[place], cells[place]) for place in kept], problems


def _restored(
    name: str,
    cell: nbformat.NotebookNode,
    given: Mapping[str, nbformat.NotebookNode],
    tests: Mapping[str, nbformat.NotebookNode],
    problems: list[str],
) -> nbformat.NotebookNode:
    """Returns a cell with its original type and metadata; a locked cell also with the teacher's text."""
    if not name:
        return cell
    original = given[name]
    restored = copy.deepcopy(original)
    if cell.cell_type != original.cell_type:
        problems.append(f"cell {name} was a {cell.cell_type} cell; it is a {original.cell_type} cell again")
    if not is_locked(original):
        # An empty text is no answer: as it was given out, it has 0 points, and waits for nobody.
        if original.cell_type == "code" or cell.source.strip():
            restored.source = cell.source
        return restored
    if lines(cell.source) not in (lines(original.source), lines(tests[name].source)):
        problems.append(f"cell {name} is locked and was changed; the original counts")
    restored.source = tests[name].source
    return restored


def _put_back(
    cells: list[tuple[str, nbformat.NotebookNode]],
    release: nbformat.NotebookNode,
    tests: Mapping[str, nbformat.NotebookNode],
    problems: list[str],
) -> None:
    """Inserts missing cells after the one that they followed: nbgrader's cells, and code such as imports."""
    after = 0
    for original in release.cells:
        name = name_of(original)
        if not name and original.cell_type != "code":
            continue
        places = [
            place
            for place, (known, cell) in enumerate(cells)
            if (known == name if name else _is_same(cell, original))
        ]
        if places:
            after = places[0] + 1
            continue
        missing = copy.deepcopy(original)
        problem = f"cell {name or original.id} was missing; the original was put back"
        if name and is_locked(original):
            missing.source = tests[name].source
        elif name and recognition.bound(original.source) & _bound_elsewhere(cells):
            missing.source = ""  # the original would undo the answer
            problem = f"cell {name} was missing; what another cell defines counts"
        cells.insert(after, (name, missing))
        after += 1
        problems.append(problem)


def _bound_elsewhere(cells: list[tuple[str, nbformat.NotebookNode]]) -> set[str]:
    """Returns the names that a submission's code binds, apart from its locked cells."""
    code = [cell for _, cell in cells if cell.cell_type == "code"]
    own = [cell.source for cell in code if not (name_of(cell) and is_locked(cell))]
    return set().union(*map(recognition.bound, own))


def _is_same(cell: nbformat.NotebookNode, original: nbformat.NotebookNode) -> bool:
    return cell.get("id") == original.id or lines(cell.source) == lines(original.source)
