"""Progress bars by tqdm, which is imported only when one is asked for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = ["progress_bar"]


def progress_bar(wanted: bool, total: int | None, **kwargs: Any) -> AbstractContextManager[Any]:
    """A tqdm bar as a context, or a context that gives None when no bar is wanted.

    Raises
    ------
    ImportError
        When a bar is wanted and tqdm is not installed.
    """
    if not wanted:
        return nullcontext()
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError(
            "progress=True needs tqdm, which is not installed. "
            "Run 'pip install tqdm', or leave progress out."
        ) from error
    bar: AbstractContextManager[Any] = tqdm(total=total, **kwargs)
    return bar
