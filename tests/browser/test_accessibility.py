"""axe-core on what people read outside JupyterLab: the report and the exported lessons. And slides can be made."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from mnist_course.reports import run_report
from mnist_helpers import results
from tests.browser.conftest import is_local

pytest.importorskip("playwright", reason="no Playwright here: pip install --editable '.[browser]'")

pytestmark = pytest.mark.browser
every_lesson = pytest.mark.parametrize("lesson", results.LESSONS)
# This template takes over the figures' descriptions, which nbconvert's default one drops; prompts and code are too
# pale in nbconvert's own colours (4.4 and 4.47 to 1, where 4.5 is asked for).
ACCESSIBLE = ("--to=html", "--template=classic", "--no-prompt", "--CSSHTMLHeaderPreprocessor.style=xcode")


def converted(lesson, root, folder, *options):
    """A lesson as it was saved in JupyterLab, through nbconvert."""
    source = root / "course" / f"{lesson}.ipynb"
    command = [sys.executable, "-m", "nbconvert", *options, f"--output-dir={folder}", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (page,) = folder.glob("*.html")
    return page


# `model.summary()` prints numbers in pale colours of its own; lesson 2 prints the sums again, in plain text.
KERAS_TABLE = re.compile(r'^color-contrast: <span style="color: #00(?:af00|d7ff|87ff);')


def test_the_report_has_no_serious_violation(lessons, results_dir, violations):
    assert lessons["05_evaluation"]
    assert violations(run_report.write_report(results_dir / "course").with_name("report.html")) == []


@every_lesson
def test_an_exported_lesson_has_no_serious_violation(lessons, root, violations, tmp_path, lesson):
    assert lessons[lesson]
    page = converted(lesson, root, tmp_path, *ACCESSIBLE)
    assert [found for found in violations(page) if not KERAS_TABLE.search(found)] == []
    assert "No description has been provided" not in page.read_text(encoding="utf-8")


@every_lesson
def test_a_lesson_becomes_slides(lessons, root, browser, tmp_path, lesson):
    """As many slides as the lesson has cells that begin one."""
    cells = lessons[lesson].saved["cells"]
    kinds = [cell["metadata"].get("slideshow", {}).get("slide_type") for cell in cells]
    page = browser.new_page()
    page.route("**/*", lambda route: route.continue_() if is_local(route) else route.abort())
    page.goto(converted(lesson, root, tmp_path, "--to=slides").as_uri())
    assert page.locator(".slides > section").count() == kinds.count("slide") > 5
    page.close()


@pytest.mark.parametrize(
    "body, rule",
    [
        ('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">', "image-alt"),
        ('<p style="color: #aaaaaa; background: white">pale</p>', "color-contrast"),
    ],
)
def test_axe_finds_what_is_wrong(violations, tmp_path, body, rule):
    page = tmp_path / "wrong.html"
    page.write_text(f'<!DOCTYPE html><html lang="en"><title>wrong</title><main>{body}</main></html>')
    assert [violation.split(":")[0] for violation in violations(page)] == [rule]
