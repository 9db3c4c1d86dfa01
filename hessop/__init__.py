"""Hessians of functions written with autograd.numpy, as SciPy linear operators."""

from hessop._errors import (
    MissingDerivativeError,
    NonFiniteError,
    NoProgramError,
    NotTracedError,
    ProgramWarning,
)
from hessop.operators.hessian import HessianOperator, hessian_operator
from hessop.operators.jacobian import JacobianOperator, jacobian_operator
from hessop.optimize import Objective, least_squares, minimize, nonlinear_constraint

__all__ = [
    "HessianOperator",
    "JacobianOperator",
    "MissingDerivativeError",
    "NoProgramError",
    "NonFiniteError",
    "NotTracedError",
    "Objective",
    "ProgramWarning",
    "hessian_operator",
    "jacobian_operator",
    "least_squares",
    "minimize",
    "nonlinear_constraint",
]

__version__ = "0.1.0"
