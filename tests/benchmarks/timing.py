"""Timing contestants side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

Timed = Callable[[], Any]


def medians(contestants: dict[str, Timed], repeat: int) -> dict[str, float]:
    """Seconds a call, the contestants taking turns; short calls are repeated within a turn."""
    inner = {}
    for name, call in contestants.items():
        call()
        start = time.perf_counter()
        call()
        inner[name] = max(1, int(2e-3 / (time.perf_counter() - start)))
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeat):
        for name, call in contestants.items():
            start = time.perf_counter()
            for _ in range(inner[name]):
                call()
            seconds[name].append((time.perf_counter() - start) / inner[name])
    return {name: float(np.median(times)) for name, times in seconds.items()}


def report(what: str, seconds: dict[str, float]) -> None:
    """Print medians; in brackets, relative to the first."""
    first = next(iter(seconds))
    cells = [
        f"{name} {1e6 * time:,.{0 if time > 1e-5 else 1}f} us"
        + ("" if name == first else f" ({time / seconds[first]:.3f})")
        for name, time in seconds.items()
    ]
    print(f"  {what:26}" + "   ".join(cells), flush=True)


def agree(name: str, product: np.ndarray, expected: np.ndarray) -> None:
    """Stop where two contestants do not compute the same."""
    error = np.linalg.norm(product - expected) / np.linalg.norm(expected)
    if not error < 1e-9:
        raise AssertionError(f"{name}: products differ by {error:.1e}")
