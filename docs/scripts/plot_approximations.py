"""Plot approximations of a network's curvature: how good they are against what they cost.

Runs ``examples/structured_operators.py`` and writes ``docs/how-to/approximations.svg``, or another
file::

    python docs/scripts/plot_approximations.py [file]
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

DOCS = Path(__file__).parents[1]
OUTPUT = DOCS / "how-to" / "approximations.svg"
EXAMPLE = DOCS.parent / "examples" / "structured_operators.py"


def main(output=OUTPUT):
    """Run the example, draw its figure and save it."""
    mpl.rcParams.update({"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "hessop"})
    example = runpy.run_path(str(EXAMPLE))
    found = example["main"]([])
    figure = example["draw"](found["plain"], found["rows"])
    figure.savefig(
        output, metadata={"Date": None} if str(output).endswith("svg") else None, dpi=150
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
