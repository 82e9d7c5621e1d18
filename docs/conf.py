"""Sphinx: `make docs` runs every example as a doctest, then builds the pages with warnings as errors."""

import doctest
from html import escape
from importlib.metadata import version as version_of
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

project = "mempools"
author = "the mempools authors"
copyright = "the mempools authors"
release = version = version_of("mempools")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.doctest"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
doctest_default_flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

html_theme = "furo"
html_title = f"mempools {version}"


class Drawing(SphinxDirective):
    """An execution that figures/ has as NAME.svg and NAME.txt: the picture, which may be wide, and the text to unfold."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        picture, text = (
            Path(__file__).parent / "figures" / f"{self.arguments[0]}.{suffix}" for suffix in ("svg", "txt")
        )
        for path in (picture, text):
            self.env.note_dependency(str(path))
        parts = [
            f'<div style="overflow-x: auto">{picture.read_text()}</div>',
            "<details><summary>The same as text</summary>",
            f'<div class="highlight"><pre>{escape(text.read_text())}</pre></div></details>',
        ]
        return [nodes.raw("", "\n".join(parts), format="html")]


def setup(app):
    app.add_directive("drawing", Drawing)
