"""The public names, and what each of them must carry."""

import inspect
import re

import pytest

import hessop

PUBLIC = {
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
}
FUNCTIONS = sorted(name for name in PUBLIC if inspect.isfunction(getattr(hessop, name)))


def test_all_is_the_public_names_sorted():
    assert list(hessop.__all__) == sorted(PUBLIC)
    public = {
        name
        for name, value in vars(hessop).items()
        if not name.startswith("_") and (name == "likelihoods" or not inspect.ismodule(value))
    }
    assert public == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_name_is_documented(name):
    assert inspect.getdoc(getattr(hessop, name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_name_every_argument_what_they_raise_and_an_example(name):
    function = getattr(hessop, name)
    doc = inspect.getdoc(function)
    for section in ("Parameters", "Returns", "Examples"):
        assert re.search(rf"^{section}\n-+$", doc, re.MULTILINE), section
    for argument in inspect.signature(function).parameters:
        assert re.search(rf"^(.*, )?\*{{0,2}}{argument}\b.*( :|$)", doc, re.MULTILINE), argument


def test_signatures_are_keyword_only_after_the_obvious():
    def positional(function):
        kinds = inspect.signature(function).parameters.values()
        return [p.name for p in kinds if p.kind is p.POSITIONAL_OR_KEYWORD]

    assert positional(hessop.hessian_operator) == ["fun", "x"]
    assert positional(hessop.jacobian_operator) == ["model", "x"]
    assert positional(hessop.gauss_newton_operator) == ["model", "loss", "x"]
    assert positional(hessop.fisher_operator) == ["model", "likelihood", "x"]
    assert positional(hessop.kfac_operator) == ["model", "likelihood", "x"]
    assert positional(hessop.ntk_operator) == ["model", "x"]
    assert positional(hessop.backprop_diagonal) == ["fun", "x"]
    assert positional(hessop.Objective) == ["fun", "x0", "args"]
    assert positional(hessop.minimize) == ["fun", "x0", "args", "method"]
    assert positional(hessop.least_squares) == ["residuals", "x0", "args"]


def test_typed():
    import importlib.resources

    assert importlib.resources.files("hessop").joinpath("py.typed").is_file()
