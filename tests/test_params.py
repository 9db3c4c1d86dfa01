"""Parameter trees to flat vectors and back."""

import sys
from collections import namedtuple

import numpy as np
import pytest

from hessop import NonFiniteError
from hessop.params import read_tree

Affine = namedtuple("Affine", "weights offset")

TREES = {
    "array": np.arange(6.0).reshape(2, 3),
    "scalar": 2.5,
    "nested": {"b": [np.arange(3.0), (1.0, np.array(4.0))], "a": {"c": np.ones((2, 2, 1))}},
    "namedtuple": Affine(np.eye(2), -1.0),
    "fortran-order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "negative-strides": np.arange(6.0)[::-2],
}


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    if isinstance(tree, list | tuple):
        return [leaf for part in tree for leaf in leaves(part)]
    return [np.asarray(tree)]


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_the_flat_vector_is_the_raveled_leaves_and_gives_the_tree_back(tree):
    layout, x = read_tree(tree)
    np.testing.assert_array_equal(x, np.concatenate([leaf.ravel() for leaf in leaves(tree)]))
    back = layout.unflatten(x)
    assert type(back) is type(tree) or np.isscalar(tree)
    for ours, given in zip(leaves(back), leaves(tree), strict=True):
        assert ours.shape == given.shape
        np.testing.assert_array_equal(ours, given)
    np.testing.assert_array_equal(layout.flatten(back), x)


def test_no_memory_is_shared():
    tree = {"w": np.ones(3)}
    layout, x = read_tree(tree)
    x[0] = 5.0
    back = layout.unflatten(x)
    back["w"][1] = 7.0
    assert tree["w"].tolist() == [1.0, 1.0, 1.0]
    assert x.tolist() == [5.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("tree", "dtype"),
    [
        (np.ones(2), np.float64),
        (np.ones(2, np.float32), np.float32),
        ({"a": np.ones(2, np.float32), "b": np.float32(1)}, np.float32),
        ({"a": np.ones(2, np.float32), "b": 1.0}, np.float64),
        (np.array([1, 2]), np.float64),
        ([1, np.int8(2), np.ones(2, np.uint16)], np.float64),
        (np.ones(2, np.float16), np.float64),
        (np.ones(2, ">f8"), np.float64),
        (np.ones(2, ">f4"), np.float32),
    ],
)
def test_dtype(tree, dtype):
    layout, x = read_tree(tree)
    assert x.dtype == layout.dtype == dtype
    assert layout.unflatten(x) is not None


@pytest.mark.parametrize(
    ("tree", "error", "words"),
    [
        (1j, TypeError, "x is a complex.*real and imaginary parts as two leaves"),
        ({"a": [np.ones(2, complex)]}, TypeError, r"x\['a'\]\[0\] is an array of dtype complex128"),
        ({"name": "adam", "w": 1.0}, TypeError, r"x\['name'\] is a str.*through args"),
        ([1.0, None], TypeError, r"x\[1\] is NoneType"),
        (Affine(1.0, np.array([object()])), TypeError, r"x\.offset is an array of dtype object"),
        ({"flag": True}, TypeError, r"x\['flag'\] is a bool.*Cast it to float"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), TypeError, "Fill the masked entries"),
        ([], ValueError, "x is empty"),
        (np.zeros((0, 3)), ValueError, "x is empty"),
        ({"w": np.array([[1.0, np.nan]])}, NonFiniteError, r"x\['w'\]\[0, 1\] is nan"),
        (np.inf, NonFiniteError, "x is inf"),
    ],
)
def test_what_is_refused_is_named_by_its_path(tree, error, words):
    with pytest.raises(error, match=words):
        read_tree(tree)


def test_another_nest_or_shape_is_refused():
    layout, _ = read_tree({"a": np.ones(2), "b": 1.0})
    with pytest.raises(ValueError, match=r"expected {'a': \*, 'b': \*}"):
        layout.flatten({"a": np.ones(2)})
    with pytest.raises(ValueError, match=r"v\['a'\] has shape \(3,\), expected \(2,\)"):
        layout.flatten({"a": np.ones(3), "b": 1.0}, "v")
    with pytest.raises(ValueError, match=r"x has shape \(4,\), expected \(3,\)"):
        layout.unflatten(np.ones(4))


def test_dictionaries_are_the_same_in_any_order():
    layout, _ = read_tree({"b": 1.0, "a": 2.0})
    np.testing.assert_array_equal(layout.flatten({"a": 2.0, "b": 1.0}), [2.0, 1.0])


def calls_made(work):
    """How many functions a piece of work calls, Python's and C's."""
    made = []
    sys.setprofile(lambda frame, event, arg: made.append(event))
    try:
        work()
    finally:
        sys.setprofile(None)
    return len(made)


def test_the_work_is_linear_in_the_number_of_leaves():
    def work(leaves):
        layout, x = read_tree({f"layer{i:04}": np.ones(3) for i in range(leaves)})
        layout.flatten(layout.unflatten(x))

    work(1)
    few, many = (calls_made(lambda n=n: work(n)) for n in (400, 1600))
    assert many < 4.2 * few
