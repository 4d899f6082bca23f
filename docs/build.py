"""Builds the course's website: `python -m docs.build` (or `make site`).

The documents, the notebooks and the reports of the repository are the pages of the site. They are copied into
`docs/_build/source/`, with links that lead to each other there, and Sphinx makes `docs/_build/html/` of them. No
notebook is executed, and the network is not used.

A page in `docs/site/` can contain a comment on a line of its own, which is replaced:

- `<!-- README: Two steps -->`: the section of the README with this heading
- `<!-- api -->`, `<!-- citation -->`, `<!-- draw -->`, `<!-- exit codes -->`, `<!-- lessons -->`,
  `<!-- parameters -->`, `<!-- reports -->`:
  what the function with this name in `_GENERATED` returns
- `<!-- get the course -->`: how to get the course's folder

If the environment variable `GITHUB_REPOSITORY` (OWNER/NAME) is set, the pages say how to clone the repository, and
the notebooks' pages link to GitHub, Colab and Binder.
If trained networks are committed, `draw.html` is the page that `mnist-course demo` makes.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from posixpath import join, normpath, relpath
from typing import Any
from urllib.parse import quote, unquote

import yaml
from sphinx.cmd.build import build_main

import mnist_helpers
from mnist_course import cli, demo, lessons
from mnist_course.reports.page import LOOK, Table
from mnist_helpers import results
from mnist_helpers._errors import UserError

ROOT = lessons.NOTEBOOKS.parent
BUILD = ROOT / "docs" / "_build"
_ROOT_PAGES = {
    "TEACHING.md": "teaching.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s]+)(?=\))")
_NAMED_LINK = re.compile(r"(?<!!)\[`?([\w./-]+)`?\]\(([^)\s]+)\)")
_TERM = re.compile(r"^\| ([^|]+) \| ([^|]+) \| (\w+) \|$", re.MULTILINE)
_MARKER = re.compile(r"^<!-- (README: )?([\w ]+) -->$", re.MULTILINE)
_QUIZ = (
    "On this page, the answers cannot be clicked: choose one, then open *All answers* below the question to read "
    "why each one is right or wrong. In JupyterLab you can click them."
)
_NO_QUIZ = "The notebook is shown without its outputs. In JupyterLab, the quiz appears here."
_WIDE = "---\nhtml_theme.sidebar_secondary.remove: true\n---\n\n"  # for the tables of the results
_COLUMNS = re.compile(r"\S {2,}\S")
_DRAW_PAGE = (
    '<a href="draw.html">Draw a digit</a> in the browser, and see how a network of this course classifies it.'
)


# --- which pages there are ---


@functools.cache
def pages() -> dict[str, str]:
    """Returns the pages: the file in the repository, as links name it -> the file on the site.

    An exercise is named as in a student's copy of the course; its page shows the students' version.
    """
    found = {f"docs/site/{path.name}": path.name for path in ROOT.glob("docs/site/*.md")}
    found |= {f"docs/{path.name}": path.name for path in ROOT.glob("docs/*.md")}
    found |= _ROOT_PAGES
    found["notebooks/START_HERE.ipynb"] = "lessons/START_HERE.ipynb"
    for lesson in results.IN_ORDER:
        name = _relative(results.notebook_path(lesson))
        found[name] = name.removeprefix("notebooks/") if "further/" in name else f"lessons/{lesson}.ipynb"
    for path in ROOT.glob("notebooks/exercises/release/*.ipynb"):
        found[f"notebooks/exercises/{path.name}"] = f"exercises/{path.name}"
    for path in ROOT.glob("results/reference/**/*.md"):
        found[_relative(path)] = _relative(path).removeprefix("results/").replace("README.md", "how.md")
    return dict(sorted(found.items()))


def source(name: str) -> Path:
    """Returns the file that is shown for a page: of an exercise, the students' version."""
    return ROOT / re.sub(r"^notebooks/exercises/", "notebooks/exercises/release/", name)


def title(name: str) -> str:
    """Returns the title of a page: its first heading."""
    text = source(name).read_text(encoding="utf-8")
    if name.endswith(".ipynb"):
        text = "".join(json.loads(text)["cells"][0]["source"])
    return text.splitlines()[0].removeprefix("# ")


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _slug(heading: str) -> str:
    """Returns the anchor of a heading, as GitHub and MyST make it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@functools.cache
def _readme_sections() -> dict[str, str]:
    """Returns the sections of the README: heading -> text."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"^<!-- /?\w+ -->\n", "", text, flags=re.MULTILINE)  # around the tables of results
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@functools.cache
def _readme_pages() -> dict[str, str]:
    """Returns where the sections of the README are shown: anchor -> file on the site."""
    return {
        _slug(section): path.name
        for path in ROOT.glob("docs/site/*.md")
        for is_readme, section in _MARKER.findall(path.read_text(encoding="utf-8"))
        if is_readme
    }


# --- links ---


def target(link: str, name: str, place: str) -> tuple[str, str]:
    """Translates a link of the repository into one of the site.

    Args:
        link: a relative link.
        name: the file in the repository in which the link is.
        place: the file on the site in which it will be.

    Returns:
        The link on the site, and the file of the repository that must be copied for it; empty for a page.

    Raises:
        UserError: the link leads nowhere, or to something that the site does not show.
    """
    path, _, anchor = link.partition("#")
    wanted = normpath(join(name, "..", unquote(path)))
    known, copied = pages(), ""
    if wanted == "README.md":
        found = _readme_pages().get(anchor, "index.md" if not anchor else "")
    elif wanted in known:
        found = known[wanted]
    elif (ROOT / wanted).is_dir() and wanted.startswith("results"):
        found, anchor = "results.md", ""
    elif (ROOT / wanted).is_file() and not wanted.endswith(".ipynb"):
        found = copied = wanted
    else:
        found = ""
    if not found:
        raise UserError(f"{name}: the link {link} leads to nothing on the site.")
    return quote(relpath(found, join(place, "..") or ".")) + (f"#{anchor}" if anchor else ""), copied


def with_links(text: str, name: str, place: str, source_folder: Path) -> str:
    """Returns Markdown whose links lead to the pages of the site; pictures and other files are copied for them.

    Args:
        text: Markdown.
        name: the file in the repository that contains it.
        place: the file on the site that will contain it.
        source_folder: where files are copied to.
    """

    def replaced(match: re.Match[str]) -> str:
        link, copied = target(match[1], name, place)
        if copied:
            (source_folder / copied).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / copied, source_folder / copied)
        return link

    named = _NAMED_LINK.sub(lambda match: f"[{_link_text(match[1], match[2], name)}]({match[2]})", text)
    return _LINK.sub(replaced, named)


def _link_text(text: str, link: str, name: str) -> str:
    """Returns the text of a link: the title of its page instead of the name of a file.

    Args:
        text: the text of the link in the repository, without backquotes.
        link: where it leads.
        name: the file in the repository in which the link is.
    """
    path, _, anchor = link.partition("#")
    wanted = normpath(join(name, "..", unquote(path)))
    is_name = f"/{wanted}".endswith(f"/{text.lstrip('./')}") or (text.isupper() and text == Path(wanted).stem)
    if not is_name:
        return text
    if wanted == "README.md":
        sections = {_slug(section): section for section in _readme_sections()}
        return f"section “{sections[anchor]}”" if anchor in sections else "home page"
    return title(wanted) if wanted in pages() else text


# --- what is generated ---


def _api() -> str:
    blocks = []
    for name in (*mnist_helpers.__all__, "checks"):
        modules = [f"mnist_helpers.{name}"]
        if name == "checks":
            from mnist_helpers import checks

            modules += [f"mnist_helpers.checks.{exercise}" for exercise in checks.__all__]
        for module in modules:
            level = "##" if module.count(".") == 1 else "###"
            heading = f"{level} `{module}`"
            blocks.append(f"{heading}\n\n```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```")
    return "\n\n".join(blocks)


def _citation() -> str:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    authors = ", ".join(author["name"] for author in citation["authors"])
    line = f"{authors}. *{citation['title']}*, version {citation['version']}. Licence: {citation['license']}."
    return f"> {line}\n\n```yaml\n{(ROOT / 'CITATION.cff').read_text(encoding='utf-8')}```"


def _exit_codes() -> str:
    return Table("", ("code", "meaning"), list(cli.EXIT_CODES.items()), is_text=True).markdown()


def _lessons() -> str:
    """Returns the README's table of the lessons; its links are those of a page of the root."""
    (table,) = re.findall(
        r"^\| lesson \|.*?(?=\n\n)", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )
    return _LINK.sub(lambda match: target(match[1], "README.md", "index.md")[0], table)


def _parameters() -> str:
    columns = ("name", "type", "default", "allowed", "meaning")
    tables = [
        Table(name, columns, lessons.parameter_rows(name), is_text=True).markdown()
        for name in results.IN_ORDER
    ]
    return "\n\n".join(tables)


def _reports() -> str:
    reports = [name for name in pages() if name.startswith("results/")]
    titles = {name: title(name) for name in reports}
    entries = []
    for name in sorted(reports, key=lambda name: (name.count("/"), name)):
        is_clear = list(titles.values()).count(titles[name]) == 1
        text = titles[name] if is_clear else f"{titles[name]}: {Path(name).parent.name}"
        entries.append(f"{text} <{pages()[name]}>")
    return "\n".join(["```{toctree}", ":maxdepth: 1", "", *entries, "```"])


def _draw() -> str:
    return _DRAW_PAGE if demo.has_models() else ""


def _get_the_course(repository: str) -> str:
    if not repository:
        return (
            "Get the course's folder first (clone the repository, or unpack its archive). "
            "All commands run in this folder."
        )
    address = f"https://github.com/{repository}"
    return (
        "Clone the repository first. All commands run in its folder.\n\n"
        f"    git clone {address}\n    cd {repository.partition('/')[2]}"
    )


_GENERATED = {
    "api": _api,
    "citation": _citation,
    "draw": _draw,
    "exit codes": _exit_codes,
    "lessons": _lessons,
    "parameters": _parameters,
    "reports": _reports,
}


# --- pages ---


def document(name: str, place: str, source_folder: Path, repository: str) -> str:
    """Returns the text of a page that is Markdown, with what its comments ask for."""
    generated = _GENERATED | {"get the course": lambda: _get_the_course(repository)}

    def replaced(match: re.Match[str]) -> str:
        is_readme, what = match.groups()
        if not is_readme:
            return generated[what]()
        section = with_links(_readme_sections()[what], "README.md", place, source_folder)
        return section if f"# {what}\n" in text else f"## {what}\n{section}"

    text = with_links(source(name).read_text(encoding="utf-8"), name, place, source_folder)
    if name == "docs/glossary.md":
        text = glossary(text, place)
    if place == "results.md" or place.startswith("reference/"):
        text = f"{_WIDE}{text}"
    return _MARKER.sub(replaced, text) if name.startswith("docs/site/") else text


def glossary(text: str, place: str) -> str:
    """Returns the glossary with an anchor for each term, and with links to the lessons.

    Args:
        text: the glossary; the last column of its table is the number of a lesson or the name of a notebook.
        place: the glossary's file on the site.
    """
    notebooks = {lesson: lesson for lesson in results.IN_ORDER}
    notebooks |= {str(number): lesson for number, lesson in enumerate(results.LESSONS, start=1)}

    def replaced(match: re.Match[str]) -> str:
        term, meaning, where = match.groups()
        if where not in notebooks:  # the head of the table
            return match[0]
        page = pages()[_relative(results.notebook_path(notebooks[where]))]
        link = relpath(page, join(place, "..") or ".")
        shown = f"lesson {where}" if where.isdigit() else where
        return f"| [{term}]{{#{_slug(term)}}} | {meaning} | [{shown}]({link}) |"

    return _TERM.sub(replaced, text)


def notebook(name: str, place: str, source_folder: Path, repository: str) -> dict[str, Any]:
    """Returns the notebook of a page: with the site's links, folded set-up cells, and a line on how to run it.

    Widgets do not run on a page, so a quiz says how to use it there.
    """
    content = json.loads(source(name).read_text(encoding="utf-8"))
    for cell, following in zip(content["cells"], [*content["cells"][1:], {"source": ""}], strict=True):
        if cell["cell_type"] == "markdown" and "quiz.show(" in "".join(following["source"]):
            before = "".join(cell["source"]).partition("## Quiz\n")[0]
            cell["source"] = f"{before}## Quiz\n\n{_QUIZ if following['outputs'] else _NO_QUIZ}"
        if cell["cell_type"] == "markdown":
            cell["source"] = with_links("".join(cell["source"]), name, place, source_folder)
            continue
        for output in cell["outputs"]:  # quizzes show pictures
            if shown := output.get("data", {}).get("text/markdown"):
                output["data"]["text/markdown"] = with_links("".join(shown), name, place, source_folder)
        tags = cell["metadata"].get("tags", [])
        if cell["metadata"].get("jupyter", {}).get("source_hidden"):
            tags = [*tags, "hide-input"]
        if any(_COLUMNS.search("".join(output.get("text", ""))) for output in cell["outputs"]):
            tags = [*tags, "columns"]  # on a phone, these lines do not wrap
        cell["metadata"]["tags"] = tags
    heading, _, rest = content["cells"][0]["source"].partition("\n")
    content["cells"][0]["source"] = f"{heading}\n\n{how_to_run(name, place, repository)}\n{rest}"
    return content


def how_to_run(name: str, place: str, repository: str) -> str:
    """Returns the line on a notebook's page that says how to run it.

    Args:
        name: the notebook in the repository.
        place: its file on the site.
        repository: OWNER/NAME on GitHub; empty if it is not known.
    """
    inside = name.removeprefix("notebooks/")
    learn, terms = (relpath(page, join(place, "..")) for page in ("learn.md", "glossary.md"))
    download = relpath(f"downloads/{Path(name).name}", join(place, ".."))
    text = (
        f"You can read this notebook here, but not run it; the [glossary]({terms}) explains the standard terms. "
        f"To run it, [set up the course]({learn}#get-the-course): `make lab` opens JupyterLab with a copy "
        f"of all notebooks. Open `{inside}` there. {{download}}`Download this notebook <{download}>` "
        "(it needs the installed course)."
    )
    if repository:
        file = quote(_relative(source(name)))
        text += (
            f" [Source on GitHub](https://github.com/{repository}/blob/main/{file}). We have not tried"
            f" [Colab](https://colab.research.google.com/github/{repository}/blob/main/{file}) and"
            f" [Binder](https://mybinder.org/v2/gh/{repository}/main?labpath={quote(file, safe='')})."
        )
    return f":::{{div}} how-to-run\n{text}\n:::\n"


def colours(css: str) -> str:
    """Returns the colours of the reports as CSS for the site, whose scheme the reader can choose.

    Args:
        css: the style sheet of the reports: the light colours first, then the dark ones.
    """
    light, dark = re.findall(r":root \{ (?:color-scheme: light dark; )?(.*?) \}", css)
    return f'html[data-theme="light"] {{ {light} }}\nhtml[data-theme="dark"] {{ {dark} }}\n'


def collect(folder: Path, repository: str) -> None:
    """Writes everything that Sphinx reads into an empty folder.

    Args:
        folder: the folder.
        repository: OWNER/NAME on GitHub; empty if it is not known.
    """
    for name, place in pages().items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".ipynb":
            (folder / "downloads").mkdir(exist_ok=True)
            shutil.copyfile(source(name), folder / "downloads" / path.name)
            lessons.write_notebook(path, notebook(name, place, folder, repository))
        else:
            path.write_text(document(name, place, folder, repository), encoding="utf-8")
    shutil.copytree(ROOT / "docs" / "_static", folder / "_static")
    (folder / "_static" / "colours.css").write_text(
        colours(LOOK.read_text(encoding="utf-8")), encoding="utf-8"
    )


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Builds the site; returns the exit status of Sphinx, to which warnings are errors, or 2 for a wrong file."""
    folder, html = BUILD / "source", BUILD / "html"
    for old in (folder, html, BUILD / "extra"):
        shutil.rmtree(old, ignore_errors=True)
    folder.mkdir(parents=True)
    (BUILD / "extra").mkdir()
    try:
        collect(folder, environment.get("GITHUB_REPOSITORY", ""))
        if demo.has_models():
            page = demo.page(home="index.html", lesson="lessons/05_evaluation.html", glossary="glossary.html")
            (BUILD / "extra" / "draw.html").write_text(page, encoding="utf-8")
    except UserError as error:
        print(f"Error: the site was not built. {error}", file=sys.stderr)
        return 2
    options = ["-q", "-W", "--keep-going", "-E", "-d", str(BUILD / "doctrees"), "-c", str(ROOT / "docs")]
    status = build_main([*options, str(folder), str(html)])
    if status == 0:
        print(f"The site: {html / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
