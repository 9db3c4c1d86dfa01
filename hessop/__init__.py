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
from hessop.diagnostics.audits import Audit, Check, check_operator
from hessop.diagnostics.preflights import Preflight, preflight
from hessop.diagnostics.reports import CurvatureReport, report
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
from hessop.spectrum.conditions import condition_number
from hessop.spectrum.critical_points import CriticalPoint, critical_point
from hessop.spectrum.deflation import DeflatedOperator, deflated_operator
from hessop.spectrum.densities import spectral_density
from hessop.spectrum.density_results import SpectralDensity
from hessop.spectrum.diagonals import diagonal
from hessop.spectrum.eigen import extreme_eigenpairs
from hessop.spectrum.eigen_results import Eigenpairs
from hessop.spectrum.estimates import Estimate
from hessop.spectrum.functions import effective_dimension, trace_of_function
from hessop.spectrum.inertias import SignCounts, inertia
from hessop.spectrum.lanczos_states import LanczosState, lanczos
from hessop.spectrum.logdets import logdet
from hessop.spectrum.norms import frobenius_norm, row_norms
from hessop.spectrum.spectral_norms import spectral_norm
from hessop.spectrum.traces import trace

__all__ = [
    "Audit",
    "BlockDiagonalOperator",
    "Check",
    "CriticalPoint",
    "CurvatureReport",
    "DeflatedOperator",
    "DenseOperator",
    "DiagonalOperator",
    "Eigenpairs",
    "Estimate",
    "FactorizedInverse",
    "FisherOperator",
    "GaussNewtonOperator",
    "HessianOperator",
    "InverseGradientOperator",
    "JacobianOperator",
    "KroneckerOperator",
    "LanczosState",
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
    "Preflight",
    "ProgramWarning",
    "Retrained",
    "SignCounts",
    "SolveResult",
    "SolverInverse",
    "SparseOperator",
    "SpectralDensity",
    "backprop_diagonal",
    "block_jacobi_preconditioner",
    "check_operator",
    "condition_number",
    "conjugate_inverse_operator",
    "critical_point",
    "deflated_operator",
    "diagonal",
    "effective_dimension",
    "extreme_eigenpairs",
    "factorized_inverse",
    "fisher_operator",
    "frobenius_norm",
    "gauss_newton_operator",
    "hessian_operator",
    "inertia",
    "inverse_gradient_operator",
    "inverse_operator",
    "jacobi_preconditioner",
    "jacobian_operator",
    "kfac_operator",
    "kfac_preconditioner",
    "lanczos",
    "lbfgs_preconditioner",
    "least_squares",
    "likelihoods",
    "logdet",
    "minimize",
    "neumann_inverse",
    "newton_retrain",
    "newton_step",
    "nonlinear_constraint",
    "ntk_operator",
    "nystrom_preconditioner",
    "preflight",
    "report",
    "row_norms",
    "solve",
    "solve_path",
    "sparse_preconditioner",
    "spectral_density",
    "spectral_norm",
    "trace",
    "trace_of_function",
]

__version__ = "0.1.0"
