"""The ways into the course agree with each other: README, Makefile, packages and settings."""

import fnmatch
import json
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from mnist_helpers import results

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
SYSTEMS = [
    {"sys_platform": "linux", "os_name": "posix", "platform_system": "Linux", "platform_machine": "x86_64"},
    {"sys_platform": "darwin", "os_name": "posix", "platform_system": "Darwin", "platform_machine": "arm64"},
    {"sys_platform": "win32", "os_name": "nt", "platform_system": "Windows", "platform_machine": "AMD64"},
]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> list[Requirement]:
    """Every dependency, those of the extras too; without the extras that include others."""
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    found = map(Requirement, PROJECT["dependencies"] + extras)
    return [requirement for requirement in found if normal(requirement.name) != PROJECT["name"]]


def test_constraints_name_no_package_index_and_no_place_of_one_machine():
    text = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"://|--(extra-)?index|--find-links|--hash| /|file:", text)
    assert all(str(line.specifier).startswith("==") and not line.extras for line in CONSTRAINTS)


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system["sys_platform"])
def test_constraints_cover_every_dependency_within_its_range(python, system):
    """With the markers of each Python and system that pyproject.toml promises."""
    where = system | {"python_version": python, "python_full_version": f"{python}.9"}
    assert SpecifierSet(PROJECT["requires-python"]).contains(where["python_full_version"])
    pinned: dict[str, str] = {}
    for line in CONSTRAINTS:
        if line.marker is None or line.marker.evaluate(where):
            assert normal(line.name) not in pinned, f"{line.name} has two versions"
            pinned[normal(line.name)] = str(line.specifier).removeprefix("==")
    for requirement in declared():
        assert requirement.specifier.contains(pinned[normal(requirement.name)]), requirement.name


def test_each_python_that_is_promised_is_named_everywhere():
    promised = SpecifierSet(PROJECT["requires-python"])
    versions = [f"3.{minor}" for minor in range(20) if promised.contains(f"3.{minor}.1")]
    assert versions == ["3.11", "3.12", "3.13"]
    python = "Programming Language :: Python :: "
    named = [line.removeprefix(python) for line in PROJECT["classifiers"] if line.startswith(f"{python}3.")]
    assert named == versions
    assert f"Python {versions[0]} to {versions[-1]}" in (ROOT / "README.md").read_text()
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PROJECT["version"]


def test_conda_gives_the_same_packages_by_pip():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, by_pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    assert by_pip == {"pip": ["--constraint constraints.txt", "-e .[dev]"]}


DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_containers_have_the_python_of_conda():
    """One Python for every image: the lowest that is promised."""
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"][0].removeprefix("python=")
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{conda}.9")
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)) == {f"python:{conda}-slim"}
    image = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())["image"]
    assert image == f"mcr.microsoft.com/devcontainers/python:{conda}"


def test_the_dockerfile_installs_the_tested_versions_and_runs_what_the_course_has():
    pip = re.findall(r"pip (?:install|wheel) [^\n]+", DOCKERFILE)
    assert len(pip) == 2 and "ENV PIP_CONSTRAINT=/course/constraints.txt\nRUN pip wheel" in DOCKERFILE
    assert " --constraint /tmp/constraints.txt /tmp/*.whl" in pip[1]
    named = {
        name for names in re.findall(r"(?:course|whl)\[([a-z,]+)\]", DOCKERFILE) for name in names.split(",")
    }
    assert named <= set(PROJECT["optional-dependencies"])
    (command,) = re.findall(r"^CMD (.+)", DOCKERFILE, re.M)
    start, lab = json.loads(command)[-1].split("; exec ")
    assert start == "mnist-course start my-course" and "mnist-course" in PROJECT["scripts"]
    assert lab.startswith("jupyter lab ") and "--notebook-dir=my-course" in lab
    assert any(Requirement(line).name == "jupyterlab" for line in PROJECT["dependencies"])
    (page,) = re.findall(r"default_url=/lab/tree/(\S+)$", lab)
    assert (ROOT / "notebooks" / page).is_file()


def test_nothing_of_the_dockerfile_runs_as_root_or_is_open_without_a_token():
    last_stage = DOCKERFILE.split("\nFROM ")[-1]
    assert re.search(r"^USER 1000$", last_stage.split("CMD")[0], re.M)
    assert "--uid 1000 " in last_stage
    assert not re.search(r"--allow-root|token|password", DOCKERFILE)
    assert "--publish 127.0.0.1:" in DOCKERFILE
    assert "COPY . " not in last_stage  # the solutions


def test_what_the_image_is_built_from_is_in_its_context():
    """Docker reads .dockerignore; the last pattern that fits decides."""
    patterns = (ROOT / ".dockerignore").read_text().split()
    needed = ["pyproject.toml", "constraints.txt", "README.md", "LICENSE", "notebooks", "mnist_helpers"]
    for name in [*needed, "mnist_course", "results/reference", ".gitignore"]:
        decided = False
        for pattern in patterns:
            if fnmatch.fnmatch(name, pattern.removeprefix("!")):
                decided = not pattern.startswith("!")
        assert not decided, name


def test_the_dev_container_has_only_documented_properties_and_sets_up_by_make():
    content = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    # https://containers.dev/implementors/json_reference/
    documented = {"name", "image", "hostRequirements", "postCreateCommand", "forwardPorts", "customizations"}
    assert set(content) == documented
    assert re.fullmatch(r"\d+([tgmk]b)?", content["hostRequirements"]["memory"])
    assert set(content["hostRequirements"]) <= {"cpus", "memory", "storage", "gpu"}
    make, target = content["postCreateCommand"].split()
    assert make == "make" and re.search(rf"^{target}: \$\(READY\)", (ROOT / "Makefile").read_text(), re.M)
    settings = content["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"].endswith("/.venv/bin/python")


def test_uv_and_pip_install_the_tested_versions():
    page = (ROOT / "docs" / "starting.md").read_text()
    lines = re.findall(r"^ {4}(uvx .+|python -m pip install .+)$", page, re.M)
    assert len(lines) == 3
    for line in lines:
        assert re.search(r" (-c|--constraint) constraints\.txt ", line), line
        assert re.search(r" (--from|--with|constraints\.txt) \.( |$)", line), line


def test_imported_packages_are_declared():
    extras = PROJECT["optional-dependencies"]
    everything = PROJECT["dependencies"] + extras["cluster"] + extras["teach"]
    declared = {normal(Requirement(line).name) for line in everything}
    for name in (
        "tensorflow",
        "keras",
        "keras-tuner",
        "tensorboard",
        "jupyterlab",
        "papermill",
        "matplotlib",
    ):
        assert name in declared
    distributions = metadata.packages_distributions()
    lessons = [
        "".join(cell["source"])
        for path in (ROOT / "notebooks").rglob("*.ipynb")
        for cell in json.loads(path.read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    sources = [path.read_text() for path in ROOT.glob("mnist_*/**/*.py")] + lessons
    for match in re.findall(r"^\s*(?:from|import) (\w+)", "\n".join(sources), re.M):
        if match in distributions and match not in ("mnist_helpers", "mnist_course", "benchmarks"):
            names = {normal(name) for name in distributions[match]}
            # These come with jupyterlab, ipykernel and papermill, which need them, and with Python itself.
            come_along = {"ipython", "packaging", "traitlets", "jupyter-client", "nbclient", "pip"}
            assert names & (declared | come_along), match


def test_what_make_has_is_documented():
    """For users in the README, for developers in CONTRIBUTING."""
    targets = set(re.findall(r"^([a-z]+): \$\(READY\)", (ROOT / "Makefile").read_text(), re.M))
    texts = {name: (ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md")}
    for target in targets:
        assert any(f"make {target}" in text for text in texts.values()), target
    for target in ("course", "test", "lab"):
        assert f"    make {target} " in texts["README.md"], target
    for text in texts.values():
        assert set(re.findall(r"(?<=[`\n ])make ([a-z]+)[`\n ]", text)) <= targets | {"help"}


def test_the_commands_without_make_are_those_of_make():
    """The README's block for Windows does what `make course` and `make test` do."""
    makefile, readme = (ROOT / "Makefile").read_text(), (ROOT / "README.md").read_text()
    (block,) = re.findall(r"Without `make`[^\n]*\n\n((?: {4}.+\n)+)", readme)
    venv, activate, install, course, test = [line.strip() for line in block.splitlines()]
    assert venv == "python -m venv .venv" and activate == ".venv\\Scripts\\activate"
    assert "NEW_VENV := $(PYTHON) -m venv $(VENV)" in makefile and "VENV        := .venv\n" in makefile
    (constraints,) = re.findall(r"^CONSTRAINTS := (.+)", makefile, re.M)
    what = re.findall(r"^\t\$\(INSTALL\) --quiet \$\(CONSTRAINTS\) (.+)", makefile, re.M)[-1]
    assert install == f"python -m pip install {constraints} {what}".replace("'", '"')
    (run,) = re.findall(r"^\t\$\(BIN\)/(mnist-course run .+)", makefile, re.M)
    assert course == run.split("$(OPTIONS)")[0].strip().replace('"$${RUN:-course}"', "course")
    assert re.search(r"^PYTEST := \$\(BIN\)/python -m pytest ", makefile, re.M) and test == "python -m pytest"
    for line in re.findall(r"^\t\$\(BIN\)/(\S+ .*\$\$\{DIR:-my-course\}.*)", makefile, re.M):
        plain = line.replace('"$${DIR:-my-course}"', "my-course").replace(" $(LAB) $(LAB_OPTIONS)", "")
        assert plain in readme, plain


def test_the_readme_begins_with_a_picture_and_its_description():
    title, picture, *_ = (ROOT / "README.md").read_text().split("\n\n")
    description, path = re.fullmatch(r"!\[(.{40,})\]\((.+\.png)\)", picture).groups()
    assert title.startswith("# ") and (ROOT / path).is_file()
    lesson = json.loads((ROOT / "notebooks" / f"{Path(path).stem}.ipynb").read_text())["cells"][0]
    assert f"![{description}](" in "".join(lesson["source"])


def test_the_readme_names_the_lessons_as_they_are_called():
    readme = (ROOT / "README.md").read_text()
    for lesson in results.LESSONS:
        first = json.loads((ROOT / "notebooks" / f"{lesson}.ipynb").read_text())["cells"][0]["source"][0]
        assert f"| [{first.removeprefix('# ').strip()}](notebooks/{lesson}.ipynb) |" in readme, lesson


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 135  # 20 of them are tables of results


def test_students_meet_a_plain_jupyterlab():
    """No teacher's menus, no news over the lesson; a teacher may have switched the menus on in this environment."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    ((source, target),) = [pair for pair in wheel["shared-data"].items() if "labconfig" in pair[1]]
    config = json.loads((ROOT / source).read_text())
    assert config["disabledExtensions"] == {
        "@jupyter/nbgrader": True,
        "@jupyterlab/apputils-extension:announcements": True,
    }
    assert "lockedExtensions" in config  # else JupyterLab locks what is switched off, when it starts
    assert set(json.loads((Path(sys.prefix) / target).read_text())) >= set(config)
