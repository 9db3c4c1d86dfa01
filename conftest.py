"""Run the code of the documentation and of the README, page by page."""

import os
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE

from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser

# Tests run in as many processes as there are cores: threads of the linear algebra would only wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Sphinx's configuration and the scripts behind figures are not modules with doctests.
collect_ignore_glob = ["docs/conf.py", "docs/scripts/*.py"]

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=ELLIPSIS | NORMALIZE_WHITESPACE)],
    patterns=["README.md", "docs/*.md", "docs/**/*.md"],
).pytest()
