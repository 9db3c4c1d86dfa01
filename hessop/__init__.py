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
from hessop.solvers.conjugates import conjugate_inverse_operator
from hessop.solvers.dampings import PathResult, solve_path
from hessop.solvers.factorized import FactorizedInverse, factorized_inverse
from hessop.solvers.inverse_gradient import InverseGradientOperator, inverse_gradient_operator
from hessop.solvers.inverse_products import SolverInverse, inverse_operator
from hessop.solvers.linear import solve
from hessop.solvers.neumann import NeumannOperator, neumann_inverse
from hessop.solvers.newton import NewtonStep, newton_step
from hessop.solvers.nystrom import nystrom_preconditioner
from hessop.solvers.preconditioners import (
    block_jacobi_preconditioner,
    jacobi_preconditioner,
    kfac_preconditioner,
)
from hessop.solvers.quasi_newton import lbfgs_preconditioner
from hessop.solvers.results import NegativeCurvature, SolveResult
from hessop.solvers.retraining import Retrained, newton_retrain
from hessop.solvers.sparse_factors import sparse_preconditioner

__all__ = [
    "BlockDiagonalOperator",
    "DenseOperator",
    "DiagonalOperator",
    "FactorizedInverse",
    "FisherOperator",
    "GaussNewtonOperator",
    "HessianOperator",
    "InverseGradientOperator",
    "JacobianOperator",
    "KroneckerOperator",
    "LowRankOperator",
    "MissingDerivativeError",
    "NTKOperator",
    "NegativeCurvature",
    "NeumannOperator",
    "NewtonStep",
    "NoProgramError",
    "NonFiniteError",
    "NotConvergedError",
    "NotConvergedWarning",
    "NotConvexWarning",
    "NotTracedError",
    "Objective",
    "PathResult",
    "ProgramWarning",
    "Retrained",
    "SolveResult",
    "SolverInverse",
    "SparseOperator",
    "backprop_diagonal",
    "block_jacobi_preconditioner",
    "conjugate_inverse_operator",
    "factorized_inverse",
    "fisher_operator",
    "gauss_newton_operator",
    "hessian_operator",
    "inverse_gradient_operator",
    "inverse_operator",
    "jacobi_preconditioner",
    "jacobian_operator",
    "kfac_operator",
    "kfac_preconditioner",
    "lbfgs_preconditioner",
    "least_squares",
    "likelihoods",
    "minimize",
    "neumann_inverse",
    "newton_retrain",
    "newton_step",
    "nonlinear_constraint",
    "ntk_operator",
    "nystrom_preconditioner",
    "solve",
    "solve_path",
    "sparse_preconditioner",
]

__version__ = "0.1.0"
