"""Configuration of Sphinx: ``sphinx-build docs docs/_build`` after ``pip install -e '.[docs]'``."""

from tinygrad_cifar import __version__

project = "tinygrad_cifar"
release = __version__
html_title = f"{project} {release}"
html_theme = "furo"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "performance_notes.md"]  # the notes are included in performance.md
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository; a test checks that they exist

myst_heading_anchors = 3
napoleon_google_docstring = False
napoleon_use_ivar = True  # list attributes as fields of their class
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings contain the types
