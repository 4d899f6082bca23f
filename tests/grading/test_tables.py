"""Tables that go to a spreadsheet and come back."""

from __future__ import annotations

import pytest

from mnist_course.grading import tables
from mnist_helpers._errors import UserError

ROWS = [["Zoë", "a;b,c\nd"], ["=1+1", "-"], ["'quoted'", '"q"']]


def test_what_was_written_is_read_back(tmp_path):
    path = tmp_path / "table.csv"
    tables.write(path, ["Name", "text"], ROWS)
    assert tables.read(path, ("name", "text")) == [
        (number, dict(zip(("name", "text"), row, strict=True))) for number, row in enumerate(ROWS, 2)
    ]
    assert "\n'=1+1,'-\r\n" in path.read_bytes().decode("utf-8-sig")


@pytest.mark.parametrize("sign", "=+-@\t\r")
def test_no_text_is_a_formula(sign):
    assert tables.defused(f"{sign}1") == f"'{sign}1"
    assert tables.restored(f"'{sign}1") == f"{sign}1"


@pytest.mark.parametrize("delimiter", ",;\t")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_spreadsheets_write_tables_in_many_ways(tmp_path, delimiter, encoding, end):
    path = tmp_path / "table.csv"
    lines = [" NAME ", "text"], ["Zoë", '"two\nlines, or; more"'], ["", ""], ["Ann"]
    path.write_bytes(end.join(delimiter.join(line) for line in lines).encode(encoding))
    assert tables.read(path, ("name",)) == [
        (2, {"name": "Zoë", "text": "two\nlines, or; more"}),
        (4, {"name": "Ann", "text": ""}),
    ]


def test_excels_own_first_line_names_the_delimiter(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("sep=;\nname;text\nAnn;a, b")
    assert tables.read(path, ("name",)) == [(3, {"name": "Ann", "text": "a, b"})]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "lacks the columns name"),
        (b"Student,Text\na,b", "Received: student, text"),
        (b"name,name\na,b", "several columns with the name name"),
        (b"name,text\na,b,c", "row 2, has more cells"),
        (b'name,text\na,"b', "not a CSV file"),
        (b"PK\x03\x04\x00\x00", "is a workbook, not a CSV file"),
        (b"name\0,text\na,b", "is not a text file"),
        (None, "cannot be read"),
    ],
)
def test_what_is_not_a_table_is_named(tmp_path, content, words):
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        tables.read(path, ("name",))
    assert str(path) in str(error.value)


def test_a_folder_and_a_large_file_are_no_tables(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        tables.read(tmp_path, ("name",))
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(51 * 2**20)
    with pytest.raises(UserError, match="larger than 50 MiB"):
        tables.read(tmp_path / "large.csv", ("name",))
