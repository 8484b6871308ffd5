"""Configuration of Sphinx: ``sphinx-build docs docs/_build`` after ``pip install -e '.[docs]'``."""

from tinygrad_cifar import __version__

project = "tinygrad_cifar"
release = __version__
html_title = f"{project} {release}"
html_theme = "furo"

html_static_path = ["_static"]
html_css_files = ["site.css"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_argparse_cli",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "performance_notes.md"]  # the notes are included in performance.md
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository; a test checks that they exist

myst_heading_anchors = 3
napoleon_google_docstring = False
napoleon_use_ivar = True  # list attributes as fields of their class
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings contain the types

# The copy button takes the statements without their prompts and results.
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
