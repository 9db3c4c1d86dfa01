"""Hessians of functions written with autograd.numpy, as SciPy linear operators."""

from hessop._errors import MissingDerivativeError, NonFiniteError, NotTracedError
from hessop.operators.hessian import HessianOperator, hessian_operator

__all__ = [
    "HessianOperator",
    "MissingDerivativeError",
    "NonFiniteError",
    "NotTracedError",
    "hessian_operator",
]

__version__ = "0.1.0"
