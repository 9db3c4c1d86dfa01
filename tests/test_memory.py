"""What products allocate, in vectors' worth."""

import tracemalloc

import autograd.numpy as anp
import numpy as np
from problems import rosenbrock, sum_of_squares

from hessop import hessian_operator

N = 1_000_000


def peak(work):
    tracemalloc.start()
    try:
        kept = work()
        return kept, tracemalloc.get_traced_memory()[1] / (8 * N)
    finally:
        tracemalloc.stop()


def test_a_product_of_a_million_variables():
    x = np.tile([-1.2, 1.0], N // 2)
    v = np.ones(N)
    fun = sum_of_squares(rosenbrock)
    H, making = peak(lambda: hessian_operator(fun, x))
    _, first = peak(lambda: H @ v)
    _, second = peak(lambda: H @ v)
    print(f"vectors' worth: making {making:.1f}, first product {first:.1f}, next {second:.1f}")
    # Whatever is kept between products counts for each of them.
    assert making + first < 30
    assert second < 15


def test_a_recording_keeps_no_more_than_its_derivatives_look_at():
    # Ten thousand entries through fifty additions: none of them is needed again.
    def fun(x):
        total = x
        for _ in range(50):
            total = total + x
        return anp.sum(total**2)

    x = np.ones(N // 10)
    tracemalloc.start()
    H = hessian_operator(fun, x)
    kept = tracemalloc.get_traced_memory()[0] / x.nbytes
    tracemalloc.stop()
    assert kept < 5
    np.testing.assert_allclose(H @ x, 2 * 51**2)
