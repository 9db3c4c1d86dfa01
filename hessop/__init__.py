"""Curvature of functions written with autograd.numpy, as SciPy linear operators."""

from hessop import likelihoods
from hessop._errors import (
    MissingDerivativeError,
    NonFiniteError,
    NoProgramError,
    NotConvergedError,
    NotConvergedWarning,
    NotConvexWarning,
    NotTracedError,
    ProgramWarning,
)
from hessop.operators.back_propagation import backprop_diagonal
from hessop.operators.block_diagonal import BlockDiagonalOperator
from hessop.operators.dense import DenseOperator
from hessop.operators.diagonal import DiagonalOperator
from hessop.operators.fisher import FisherOperator, fisher_operator
from hessop.operators.gauss_newton import GaussNewtonOperator, gauss_newton_operator
from hessop.operators.hessian import HessianOperator, hessian_operator
from hessop.operators.jacobian import JacobianOperator, jacobian_operator
from hessop.operators.kfac import kfac_operator
from hessop.operators.kronecker import KroneckerOperator
from hessop.operators.low_rank import LowRankOperator
from hessop.operators.ntk import NTKOperator, ntk_operator
from hessop.operators.sparse import SparseOperator
from hessop.optimize import Objective, least_squares, minimize, nonlinear_constraint
from hessop.solvers.linear import solve
from hessop.solvers.results import SolveResult

__all__ = [
    "BlockDiagonalOperator",
    "DenseOperator",
    "DiagonalOperator",
    "FisherOperator",
    "GaussNewtonOperator",
    "HessianOperator",
    "JacobianOperator",
    "KroneckerOperator",
    "LowRankOperator",
    "MissingDerivativeError",
    "NTKOperator",
    "NoProgramError",
    "NonFiniteError",
    "NotConvergedError",
    "NotConvergedWarning",
    "NotConvexWarning",
    "NotTracedError",
    "Objective",
    "ProgramWarning",
    "SolveResult",
    "SparseOperator",
    "backprop_diagonal",
    "fisher_operator",
    "gauss_newton_operator",
    "hessian_operator",
    "jacobian_operator",
    "kfac_operator",
    "least_squares",
    "likelihoods",
    "minimize",
    "nonlinear_constraint",
    "ntk_operator",
    "solve",
]

__version__ = "0.1.0"
