"""Views against what NumPy does to arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hessop.tape.views import View, affine, compose, read, view_of, whole

STEPS = (
    lambda a: a[1:],
    lambda a: a[::-1],
    lambda a: a[..., ::2],
    lambda a: a[:, None] if a.ndim == 1 else a[0],
    lambda a: a.T,
    lambda a: a.reshape(-1),
    lambda a: a.reshape(2, -1) if a.size % 2 == 0 else a,
    lambda a: np.broadcast_to(a, (3, *a.shape)),
    lambda a: np.diagonal(a, axis1=-1, axis2=-2) if a.ndim > 1 else a,
    lambda a: np.moveaxis(a, 0, -1),
)


@given(st.lists(st.sampled_from(range(len(STEPS))), max_size=5))
@settings(max_examples=300, deadline=None)
def test_views_compose_as_numpy_does(chosen):
    buffer = np.arange(24.0)
    array, view = buffer.reshape(4, 6), whole((4, 6))
    for i in chosen:
        if array.ndim > 4 or STEPS[i](array).size == 0:
            continue
        outer = view_of(STEPS[i], array.shape)
        assert outer is not None
        array = STEPS[i](array)
        after = compose(outer, view)
        if after is None:  # only where numpy must copy, too
            assert not np.may_share_memory(array, buffer)
            return
        view = after
        np.testing.assert_array_equal(read(view, buffer), array)
    rows = np.stack([buffer, buffer + 100])
    np.testing.assert_array_equal(read(view, rows)[1], array + 100)


def test_a_transposed_array_has_no_flat_view():
    assert compose(whole((6,)), View((2, 3), (1, 2))) is None
    assert compose(whole((6,)), View((2, 3), (3, 1))) == whole((6,))


def test_an_anti_diagonal_is_not_mistaken_for_a_column():
    inner = View((3, 3), (10, 1))
    assert compose(View((3,), (2,), 2), inner) is None


@pytest.mark.parametrize(
    ("index", "view"),
    [
        ([3, 5, 7], View((3,), (2,), 3)),
        ([[0, 1], [4, 5]], View((2, 2), (4, 1), 0)),
        ([5, 5], View((2,), (0,), 5)),
        ([0, 1, 3], None),
    ],
)
def test_indices_that_are_views(index, view):
    assert affine(np.array(index)) == view
