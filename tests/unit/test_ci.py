"""The checks themselves: what make and the scripts in .ci run, in order, and that a failure stops them.

Each script is run with programs that write down how they were called. R16: the Python of an environment.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import check_jsonschema
import pytest
import yaml
from click.testing import CliRunner

from mnist_course import lessons
from tests import required

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows cannot run the scripts of .ci")
ROOT = lessons.NOTEBOOKS.parent
CI = ROOT / ".ci"
FAST = "not course and not long and not full and not browser"
CHECK = [
    "ruff format --check .",
    "ruff check .",
    "mypy",
    f"python -m pytest -n auto --dist loadfile --no-loadscope-reorder {{options}}-m {FAST}",
]
TEST = ["python -m pytest -n auto --dist loadfile --no-loadscope-reorder {options}"]
RECORDER = """#!/bin/sh
call="$(basename "$0")${*:+ $*}"
echo "$call" >>"$CALLS"
test "$call" != "$FAIL"
"""
# Everything that decides which tests run, and what makes them fail.
ADDOPTS = (
    "-m 'not long and not full and not browser and not hub' --strict-markers --strict-config -ra --disable-socket "
    "--allow-hosts=127.0.0.1,::1,localhost --allow-unix-socket"
)


def recorders(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(RECORDER)
        (folder / name).chmod(0o755)


def run(command: list[str], folder: Path, *, fail: str = "", **more: str) -> tuple[int, list[str]]:
    """Runs a command with the recorders; returns its exit status, and the calls."""
    calls = folder / "calls"
    calls.unlink(missing_ok=True)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MAKE", "MFLAGS", "MNIST_"))
        and name not in ("PYTEST_OPTIONS", "PYTHON", "VENV", "CONSTRAINTS")
    }
    environment = kept | {"CALLS": str(calls), "FAIL": fail} | more
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    said = calls.read_text().splitlines() if calls.exists() else []
    return done.returncode, said


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A folder with the Makefile, the scripts, and an environment of recorders that is ready."""
    folder = tmp_path / "checkout"
    shutil.copytree(CI, folder / ".ci")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    recorders(folder / ".venv" / "bin", "python", "ruff", "mypy", "mnist-course", "jupyter")
    (folder / ".venv" / ".ready").touch()
    return folder


needs_make = pytest.mark.skipif(not shutil.which("make"), reason="make is not on this machine")


@needs_make
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("check", CHECK),
        ("test", TEST),
        ("lint", CHECK[:3]),
        ("browser", ["python -m pytest tests/browser -m browser"]),
        ("site", ["python -m docs.build"]),
        (
            "faults",
            [
                "python -m pytest tests/faults -m  --faults results/reference/faults.json",
                "mnist-course report reference",
            ],
        ),
    ],
)
def test_a_target_runs_its_checks_and_stops_at_the_first_that_fails(checkout, target, expected):
    options = "-p tests.required --at-least 7"
    for given in ("", options):
        wanted = [call.format(options=f"{given} " if given else "").strip() for call in expected]
        arguments = [f"PYTEST_OPTIONS={given}"] if given else []
        assert run(["make", target, *arguments], checkout) == (0, wanted)
    wanted = [call.format(options="").strip() for call in expected]
    for number, call in enumerate(wanted):
        assert run(["make", target], checkout, fail=call) == (2, wanted[: number + 1])
        assert run(["make", "-k", target], checkout, fail=call)[0] == 2


def test_the_tests_that_pytest_selects_are_pinned():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    markers = [line.split(":")[0] for line in options.pop("markers")]
    assert markers == ["course", "long", "full", "browser", "hub", "mnist"]
    assert options == {
        "testpaths": ["tests/unit", "tests/lessons", "tests/grading"],
        "addopts": ADDOPTS,
        "filterwarnings": ["error"],
    }
    assert not [path for name in ("pytest.ini", "tox.ini", "setup.cfg") for path in ROOT.glob(name)]
    for path in ROOT.glob("tests/**/*.py"):
        assert (
            not re.search(r"collect_ignore|pytest_ignore_collect", path.read_text())
            or path.name == "test_ci.py"
        )


def ci_calls(name: str) -> list[str]:
    """What a script in .ci must call; LEAST and PLACE are a number and a temporary folder."""
    required = "-p tests.required --at-least LEAST"
    return {
        "run": [
            "make lint",
            f"make test PYTEST_OPTIONS={required}",
            f"python -m pytest -n auto --dist loadfile --no-loadscope-reorder {required} -m long",
            f"python -m pytest {required} tests/faults",
            "make site",
            f"python -m pytest {required} tests/browser -m browser",
            "wheel --only 01",
            f"make check VENV=PLACE/3.13 PYTHON=PYTHON313 PYTEST_OPTIONS={required}",
        ],
        "full": [
            "make setup",
            f"python -m pytest {required} tests/faults -m ",
            f"python -m pytest {required} -m full",
            "wheel",
            f"make hub PYTEST_OPTIONS={required}",
            f"make test VENV=PLACE/3.13 PYTHON=PYTHON313 PYTEST_OPTIONS={required}",
            f"python -m pytest {required} -m long or full",
        ],
        "newest": [
            "make setup VENV=PLACE/newest CONSTRAINTS=",
            "python -m pip list --format freeze",
            "make check VENV=PLACE/newest CONSTRAINTS=",
        ],
        "wheel": [
            "python -m hatchling build --target wheel --directory PLACE",
            "python -m venv PLACE/environment",
            "python -m pip install --quiet --constraint constraints.txt PLACE/mnist_course.whl",
            "mnist-course doctor --offline",
            "mnist-course start my course",
            "mnist-course run --profile quick --dataset digits",
            "python -c from mnist_helpers import quiz; print(quiz.show('02_baseline'))",
        ],
    }[name]


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not on this machine")
@pytest.mark.parametrize("name", ["run", "full", "newest", "wheel"])
def test_a_ci_script_runs_its_steps_and_stops_at_the_first_that_fails(checkout, name):
    programs, home, temporary = checkout / "programs", checkout / "home", checkout / "temporary"
    recorders(programs, "make", "chromium")
    if name != "wheel":
        recorders(checkout / ".ci", "wheel")
    recorders(home / ".pyenv" / "versions" / "3.13.9" / "bin", "python")
    for environment in ("3.13", "newest", "environment"):
        recorders(temporary / "made" / environment / "bin", "python", "mnist-course")
    (temporary / "made" / "mnist_course.whl").touch()
    record = temporary / "made" / "data" / "mnist-course" / "results" / "course" / "01_data_exploration.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    (programs / "mktemp").write_text(f"#!/bin/sh\necho {temporary / 'made'}\n")
    (programs / "rm").write_text("#!/bin/sh\n")
    for program in ("mktemp", "rm"):
        (programs / program).chmod(0o755)
    more = {
        "HOME": str(home),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYENV_ROOT": str(home / ".pyenv"),
    }
    script = [str(checkout / ".ci" / name)]

    def known(said: list[str]) -> list[str]:
        words = {
            str(temporary / "made"): "PLACE",
            str(home / ".pyenv/versions/3.13.9/bin/python"): "PYTHON313",
        }
        for text, word in words.items():
            said = [line.replace(text, word) for line in said]
        return [re.sub(r"--at-least [1-9]\d+", "--at-least LEAST", line) for line in said]

    expected = ci_calls(name)
    status, every = run(script, checkout, **more)
    assert (status, known(every)) == (0, expected)
    for number, call in enumerate(every):
        if "pip list" not in call:  # for information only
            status, said = run(script, checkout, fail=call, **more)
            assert status != 0, call
            assert said == every[: number + 1]
    if name == "wheel":
        record.unlink()
        assert run(script, checkout, **more) == (1, every)


def test_the_workflows_run_the_ci_scripts():
    workflows = {path.stem: yaml.safe_load(path.read_text()) for path in ROOT.glob(".github/workflows/*.yml")}
    assert set(workflows) == {"ci", "site", "weekly"}
    build = workflows["site"]["jobs"]["build"]["steps"]
    assert [line["run"] for line in build if "run" in line] == ["make site PYTHON=python"]
    assert build[-1]["with"]["path"] == "docs/_build/html"
    check, step = (workflows["ci"]["jobs"][name] for name in ("check", "step"))
    assert [line["run"] for line in check["steps"] if "run" in line] == ["make check PYTHON=python"]
    assert step["steps"][-1]["run"] == ".ci/run ${{ matrix.step }}"
    assert {line["run"] for line in step["steps"][-2:-1]} == {"make setup PYTHON=python"}
    (all_steps,) = re.findall(r"^ +all\) \.ci/run (.*) ;;$", (CI / "run").read_text(), re.M)
    assert ["lint", *step["strategy"]["matrix"]["step"], "python3.13"] == all_steps.split()
    assert workflows["weekly"]["jobs"]["weekly"]["strategy"]["matrix"]["script"] == [
        "full",
        "newest",
        "run hub",
    ]
    for jobs in (workflow["jobs"] for workflow in workflows.values()):
        for job in jobs.values():
            assert "continue-on-error" not in str(job)
            assert not [
                line
                for line in job["steps"]
                if not re.fullmatch(r"actions/[\w-]+@v\d+", line.get("uses", "actions/x@v1"))
            ]


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", ".github/workflows/*.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("citation-file-format", "CITATION.cff"),
    ],
)
def test_files_that_other_programs_read_have_their_schema(schema, files):
    paths = [str(path) for path in ROOT.glob(files)]
    result = CliRunner().invoke(check_jsonschema.main, ["--builtin-schema", f"vendor.{schema}", *paths])
    assert paths
    assert result.exit_code == 0, result.output


def test_each_ci_script_stops_at_errors_and_can_be_started():
    for path in (CI / name for name in ("run", "full", "newest", "wheel")):
        assert re.search(r"\A#!/usr/bin/env bash\n(#.*\n)*set -euo pipefail\n", path.read_text()), path
        assert os.access(path, os.X_OK)
        assert not re.search(r"set \+|\|\| ?:|&$|required\"? [0-9]\b", path.read_text(), re.M), path


# --- tests/required.py ---


@pytest.mark.parametrize(
    ("passed", "reason", "has_mnist", "good"),
    [
        (2, "no small file system can be mounted here", False, True),
        (1, "no small file system can be mounted here", False, False),
        (0, "no small file system can be mounted here", True, False),
        (9, "no Chromium here: apt-get install -y chromium", False, False),
        (9, "could not import 'nbgrader'", False, False),
        (9, "unconditional skip", False, False),
        (9, "", False, False),
        (9, required.MNIST, False, True),
        (9, required.MNIST, True, False),
    ],
)
def test_too_few_tests_and_needed_tests_that_were_skipped_are_problems(passed, reason, has_mnist, good):
    assert bool(required.problems(passed, 2, [("test_c", reason)], has_mnist)) == (not good)


def test_a_problem_fails_the_run_with_workers_too(tmp_path):
    skip = "@pytest.mark.skipif(True, reason='no Chromium')"
    (tmp_path / "test_it.py").write_text(
        f"import pytest\n\ndef test_a(): pass\n\n{skip}\ndef test_b(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-n", "1", "-p", "tests.required"]
    done = subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", str(tmp_path), str(tmp_path / "test_it.py")],
        cwd=ROOT,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "REQUIRED: " in done.stdout
    assert "1 passed, 1 skipped" in done.stdout


# --- the Python that an environment is made with (R16) ---

STUB = """#!/bin/sh
exec {python} - "$@" <<'EOF'
import collections, platform, runpy, sys, sysconfig
Info = collections.namedtuple("Info", "major minor micro releaselevel serial")
sys.version_info = Info({version}, "final", 0)
sys.maxsize = {maxsize}
platform.system = lambda: {system!r}
platform.machine = lambda: {machine!r}
platform.python_implementation = lambda: {implementation!r}
sysconfig.get_config_var = {config!r}.get
sys.argv = sys.argv[1:]
if sys.argv[0] != ".ci/check_python.py":
    open("made", "w").close()
    sys.exit(1)
runpy.run_path(sys.argv[0], run_name="__main__")
EOF
"""
GOOD = {
    "version": "3, 11, 7",
    "maxsize": 2**63 - 1,
    "system": "Linux",
    "machine": "x86_64",
    "implementation": "CPython",
    "config": {"SOABI": "cpython-311-x86_64-linux-gnu"},
}
MAC, WINDOWS = {"system": "Darwin", "machine": "arm64"}, {"system": "Windows", "machine": "AMD64"}


@needs_make
@pytest.mark.parametrize(
    ("python", "words"),
    [
        ({}, []),
        ({"version": "3, 11, 0"}, []),
        ({"version": "3, 12, 1"}, []),
        ({"version": "3, 13, 9"}, []),
        ({"machine": "aarch64"}, []),
        (MAC, []),
        (WINDOWS, []),
        ({"version": "3, 10, 13"}, ["3.10.13", "make PYTHON=python3.12", "uv venv"]),
        ({"version": "3, 14, 0"}, ["3.14.0", "make PYTHON=python3.12", "uv venv"]),
        ({"version": "3, 15, 0"}, ["3.15.0"]),
        ({"version": "4, 0, 0"}, ["4.0.0"]),
        ({"version": "2, 7, 18"}, ["2.7.18"]),
        ({"version": "3, 14, 0"} | MAC, ["3.14.0"]),
        (MAC | {"machine": "x86_64"}, ["x86_64 on Darwin", "docs/hubs.md"]),
        (WINDOWS | {"machine": "ARM64"}, ["ARM64 on Windows", "docs/hubs.md"]),
        (WINDOWS | {"machine": "x86"}, ["x86 on Windows", "docs/hubs.md"]),
        ({"machine": "armv7l"}, ["armv7l on Linux", "docs/hubs.md"]),
        ({"machine": "riscv64"}, ["riscv64", "docs/hubs.md"]),
        ({"system": "FreeBSD", "machine": "amd64"}, ["amd64 on FreeBSD", "docs/hubs.md"]),
        ({"maxsize": 2**31 - 1}, ["32-bit", "make PYTHON=python3.12"]),
        ({"implementation": "PyPy"}, ["PyPy", "make PYTHON=python3.12"]),
        ({"config": {"Py_GIL_DISABLED": 1}}, ["global interpreter lock"]),
        ({"config": {"SOABI": "cpython-311-x86_64-linux-musl"}}, ["musl"]),
    ],
)
def test_a_python_without_tensorflow_is_refused_before_an_environment_is_made(checkout, python, words):
    shutil.rmtree(checkout / ".venv")
    stub = checkout / "python"
    stub.write_text(STUB.format(**GOOD | python, python=sys.executable))
    stub.chmod(0o755)
    empty = checkout / "no uv here"
    recorders(empty)
    path = os.pathsep.join([str(empty), "/usr/bin", "/bin"])
    done = subprocess.run(
        ["make", "setup", f"PYTHON={stub}"],
        cwd=checkout,
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert (checkout / "made").exists() == (not words), done.stderr
    for word in words:
        assert word in done.stderr
    assert not (checkout / ".venv").exists()


def test_the_check_can_be_read_by_every_python():
    source = (CI / "check_python.py").read_text()
    ast.parse(source, feature_version=(3, 4))
    assert not re.search(r"\bf\"|print|:=|^from|->|match |nonlocal", source, re.M)


@needs_make
@pytest.mark.parametrize("has_uv", [True, False])
def test_uv_makes_the_environment_where_it_is_installed(checkout, has_uv):
    (checkout / ".venv" / ".ready").unlink()
    (checkout / ".venv" / "bin" / "python").unlink()
    programs = checkout / "programs"
    recorders(programs, "python3", *["uv"] * has_uv)
    # The program that makes the environment leaves a Python in it.
    maker = programs / ("uv" if has_uv else "python3")
    maker.write_text(RECORDER + 'case "$*" in *venv*) cp programs/python3 .venv/bin/python;; esac\n')
    arguments = ["make", "setup"]
    status, calls = run(arguments, checkout, PATH=os.pathsep.join([str(programs), "/usr/bin", "/bin"]))
    package = "--quiet --constraint constraints.txt --editable .[dev]"
    assert status == 0
    assert calls == [
        "python3 .ci/check_python.py",
        *(
            [
                "uv venv --quiet --seed --python python3 .venv",
                f"uv pip install --python .venv/bin/python {package}",
            ]
            if has_uv
            else ["python3 -m venv .venv", f"python -m pip install {package}"]
        ),
    ]
    assert run(arguments, checkout) == (0, [])  # it is ready
