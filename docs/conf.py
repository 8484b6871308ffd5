"""How the documentation becomes a web site: ``sphinx-build docs docs/_build`` (``pip install -e '.[docs]'``)."""

from tinygrad_cifar import __version__

project = "tinygrad_cifar"
release = __version__
html_title = f"{project} {release}"
html_theme = "furo"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "performance_notes.md"]  # the notes are a part of performance.md
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository; a test sees that each is there

myst_heading_anchors = 3
napoleon_google_docstring = False
napoleon_use_ivar = True  # attributes of a class, without an entry of their own for each
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say what an argument is
