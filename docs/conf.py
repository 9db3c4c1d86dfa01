"""The Sphinx configuration of hessop's documentation."""

import hessop

project = "hessop"
author = "The hessop developers"
copyright = "The hessop developers"
version = release = hessop.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "scripts"]
root_doc = "index"

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"
default_role = "py:obj"
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"hessop {release}"
