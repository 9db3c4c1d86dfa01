"""The bridge to scipy.optimize."""

from hessop.optimize.constraints import nonlinear_constraint
from hessop.optimize.minimization import minimize
from hessop.optimize.objectives import Objective
from hessop.optimize.residuals import least_squares

__all__ = ["Objective", "least_squares", "minimize", "nonlinear_constraint"]
