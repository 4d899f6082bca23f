"""The website in a browser: each page in both schemes and on a phone, search, keyboard, links, no other server."""

from __future__ import annotations

import functools
import http.server
import inspect
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from posixpath import join, normpath
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

import mnist_helpers
from docs import build
from mnist_course import cli, lessons
from mnist_helpers import results
from tests import solutions
from tests.browser.conftest import serious_violations

pytestmark = pytest.mark.browser
HTML = build.BUILD / "html"
LESSON_3 = "lessons/03_batchnorm_dropout.html"
PLACES = [
    *(re.sub(r"\.\w+$", ".html", place) for place in build.pages().values()),
    *("search.html", "genindex.html"),
]
every_page = pytest.mark.parametrize("place", PLACES)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def folder():
    """The built site; it is built if it is missing or older than something that it shows."""
    index = HTML / "index.html"
    made_of = [build.source(name) for name in build.pages()]
    made_of += [path for path in (build.ROOT / "docs").glob("[!_]*/*") if path.is_file()]
    made_of += [*(build.ROOT / "docs" / "_static").iterdir(), *(build.ROOT / "docs").glob("*.py"), build.LOOK]
    kinds = {".py", ".js", ".css", ".j2", ".svg", ".json", ".png", ".yaml", ".cff"}
    for part in ("mnist_helpers", "mnist_course", "notebooks", "results/reference"):
        made_of += [path for path in (build.ROOT / part).rglob("*") if path.suffix in kinds]
    made_of += [build.ROOT / "README.md", build.ROOT / "CITATION.cff"]
    if not index.exists() or index.stat().st_mtime < max(path.stat().st_mtime for path in made_of):
        command = [sys.executable, "-m", "docs.build"]
        done = subprocess.run(command, cwd=build.ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"The site cannot be built (make site):\n{done.stderr}"
    return HTML


@pytest.fixture(scope="module")
def address(folder):
    handler = functools.partial(_Quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def opened(browser, address):
    """`opened(place, width)`: a page of the site; in the end, no other server was asked for anything."""
    contexts, requests, errors = [], [], []

    def open_page(place, width=1280):
        context = browser.new_context(viewport={"width": width, "height": 844})
        context.set_default_timeout(30_000)
        contexts.append(context)
        context.on("request", lambda request: requests.append(request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: line.type in ("error", "warning") and errors.append(line.text))
        page.on("response", lambda response: response.status >= 400 and errors.append(response.url))
        page.goto(address + place)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert requests
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []
    assert errors == []


@pytest.fixture(scope="module")
def axe():
    api = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="no axe-core here: pip install --editable '.[browser]'",
    )
    return api.Axe()


@functools.cache
def soup(place: str) -> BeautifulSoup:
    return BeautifulSoup((HTML / place).read_text(encoding="utf-8"), "html.parser")


def pages_of(folder: Path) -> list[str]:
    """The pages of the site, without the templates that the theme keeps among its files."""
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*.html")]
    return [place for place in found if not place.startswith("_static/")]


@every_page
def test_a_page_is_accessible_in_both_schemes_and_has_no_sideways_scrolling_on_a_phone(opened, axe, place):
    page = opened(place, width=390)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    # What is wider than the phone scrolls in a box of its own: code, tables.
    assert (
        page.evaluate("""() => {
        const scrolls = e => e && e !== document.body
            && (/auto|scroll/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
        return [...document.querySelectorAll("main :is(p, li, h1, h2, h3, img)")]
            .filter(e => e.getBoundingClientRect().right > window.innerWidth && !scrolls(e))
            .map(e => e.outerHTML.slice(0, 200));
    }""")
        == []
    )
    # Only the colours differ between the schemes. Without `preload`, axe asks the server for no style sheets.
    rules = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}
    for scheme in rules:
        page.emulate_media(color_scheme=scheme)
        page.locator(f'html[data-theme="{scheme}"]').wait_for()
        assert serious_violations(axe, page, {"preload": False, **rules[scheme]}) == [], scheme


@every_page
def test_every_picture_has_its_description(folder, place):
    pictures = soup(place).select("img")
    assert [str(picture)[:100] for picture in pictures if not picture.get("alt", "").strip()] == []


@pytest.mark.parametrize("name", [name for name in build.pages() if name.endswith(".ipynb")])
def test_every_output_of_a_notebook_is_shown_with_its_description(folder, name):
    place = build.pages()[name].replace(".ipynb", ".html")
    page = soup(place)
    outputs = [
        output
        for cell in json.loads(build.source(name).read_text(encoding="utf-8"))["cells"]
        for output in cell.get("outputs", [])
    ]
    shown = [picture["alt"] for picture in page.select("img")]
    wanted = [
        picture["alt"]
        for output in outputs
        for picture in BeautifulSoup(
            "".join(output.get("data", {}).get("text/html", "")), "html.parser"
        ).select("img")
    ]
    assert [alt for alt in wanted if alt not in shown] == []
    text = "".join(page.get_text().split())
    for output in outputs:
        for line in "".join(output.get("text", "")).splitlines():
            assert "".join(line.split()) in text, line


def test_all_internal_links_resolve(folder):
    broken, known = [], set(build.pages().values())
    assert len(known) > 40
    for place in pages_of(folder):
        for tag in soup(place).select("[href], [src]"):
            link = urlsplit(tag.get("href") or tag.get("src") or "")
            if link.scheme or link.netloc:
                continue
            target = normpath(join(place, "..", unquote(link.path))) if link.path else place
            if not (folder / target).is_file():
                broken.append((place, target))
            elif link.fragment and target.endswith(".html"):
                anchor = unquote(link.fragment)
                if not soup(target).find(attrs={"id": anchor}):
                    broken.append((place, f"{target}#{anchor}"))
    assert sorted(set(broken)) == []


def test_no_solution_is_on_the_site(folder):
    texts = {}
    for path in folder.rglob("*"):
        if path.suffix == ".ipynb":
            texts[str(path)] = "\n".join(lessons.sources(json.loads(path.read_text(encoding="utf-8"))))
        elif path.suffix == ".html":
            texts[str(path)] = soup(path.relative_to(folder).as_posix()).get_text()
        elif path.is_file():
            texts[str(path)] = path.read_text(encoding="utf-8", errors="replace")
    assert sum(name.endswith(".ipynb") for name in texts) == sum(
        name.endswith(".ipynb") for name in build.pages()
    )
    assert solutions.shown_in(texts) == []


def test_a_notebook_can_be_downloaded_and_its_code_copied(opened):
    page = opened(LESSON_3)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download this notebook").click()
    assert download.value.suggested_filename == "03_batchnorm_dropout.ipynb"
    assert (
        Path(download.value.path()).read_bytes()
        == (lessons.NOTEBOOKS / "03_batchnorm_dropout.ipynb").read_bytes()
    )
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    block = page.locator("div.highlight:has(button.copybtn)").filter(visible=True).first
    block.locator("button.copybtn").click()
    page.locator("button.copybtn.success").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == block.locator("pre").inner_text().strip()


def test_the_set_up_is_folded_and_can_be_opened(opened):
    page = opened(LESSON_3)
    first = page.locator("details:has(pre)").first
    assert not first.locator("pre").is_visible()
    first.locator("summary").click()
    assert "run: str" in first.locator("pre").inner_text()


def test_previous_and_next_lead_through_the_lessons(opened):
    page = opened("lessons/01_data_exploration.html")
    for lesson in ("02_baseline", "03_batchnorm_dropout", "04_tuning", "05_evaluation"):
        page.locator("a.right-next").click()
        page.wait_for_url(f"**/lessons/{lesson}.html")
    page.locator("a.left-prev").click()
    page.wait_for_url("**/lessons/04_tuning.html")


def test_the_search_finds_lesson_3_with_the_keyboard_only(opened):
    page = opened("index.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("vanishing gradients")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=vanishing+gradients*")
    link = page.locator("#search-results a", has_text="Batch normalisation and dropout").first
    link.wait_for()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('href') || ''").startswith(LESSON_3):
            break
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{LESSON_3}*")


def test_the_keyboard_reaches_the_text_and_opens_an_answer(opened):
    page = opened(LESSON_3)
    page.keyboard.press("Tab")
    assert "Skip to main content" in page.evaluate("document.activeElement.innerText")
    page.keyboard.press("Enter")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Answers":
            break
    answer = page.locator("details", has=page.locator("summary", has_text="Answers")).first
    assert answer.get_attribute("open") is None
    page.keyboard.press("Enter")
    assert answer.get_attribute("open") is not None


def test_the_menu_of_a_phone_works_with_the_keyboard(opened):
    page = opened("learn.html", width=390)
    button = page.locator("button.primary-toggle")
    button.focus()
    page.keyboard.press("Enter")
    link = page.locator("dialog[open] a", has_text="2 · A first network").first
    link.wait_for()
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/lessons/02_baseline.html")


def test_the_scheme_can_be_chosen_and_figures_stay_readable(opened):
    page = opened("lessons/02_baseline.html")
    body, figure = page.locator("body"), page.locator(".cell_output img").first
    background = "e => getComputedStyle(e).backgroundColor"
    assert body.evaluate(background) == "rgb(255, 255, 255)"
    button = page.locator("button.theme-switch-button").filter(visible=True).first
    button.click()
    page.locator('[data-theme-value="dark"], .dropdown-item:has-text("Dark")').filter(
        visible=True
    ).first.click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert body.evaluate(background) == "rgb(22, 22, 22)"
    assert figure.evaluate(background) == "rgb(255, 255, 255)"
    assert figure.evaluate("e => getComputedStyle(e).filter") == "none"
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_the_home_page_shows_its_picture_and_three_ways_in(opened):
    page = opened("index.html", width=390)
    picture = page.locator(".bd-article img")
    assert picture.count() == 1
    assert picture.evaluate("e => e.naturalWidth > 0")
    # Its texts are 13 pixels high on 950 pixels. On a phone it scrolls in its box, so that they can be read.
    assert picture.evaluate("e => 13 * e.getBoundingClientRect().width / e.naturalWidth") > 7.8
    box = page.locator(".bd-article .picture")
    assert box.evaluate("e => e.getBoundingClientRect().width <= 390 && e.scrollWidth > e.clientWidth")
    assert "which one will be the largest?" in page.locator(".caption").inner_text()
    for name in ("learn", "teach", "experiments"):
        assert page.locator(f".sd-card a[href='{name}.html']").count() == 1


def test_options_keep_their_hyphens(folder):
    assert "--profile" in soup("command-line.html").get_text()
    for place in pages_of(folder):
        text = soup(place).get_text()
        assert not re.search(r"(?<!\w)–(?:profile|seed|only|dataset|help|results-dir)\b", text), place


def test_every_command_and_public_name_has_an_entry(folder):
    text = soup("command-line.html").get_text()
    for name, command in cli.main.commands.items():
        assert f"mnist-course {name}" in text
        for option in command.params:
            assert (
                getattr(option, "hidden", False)
                or option.param_type_name == "argument"
                or option.opts[0] in text
            )
    page = soup("api.html")
    for name in mnist_helpers.__all__:
        module = getattr(mnist_helpers, name)
        for public in module.__all__:
            if inspect.isfunction(getattr(module, public)) or inspect.isclass(getattr(module, public)):
                assert page.find(attrs={"id": f"{module.__name__}.{public}"}), (name, public)


def test_the_home_page_leads_to_the_page_for_drawing_and_that_page_to_lesson_5(opened):
    page = opened("index.html")
    page.get_by_role("link", name="Draw a digit").click()
    page.wait_for_url("**/draw.html")
    page.get_by_role("link", name="Lesson 5").first.click()
    page.wait_for_url("**/lessons/05_evaluation.html")
    page.go_back()
    page.get_by_role("link", name="MNIST course").click()
    page.wait_for_url("**/index.html")


def without_code(place: str) -> BeautifulSoup:
    """A page without its code and its printed output."""
    page = BeautifulSoup(str(soup(place)), "html.parser")
    for tag in page.select("pre, code, script, style"):
        tag.decompose()
    return page


def test_formulas_are_shown_and_no_page_has_latex_as_text(folder):
    for place in pages_of(folder):
        assert not re.search(r"\$\$|\\(sqrt|frac|dfrac|text)\b", without_code(place).get_text()), place
    half_width = soup("lessons/05_evaluation.html").select_one("math[display=block]")
    assert half_width.select_one("msqrt mfrac mspace")  # the thin space between p and (1 - p)
    assert len(soup("exercises/exercise_05.html").select("math")) >= 5


def test_no_page_says_that_one_can_click_an_answer(folder):
    for name in build.pages():
        if name.endswith(".ipynb"):
            text = soup(build.pages()[name].replace(".ipynb", ".html")).get_text()
            assert not re.search(r"\bclick an answer", text, re.I), name


@pytest.mark.parametrize("term", ["epoch", "gradient", "backpropagation", "dropout"])
def test_the_search_for_a_term_shows_the_glossary_among_the_first_three(opened, term):
    page = opened(f"search.html?q={term}")
    found = page.locator("#search-results li > a")
    found.nth(3).wait_for()
    assert any(text == "Glossary" for text in found.all_inner_texts()[:3])
    assert "Changelog" not in found.all_inner_texts()[:3]


def test_the_search_finds_a_page_with_the_words_in_its_title(opened):
    page = opened("search.html?q=shared+servers")
    found = page.locator("#search-results li > a", has_text="Shared servers: JupyterHub, Binder, Colab").first
    found.wait_for()


def test_a_term_of_the_glossary_can_be_linked_and_is_a_block_on_a_phone(opened):
    page = opened("glossary.html#learning-rate", width=390)
    term, meaning = page.locator("tr:has(#learning-rate) td").all()[:2]
    assert term.inner_text() == "learning rate"
    assert meaning.bounding_box()["y"] >= term.bounding_box()["y"] + term.bounding_box()["height"] - 1
    table = page.locator(".bd-article table")
    assert table.evaluate("e => e.scrollWidth <= e.parentElement.clientWidth")
    page.locator("tr:has(#learning-rate) a").click()
    page.wait_for_url("**/lessons/02_baseline.html")


@pytest.mark.parametrize("width", [390, 1280])
def test_a_wide_table_keeps_its_numbers_on_one_line_and_its_first_column_in_sight(opened, width):
    page = opened("reference/report.html", width=width)
    box = page.locator(".pst-scrollable-table-container").first
    assert box.evaluate("e => e.scrollWidth > e.clientWidth")
    heights = box.locator("td.text-right p").evaluate_all("all => all.map(e => e.getClientRects()[0].height)")
    assert max(heights) < 40
    first = box.locator("td").first
    assert first.bounding_box()["width"] < 0.5 * box.bounding_box()["width"]
    before = first.bounding_box()["x"]
    box.evaluate("e => { e.scrollLeft = 150; }")
    assert abs(first.bounding_box()["x"] - before) <= 1
    for name in ("td", "tr"):  # a background would hide the shadow, which shows that there is more
        background = "e => getComputedStyle(e).backgroundColor"
        assert box.locator(f"tbody {name}:last-child").first.evaluate(background) == "rgba(0, 0, 0, 0)"
    assert page.locator(".bd-sidebar-secondary").count() == 0


@pytest.mark.parametrize("lesson", results.LESSONS)
def test_a_line_of_code_fits_a_screen_of_1280_pixels(opened, lesson):
    page = opened(f"lessons/{lesson}.html", width=1280)
    wide = "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText)"
    assert page.locator(".cell_input pre").count() > 5
    assert page.locator(".cell_input pre").evaluate_all(wide) == []


@pytest.mark.parametrize(
    "place", ["contributing.html", "reference/test_set.html", "teaching.html", "security.html"]
)
def test_columns_of_text_are_readable_on_a_phone(opened, place):
    """No name runs into the next column, and no sentence has one word in each line."""
    page = opened(place, width=390)
    cells = page.eval_on_selector_all(
        ".bd-article td",
        "cells => cells.map(cell => [cell.innerText, cell.clientWidth, cell.scrollWidth])",
    )
    assert len(cells) > 10
    assert [cell for cell in cells if cell[2] > cell[1] + 1] == []
    assert [cell for cell in cells if len(cell[0]) > 60 and cell[1] < 130] == []


def test_the_output_of_a_training_wraps_on_a_phone_and_a_printed_array_does_not(opened):
    wide = "e => e.scrollWidth > e.clientWidth"
    page = opened(LESSON_3, width=390)
    assert not page.locator(".stream pre", has_text="val_loss").first.evaluate(wide)
    page = opened("lessons/01_data_exploration.html", width=390)
    assert page.locator(".stream pre", has_text="253 232 106").first.evaluate(wide)


def test_the_link_of_a_heading_takes_no_line_on_a_phone(opened):
    page = opened("lessons/02_baseline.html", width=390)
    heading = page.locator("h2", has_text="1. What does one neuron compute?")
    lines = heading.evaluate("e => Math.round(e.clientHeight / parseFloat(getComputedStyle(e).lineHeight))")
    assert lines == 2


def test_every_page_names_its_icon(folder):
    """Otherwise a browser asks for /favicon.ico, which does not exist."""
    pages = [path for path in folder.rglob("*.html") if soup(path.relative_to(folder).as_posix()).head]
    assert len(pages) >= 50
    for path in pages:
        icon = soup(path.relative_to(folder).as_posix()).select_one('head link[rel~="icon"]')["href"]
        assert icon.startswith("data:image/svg+xml,") or (path.parent / icon).is_file(), path


def test_a_page_has_an_icon_and_a_description_and_the_search_names_the_course(folder):
    page = soup("lessons/02_baseline.html")
    icon = page.select_one('link[rel~="icon"]')["href"]
    assert (folder / normpath(join("lessons", icon))).is_file()
    assert "handwritten digits" in page.select_one("meta[name=description]")["content"]
    assert page.select_one("input[type=search]")["placeholder"] == "Search the course"


def test_the_reference_of_a_widget_has_no_signature_without_meaning(folder):
    text = soup("api.html").get_text()
    assert "class mnist_helpers.canvas.Canvas" in " ".join(text.split()) or "class Canvas" in " ".join(
        text.split()
    )
    assert "*args" not in text and "**kwargs" not in text
