"""Opening one of autograd's traces: what the rooms that know autograd share."""

from __future__ import annotations

import threading
from typing import Any

from autograd.tracer import isbox, trace_stack

__all__ = ["TRACING", "is_traced", "new_trace"]

# autograd counts its nested traces in one process-wide variable.
TRACING = threading.RLock()


class new_trace:
    """Open one more of autograd's traces, and close it also when an exception passes through.

    Used like a function; a class is the faster context.
    """

    __slots__ = ["_outer"]

    def __enter__(self) -> int:
        TRACING.acquire()
        outer: int = trace_stack.top
        trace_stack.top = outer + 1
        self._outer = outer
        return outer + 1

    def __exit__(self, *exception: object) -> None:
        trace_stack.top = self._outer
        TRACING.release()


def is_traced(value: Any, trace: int) -> bool:
    """Whether a value is a box of this trace, so that it depends on what the trace began with."""
    return bool(isbox(value) and value._trace == trace)
