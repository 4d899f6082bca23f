"""The list of a class: who is in it, and whom a name in an archive or a folder means.

A roster is a CSV file with a row per student. The grading folder keeps it as `roster.csv`, with the columns `name`,
`email`, `id`, and what Canvas needs for its import: `login`, `canvas_id`, `section`.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mnist_course.grading import tables
from mnist_helpers import _files
from mnist_helpers._errors import UserError

FILE = "roster.csv"
_EXPECTED = (
    "a CSV file with a row per student and the columns name, email, id (or First name, Last name, Email address, "
    "ID number, as Moodle exports them; or a gradebook that Canvas has exported)"
)
# Our column -> what platforms call it; compared without case, spaces and punctuation.
_COLUMNS = {
    "name": ("name", "student", "student name", "full name", "fullname", "display name", "learner"),
    "first": ("first name", "firstname", "given name", "vorname", "prénom", "nombre"),
    "last": (
        "last name",
        "lastname",
        "surname",
        "family name",
        "nachname",
        "nom",
        "apellido(s)",
        "apellidos",
    ),
    "email": ("email", "e-mail", "email address", "mail", "e-mail-adresse", "adresse de courriel", "correo"),
    "id": ("id", "id number", "student id", "student number", "sis user id", "org defined id", "id-nummer"),
    "login": ("login", "sis login id", "login id", "username", "user name"),
    "canvas_id": ("canvas_id", "canvas id"),
    "section": ("section", "sections"),
}
_MARKS = re.compile(
    "[\u0300-\u036f]"
)  # accents of Latin, Greek and Cyrillic letters, not vowels of other scripts
_EMAIL = re.compile(r"\w[^@\s,;]*@[^@\s,;]+")
_ID = re.compile(r"\w[^\r\n\t]*")  # a spreadsheet would take = + - @ at the beginning for a formula


@dataclasses.dataclass(frozen=True)
class Student:
    """A student of the roster.

    Attributes:
        name: the name, in any script.
        email: the e-mail address, or the empty string.
        id: the school's number of the student (Moodle: ID number; Canvas: SIS User ID), or the empty string.
        login: the name of the account, or the empty string.
        canvas_id: Canvas's own number of the student, or the empty string.
        section: Canvas's section, or the empty string.
    """

    name: str
    email: str = ""
    id: str = ""
    login: str = ""
    canvas_id: str = ""
    section: str = ""

    @property
    def identifier(self) -> str:
        """What tells the student apart from another one with the same name."""
        return self.id or self.login or self.canvas_id or self.email

    def is_same(self, identity: Mapping[str, str]) -> bool:
        """Returns whether what is known of a student of an earlier roster is true of this student.

        The first of id, e-mail address, login and Canvas's number that both have decides; without one, the name.
        """
        for field in ("id", "email", "login", "canvas_id"):
            mine, other = getattr(self, field), identity.get(field, "")
            if mine and other:
                return _normal(mine) == _normal(other)
        return _normal(self.name) == _normal(identity.get("name", ""))


_FIELDS = [field.name for field in dataclasses.fields(Student)]


class Roster:
    """The students of a class, found by name, e-mail address, id or login.

    Args:
        students: the students.
    """

    def __init__(self, students: Iterable[Student]) -> None:
        self.students = list(students)
        self._known: dict[tuple[str, str], list[Student]] = {}
        for student in self.students:
            for key in _keys(student):
                self._known.setdefault(key, []).append(student)

    def find(self, text: str, *, is_compact: bool = False) -> list[Student]:
        """Returns the students whom a text means: none, one, or several with the same name.

        Capital letters, accents, commas and the order of first and last name do not matter, unless a stricter
        comparison finds somebody. Some platforms leave out apostrophes and the like: a name that lacks them means
        both of two students whose names differ in nothing else.

        Args:
            text: a name, an e-mail address, an id or a login.
            is_compact: whether `text` is a name without spaces, such as Canvas's `leeann`.
        """
        kinds = [("compact", _compact(_words(text)))] if is_compact else []
        exact, words = _normal(text), _words(text)
        if not is_compact:
            kinds = [("is", exact), ("words", " ".join(words)), ("sorted", " ".join(sorted(words)))]
        found = next((self._known[kind] for kind in kinds if kind[1] and kind in self._known), [])
        if is_compact:
            return found
        return list(dict.fromkeys([*found, *self._known.get(("cleaned", exact), [])]))

    def is_exact(self, text: str) -> bool:
        """Returns whether a text is somebody's name, e-mail address, id or login, apart from capital letters."""
        return ("is", _normal(text)) in self._known

    def with_canvas_id(self, number: str) -> Student | None:
        """Returns the student with a number of Canvas, or `None`."""
        return next((student for student in self.students if number and student.canvas_id == number), None)


def _keys(student: Student) -> set[tuple[str, str]]:
    words = _words(student.name)
    turned = [words[start:] + words[:start] for start in range(len(words))]  # Canvas has the last name first
    exact = filter(None, (student.name, student.email, student.id, student.login))
    keys = {("is", _normal(text)) for text in exact} | {("compact", _compact(of)) for of in turned}
    cleaned = "".join(sign for sign in student.name if _is_letter(sign) or sign in " .-_")
    return keys | {
        ("words", " ".join(words)),
        ("sorted", " ".join(sorted(words))),
        ("cleaned", _normal(cleaned)),
    }


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _words(text: str) -> list[str]:
    """Returns the words of a name without case, accents and punctuation."""
    plain = _MARKS.sub("", unicodedata.normalize("NFKD", text.casefold()))
    plain = unicodedata.normalize("NFKC", plain)
    words = re.split(r"[\s,_]+", plain)
    return [word for word in ("".join(sign for sign in word if _is_letter(sign)) for word in words) if word]


def _is_letter(sign: str) -> bool:
    return unicodedata.category(sign)[0] in "LMN"


def _compact(words: Sequence[str]) -> str:
    return "".join(words)


# --- reading and writing ---


def read_roster(path: Path) -> Roster:
    """Reads a roster: comma, semicolon or tab; UTF-8, UTF-16 or Windows-1252; columns by their names.

    Raises:
        UserError: the file cannot be read as a roster; the error message names the row.
    """
    rows = tables.rows(path, _EXPECTED)
    if not rows:
        raise UserError(f"{path} is empty. Expected: {_EXPECTED}.")
    header = rows[0][1]
    columns = _columns(header)
    if not ({"name"} <= columns.keys() or {"first", "last"} <= columns.keys()):
        found = ", ".join(header)[:300]
        raise UserError(f"{path} has no column with names. Expected: {_EXPECTED}. Received: {found}.")
    students: dict[int, Student] = {}
    for row, cells in rows[1:]:
        # Brightspace writes # before ids.
        values = {
            name: cells[place].strip().lstrip("#") if place < len(cells) else ""
            for name, place in columns.items()
        }
        if any(values.values()) and not (_is_gradebook(header) and _is_no_student(values)):
            students[row] = _student(path, row, values)
    if not students:
        raise UserError(f"{path} has no students. Expected: {_EXPECTED}.")
    _check_different(path, students)
    return Roster(students.values())


def kept_roster(folder: Path) -> Roster | None:
    """Reads the roster that a grading folder keeps; `None` if there is none.

    Raises:
        UserError: it is damaged.
    """
    path = folder / FILE
    return read_roster(path) if path.is_file() else None


def _content_of(roster: Roster) -> str:
    """Returns the content of `roster.csv`."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_FIELDS)
    writer.writerows(dataclasses.astuple(student) for student in roster.students)
    return "\ufeff" + file.getvalue()  # spreadsheets need the mark


def keep_roster(folder: Path, roster: Roster) -> None:
    """Writes the roster into a grading folder, if it differs from the one that is there."""
    path, text = folder / FILE, _content_of(roster)
    if not path.is_file() or path.read_bytes() != text.encode():
        _files.write(path, text)


def _columns(header: Sequence[str]) -> dict[str, int]:
    """Returns our names of the columns -> their places; of several, the first one counts."""
    places: dict[str, int] = {}
    names = [_plain(cell) for cell in header]
    for column, known in _COLUMNS.items():
        for name in map(_plain, known):
            if name in names:
                places.setdefault(column, names.index(name))
    if _is_gradebook(header) and "id" in names:  # Canvas's ID is its own number
        places["canvas_id"] = names.index("id")
        places.pop("id", None)
        if "sisuserid" in names:
            places["id"] = names.index("sisuserid")
    return places


def _plain(cell: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFC", cell).casefold() if sign.isalnum())


def _is_gradebook(header: Sequence[str]) -> bool:
    """Returns whether Canvas has exported this file as its gradebook."""
    return bool({"sisuserid", "sisloginid"}.intersection(map(_plain, header)))


def _is_no_student(values: Mapping[str, str]) -> bool:
    """Returns whether a row of Canvas's gradebook is one of its own: the maxima, the policies, the test student."""
    numbers = (values.get(column) for column in ("canvas_id", "id", "login"))
    return values.get("name") in ("", "Points Possible", "Student, Test") or not any(numbers)


def _student(path: Path, row: int, values: dict[str, str]) -> Student:
    name = values.pop("name", "")
    both = f"{values.pop('first', '')} {values.pop('last', '')}".strip()
    name = " ".join(unicodedata.normalize("NFC", both or name).split())
    if not any(_is_letter(sign) for sign in name):
        raise UserError(f"{path}, row {row}: the name is empty. Give each student a name.")
    for column, kind in (("email", _EMAIL), ("id", _ID), ("login", _ID), ("canvas_id", _ID)):
        value = values.get(column, "")
        if value and not kind.fullmatch(value):
            expected = "an e-mail address" if kind is _EMAIL else "letters or digits at the beginning"
            raise UserError(f"{path}, row {row}, {column}: Expected: {expected}. Received: {value[:100]!r}.")
    return Student(name, **values)


def _check_different(path: Path, students: dict[int, Student]) -> None:
    """Checks that e-mail addresses and numbers are there once, and that students of one name can be told apart."""
    first: dict[tuple[str, str], int] = {}
    for row, student in students.items():
        for column in ("email", "id", "login", "canvas_id"):
            if value := getattr(student, column):
                _check_once(path, first, row, (column, value.casefold()))
        if not (student.email or student.id or student.login or student.canvas_id):
            _check_once(path, first, row, ("name", _normal(student.name)))


def _check_once(path: Path, first: dict[tuple[str, str], int], row: int, key: tuple[str, str]) -> None:
    before = first.setdefault(key, row)
    if before != row:
        advice = "Remove one of the rows" + (", or give both an id" if key[0] == "name" else "")
        raise UserError(f"{path}, row {row}: the {key[0]} {key[1]!r} is in row {before}, too. {advice}.")
