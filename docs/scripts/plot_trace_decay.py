"""Plot how the errors of `hessop.trace` fall with the products, for four spectra.

The spectra are those of section 4 of E. N. Epperly, J. A. Tropp and R. J. Webber, "XTrace: making
the most of every sample in stochastic trace estimation", SIAM J. Matrix Anal. Appl. 45, 2024.
Writes ``docs/how-to/trace-decay.svg``, or another file, in about a minute with one
thread::

    OMP_NUM_THREADS=1 python docs/scripts/plot_trace_decay.py [file]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from scipy.sparse.linalg import aslinearoperator

from hessop import trace

mpl.use("Agg")

import matplotlib.pyplot as plt

OUTPUT = Path(__file__).parents[1] / "how-to" / "trace-decay.svg"
N, RUNS = 1000, 20
BUDGETS = (12, 20, 34, 58, 98, 166, 280)
METHODS = {"hutchinson": "#7f7f7f", "hutch++": "#1f77b4", "xtrace": "#d62728"}
SPECTRA = {
    "flat: 3 to 1": 3.0 - 2.0 * np.arange(N) / (N - 1),
    "polynomial: 1 / i²": (1.0 + np.arange(N)) ** -2.0,
    "exponential: 0.7 to the i": 0.7 ** np.arange(N),
    "step: 50 of 1, then 0.001": np.where(np.arange(N) < 50, 1.0, 1e-3),
}


def errors(values):
    """Root mean squares, measured and as the error bars have them, for each method and budget."""
    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(rng.standard_normal((N, N)))[0]
    A = aslinearoperator((vectors * values) @ vectors.T)
    measured, promised = {}, {}
    for method in METHODS:
        for m in BUDGETS:
            found = [trace(A, method=method, n_matvec=m, rng=seed) for seed in range(RUNS)]
            missed = [one.estimate / values.sum() - 1.0 for one in found]
            bars = [one.standard_error / values.sum() for one in found]
            measured.setdefault(method, []).append(np.sqrt(np.mean(np.square(missed))))
            promised.setdefault(method, []).append(np.sqrt(np.mean(np.square(bars))))
    return measured, promised


def main(output=OUTPUT):
    """Measure, draw and save."""
    mpl.rcParams.update({"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "hessop"})
    figure, axes = plt.subplots(2, 2, figsize=(8.0, 6.4), sharex=True, layout="constrained")
    for axis, (name, values) in zip(axes.flat, SPECTRA.items(), strict=True):
        measured, promised = errors(values)
        for method, color in METHODS.items():
            floor = 1e-16  # what is exact has no error to be drawn
            axis.loglog(
                BUDGETS,
                np.maximum(measured[method], floor),
                "o-",
                color=color,
                markersize=4,
                label=method,
            )
            axis.loglog(BUDGETS, np.maximum(promised[method], floor), ":", color=color)
        axis.set_title(name, fontsize=10)
        axis.grid(alpha=0.3)
        axis.set_ylim(top=1.0)
        axis.set_xticks([10, 20, 50, 100, 200], ["10", "20", "50", "100", "200"])
        axis.set_xticks([], minor=True)
    axes[0, 0].legend(frameon=False, loc="upper right")
    figure.supxlabel("products", fontsize=10)
    figure.supylabel("relative error (dotted: standard error)", fontsize=10)
    figure.savefig(
        output, metadata={"Date": None} if str(output).endswith("svg") else None, dpi=150
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
