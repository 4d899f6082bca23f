"""Whatever is typed: one message (what is wrong, expected, received), exit status 2, nothing written."""

from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnist_course import cli, lessons
from mnist_course.run import runner, study
from mnist_helpers import data, parameters, results
from mnist_helpers._errors import UserError
from mnist_helpers.data import _archives

QUICK = ["--profile", "quick", "--dataset", "digits"]
OWN_OPTIONS = {"run", "results_dir", "profile", "dataset", "seed"}  # not given with -p


def out_of_range(parameter: parameters.Parameter) -> list[str]:
    """Wrong values of a numeric parameter, as typed, that are of its type."""
    below = parameter.low - 1 if parameter.type is int else parameter.low - 1e-9
    above = parameter.high + 1 if parameter.type is int else parameter.high * 1.001
    return [str(below), str(above)]


NO_NUMBERS = ["", "many", "nan", "inf", "-inf", "1e999", "9" * 30, "--", "[1]"]  # of no numeric type


BY_PARAMETER = [
    *(
        (name, value, name)
        for name, parameter in parameters.PARAMETERS.items()
        if parameter.type is not str
        for value in out_of_range(parameter)
    ),
    *(("epochs", value, "epochs") for value in (*NO_NUMBERS, "2.5", "0x10")),
    *(("learning_rate", value, "learning_rate") for value in NO_NUMBERS),
    *((wrong, "1", wrong) for wrong in ("epoch", "epochsx", "EPOCHS", "epochs ")),
    *((name, "1", "not with -p") for name in sorted(OWN_OPTIONS)),
    *(
        ("search_from", value, "search_from")
        for value in ("../../x", "/etc", "a/b/c", "x y", ".", "..", "nowhere")
    ),
    ("data_dir", "nowhere", "data_dir"),
    ("data_dir", "/dev/null", "data_dir"),
    ("data_dir", "\0", "data_dir"),
    ("", "1", "Unknown parameter ''"),
    ("num_train", "5", "num_train=5"),  # fewer than classes
    ("num_train", "100000", "num_train=100000"),  # more than the digits have
    ("num_validation", "1430", "num_validation=1430"),  # together with the profile's num_train
]

NO_FOLDERS = ["", "/dev/null", "/dev/null/x", "\0", "~nobody-of-this-name/x"]

NAMES = [
    "../x",
    "..",
    ".",
    "",
    "/tmp/x",
    "a/b",
    "x y",
    "-x",
    ".x",
    "<script>",
    "é",
    "x" * 65,
    "a\nb",
    "CON|x",
    "x\0",
]

BY_OPTION = [
    *((["run", "--", name], "'run'") for name in NAMES),
    *(
        ([*command, "--", name], "'run'")
        for command in (["study", "--seeds", "1"], ["report"], ["timings"])
        for name in ("../x", "", "x" * 65)
    ),
    (["timings", "r", "--into", "../x"], "'run'"),
    *(
        (["run", "--profile", name], "Unknown profile")
        for name in ("", "fast", "Quick", "quik", "../quick", "1")
    ),
    *((["run", "--dataset", name], "'dataset'") for name in ("", "mnits", "MNIST", "digit", "5", "nan")),
    (["run", "--dataset", "./mnits"], "mnits"),
    (["run", "--dataset", "/dev/null"], "/dev/null"),
    *(
        (["run", *QUICK, "--seed", seed], "'seed'")
        for seed in ("", "one", "0", "-1", "1.5", "nan", "2147483648", "1,2")
    ),
    *(
        (["run", "--only", lesson], "Unknown lesson")
        for lesson in ("", "6", "06", "2", "baseline", "02,", "02_basline")
    ),
    *(
        (["run", option, value], option)
        for option in ("--threads", "--cell-seconds")
        for value in ("", "0", "-1", "two", "1.5", "nan", "inf", "9" * 20)
    ),
    *(
        (["study", "s", "--seeds", "1", "--workers", value], "--workers")
        for value in ("", "0", "-1", "x", "9" * 9)
    ),
    *(
        (["study", "s", "--seeds", seeds], "seed")
        for seeds in (
            "",
            "0",
            "x",
            "1-",
            "-1",
            "3-1",
            "1,1",
            "1-3,2",
            "1.5",
            "nan",
            "1-999999999999",
            "9" * 5000,
        )
    ),
    (["study", "s"], "--seeds"),
    (["study", "s", "--seeds", "1-2", "--only", "05"], "--only"),
    (["study", "s", "--seeds", "1", "-p", "units", "8,8"], "twice"),
    (["study", "s", "--seeds", "1", "-p", "units", "8,,4"], "'units'"),
    (["study", "s", "--seeds", "1-200", "-p", "seed", "1,2"], "not with -p"),
    (["study", "s", "--seeds", "1-999", "-p", "units", ",".join(map(str, range(4, 101)))], "too large"),
    (["study", "s", "--seeds", "1", "--only", "01", "-p", "units", "4"], "none of the lessons"),
    (["study", "s", "--seeds", "1", *QUICK, "--search-from", "nowhere"], "nowhere"),
    (["study", "s", "--seeds", "1", *QUICK, "--search-from", "../../x"], "search_from"),
    (["study", "s", "--seeds", "1", "--search-from", "a", "-p", "search_from", "b"], "twice"),
    (["study", "s", "--seeds", "1", "--workers", "2", "--scheduler", "tcp://127.0.0.1:9"], "--workers"),
    (["study", "s", "--seeds", "1", *QUICK, "--scheduler", "localhost"], "--scheduler"),
    (["run", "-p", "epochs"], "2 arguments"),
    (["run", "-p", "epochs", "2", "-p", "epochs", "3"], "twice"),
    (["run", "--profil", "quick"], "No such option"),
    (["run", "a", "b"], "unexpected extra argument"),
    (["run", "--dataset", "mnist", "--offline"], "MNIST_COURSE_OFFLINE"),
    *(
        ([*command, "--results-dir", value], "--results-dir")
        for command in (["run"], ["study", "s", "--seeds", "1"], ["report"], ["timings", "r"])
        for value in NO_FOLDERS
    ),
    *(
        ([*command, value], "FOLDER")
        for command in (
            ["start"],
            ["bundle"],
            ["assignments", "build"],
            ["assignments", "grade"],
            ["data", "check"],
        )
        for value in NO_FOLDERS
    ),
    *((["assignments", "mark", value, "marks.csv"], "FOLDER") for value in NO_FOLDERS),
    (["assignments", "mark", ".", "\0"], "TABLE"),
    (["assignments", "grade", ".", "--pass-mark", "101"], "--pass-mark"),
    *((["assignments", "grade", value], "a folder that exists") for value in ("nowhere", "x" * 300)),
    *(
        (["assignments", "collect", ".", value], "a file or a folder that exists")
        for value in ("", "nowhere", "x" * 300)
    ),
    (["assignments", "collect", "nowhere", "."], "a folder that exists"),
    *(
        (["assignments", "collect", ".", ".", "--roster", value], "a file that exists")
        for value in ("", "nowhere", ".")
    ),
    (["assignments", "collect", ".", ".", "--due", "tomorrow"], "--due"),
    (["assignments", "collect", "."], "Missing argument"),
    *(
        (["assignments", "export", ".", option, value], "a file in a folder that exists")
        for option in ("--moodle", "--canvas", "--csv")
        for value in ("", ".", "nowhere/marks.csv")
    ),
    (["assignments", "export", "."], "at least one of --moodle FILE"),
    *((["data", "check", value], "a folder that exists") for value in ("nowhere", "./nowhere")),
    *((["data", "--data-dir", value], "--data-dir") for value in (*NO_FOLDERS, "nowhere")),
    *((["params", value], "Unknown lesson") for value in ("06", "2", "baseline", "02,,03", "../02")),
    (["report", "nowhere"], "mnist-course run nowhere"),
    *((["data", "fetch", name], "dataset") for name in ("", "../mnist", "auto", "\0")),
    (["data", "fetch", "mnist"], "MNIST_COURSE_OFFLINE"),
    (["data", "fetch", "minst"], "Unknown dataset"),
    (["data", "fetch"], "Missing argument"),
    (["doctor", "--fast"], "No such option"),
    (["frobnicate"], "No such command"),
]


def assert_one_message(arguments: list[str], words: str, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert words in result.output
    assert len(re.findall("^Error: ", result.output, re.M)) == 1
    assert sorted(folder.rglob("*")) == before


def show(value: object) -> str:
    return repr(value)[:40]


@pytest.mark.parametrize(("name", "value", "words"), BY_PARAMETER, ids=show)
def test_parameters(name, value, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_one_message(["run", "r", *QUICK, "-p", name, value], words, tmp_path)


@pytest.mark.parametrize(("arguments", "words"), BY_OPTION, ids=show)
def test_options(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_one_message(arguments, words, tmp_path)


@pytest.mark.parametrize("name", sorted(set(parameters.PARAMETERS) - OWN_OPTIONS))
def test_a_near_name_is_offered(name):
    with pytest.raises(ValueError, match=f"Did you mean '{name}'"):
        parameters.parse(name[:-1] + "_", "1")


# --- past our runner ---

PAST_THE_RUNNER = [
    ("01_data_exploration", "num_train", "-5"),
    ("02_baseline", "epochs", "0"),
    *(
        pytest.param(*values, marks=pytest.mark.long)
        for values in (
            ("03_batchnorm_dropout", "dropout_rate", "2"),
            ("04_tuning", "search_from", "../../x"),
            ("05_evaluation", "num_mistakes", "many"),
        )
    ),
]


@pytest.mark.course
@pytest.mark.parametrize(("lesson", "name", "value"), PAST_THE_RUNNER)
def test_papermill_alone_says_the_same_in_the_first_cells(lesson, name, value, tmp_path):
    with pytest.raises(ValueError, match="wrong value") as caught:
        parameters.parse(name, value)
    notebook, output = lessons.NOTEBOOKS / f"{lesson}.ipynb", tmp_path / "out.ipynb"
    done = subprocess.run(
        [sys.executable, "-m", "papermill", notebook, output, "-k", "python3", "-p", name, value],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    assert str(caught.value) in done.stderr
    cells = [cell for cell in json.loads(output.read_text())["cells"] if cell["cell_type"] == "code"]
    failed = [
        number
        for number, cell in enumerate(cells)
        if any(o["output_type"] == "error" for o in cell["outputs"])
    ]
    assert failed[-1] <= 4  # papermill's own two cells, parameters, imports, setup
    assert not (tmp_path / "results" / "lab").exists()


# --- anything at all ---

anything = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
words = st.text(max_size=20) | st.sampled_from(
    [*parameters.PARAMETERS, *data.NAMES, "1", "1e400", "-1", "../x"]
)
options = st.sampled_from(
    [
        "-p",
        "--seed",
        "--profile",
        "--only",
        "--dataset",
        "--threads",
        "--cell-seconds",
        "--fresh",
        "--results-dir",
    ]
)


@anything
@given(st.lists(options | words, max_size=8))
def test_any_command_line_is_refused_in_words_or_right(arguments):
    def stop(*_, **__):
        raise UserError("everything was right")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "run_lessons", stop)
        result = CliRunner().invoke(cli.main, ["run", *arguments])
    if "--help" in arguments or "-h" in arguments:
        return
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)


@anything
@given(words, words)
def test_any_parameter_is_refused_in_words_or_right(name, text):
    try:
        value = parameters.parse(name, text)
    except ValueError as error:
        assert repr(name) in str(error)
    else:
        assert parameters.check(name, value) == value


@anything
@given(st.text(alphabet="0123456789-, x", max_size=30))
def test_any_list_of_seeds_is_refused_in_words_or_right(text):
    try:
        seeds = study.parse_seeds(text)
    except ValueError as error:
        assert "seed" in str(error)
    else:
        assert 1 <= len(set(seeds)) == len(seeds) <= 10_000


def refused_in_little_memory(read, most_bytes=40 * 2**20):
    """Calls a reader that may only succeed or say in words why not, and never take much memory."""
    tracemalloc.start()
    try:
        read()
    except (OSError, ValueError, results.MissingLessonError) as error:
        assert str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < most_bytes


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
almost_records = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("lesson", "params", "models", "dataset", "sha256"), json_values)
).map(lambda content: json.dumps({"lesson": "02_baseline"} | content).encode())


@anything
@given(st.binary(max_size=300) | almost_records | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_as_a_record(tmp_path, content):
    (tmp_path / "02_baseline.json").write_bytes(content)
    with pytest.raises(results.MissingLessonError, match="02_baseline"):
        results.load_record(tmp_path, "02_baseline")


headers = st.builds(
    lambda magic, sizes, rest: magic + b"".join(size.to_bytes(4, "big") for size in sizes) + rest,
    st.sampled_from([b"\0\0\x08\x03", b"\0\0\x08\x01", b"\0\0\x0d\x03", b"\0\0\x08\xff"]),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4),
    st.binary(max_size=100),
)


@anything
@given(headers | st.binary(max_size=200), st.booleans(), st.sampled_from(sorted(data.IDX_FILES)))
def test_any_bytes_as_an_idx_file(tmp_path, content, packed, name):
    folder = tmp_path / "own"
    folder.mkdir(exist_ok=True)
    for file in data.IDX_FILES.values():
        (folder / file).write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x01\x05"))
    (folder / data.IDX_FILES[name]).write_bytes(gzip.compress(content) if packed else content)
    refused_in_little_memory(lambda: data.load_arrays(str(folder)))
    refused_in_little_memory(lambda: _archives.read_folder(folder, data.Kind.FOLDER, data.DATASETS["mnist"]))


def npz(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npy(shape: tuple[int, ...], dtype: str) -> bytes:
    """The header of an array that may be far larger than what follows it."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


arrays = st.binary(max_size=50) | st.builds(
    npy,
    st.lists(st.integers(0, 2**40), max_size=4).map(tuple),
    st.sampled_from(["|u1", "<f8", "|O", "<U9"]),
)
archives = st.dictionaries(st.sampled_from([f"{name}.npy" for name in data.IDX_FILES]), arrays).map(npz)


@anything
@given(archives | st.binary(max_size=200))
def test_any_bytes_as_an_npz(tmp_path, content):
    (tmp_path / "mnist.npz").write_bytes(content)
    refused_in_little_memory(
        lambda: _archives.read_folder(tmp_path, data.Kind.FOLDER, data.DATASETS["mnist"])
    )


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("x_train.npy", npy((2**29,), "|u1") + bytes(2**29))
    (tmp_path / "mnist.npz").write_bytes(bomb.getvalue())
    refused_in_little_memory(
        lambda: _archives.read_folder(tmp_path, data.Kind.FOLDER, data.DATASETS["mnist"]), 100 * 2**20
    )
    (tmp_path / "mnist.npz").unlink()
    compressed = gzip.compress(b"\0\0\x08\x01\xff\xff\xff\xff" + bytes(2**27), compresslevel=1)
    for file in data.IDX_FILES.values():
        (tmp_path / file).write_bytes(compressed)
    refused_in_little_memory(
        lambda: _archives.read_folder(tmp_path, data.Kind.FOLDER, data.DATASETS["mnist"]), 100 * 2**20
    )
