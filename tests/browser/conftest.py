"""A browser, a JupyterLab server, and lessons in it, which run once for all tests."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mnist_course.handout import student_copy
from mnist_course.lessons import profiles
from mnist_helpers import results

PICTURES = Path(__file__).parent / "screenshots"
SEED = 1
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
_EXPECTED = 30_000  # milliseconds until something is as expected, on a busy machine
_OPTIONS = (
    "--no-sandbox",  # a container's root has none
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


class Ran(NamedTuple):
    """A lesson after Run > Restart Kernel and Run All Cells: its page is open, its kernel is not.

    Attributes:
        lesson: the open notebook, a `jupyter.Lesson`.
        saved: the notebook as JupyterLab saved it.
        early: a cell's source -> what was first shown of its output while the cell still ran.
    """

    lesson: Any
    saved: dict
    early: Mapping[str, str]


class Course:
    """The five lessons in one run folder; each is run when it is first asked for, after those before it."""

    def __init__(self, open_lesson):
        self._open, self._ran = open_lesson, {}

    def __getitem__(self, lesson: str) -> Ran:
        for earlier in results.LESSONS[: results.LESSONS.index(lesson) + 1]:
            if earlier not in self._ran:
                self._ran[earlier] = self._run(earlier)
        if isinstance(self._ran[lesson], Exception):
            raise self._ran[lesson]
        self._ran[lesson].lesson.page.bring_to_front()  # behind others, a page is slow
        return self._ran[lesson]

    def _run(self, lesson: str) -> Ran | Exception:
        try:
            lesson = self._open(f"course/{lesson}.ipynb")
            lesson.run_all()
            return Ran(lesson, lesson.save_and_shut_down(), lesson.shown_while_running())
        except Exception as error:  # told by each test that asks for this lesson
            return error


def set_parameters(folder: Path, **given: Any) -> None:
    """Writes quick parameters, on the digits, into the lessons of a student's folder."""
    wanted = profiles()["quick"] | {"profile": "quick", "dataset": "digits", "seed": SEED} | given
    for lesson in results.LESSONS:
        path = folder / f"{lesson}.ipynb"
        notebook = json.loads(path.read_text(encoding="utf-8"))
        (cell,) = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])]
        cell["source"] = with_values("".join(cell["source"]), wanted)
        path.write_text(json.dumps(notebook), encoding="utf-8")


def with_values(source: str, values: Mapping[str, Any]) -> str:
    """Writes values into a parameters cell, as a student would; a name that is not there is passed over."""
    lines = source.splitlines()
    for number, line in enumerate(lines):
        name, kind, help_text = re.fullmatch(r"(\w+): (\w+) = .*?  # (.*)", line).groups()
        if name in values:
            lines[number] = f"{name}: {kind} = {values[name]!r}  # {help_text}"
    return "\n".join(lines)


@pytest.fixture(scope="package")
def browser():
    """Headless Chromium; what asks for it is skipped where there is none, or no Playwright."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="no Playwright here: pip install --editable '.[browser]'"
    )
    program = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if program is None:
        pytest.skip("no Chromium here: apt-get install -y chromium")
    api.expect.set_options(timeout=_EXPECTED)
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def window(browser):
    """A browser's window without a past; `requests` are the addresses beyond loopback that its pages asked for."""
    context = browser.new_context()
    context.set_default_timeout(10_000)
    context.requests = []
    context.on("request", lambda request: context.requests.append(request.url))
    yield context
    context.close()


@pytest.fixture(scope="package")
def root(tmp_path_factory):
    """The folder that JupyterLab shows: a student's copies of the lessons, for different runs."""
    root = tmp_path_factory.mktemp("student")
    student_copy.start(root / "course")
    for copy, run in {"drawn": "course", "stepped": "stepped", "empty": "empty"}.items():
        shutil.copytree(root / "course", root / copy)
        set_parameters(root / copy, run=run)
    set_parameters(root / "course", run="course")
    return root


@pytest.fixture(scope="package")
def results_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="package")
def server(browser, root, results_dir, tmp_path_factory):
    """JupyterLab; it comes after the browser, so that it is not started where there is no browser."""
    from tests.browser import jupyter

    server = jupyter.Server(root, tmp_path_factory.mktemp("home"), jupyter.environment(results_dir))
    yield server
    server.end()


@pytest.fixture(scope="package")
def open_lesson(window, server, root):
    """`open_lesson(path)`: opens a lesson in a page of its own."""
    from tests.browser import jupyter

    return lambda path: jupyter.Lesson.open(window.new_page(), server, root, path)


@pytest.fixture(scope="package")
def lessons(open_lesson):
    """`lessons[lesson]`: the lesson after it was run, a `Ran`."""
    return Course(open_lesson)


@pytest.fixture
def violations(browser):
    """`violations(path)`: what axe-core holds for serious or critical on a page, in words; no network.

    `scheme` is the colour scheme; `prepare(page)` is called before axe looks.
    """
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="no axe-core here: pip install --editable '.[browser]'",
    )

    def found(path, scheme="light", prepare=lambda page: None):
        page = browser.new_page(color_scheme=scheme)
        page.route("**/*", lambda route: route.continue_() if is_local(route) else route.abort())
        page.goto(path.as_uri())
        prepare(page)
        serious = serious_violations(axe.Axe(), page)
        page.close()
        return serious

    return found


def serious_violations(axe, page, options=None):
    """Returns what axe-core holds for serious or critical on an open page, in words."""
    answer = axe.run(page, options=options).response
    assert answer["testEngine"]["name"] == "axe-core"
    return [
        f"{violation['id']}: {node['html']}"
        for violation in answer["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


def is_local(route):
    return route.request.url.startswith(("file:", "data:", "blob:"))
