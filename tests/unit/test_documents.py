"""What the documents name exists: commands, options, values, variables, files, make targets, extras, numbers."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from packaging.specifiers import SpecifierSet

from benchmarks import __main__ as bench
from mnist_course import cli, lessons
from mnist_course.reports import run_report, study_report
from mnist_course.reports.page import Table
from mnist_course.run import study
from mnist_course.run.settings import check_lessons
from mnist_helpers import data, parameters, results
from tests.grading import load as grading_load
from tests.hub import load as hub_load
from tests.unit.test_cli import made_up_run

ROOT = lessons.NOTEBOOKS.parent
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "TEACHING.md", "CONTRIBUTING.md", "SECURITY.md")),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("docs/site/*.md"),
        ROOT / "results" / "reference" / "README.md",
    ]
)
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
SOURCES = "\n".join(
    path.read_text()
    for folder in ("mnist_helpers", "mnist_course", "benchmarks", "tests", ".ci")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".j2", ".js", "") and path.is_file() and path.name != "test_documents.py"
)
every_page = pytest.mark.parametrize("page", PAGES, ids=IDS)
WORDS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}

# Command lines of other programs, and options, variables and files of theirs in other places.
FOREIGN_PROGRAMS = (
    "jupyter nbconvert",
    "cd slides",
    "dask ",
    "command: [dask",
    "RUN ",
    "!pip ",
    "pip ",
    "uvx ",
    "docker ",
)
FOREIGN_OPTIONS = {
    *(
        "--notebook-dir",
        "--no-browser",
        "--level",
        "--nbval-lax",
        "--nbval-sanitize-with",
        "--editable",
        "--constraint",
        "--host",
        "--cwd",
        "--upgrade",
        "--universal",
        "--python-version",
        "--fork-strategy",
        "--all-extras",
        "--no-annotate",
    )
}
FOREIGN_VARIABLES = {
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"),
    *("KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID"),
}
FOREIGN_FILES = {"jupyter_server_config.py", "search.py", "02_baseline.slides.html"}
# The example of an exercise of one's own, which a teacher makes.
OWN_EXERCISE = {
    "mnist_helpers/checks/exercise_06.py",
    "notebooks/exercises/exercise_06.ipynb",
    "make_exercise.py",
}
PLACEHOLDER = r"[A-Z][A-Z_]*|\.\.\.|\*|<[a-z]+>"


def code_of(page):
    """The pieces of a page that are code: spans, and lines of indented and fenced blocks."""
    text = page.read_text()
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    indented = re.findall(r"(?:^|(?<=\n))(?: {4}|\t)(?! *[-*] )(.+)", text)
    spans = re.findall(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)", text)
    lines = [line for block in fenced for line in block.splitlines()]
    return [re.sub(r"\s+", " ", piece.split("  #")[0]).strip() for piece in (*spans, *indented, *lines)]


def own_code_of(page):
    return [piece for piece in code_of(page) if not piece.startswith(FOREIGN_PROGRAMS)]


def expanded(page):
    """The pieces of code, with the abbreviations that the reference's page defines."""
    for piece in code_of(page):
        if page.parent.name == "reference":
            piece = re.sub(r"^M(?= )", "mnist-course study", piece)
            piece = re.sub(r"(?<= )P(?= )", "--profile full --dataset mnist", piece)
        yield piece


def command_lines(page):
    """The command lines of `mnist-course` on a page, as lists of words."""
    found = []
    for piece in expanded(page):
        for line in re.split(r" *(?:\|\||&&|;) *", piece):
            if match := re.search(r"(?:^|[\s/!])mnist-course ((?:[a-z]|-).*)", line):
                found.append(shlex.split(match[1].rstrip(".")))
    return found


def resolved(words):
    """The command that words call, and the rest of the words."""
    command, rest = cli.main, list(words)
    while isinstance(command, click.Group) and rest and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    return command, rest


def check_value(name, value):
    """Holds an option's value against what the command would accept, without running it."""
    if re.fullmatch(PLACEHOLDER, value):
        return
    if name == "profile":
        assert value in lessons.profiles(), value
    elif name in ("dataset", "datasets"):
        assert value in parameters.DATASETS or "/" in value, value
    elif name == "only":
        check_lessons([value])
    elif name == "seeds":
        study.parse_seeds(value)
    elif name in ("run", "study") and "/" not in value:
        parameters.check("run", value)


@every_page
def test_each_command_line_is_one_that_the_command_accepts(page):
    for words in command_lines(page):
        command, rest = resolved(words)
        assert command is not cli.main or words[0].startswith("-"), words
        options = {name: option for option in command.params for name in option.opts}
        taken = []
        while rest:
            word, *rest = rest
            name, _, value = word.partition("=")
            if name.startswith("-"):
                assert name in options or name in ("-h", "--help"), (words, name)
                option = options.get(name)
                if option is None or option.is_flag:
                    continue
                values = [value] if value else rest[: option.nargs]
                rest = rest if value else rest[option.nargs :]
                if not values:  # `--threads`, named without a value
                    continue
                assert len(values) == option.nargs, words
                if option.nargs == 2:
                    for single in values[1].split(","):
                        # That page has the commands of the edition that made the records.
                        older = page == ROOT / "results/reference/README.md"
                        if not older and not re.fullmatch(PLACEHOLDER, single):
                            parameters.parse(values[0], single)
                else:
                    check_value(option.name, values[0])
            else:
                taken.append(word)
        arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
        if isinstance(command, click.Group):
            assert not taken, words
        elif not any(argument.nargs == -1 for argument in arguments):
            assert len(taken) <= len(arguments), words


def options_of(command):
    names = {name for option in command.params for name in option.opts}
    for sub_command in getattr(command, "commands", {}).values():
        names |= options_of(sub_command)
    return names


@every_page
def test_each_option_exists(page):
    ours = (cli.main, bench.main, grading_load.main, hub_load.main)
    known = set().union(*map(options_of, ours)) | FOREIGN_OPTIONS | {"--help"}
    for piece in own_code_of(page):
        for name in re.findall(r"(?<![\w-])--[a-z][a-z-]+", piece):
            assert name in known, (piece, name)


@every_page
def test_each_variable_is_read_by_something(page):
    make = set(re.findall(r"\$\$?[({]([A-Z_]+)", MAKEFILE)) | set(
        re.findall(r"^([A-Z_]+) *[?:]?=", MAKEFILE, re.M)
    )
    for piece in code_of(page):
        for name in re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b", piece):
            if name.startswith("MNIST_"):
                assert f'"{name}"' in SOURCES, name
            else:
                assert name in make | FOREIGN_VARIABLES or f'"{name}"' in SOURCES, (piece, name)
        if piece.startswith("make "):
            for name in re.findall(r"\b([A-Z_]+)=", piece):
                assert name in make, (piece, name)


def test_each_variable_of_the_course_is_documented():
    read = set(re.findall(r'"(MNIST_[A-Z_]+)"', SOURCES))
    told = " ".join(page.read_text() for page in PAGES)
    assert read and not [name for name in sorted(read) if name not in told]


@every_page
def test_each_make_target_exists(page):
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.M))
    for piece in code_of(page):
        for name in re.findall(r"(?:^|[;&|] *)make(?: [A-Z_]+=\S+)*((?: [a-z][a-z-]*)+)", piece):
            assert set(name.split()) <= targets, piece


def is_there(word, page):
    """Returns whether a path exists, or is in a folder of results and its last part is named in the sources."""
    word = word.rstrip("/").replace("~/", "")
    if word in OWN_EXERCISE:
        return True
    folder = word.split("/")[0]
    if any(
        (base / word).exists() or list(base.glob(word)) for base in (ROOT, page.parent, lessons.NOTEBOOKS)
    ):
        return True
    ignored = {line.strip("/!") for line in (ROOT / ".gitignore").read_text().splitlines()}
    if word in ignored:
        return True
    if "/" in word and folder != "results" and (ROOT / folder).is_dir():
        return False
    last = word.split("/")[-1]
    if re.fullmatch(PLACEHOLDER, last):
        return True
    pattern = re.sub(r"\\\*|[A-Z]{3,}", ".*", re.escape(last))
    return last in FOREIGN_FILES or re.search(rf"[\"'/\s{{}}*]{pattern}[\"'/\s]", SOURCES) is not None


SUFFIXES = r"\.(?:md|py|toml|txt|yml|yaml|ipynb|json|keras|html|csv|db|npz|png|cfg|j2|js|css|sh|npy)"


@every_page
def test_each_file_exists_or_is_one_that_the_course_writes(page):
    for piece in own_code_of(page):
        for word in re.findall(rf"(?<![\w./~*:-])[\w.~*/-]+?{SUFFIXES}(?![\w/.])", piece):
            if not word.startswith("/"):
                assert is_there(word, page), (piece, word)
    for span in re.findall(r"`([\w.*-]+(?:/[\w.*-]+)*/)`", page.read_text()):
        assert is_there(span, page), span


@every_page
def test_each_link_leads_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.M)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, target


@every_page
def test_each_extra_exists(page):
    extras = set(PROJECT["optional-dependencies"])
    text = page.read_text()
    named = re.findall(r"(?:mnist-course|\.)\[([a-z,]+)\]", text) + re.findall(r"[Ee]xtras? `([a-z]+)`", text)
    for names in named:
        assert set(names.split(",")) <= extras, names


@every_page
def test_each_python_version_is_one_that_the_project_takes(page):
    needed = SpecifierSet(PROJECT["requires-python"])
    text = page.read_text()
    for version in re.findall(r"(?:[Pp]ython[ :=]{0,2}|CPython )(3\.\d+)", text):
        if not re.search(
            rf"\b(?:not|no|without|above|newer than)[^.\n]{{0,40}}Python {re.escape(version)}", text
        ):
            assert needed.contains(f"{version}.9"), version
    lowest = next(f"3.{minor}" for minor in range(30) if needed.contains(f"3.{minor}.9"))
    for version in re.findall(r"Python (3\.\d+) (?:or newer|to 3)", text):
        assert version == lowest


def test_the_profiles_of_the_readme_are_those_of_the_course():
    rows = re.findall(r"^\| `([a-z_]+)` \| [^|]+ \|", section("README.md", "Run it in batches"), re.M)
    assert sorted(rows) == sorted(lessons.profiles())
    default = re.findall(r"^\| `([a-z]+)` \|[^|\n]*the default", (ROOT / "README.md").read_text(), re.M)
    (profile,) = [option.default for option in cli.run.params if option.name == "profile"]
    assert default == [profile]


@every_page
def test_the_number_of_embedded_digits_is_right(page):
    digits = data.load_arrays("digits")[0]
    for number in re.findall(r"([\d,]+) (?:embedded|bundled|handwritten) digits", page.read_text()):
        assert int(number.replace(",", "")) == len(digits["x_train"]) + len(digits["x_test"])


def section(page, heading):
    text = (ROOT / page).read_text()
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


@every_page
def test_numbers_in_words_are_right(page):
    exercises = sorted(lessons.NOTEBOOKS.glob("exercises/*.ipynb"))
    tasks = {
        sum(
            cell["metadata"].get("nbgrader", {}).get("solution", False)
            for cell in json.loads(path.read_text())["cells"]
        )
        for path in exercises
    }
    reference = json.loads((ROOT / "results" / "reference" / study_report.STUDY_FILE).read_text())
    expected = {
        "lessons": len(results.LESSONS),
        "notebooks": len(results.LESSONS),
        "Jupyter notebooks": len(results.LESSONS),
        "exercises": len(exercises),
        "tasks each": tasks.pop() if len(tasks) == 1 else "not the same number in all exercises",
        "idx files": len(data.IDX_FILES),
        "profiles": len(lessons.profiles()),
        "seeds of the full profile": len(reference["seeds"]),
    }
    for word, thing in re.findall(
        rf"\b({'|'.join(WORDS)}) ({'|'.join(sorted(expected, key=len, reverse=True))})\b",
        page.read_text(),
        re.I,
    ):
        assert WORDS[word.lower()] == expected[thing], (word, thing)


def test_the_exit_codes_of_the_readme_are_those_of_the_command():
    (paragraph,) = [
        part for part in (ROOT / "README.md").read_text().split("\n\n") if part.startswith("Exit codes:")
    ]
    sentence = " ".join(paragraph.split(".")[0].split())
    named = dict(re.findall(r"(\d+) ([^,;]+(?:, and nothing was written)?)", sentence))
    assert named == {str(code): meaning for code, meaning in cli.EXIT_CODES.items()}


# --- the examples of README, as they are written ---


def batch_examples():
    lines = re.findall(r"^ {4}(.+?)(?: +#.*)?$", section("README.md", "Run it in batches"), re.M)
    assert len(lines) >= 4
    return lines


@pytest.mark.parametrize("line", batch_examples())
def test_the_readmes_batch_examples_are_accepted(line, tmp_path, monkeypatch):
    """The command runs to its end; only what would train is replaced."""
    monkeypatch.chdir(tmp_path)
    made_up_run(monkeypatch, results.LESSONS)
    monkeypatch.setattr(study, "run_study", lambda name, *_, results_dir, **__: (results_dir / name, []))
    monkeypatch.setattr(study_report, "write_study_report", lambda folder: folder / "report.html")
    monkeypatch.setattr(run_report, "results_table", lambda rows: Table("", ["a"], []))
    if line.startswith("make "):
        line = make_runs(line, tmp_path)
    words = shlex.split(line)
    assert words[0].endswith("mnist-course"), line
    result = CliRunner().invoke(cli.main, words[1:])
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "results" / "lab").exists()
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".ipynb"]


def make_runs(line, folder):
    """Returns the command that a line of make runs; a program in place of the command writes down its arguments."""
    command = folder / "mnist-course"
    command.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv))\n")
    command.chmod(0o755)
    done = subprocess.run(
        [*shlex.split(line), "-s", f"BIN={folder}", f"READY={command}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    command.unlink()
    return shlex.join(json.loads(done.stdout))


@pytest.mark.long
@pytest.mark.course
@pytest.mark.parametrize(
    "line", [line for line in batch_examples() if "quick" in line and "study" not in line]
)
def test_the_readmes_quick_examples_run(line, tmp_path):
    words = shlex.split(make_runs(line, tmp_path) if line.startswith("make ") else line)
    result = CliRunner().invoke(cli.main, words[1:])
    assert result.exit_code == 0, result.output
    (folder,) = [path for path in (tmp_path / "results").iterdir() if not path.name.startswith(".")]
    assert (folder / "report.html").is_file()
    for path in folder.glob("*.ipynb"):
        notebook = json.loads(path.read_text())
        shown = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
        assert not [output for output in shown if output.get("name") == "stderr"], path


def test_r14_the_papermill_example_cannot_touch_a_students_run():
    """It names a run of its own, and runs in the folder of the lessons."""
    (line,) = re.findall(r"`(\.venv/bin/papermill .+?)`", (ROOT / "README.md").read_text())
    words = shlex.split(line)
    given = dict(zip(words[words.index("-p") + 1 :: 3], words[words.index("-p") + 2 :: 3], strict=True))
    lesson = Path(words[1]).stem
    assert given.keys() <= lessons.declared(lesson).keys()
    assert given["run"] != lessons.declared(lesson)["run"]
    assert (ROOT / words[words.index("--cwd") + 1] / "profiles.yaml").is_file()
    assert not Path(words[2]).exists()
