"""Curvature matrices of small networks, as curvlinops gives them.

    pip install torch==2.13.0 curvlinops-for-pytorch==3.0.1
    python curvlinops_figures.py

writes ``curvlinops_figures.npz`` beside this file, float64 throughout. Before it writes, it
computes every matrix again in plain NumPy and fails where the two disagree.

Problems, N = 12 examples each. The layers are W1, b1, W2, b2, ... with W of shape (in, out), so
that a = tanh(X @ W1 + b1) and the outputs are z = a @ W2 + b2:

softmax    5-4-3, CrossEntropyLoss(reduction="sum"), integer targets
squared    5-4-2, MSELoss(reduction="sum"), that is Σ (z - y)²
deep       5-4-4-3, loss and targets as in softmax
shared     5-4-3, X of shape (12, R = 3, 5): R positions share the weights, and the outputs are
           averaged over them before the loss, which is that of softmax

Keys are "problem/name". X, targets, W1, b1, ... are the problem. Then come matrices of shape
(n, n) for the n parameters in the order of the sorted names (W1, W2, ..., b1, b2, ...), each
raveled in C order:

hessian            HessianLinearOperator
ggn                GGNLinearOperator
fisher_exact       the type-2 Fisher, for which curvlinops has parts but no operator: Jᵀ S Sᵀ J of
                   JacobianLinearOperator and the roots S of KFAC's type-2, loss_hessian_matrix_sqrt
fisher_empirical   EFLinearOperator
kfac_exact         KFACLinearOperator, fisher_type "type-2", expand, weight and bias jointly
kfac_empirical     the same with fisher_type "empirical"

All are as curvlinops gives them. "problem/scale/name", where it is not 1, is the factor of a figure
over its formula,

hessian            ∇² Σ_n nll_n
ggn, fisher_exact  Σ_n J_nᵀ Λ_n J_n, Λ_n the Hessian of nll_n in the outputs z_n
fisher_empirical   Σ_n g_n g_nᵀ, g_n = ∇ nll_n
kfac_*             a block kron(A, G) for each layer, zero elsewhere: A = 1/(N R) Σ_nr a_nr a_nrᵀ,
                   a_nr the input of the layer followed by 1, G = Σ_nr E[g_nr g_nrᵀ], g_nr the
                   gradient of nll_n in the output of the layer at position r; R = 1 but in shared

with nll = cross-entropy for the softmax, where every scale is 1, and nll = ½ |z - y|², the Gaussian
of unit variance, in squared. MSELoss is twice that nll, so squared has 2 for what is made of its
Hessian and 4 for what is made of its gradients. With nll = |z - y|², the Gaussian of variance ½
that curvlinops samples from, every scale would be 1.
"""

from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from curvlinops import (
    EFLinearOperator,
    GGNLinearOperator,
    HessianLinearOperator,
    JacobianLinearOperator,
    KFACLinearOperator,
)
from curvlinops.kfac_utils import loss_hessian_matrix_sqrt
from torch.nn import CrossEntropyLoss, Linear, MSELoss, Sequential, Tanh

# Shape of X, sizes of the layers, loss.
PROBLEMS = {
    "softmax": ((12, 5), (5, 4, 3), CrossEntropyLoss),
    "squared": ((12, 5), (5, 4, 2), MSELoss),
    "deep": ((12, 5), (5, 4, 4, 3), CrossEntropyLoss),
    "shared": ((12, 3, 5), (5, 4, 3), CrossEntropyLoss),
}
SCALES = {
    CrossEntropyLoss: {},
    MSELoss: {
        "hessian": 2.0,
        "ggn": 2.0,
        "fisher_exact": 2.0,
        "fisher_empirical": 4.0,
        "kfac_exact": 2.0,
        "kfac_empirical": 4.0,
    },
}


def draw(shape, sizes, loss):
    """X, targets and weights of a problem."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal(shape)
    if loss is CrossEntropyLoss:
        targets = rng.integers(sizes[-1], size=shape[0])
    else:
        targets = rng.standard_normal((shape[0], sizes[-1]))
    weights = {}
    for k, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1):
        weights[f"W{k}"] = rng.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in)
        weights[f"b{k}"] = rng.standard_normal(fan_out) / 2
    return X, targets, weights


# By curvlinops


class Network(Sequential):
    """Layers, then the mean over positions where there are any."""

    def forward(self, X):
        z = super().forward(X)
        return z.mean(1) if z.ndim == 3 else z


def by_curvlinops(X, targets, weights, loss):
    """The figures of a problem, in the order of the sorted names."""
    X, targets, loss = torch.tensor(X), torch.tensor(targets), loss(reduction="sum")
    modules, parameters = [], {}
    for k in range(1, len(weights) // 2 + 1):
        layer = Linear(*weights[f"W{k}"].shape)
        layer.weight.data = torch.tensor(weights[f"W{k}"].T)
        layer.bias.data = torch.tensor(weights[f"b{k}"])
        parameters |= {f"W{k}": layer.weight, f"b{k}": layer.bias}
        modules += [layer, Tanh()]
    model = Network(*modules[:-1])
    params = [parameters[name] for name in sorted(parameters)]
    positions = torch.arange(sum(p.numel() for p in params)).split([p.numel() for p in params])
    # torch keeps W as (out, in).
    order = np.concatenate(
        [i.numpy().reshape(p.shape).T.ravel() for i, p in zip(positions, params, strict=True)]
    )

    problem = (model, loss, params, [(X, targets)])
    kfac = partial(
        KFACLinearOperator, *problem, kfac_approx="expand", separate_weight_and_bias=False
    )
    operators = {
        "hessian": HessianLinearOperator(*problem),
        "ggn": GGNLinearOperator(*problem),
        "fisher_empirical": EFLinearOperator(*problem),
        "kfac_exact": kfac(fisher_type="type-2"),
        "kfac_empirical": kfac(fisher_type="empirical"),
    }
    columns = torch.eye(len(order))[:, order]
    figures = {name: (A @ columns).detach().numpy()[order] for name, A in operators.items()}

    jacobian = JacobianLinearOperator(model, params, [(X, targets)]) @ columns
    examples = zip(model(X).detach().split(1), targets.split(1), strict=True)
    roots = torch.block_diag(*[loss_hessian_matrix_sqrt(z, y, loss) for z, y in examples])
    rooted = (roots.T @ jacobian).numpy()
    return figures | {"fisher_exact": rooted.T @ rooted}


# By hand


def joint_positions(weights):
    """For each layer, where W and below it b are in the flat vector: shape (in + 1, out)."""
    names = sorted(weights)
    ends = np.cumsum([weights[name].size for name in names])
    at = {
        name: np.arange(end - weights[name].size, end).reshape(weights[name].shape)
        for name, end in zip(names, ends, strict=True)
    }
    return [np.vstack([at[f"W{k}"], at[f"b{k}"]]) for k in range(1, len(names) // 2 + 1)]


def differentiate(x, joints, X):
    """Outputs (N, C), their Jacobian (N, C, n) in the flat vector x, and of each layer the inputs
    (N, R, in + 1) and the derivatives of the outputs in those of the layer (N, R, C, out).
    """
    a, inputs = X.reshape(len(X), -1, X.shape[-1]), []
    for joint in joints:
        inputs.append(np.concatenate([a, np.ones_like(a[..., :1])], axis=-1))
        z = inputs[-1] @ x[joint]
        a = np.tanh(z)
    n_positions, n_outputs = z.shape[1:]

    slopes = [np.broadcast_to(np.eye(n_outputs) / n_positions, (*z.shape, n_outputs))]
    for joint, a in zip(joints[:0:-1], inputs[:0:-1], strict=True):
        slope = slopes[0] @ x[joint[:-1]].T * (1 - a[:, :, None, :-1] ** 2)
        slopes.insert(0, slope)

    jacobian = np.empty((len(X), n_outputs, len(x)), dtype=z.dtype)
    for joint, a, slope in zip(joints, inputs, slopes, strict=True):
        jacobian[:, :, joint] = np.einsum("nri,nrco->ncio", a, slope)
    return z.mean(axis=1), jacobian, inputs, slopes


def likelihood(z, targets):
    """Of nll in the outputs, the gradients (N, C) and the Hessians (N, C, C)."""
    identity = np.eye(z.shape[1])
    if targets.ndim == 2:
        return z - targets, np.broadcast_to(identity, (*z.shape, z.shape[1]))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return p - identity[targets], p[:, :, None] * (identity - p[:, None, :])


def by_hand(X, targets, weights):
    """The formulas of the module's docstring."""
    joints = joint_positions(weights)
    x = np.concatenate([weights[name].ravel() for name in sorted(weights)])

    def gradients(x):
        z, jacobian, *_ = differentiate(x, joints, X)
        return np.einsum("nc,nci->ni", likelihood(z, targets)[0], jacobian)

    z, jacobian, inputs, slopes = differentiate(x, joints, X)
    residuals, hessians = likelihood(z, targets)
    exact = np.einsum("nci,ncd,ndj->ij", jacobian, hessians, jacobian)

    step = 1e-30j
    kfac = {"kfac_exact": np.zeros_like(exact), "kfac_empirical": np.zeros_like(exact)}
    for joint, a, slope in zip(joints, inputs, slopes, strict=True):
        A = np.einsum("nri,nrj->ij", a, a) / (a.shape[0] * a.shape[1])
        block = np.ix_(joint.ravel(), joint.ravel())
        G = np.einsum("nrco,ncd,nrdp->op", slope, hessians, slope)
        kfac["kfac_exact"][block] = np.kron(A, G)
        g = np.einsum("nc,nrco->nro", residuals, slope)
        kfac["kfac_empirical"][block] = np.kron(A, np.einsum("nro,nrp->op", g, g))

    return kfac | {
        # Complex steps: exact up to rounding.
        "hessian": np.stack(
            [gradients(x + step * e).sum(axis=0).imag / abs(step) for e in np.eye(len(x))]
        ),
        "ggn": exact,
        "fisher_exact": exact,
        "fisher_empirical": gradients(x).T @ gradients(x),
    }


def main():
    torch.set_default_dtype(torch.float64)
    record = {
        f"version/{name}": version(name) for name in ("curvlinops-for-pytorch", "torch", "numpy")
    }
    for problem, (shape, sizes, loss) in PROBLEMS.items():
        X, targets, weights = draw(shape, sizes, loss)
        figures = by_curvlinops(X, targets, weights, loss)
        for name, formula in by_hand(X, targets, weights).items():
            expected = SCALES[loss].get(name, 1.0) * formula
            np.testing.assert_allclose(
                figures[name], expected, rtol=1e-11, atol=1e-13, err_msg=f"{problem}/{name}"
            )
        entries = {"X": X, "targets": targets} | weights | figures
        entries |= {f"scale/{name}": scale for name, scale in SCALES[loss].items()}
        record |= {f"{problem}/{name}": entry for name, entry in entries.items()}
    np.savez_compressed(Path(__file__).with_suffix(".npz"), **record)


if __name__ == "__main__":
    main()
