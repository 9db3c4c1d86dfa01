"""Hessians of log-likelihoods of generalized linear models, as statsmodels gives them.

    pip install statsmodels==0.15.0
    python statsmodels_figures.py

writes ``statsmodels_figures.npz`` beside this file. X has shape (40, 4), its first column is the
intercept; y are labels in logit and counts in poisson, the mean of a count is exp(X @ params).
The hessians are of the log-likelihood, summed over the examples: negative Fisher informations, as
both links are canonical. Before it writes, the script compares them with -Xᵀ diag(v) X, v the
variances of y: p (1 - p) for labels, the mean for counts.

logit/X, y, fit, fit_hessian        at the maximum of the likelihood
logit/params, hessian               at another point
poisson/X, y, params, hessian       at the point that y were drawn from
version/statsmodels, version/numpy
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
from statsmodels.api import Logit, Poisson


def main():
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(40), rng.standard_normal((40, 3))])
    params = np.array([0.3, -0.8, 0.5, 0.2])

    labels = rng.binomial(1, 1 / (1 + np.exp(-X @ params))).astype(float)
    logit = Logit(labels, X)
    fit = logit.fit(method="newton", tol=1e-14, disp=False).params
    counts = rng.poisson(np.exp(X @ params)).astype(float)

    record = {
        "logit/X": X,
        "logit/y": labels,
        "logit/fit": fit,
        "logit/fit_hessian": logit.hessian(fit),
        "logit/params": params,
        "logit/hessian": logit.hessian(params),
        "poisson/X": X,
        "poisson/y": counts,
        "poisson/params": params,
        "poisson/hessian": Poisson(counts, X).hessian(params),
    }

    def compare(name, variances):
        np.testing.assert_allclose(record[name], -X.T * variances @ X, rtol=1e-12, err_msg=name)

    p, q = 1 / (1 + np.exp(-X @ fit)), 1 / (1 + np.exp(-X @ params))
    np.testing.assert_allclose(X.T @ (labels - p), 0, atol=1e-12)
    compare("logit/fit_hessian", p * (1 - p))
    compare("logit/hessian", q * (1 - q))
    compare("poisson/hessian", np.exp(X @ params))

    versions = {f"version/{name}": version(name) for name in ("statsmodels", "numpy")}
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **record, **versions)


if __name__ == "__main__":
    main()
