"""What the website's pages are made of: every document and notebook, links that lead to pages, and no solution."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from posixpath import join, normpath
from urllib.parse import unquote

import pytest

from docs import build
from mnist_course import cli, lessons
from mnist_course.reports.page import LOOK
from mnist_helpers import results
from mnist_helpers._errors import UserError
from tests import solutions

REPOSITORY = "owner/name"


@pytest.fixture(scope="module")
def collected(tmp_path_factory) -> Path:
    """What Sphinx reads, for a site that knows its repository."""
    folder = tmp_path_factory.mktemp("source")
    build.collect(folder, REPOSITORY)
    return folder


def text_of(page: Path) -> str:
    """The Markdown of a page, also that of a notebook."""
    if page.suffix == ".md":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def test_every_document_and_notebook_is_a_page():
    pages = build.pages()
    names = {path.relative_to(build.ROOT).as_posix() for path in build.ROOT.glob("docs/*.md")}
    names |= {"TEACHING.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md", "results/reference/report.md"}
    names |= {"results/reference/test_set.md", "notebooks/START_HERE.ipynb"}
    names |= {results.notebook_path(name).relative_to(build.ROOT).as_posix() for name in results.IN_ORDER}
    names |= {f"notebooks/exercises/exercise_0{number}.ipynb" for number in range(1, 6)}
    assert names <= pages.keys()
    assert len(set(pages.values())) == len(pages)
    assert pages["docs/site/index.md"] == "index.md"
    for name in pages:
        assert build.source(name).is_file(), name


def test_every_page_is_collected_and_is_in_a_list_of_contents(collected):
    places = set(build.pages().values())
    assert places == {
        path.relative_to(collected).as_posix()
        for path in collected.rglob("*")
        if path.suffix in (".md", ".ipynb") and path.relative_to(collected).parts[0] != "downloads"
    }
    listed = {"index.md"}
    for path in collected.glob("*.md"):
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```", path.read_text(), re.M | re.S):
            for line in filter(None, (line for line in block.splitlines() if not line.startswith(":"))):
                place = re.sub(r"^.*<(.+)>$", r"\1", line)
                suffixed = {place, f"{place}.md", f"{place}.ipynb"} & places
                listed |= suffixed or {
                    found.relative_to(collected).as_posix() for found in collected.glob(place)
                }
    assert listed == places


def test_every_link_leads_to_a_file(collected):
    for place in build.pages().values():
        for link in re.findall(r"\]\((?!https?:|mailto:|data:)([^)\s]+)\)", text_of(collected / place)):
            path = normpath(join(place, "..", unquote(link.partition("#")[0])))
            assert not link.partition("#")[0] or (collected / path).is_file(), (place, link)


@pytest.mark.parametrize(
    ("link", "name", "place", "expected"),
    [
        ("docs/hubs.md", "TEACHING.md", "teaching.md", ("hubs.md", "")),
        (
            "docs/hubs.md#grading-on-many-machines",
            "TEACHING.md",
            "teaching.md",
            ("hubs.md#grading-on-many-machines", ""),
        ),
        (
            "../TEACHING.md#how-long-it-takes",
            "docs/hubs.md",
            "hubs.md",
            ("teaching.md#how-long-it-takes", ""),
        ),
        ("README.md", "TEACHING.md", "teaching.md", ("index.md", "")),
        ("README.md#two-steps", "TEACHING.md", "teaching.md", ("learn.md#two-steps", "")),
        (
            "exercises/exercise_02.ipynb",
            "notebooks/02_baseline.ipynb",
            "lessons/02_baseline.ipynb",
            ("../exercises/exercise_02.ipynb", ""),
        ),
        (
            "../03_batchnorm_dropout.ipynb",
            "notebooks/exercises/exercise_02.ipynb",
            "exercises/exercise_02.ipynb",
            ("../lessons/03_batchnorm_dropout.ipynb", ""),
        ),
        (
            "pictures/02_baseline.png",
            "notebooks/02_baseline.ipynb",
            "lessons/02_baseline.ipynb",
            ("../notebooks/pictures/02_baseline.png", "notebooks/pictures/02_baseline.png"),
        ),
        ("jupyterhub_config.py", "docs/hubs.md", "hubs.md", ("docs/jupyterhub_config.py",) * 2),
        ("../results/reference/grading/", "docs/hubs.md", "hubs.md", ("results.md", "")),
        ("reference/report.md", "results/README.md", "x/y.md", ("../reference/report.md", "")),
    ],
)
def test_a_link_of_the_repository_becomes_one_of_the_site(link, name, place, expected):
    assert build.target(link, name, place) == expected


@pytest.mark.parametrize(
    "link",
    [
        "docs/missing.md",
        "README.md#no-such-section",
        "mnist_course/",
        "notebooks/exercises/extra.ipynb",
        "..",
    ],
)
def test_a_link_to_nothing_is_an_error(link):
    with pytest.raises(UserError, match=re.escape(link)):
        build.target(link, "TEACHING.md", "teaching.md")


def test_only_relative_links_are_changed(tmp_path):
    text = (
        "[a](https://x.org/a) [b](#b) ![c](data:image/png;base64,AA) [d](mailto:x@x.org) [hubs](docs/hubs.md)"
    )
    changed = build.with_links(text, "TEACHING.md", "teaching.md", tmp_path)
    assert changed == text.replace("docs/hubs.md", "hubs.md")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("link", "name", "shown"),
    [
        ("[docs/hubs.md](docs/hubs.md)", "TEACHING.md", build.title("docs/hubs.md")),
        ("[`hubs.md`](hubs.md#jupyterhub)", "docs/studies.md", build.title("docs/hubs.md")),
        ("[TEACHING.md](../TEACHING.md)", "docs/hubs.md", build.title("TEACHING.md")),
        ("[SECURITY](SECURITY.md)", "TEACHING.md", build.title("SECURITY.md")),
        ("[02_baseline.ipynb](notebooks/02_baseline.ipynb)", "TEACHING.md", "2 · A first network"),
        ("[README](../README.md#two-steps)", "docs/hubs.md", "section “Two steps”"),
        ("[README](README.md)", "TEACHING.md", "home page"),
        ("[report](results/reference/report.md)", "README.md", "report"),
        ("[a hub](docs/hubs.md)", "TEACHING.md", "a hub"),
        ("[jupyterhub_config.py](jupyterhub_config.py)", "docs/hubs.md", "jupyterhub_config.py"),
    ],
)
def test_a_link_shows_the_title_of_its_page_instead_of_the_name_of_a_file(tmp_path, link, name, shown):
    text = build.with_links(f"See {link}.", name, build.pages().get(name, "learn.md"), tmp_path)
    assert text.startswith(f"See [{shown}](")


def test_no_link_shows_the_name_of_a_document(collected):
    for place in build.pages().values():
        for text in re.findall(r"(?<!!)\[([^\[\]]+)\]\((?!https?:)[^)\s]+\)", text_of(collected / place)):
            assert not re.search(r"\.md\b|^`?README", text), (place, text)


def test_a_title_is_the_first_heading():
    assert build.title("SECURITY.md") == "Security"
    assert build.title("notebooks/exercises/exercise_02.ipynb") == "Exercise 2 · A first network"


@pytest.mark.parametrize("place", ["learn.md", "reference.md"])
def test_the_first_command_of_a_page_gets_the_course(collected, tmp_path, place):
    first = re.search(r"^    (.+)\n    (.+)$", (collected / place).read_text(), re.M)
    assert first.groups() == ("git clone https://github.com/owner/name", "cd name")
    without = build.document(f"docs/site/{place}", place, tmp_path, "")
    assert "git clone" not in without
    assert without.index("Get the course's folder first") < without.index("\n    ")


def test_each_term_of_the_glossary_has_an_anchor_and_a_link_to_its_lesson(collected):
    rows = re.findall(r"^\| (?!term \|)(\w.*) \|$", (build.ROOT / "docs/glossary.md").read_text(), re.M)
    shown = re.findall(
        r"^\| \[(.+?)\]\{#(\S+)\} \| .+ \| \[(.+?)\]\((\S+)\) \|$",
        (collected / "glossary.md").read_text(),
        re.M,
    )
    assert len(shown) == len(rows) > 50
    assert len({anchor for _, anchor, _, _ in shown}) == len(shown)
    links = {term: (text, link) for term, _, text, link in shown}
    assert links["gradient descent"] == ("lesson 2", "lessons/02_baseline.ipynb")
    assert links["calibration"] == ("trust", "further/trust.ipynb")
    assert ("gradient descent", "gradient-descent") in {entry[:2] for entry in shown}


def test_no_page_says_that_one_can_click_an_answer(collected):
    quizzes = 0
    for name, place in build.pages().items():
        if not place.endswith(".ipynb"):
            continue
        cells, original = (
            json.loads(path.read_text())["cells"] for path in (collected / place, build.source(name))
        )
        assert not re.search(r"\bclick an answer", text_of(collected / place), re.I), place
        for cell, following in itertools.pairwise(cells):
            if "quiz.show(" in "".join(following["source"]):
                quizzes += 1
                shown = "".join("".join(output["data"]["text/markdown"]) for output in following["outputs"])
                says = build._QUIZ if shown else build._NO_QUIZ
                assert "".join(cell["source"]).endswith(f"## Quiz\n\n{says}")
                assert ("<summary>All answers</summary>" in shown) == bool(shown)
                before = "".join(original[cells.index(cell)]["source"]).partition("## Quiz")[0]
                if not build._LINK.search(before):
                    assert "".join(cell["source"]).startswith(before)
    assert quizzes == len(results.IN_ORDER)


def test_output_in_columns_is_marked(collected):
    marked = {}
    for lesson in ("01_data_exploration", "02_baseline"):
        for cell in json.loads((collected / f"lessons/{lesson}.ipynb").read_text())["cells"]:
            for line in "".join("".join(o.get("text", "")) for o in cell.get("outputs", [])).splitlines():
                marked[line] = "columns" in cell["metadata"].get("tags", [])
    assert all(is_marked for line, is_marked in marked.items() if line.startswith("  0   0"))
    assert any(line.startswith("  0   0") for line in marked)
    assert not any(is_marked for line, is_marked in marked.items() if "val_loss" in line)
    assert any("val_loss" in line for line in marked)


def test_the_results_have_no_sidebar_beside_their_tables(collected):
    for place in build.pages().values():
        if place.endswith(".md"):
            is_wide = "sidebar_secondary.remove: true" in (collected / place).read_text()
            assert is_wide == (place == "results.md" or place.startswith("reference/")), place


def test_pictures_are_copied_and_descriptions_are_kept(tmp_path):
    text = "![An accuracy, \\[95 %\\].](accuracy.png)"
    place = "reference/report.md"
    changed = build.with_links(text, "results/reference/report.md", place, tmp_path)
    assert changed == "![An accuracy, \\[95 %\\].](../results/reference/accuracy.png)"
    assert (tmp_path / "results/reference/accuracy.png").is_file()


def test_the_sections_of_the_readme_are_shown_once_each(collected):
    readme = (build.ROOT / "README.md").read_text()
    shown = build._readme_pages()
    assert set(shown) == {build._slug(heading) for heading in re.findall(r"^## (.+)$", readme, re.M)}
    for anchor, place in shown.items():
        headings = re.findall(r"^#+ (.+)$", (collected / place).read_text(), re.M)
        assert [build._slug(heading) for heading in headings].count(anchor) == 1, anchor


def test_no_marker_is_left_over(collected):
    for path in collected.glob("*.md"):
        if path.name not in ("teaching.md", "hubs.md"):  # their comments are around tables of measurements
            assert "<!-- " not in path.read_text(), path
    assert "<!-- times -->" in (collected / "teaching.md").read_text()


def test_the_generated_pages_have_every_entry(collected):
    codes = (collected / "command-line.md").read_text()
    assert all(f"| {code} | {meaning} |" in codes for code, meaning in cli.EXIT_CODES.items())
    parameters = (collected / "parameters.md").read_text()
    for lesson in results.IN_ORDER:
        section = parameters.split(f"## {lesson}\n")[1].split("\n## ")[0]
        assert re.findall(r"^\| (\w+) \|", section, re.M)[1:] == list(lessons.declared(lesson))
    api = (collected / "api.md").read_text()
    modules = {
        ".".join(path.relative_to(build.ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (build.ROOT / "mnist_helpers").rglob("*.py")
        if not path.stem.startswith("_") or path.stem == "__init__"
    }
    assert set(re.findall(r"automodule:: (\S+)", api)) == modules - {"mnist_helpers"}
    assert "MIT" in (collected / "cite.md").read_text()


def test_a_notebook_says_how_to_run_it_and_is_not_changed_otherwise(collected):
    for name, place in build.pages().items():
        if not place.endswith(".ipynb"):
            continue
        shown, own = (json.loads(path.read_text()) for path in (collected / place, build.source(name)))
        first = "".join(shown["cells"][0]["source"])
        assert first.startswith("".join(own["cells"][0]["source"]).split("\n")[0])
        assert first.count("not run it") == 1 and f"{Path(name).name}>`" in first
        assert (collected / "downloads" / Path(name).name).read_bytes() == build.source(name).read_bytes()
        for cell, original in zip(shown["cells"], own["cells"], strict=True):
            if cell["cell_type"] == "code":
                assert "".join(cell["source"]) == "".join(original["source"])
                is_hidden = original["metadata"].get("jupyter", {}).get("source_hidden", False)
                assert ("hide-input" in cell["metadata"].get("tags", [])) == is_hidden
                assert len(cell["outputs"]) == len(original["outputs"])


def test_links_to_services_need_a_repository():
    name, place = "notebooks/exercises/exercise_02.ipynb", "exercises/exercise_02.ipynb"
    without = build.how_to_run(name, place, "")
    assert not re.search("github|colab|binder", without, re.I)
    assert "Open `exercises/exercise_02.ipynb` there" in without and "localhost" not in without
    assert "(../glossary.md)" in without and "(../learn.md#get-the-course)" in without
    text = build.how_to_run(name, place, REPOSITORY)
    file = "notebooks/exercises/release/exercise_02.ipynb"
    assert f"https://github.com/{REPOSITORY}/blob/main/{file})" in text
    assert f"https://colab.research.google.com/github/{REPOSITORY}/blob/main/{file})" in text
    assert (
        f"https://mybinder.org/v2/gh/{REPOSITORY}/main?labpath=notebooks%2Fexercises%2Frelease%2Fexercise_02.ipynb)"
        in text
    )
    assert "have not tried" in text


def test_no_solution_and_no_hidden_test_is_collected(collected):
    files = {path: path.read_text(errors="replace") for path in collected.rglob("*") if path.is_file()}
    texts = {
        str(path): "\n".join(lessons.sources(json.loads(text))) if path.suffix == ".ipynb" else text
        for path, text in files.items()
    }
    assert len(solutions.blocks()) > 50
    assert solutions.shown_in(texts) == []


def test_the_search_for_solutions_finds_one():
    block = max(solutions.blocks(), key=len)
    assert solutions.shown_in({"page": f"before\n{block}\nafter"}) == [("page", block)]
    assert solutions.shown_in({"page": "\n".join(f"    {line}" for line in block.splitlines())})
    assert solutions.shown_in({"page": "### BEGIN HIDDEN TESTS"})


def test_the_colours_are_those_of_the_reports():
    css = LOOK.read_text()
    site = build.colours(css)
    light, dark = site.splitlines()
    assert light.startswith('html[data-theme="light"] { --text: ') and dark.startswith(
        'html[data-theme="dark"]'
    )
    assert re.findall(r"(--\w+: [^;]+);", css) == re.findall(r"(--\w+: [^;]+);", site)
    used = set(re.findall(r"var\((--(?!pst)\w+)\)", (build.ROOT / "docs/_static/course.css").read_text()))
    known = set(re.findall(r"(--\w+):", site + (build.ROOT / "docs/_static/course.css").read_text()))
    assert used <= known


@pytest.mark.parametrize("has_models", [True, False])
def test_the_page_for_drawing_needs_models(monkeypatch, has_models):
    monkeypatch.setattr(build.demo, "has_models", lambda: has_models)
    assert ("draw.html" in build._draw()) == has_models


def test_the_page_for_drawing_links_to_pages_of_the_site(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(build, "BUILD", tmp_path)
    monkeypatch.setattr(build, "collect", lambda folder, repository: None)
    monkeypatch.setattr(build, "build_main", lambda options: 3)
    monkeypatch.setattr(build.demo, "has_models", lambda: True)
    monkeypatch.setattr(build.demo, "page", lambda **links: asked.append(links) or "the page")
    assert build.main({}) == 3
    assert (tmp_path / "extra" / "draw.html").read_text(encoding="utf-8") == "the page"
    places = [re.sub(r"\.\w+$", ".html", place) for place in build.pages().values()]
    assert set(asked[0].values()) <= set(places)
    assert set(asked[0]) == {"home", "lesson", "glossary"}


def test_a_wrong_link_or_a_changed_network_ends_the_build_with_one_line(monkeypatch, tmp_path, capsys):
    def page(**_):
        raise results.MissingLessonError("strong.npz was changed.")

    monkeypatch.setattr(build, "BUILD", tmp_path)
    monkeypatch.setattr(build, "collect", lambda folder, repository: None)
    monkeypatch.setattr(build.demo, "has_models", lambda: True)
    monkeypatch.setattr(build.demo, "page", page)
    assert build.main({}) == 2
    assert capsys.readouterr().err == "Error: the site was not built. strong.npz was changed.\n"
