"""Value, gradient and Hessian products: hessop beside autograd, NumPy by hand, and JAX.

    python tests/benchmarks/compare_products.py [--repeat 15] [--only network Gaussian] [--sparse]

All contestants of a row take turns in one run, and medians are compared, so that what else the
machine does meets them alike. Every product is compared with the others before it is timed. JAX
takes part where it is installed. At the end, the products again as a Markdown table.

Where the machine is busy with other things, give each contestant one core, or threads of BLAS wait
for each other: OPENBLAS_NUM_THREADS=1 taskset -c 1 python ...
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import make_hvp, value_and_grad
from scipy.sparse.linalg import spsolve
from timing import agree, medians, report
from workloads import Workload, sparse_workloads, workloads

from hessop import Objective, hessian_operator
from hessop.operators import compiling
from hessop.tape.player import MATRIX_COLUMNS, Player

Product = Callable[[np.ndarray], np.ndarray]

HEADER = (
    "workload",
    "one product, µs: autograd / by hand / JAX / hessop",
    "to make_hvp",
    "to by hand",
    "to JAX",
    "block column to make_hvp",
    "block to JAX",
    "recording, in make_hvp products",
)
ABSENT = "–"


def recording_seconds(make: Callable[[], Any], v: np.ndarray, repeat: int) -> float:
    """Median time of `compile` of a fresh operator, after its first product."""
    seconds = []
    for _ in range(repeat):
        H = make()
        H @ v
        start = time.perf_counter()
        H.compile()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def compare(work: Workload, repeat: int) -> str:
    """Print all timings of a workload; its row of the table."""
    fun = work.of(anp)
    _compare_first_uses(work, fun, repeat)
    H = hessian_operator(fun, work.x)
    rng = np.random.default_rng(0)
    v = rng.standard_normal(H.shape[0])
    tree = H.unflatten(v)
    make_hvp_product = make_hvp(fun)(work.x)[0]
    one, many = _contestants(work, fun, H)

    def autograd() -> Any:
        return make_hvp_product(tree)

    expected = H.flatten(autograd())
    for name, product in one.items():
        agree(f"{work.name}, {name}", product(v), expected)
    calls = {name: partial(product, v) for name, product in one.items()}
    seconds = medians({"autograd": autograd} | calls, repeat)
    report("one product", seconds)
    few = max(3, repeat // 3)
    recording = recording_seconds(lambda: hessian_operator(fun, work.x), v, few)
    recording /= seconds["autograd"]
    print(f"  {'recording':26}{recording:.1f} products of autograd")

    columns: dict[str, float] = {}
    if work.columns:
        V = rng.standard_normal((H.shape[0], work.columns))
        expected = _by_columns(lambda u: H.flatten(make_hvp_product(H.unflatten(u))), V)
        for name, block in many.items():
            agree(f"{work.name}, block, {name}", block(V), expected)
        calls = {name: partial(block, V) for name, block in many.items()}
        columns = medians({"autograd": autograd} | calls, few)
        for name in many:
            columns[name] /= work.columns
        report(f"a column of {work.columns}", columns)

    contestants = ("autograd", "by hand", "JAX", "hessop")
    cells = [
        work.name,
        " / ".join(
            f"{1e6 * seconds[name]:,.0f}" if name in seconds else ABSENT for name in contestants
        ),
        *(_ratio(seconds, name) for name in ("autograd", "by hand", "JAX")),
        *(_ratio(columns, name) for name in ("autograd", "JAX")),
        f"{recording:.1f}",
    ]
    return _row(cells)


def _compare_first_uses(work: Workload, fun: Callable[[Any], Any], repeat: int) -> None:
    objective = Objective(fun, work.x)
    x0 = objective.x0
    v = np.random.default_rng(0).standard_normal(x0.size)
    tree = objective.unflatten(v)
    shift = itertools.count(1)

    def elsewhere() -> np.ndarray:  # a new point each time, so that nothing is remembered
        x = x0.copy()
        x[0] += 1e-9 * next(shift)
        return x

    print(f"\n{work.name}  (n = {x0.size:,})")
    rows: dict[str, dict[str, Callable[[], Any]]] = {
        "value": {
            "fun itself": lambda: fun(objective.unflatten(elsewhere())),
            "hessop": lambda: objective.fun(elsewhere()),
        },
        "value and gradient": {
            "autograd": lambda: value_and_grad(fun)(objective.unflatten(elsewhere())),
            "hessop": lambda: objective.value_and_grad(elsewhere()),
        },
        "operator and one product": {
            "autograd": lambda: make_hvp(fun)(work.x)[0](tree),
            "hessop": lambda: hessian_operator(fun, work.x) @ v,
        },
    }
    for what, contestants in rows.items():
        report(what, medians(contestants, repeat))


def _contestants(
    work: Workload, fun: Callable[[Any], Any], H: Any
) -> tuple[dict[str, Product], dict[str, Product]]:
    """Products with a vector and with a block, all but autograd's own.

    closure : hessop before it has a program
    program : the program where hessop itself would multiply with a small dense matrix
    """
    one: dict[str, Product] = {}
    many: dict[str, Product] = {}
    if work.by_hand is not None:
        one["by hand"] = by_hand = work.by_hand
        many["by hand"] = lambda V: _by_columns(by_hand, V)
    if work.jax and (jax_products := _jax_products(work)):
        one["JAX"], many["JAX"] = jax_products
    one["closure"] = hessian_operator(fun, work.x).matvec
    if H.shape[0] <= MATRIX_COLUMNS:
        player = Player(H.program, as_matrix=False)
        one["program"], many["program"] = player, player.block
    one["hessop"] = many["hessop"] = H.compile().__matmul__
    return one, many


def _jax_products(work: Workload) -> tuple[Product, Product] | None:
    """JAX's linearised gradient, compiled, of a vector and of a block; NumPy in and out."""
    try:
        import jax
    except ImportError:
        return None
    from jax.flatten_util import ravel_pytree

    jax.config.update("jax_enable_x64", True)
    fun = work.of(jax.numpy)
    x, unravel = ravel_pytree(work.x)
    _, linear = jax.linearize(jax.grad(lambda x: fun(unravel(x))), x)
    one, many = jax.jit(linear), jax.jit(jax.vmap(linear, in_axes=1, out_axes=1))
    return lambda v: np.asarray(one(v)), lambda V: np.asarray(many(V))


def _by_columns(product: Product, V: np.ndarray) -> np.ndarray:
    return np.column_stack([product(column) for column in np.ascontiguousarray(V.T)])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ratio(seconds: dict[str, float], name: str) -> str:
    return f"{seconds['hessop'] / seconds[name]:.3g}" if name in seconds else ABSENT


def compare_sparse(work: Workload, repeat: int) -> None:
    """Print the time of `to_sparse`, in products, and of the Newton step that it allows."""
    fun = work.of(anp)
    H = hessian_operator(fun, work.x)
    v = np.random.default_rng(0).standard_normal(H.shape[0])
    tree = H.unflatten(v)
    make_hvp_product = make_hvp(fun)(work.x)[0]
    product = medians({"autograd": lambda: make_hvp_product(tree)}, repeat)["autograd"]
    recording = recording_seconds(lambda: hessian_operator(fun, work.x), v, max(3, repeat // 5))
    gradient = H.gradient
    H.compile()
    matrix = H.to_sparse()
    seconds = medians({"to_sparse": H.to_sparse}, 3)["to_sparse"]
    agree(f"{work.name}, sparse", matrix @ v, H.flatten(make_hvp_product(tree)))
    start = time.perf_counter()
    step = spsolve(matrix.tocsc(), -gradient)
    solving = time.perf_counter() - start
    residual = H.flatten(make_hvp_product(H.unflatten(step))) + gradient
    print(
        f"\n{work.name}  (n = {v.size:,}, nnz = {matrix.nnz:,})\n"
        f"  to_sparse     {seconds:.3f} s = {seconds / product:.1f} products of autograd, and "
        f"{recording / product:.1f} for the recording\n"
        f"  Newton step   {solving:.3f} s, relative residual "
        f"{np.linalg.norm(residual) / np.linalg.norm(gradient):.1e}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=15, help="turns of each contestant")
    parser.add_argument("--only", nargs="+", default=[""], help="parts of names of workloads")
    parser.add_argument("--sparse", action="store_true", help="whole sparse matrices instead")
    options = parser.parse_args()
    compiling.RECORD_AFTER = sys.maxsize  # who has a program is said above

    def chosen(works: list[Workload]) -> list[Workload]:
        return [work for work in works if any(part in work.name for part in options.only)]

    print("medians; in brackets, relative to the first of the row")
    if options.sparse:
        for work in chosen(sparse_workloads()):
            compare_sparse(work, options.repeat)
        return
    rows = [compare(work, options.repeat) for work in chosen(workloads())]
    print("", _row(HEADER), _row(["---"] * len(HEADER)), *rows, sep="\n")


if __name__ == "__main__":
    main()
