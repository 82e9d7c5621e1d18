"""Sphinx: `make docs` runs every example as a doctest, then builds the pages with warnings as errors."""

import doctest
from importlib.metadata import version as version_of

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
