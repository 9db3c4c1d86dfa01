"""What preconditioners cost and spare: products, and time.

    python tests/benchmarks/compare_preconditioners.py [--repeat 5] [--only digits diabetes]

The problems of examples/preconditioning.py; the second also with products of four columns, 1,001
parameters; and one with a sparse Hessian, the area of a surface over 60 x 60 points. cg solves to a
relative residual of 1e-8, which is measured anew. On the diabetes the adaptive Nyström
preconditioner is to divide the products by five at least, with those that it takes to make it.

Times are medians, all preconditioners of a problem taking turns; the tables are Markdown.
"""

from __future__ import annotations

import argparse
import runpy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import autograd.numpy as np

from hessop import (
    hessian_operator,
    lbfgs_preconditioner,
    nystrom_preconditioner,
    sparse_preconditioner,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "preconditioning.py"
SIDE = 60

Recipe = tuple[str, Callable[[], Any]]


def grid(example: dict[str, Any]) -> Any:
    """The area of a surface that is held at zero around a square, at a random surface."""
    padded = np.pad(np.arange(1, SIDE**2 + 1).reshape(SIDE, SIDE), 1)

    def loss(params: Any) -> Any:
        surface = np.concatenate([np.zeros(1), params["u"]])[padded]
        across = surface[1:, :-1] - surface[:-1, :-1]
        along = surface[:-1, 1:] - surface[:-1, :-1]
        return np.sum(np.sqrt(1e-2 + across**2 + along**2)) + 5e-5 * np.sum(surface**2)

    params = {"u": 0.1 * np.random.default_rng(0).standard_normal(SIDE**2)}
    H = hessian_operator(loss, params).compile()
    past = example["gather"](loss, {"u": np.zeros(SIDE**2) + params["u"]}, steps=50)
    stripes = np.split(np.arange(SIDE**2), SIDE)
    more = {
        "sparse, complete": lambda: sparse_preconditioner(H),
        "sparse, drop_tol=1e-1": lambda: sparse_preconditioner(H, drop_tol=1e-1),
        "sparse, drop_tol=1e-2": lambda: sparse_preconditioner(H, drop_tol=1e-2),
        "sparse, drop_tol=1e-3": lambda: sparse_preconditioner(H, drop_tol=1e-3),
    }
    b = np.ones(SIDE**2)
    return example["Problem"]("grid", loss, params, H, b, past, stripes, "row", more)


def recipes(example: dict[str, Any], problem: Any) -> Iterator[Recipe]:
    """Those of the example, and more of their kind."""
    H, past = problem.H, problem.past
    for name, make in example["recipes"](problem):
        # A surface has slopes in which the same height enters twice.
        if (problem.name, name) != ("grid", "Jacobi, back-propagated"):
            yield name, make
    yield "L-BFGS, 50 steps, not rescaled", lambda: lbfgs_preconditioner(past, rescale=False)
    for rank in (10, 25, 50, 200):
        yield f"Nyström, rank {rank}", lambda rank=rank: nystrom_preconditioner(H, rank, rng=0)


def compare(example: dict[str, Any], problem: Any, repeat: int) -> dict[str, Any]:
    """Print the table of a problem."""
    turns: dict[str, list[Any]] = {name: [] for name, _ in recipes(example, problem)}
    for _ in range(repeat):
        for name, make in recipes(example, problem):
            turns[name].append(example["measure"](problem, name, make))
    print(f"\n| {problem.name} | to make it | of cg | in all | residual | time |")
    print("|---|---|---|---|---|---|")
    rows = {name: turn[0] for name, turn in turns.items()}
    for name, row in rows.items():
        milliseconds = 1e3 * np.median([turn.seconds for turn in turns[name]])
        print(
            f"| {name} | {row.build:,} | {row.cg:,} | {row.total:,} | {row.residual:.0e} "
            f"| {milliseconds:,.0f} ms |",
            flush=True,
        )
    return rows


def main() -> None:
    example = runpy.run_path(str(EXAMPLE))
    problems = {
        "digits": example["digits"],
        "diabetes": example["diabetes"],
        "diabetes-4": lambda: replace(example["diabetes"](degree=4), name="diabetes-4"),
        "grid": lambda: grid(example),
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5, help="turns of each preconditioner")
    parser.add_argument("--only", nargs="+", default=list(problems), choices=list(problems))
    options = parser.parse_args()
    for name in options.only:
        rows = compare(example, problems[name](), options.repeat)
        if name.startswith("diabetes"):
            gain = rows["none"].cg / rows["Nyström, adaptive"].total
            print(f"\nThe adaptive Nyström preconditioner divides all products by {gain:.1f}.")
            assert gain >= 5.0


if __name__ == "__main__":
    main()
