"""Sphinx's configuration of the course's website. Its sources are in _build/source/, which `build` makes."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import traitlets
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

project = "MNIST course"
author = "The authors of the MNIST course"
version = release = metadata.version("mnist-course")
language = "en"
root_doc = "index"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["downloads"]

# --- Markdown and notebooks ---

nb_execution_mode = "off"  # the committed outputs are shown
nb_render_markdown_format = "gfm"  # quizzes
nb_merge_streams = True
nb_code_prompt_show = "Show the set-up"
nb_code_prompt_hide = "Hide the set-up"
myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_html_meta = {
    "description": "Lessons on how a neural network learns to recognise handwritten digits, with Python and Keras."
}
html_math_renderer = "mathml"  # MathJax would be a script of another server
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # the tasks of an exercise are headings of level 3 below one of level 1
smartquotes = False  # two hyphens are an option, not a dash

# --- the library's docstrings ---

autodoc_default_options = {"member-order": "bysource"}
default_role = "literal"  # the docstrings have names between single backquotes
napoleon_use_ivar = True
napoleon_use_rtype = False
autodoc_typehints = "signature"
add_module_names = False

# --- the look ---

html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["_build/source/_static"]
html_css_files = ["colours.css", "course.css"]
html_favicon = "../mnist_course/reports/icon.svg"
html_search_scorer = str(Path(__file__).parent / "_static" / "scorer.js")
html_context = {"default_mode": "auto"}
html_extra_path = ["_build/extra"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "show_prev_next": True,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "search_bar_text": "Search the course",
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars: dict[str, list[str]] = {"index": []}
copyright = "The authors of the MNIST course; MIT licence"
if repository := os.environ.get("GITHUB_REPOSITORY"):
    html_theme_options["github_url"] = f"https://github.com/{repository}"


class _Pair(NamedTuple):
    field: int


def skip_fields(app: Sphinx, kind: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out the fields of a `NamedTuple`: its docstring describes them."""
    return True if isinstance(member, type(_Pair.field)) else None


def hide_signature(
    app: Sphinx, kind: str, name: str, member: Any, options: Any, arguments: str | None, returned: str | None
) -> tuple[str, None] | None:
    """Leaves out `(*args, **kwargs)` of a widget: the course never calls it with arguments."""
    is_widget = isinstance(member, type) and issubclass(member, traitlets.HasTraits)
    return ("", None) if is_widget else None


def show_formula(translator: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Writes a formula as MathML, which browsers show without a script."""
    is_block = isinstance(node, nodes.math_block)
    formula = convert(node.astext(), display="block" if is_block else "inline")
    # The theme lets the keyboard scroll a box with this class.
    box = f'<div class="pst-scrollable-table-container formula">{formula}</div>'
    translator.body.append(box if is_block else formula)
    raise nodes.SkipNode


def use_dashes(app: Sphinx, doctree: nodes.document) -> None:
    """Writes a dash between a parameter and its description; Sphinx leaves this to `smartquotes`."""
    for text in list(doctree.findall(lambda node: isinstance(node, nodes.Text) and node == " -- ")):
        text.parent.replace(text, nodes.Text(" – "))


def setup(app: Sphinx) -> None:
    """Connects what is above with Sphinx."""
    app.connect("doctree-read", use_dashes)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-signature", hide_signature)
    app.add_html_math_renderer("mathml", (show_formula, None), (show_formula, None))
