"""After how many products a program pays, over all functions of the tests and the benchmarks.

    python tests/benchmarks/when_to_record.py [--repeat 5] [--record-after 10 20 30]

For each function: the time of recording, of a product of the closure and of one of the program.
From these follow, without further measurements, the times of any number of products when the first
`record_after` of them are the closure's.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import autograd.numpy as anp
import numpy as np
from compare_products import medians, recording_seconds
from workloads import workloads

from hessop import hessian_operator
from hessop._errors import NoProgramError
from hessop.operators import compiling

sys.path.append(str(Path(__file__).parents[1]))
from cases import CASES
from models import MODELS

ASKED = (21, 50, 100, 200)


@dataclass(frozen=True)
class Times:
    """Seconds of the recording, and of one product of the closure and of the program."""

    name: str
    recording: float
    closure: float
    program: float

    @property
    def pays_after(self) -> float:
        saved = self.closure - self.program
        return self.recording / saved if saved > 0.0 else np.inf

    def total(self, products: np.ndarray, record_after: int) -> np.ndarray:
        """Seconds of so many products when those after the first ones are a program's."""
        played = np.maximum(products - record_after, 0)
        recorded = self.recording * (played > 0) + self.program * played
        return self.closure * (products - played) + recorded


def functions() -> Iterator[tuple[str, Any, Any, tuple[Any, ...]]]:
    for case in CASES:
        yield case.name, case.fun, case.x, case.args
    for model in MODELS:
        yield model.name, model.fun, model.x, ()
    works = [(hessian_operator(work.of(anp), work.x).shape[0], work) for work in workloads()]
    for _, work in sorted(works, key=lambda pair: pair[0])[:-2]:
        yield work.name, work.of(anp), work.x, ()


def measure(name: str, fun: Any, x: Any, args: tuple[Any, ...], repeat: int) -> Times:
    make = partial(hessian_operator, fun, x, args=args)
    closure, program = make(), make().compile()
    v = np.random.default_rng(0).standard_normal(closure.shape[0])
    recording = recording_seconds(make, v, repeat)
    seconds = medians({"closure": lambda: closure @ v, "program": lambda: program @ v}, repeat)
    return Times(name, recording, seconds["closure"], seconds["program"])


def report(measured: list[Times]) -> None:
    print(f"{'pays after':>10} {'recording':>10} {'closure':>10} {'program':>10}   (products, ms)")
    for t in sorted(measured, key=lambda t: t.pays_after):
        milliseconds = (1e3 * seconds for seconds in (t.recording, t.closure, t.program))
        cells = " ".join(f"{value:10.3f}" for value in milliseconds)
        print(f"{t.pays_after:10.1f} {cells}   {t.name}")
    quartiles = np.percentile([t.recording / t.closure for t in measured], [25, 50, 75])
    print("\nrecording / closure: quartiles {:.1f}, {:.1f}, {:.1f}".format(*quartiles))
    quartiles = np.percentile([t.pays_after for t in measured], [25, 50, 75])
    print("pays after: quartiles {:.1f}, {:.1f}, {:.1f}".format(*quartiles))
    slower = [t.name for t in measured if t.program >= t.closure]
    share = len(slower) / len(measured)
    print(f"no faster as a program: {share:.1%} of {len(measured)}: {', '.join(slower) or 'none'}")


def report_choices(measured: list[Times], choices: list[int]) -> None:
    """Print what each number of products before the recording would cost."""
    print(f"\nseconds relative to those of the closure alone, for {ASKED} products: median, worst")
    print("and relative to the better of recording at once and never, at the worst number of them")
    for record_after in choices:
        asked = np.array(ASKED)
        ratios = np.array([t.total(asked, record_after) / (t.closure * asked) for t in measured])
        asked = np.arange(1, 1001)
        regrets = [
            np.max(t.total(asked, record_after) / np.minimum(t.total(asked, 0), t.closure * asked))
            for t in measured
        ]
        print(
            f"{record_after:4d}  median {np.array2string(np.median(ratios, axis=0), precision=2)}"
            f"  worst {np.array2string(np.max(ratios, axis=0), precision=2)}"
            f"   regret: median {np.median(regrets):.2f}, 90 % {np.percentile(regrets, 90):.2f}, "
            f"worst {np.max(regrets):.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5, help="turns of each contestant")
    parser.add_argument(
        "--record-after", nargs="+", type=int, default=[5, 10, 15, 20, 25, 30, 35, 40]
    )
    options = parser.parse_args()
    choices = sorted({*options.record_after, compiling.RECORD_AFTER})
    print(f"records after {compiling.RECORD_AFTER} products")
    compiling.RECORD_AFTER = sys.maxsize
    warnings.simplefilter("ignore")
    measured = []
    for name, *function in functions():
        try:
            measured.append(measure(name, *function, options.repeat))
        except NoProgramError as error:
            print(f"no program: {error}")
    report(measured)
    report_choices(measured, choices)


if __name__ == "__main__":
    main()
