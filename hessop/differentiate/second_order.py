"""An approximate diagonal of the Hessian, propagated backwards through a recording.

Beside the cotangent g = df/dz of every recorded array z, its second derivatives h = d²f/dz² are
carried back, one for each entry. What couples two entries, or two arrays, is neglected at every
step, and so one walk is enough. To add a primitive is to add its name to a table at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any, NoReturn

import autograd.numpy as anp
import numpy as np
from autograd import builtins, elementwise_grad
from autograd.core import add_outgrads, make_vjp, primitive_jvps, primitive_vjps
from autograd.numpy import numpy_wrapper
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_vjps import unbroadcast
from autograd.util import subvals

from hessop._errors import MissingDerivativeError, name_of
from hessop._tracing import TRACING
from hessop.differentiate.recording import RecordedNode, Recording

__all__ = ["propagated_diagonal"]


def propagated_diagonal(recording: Recording, seed: Any) -> np.ndarray:
    """An approximate diagonal of the Hessian of ``<seed, fun(x)>``, by one walk back.

    Parameters
    ----------
    recording : Recording
    seed : ndarray
        Shaped like the function's result.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    MissingDerivativeError
        When a primitive has no rule here, or where it brings an entry together with itself in two
        arguments, as x * x.T does: what is neglected would lie on the diagonal. The message names
        the primitive.

    Notes
    -----
    For y = φ(z), and without the terms that couple two entries of z or of y, the chain rule is ::

        g_z = Σ_y  dy/dz   g_y
        h_z = Σ_y (dy/dz)² h_y + d²y/dz² g_y

    With the weighted sums and the activations of a network for φ, these are the formulas of Y. Le
    Cun, J. S. Denker and S. A. Solla, "Optimal Brain Damage", NIPS 2, 1989, and of S. Becker and
    Y. Le Cun, "Improving the convergence of back-propagation learning with second order methods",
    1988. Primitives that act entry by entry on one and the same array are taken together as one φ,
    so that ``z * expit(z)`` is an activation like any other.

    The result is exact for separable functions; for a layer of weights under a loss that is a sum
    over its outputs or a logsumexp of them; for one more layer below it when the loss is a sum; and
    for any number of layers of one unit. It may be far off where arrays that both depend on a
    parameter through sums are multiplied: for ``x @ (A @ x)`` it is zero.
    """
    order = recording.order
    found: dict[RecordedNode, tuple[Any, Any]] = {}
    with TRACING:
        try:
            values = _read(order)
            _leave(found, values[order[0]].pull(seed, np.zeros_like(seed)))
            for node in order:
                if node.parents and node in found:
                    g, h = found.pop(node)
                    for terms in _rule_of(node)(node, values, g[0], h[0]):
                        _leave(found, terms)
        except NotImplementedError as error:
            raise MissingDerivativeError(f"autograd: {error}. {_WAY_OUT}") from error
    return recording.layout.join(
        [found[root][1][0] if root in found else None for root in recording.roots]
    )


_WAY_OUT = "Use DiagonalOperator.from_operator(hessian_operator(fun, x)) for the exact diagonal."

# The node to leave them at, its cotangent, and its second derivatives.
_Terms = tuple[RecordedNode, Any, Any]


def _leave(found: dict[RecordedNode, tuple[Any, Any]], terms: _Terms) -> None:
    node, g, h = terms
    before = found.get(node, (None, None))
    found[node] = add_outgrads(before[0], g), add_outgrads(before[1], h)


# --- reading a recording --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, slots=True)
class _Value:
    """A recorded array as a function, entry by entry, of a base array of the same shape.

    With its first and second derivatives by the base; None where it is the base itself.
    """

    base: RecordedNode
    first: Any = None
    second: Any = None

    def near(self, value: Any, t: Any) -> Any:
        """The value where t is added to the base, up to the second order."""
        if self.first is None:
            return value + t
        return value + self.first * t + (0.5 * self.second) * t * t

    def pull(self, g: Any, h: Any) -> _Terms:
        """From the derivatives by the value to those by the base."""
        if self.first is None:
            return self.base, g, h
        g, h = add_outgrads(None, g)[0], add_outgrads(None, h)[0]  # one may be autograd's sparse
        return self.base, self.first * g, self.first**2 * h + self.second * g


_Values = dict[RecordedNode, _Value]


def _read(order: tuple[RecordedNode, ...]) -> _Values:
    values: _Values = {}
    seen: dict[Any, _Value] = {}
    for node in reversed(order):
        if not node.parents:
            values[node] = _Value(node)
            continue
        _rule_of(node)
        # What is computed twice, as x[0] * x[0], is one value: it meets itself in the product.
        constants = [arg for i, arg in enumerate(node.args) if i not in node.argnums]
        parents = tuple([id(values[parent]) for parent in node.parents])
        key = (node.fun, node.argnums, parents, _key(constants), _key(node.kwargs))
        if key not in seen:
            seen[key] = _value_of(node, values)
        values[node] = seen[key]
    return values


def _key(arg: Any) -> Any:
    if isinstance(arg, dict):
        return _key(list(arg.items()))
    if isinstance(arg, list | tuple):
        return tuple(map(_key, arg))
    # The recording keeps what it refers to, so that no id is given twice.
    return repr(arg) if isinstance(arg, int | float | str | slice | np.generic) else id(arg)


def _value_of(node: RecordedNode, values: _Values) -> _Value:
    (parent, *others) = [values[parent] for parent in node.parents]
    rule = _rule_of(node)
    if rule is _pull_elementwise and all(other.base is parent.base for other in others):
        if np.shape(parent.base.value) == np.shape(node.value):
            return _Value(parent.base, *_derivatives(node, values, parent.base))
    elif node.fun in _RESHAPING and not others:
        # Nothing was moved: r.T @ r is r @ r.
        arg = node.args[node.argnums[0]]
        moves = node.fun is anp.transpose and np.ndim(arg) > 1
        if np.shape(arg) == np.shape(node.value) and not moves:
            return parent
    return _Value(node)


def _derivatives(node: RecordedNode, values: _Values, base: RecordedNode) -> tuple[Any, Any]:
    """First and second derivatives of an elementwise primitive's result by a base array."""

    def near(t: Any) -> Any:
        args = list(node.args)
        for i, parent in zip(node.argnums, node.parents, strict=True):
            if values[parent].base is base:
                args[i] = values[parent].near(args[i], t)
        return node.fun(*args, **node.kwargs)

    def slope(t: Any) -> Any:
        return elementwise_grad(near)(t) + 0.0 * t  # autograd warns of what does not depend on t

    t = np.zeros(np.shape(node.value), np.result_type(node.value))
    pull_back, first = make_vjp(slope, t)
    return first, pull_back(np.ones_like(t))


# --- a value that meets itself --------------------------------------------------------------------


def _entries(base: RecordedNode, values: _Values) -> tuple[RecordedNode, Callable[[], Any]]:
    """The array that a base was rearranged from, and a function that numbers the entries taken."""
    chain = []
    while base.parents and base.fun in _REARRANGING | _CHOOSING:
        chain.append(base)
        base = values[base.parents[0]].base

    def numbered() -> Any:
        entries: Any = np.arange(1.0, np.size(base.value) + 1).reshape(np.shape(base.value))
        for node in reversed(chain):
            if node.fun in _CHOOSING:
                push = primitive_jvps[node.fun]
                entries = push(node.argnums, (entries,), node.value, node.args, node.kwargs)
            else:
                entries = node.fun(*subvals(node.args, [(node.argnums[0], entries)]), **node.kwargs)
        return entries

    return base, numbered


def _refuse_meeting(
    node: RecordedNode, values: _Values, bases: Iterable[RecordedNode], meets: Callable[..., Any]
) -> None:
    """Refuse where one entry reaches a primitive twice: its own square would be neglected."""
    origins = [_entries(base, values) for base in bases]
    for (source, first), (other, second) in combinations(origins, 2):
        if source is other:
            a = first()
            if np.any(meets(a, second()) & (a > 0)):  # zeros were filled in
                by = " of a value with itself, or a rearrangement of it (for a softmax: logsumexp)"
                _refuse(node, by)


def _refuse(node: RecordedNode, of: str = "") -> NoReturn:
    raise MissingDerivativeError(
        f"a diagonal of second derivatives cannot be propagated through {name_of(node.fun)}{of}. "
        + _WAY_OUT
    )


# --- rules: from a primitive's result to its arguments --------------------------------------------


def _vjp(node: RecordedNode, i: int, args: tuple[Any, ...]) -> Callable[[Any], Any]:
    # The result may be a stand-in; the rules of those primitives do not look at it.
    pull_back = primitive_vjps[node.fun]((i,), node.value, args, node.kwargs)
    return lambda cotangent: next(iter(pull_back(cotangent)))


def _pull_moved(node: RecordedNode, values: _Values, g: Any, h: Any) -> Iterator[_Terms]:
    """Every coefficient is zero or one, and so its own square."""
    for i, parent in zip(node.argnums, node.parents, strict=True):
        vjp = _vjp(node, i, node.args)
        yield values[parent].pull(vjp(g), vjp(h))


def _pull_elementwise(node: RecordedNode, values: _Values, g: Any, h: Any) -> Iterator[_Terms]:
    bases = dict.fromkeys(values[parent].base for parent in node.parents)
    _refuse_meeting(node, values, bases, np.equal)
    for base in bases:
        first, second = _derivatives(node, values, base)
        meta = anp.metadata(base.value)
        yield base, unbroadcast(first * g, meta), unbroadcast(first**2 * h + second * g, meta)


def _pull_multilinear(node: RecordedNode, values: _Values, g: Any, h: Any) -> Iterator[_Terms]:
    if subscripts := _matched(node):
        pair = tuple([node.args[i] for i in node.argnums])
        product = RecordedNode(np.multiply(*pair), anp.multiply, pair, {}, (0, 1), node.parents)
        spread = primitive_vjps[anp.einsum]((1,), None, (subscripts, product.value), {})
        (g,), (h,) = spread(g), spread(h)
        yield from _pull_elementwise(product, values, g, h)
        return
    _refuse_meeting(node, values, [values[parent].base for parent in node.parents], np.isin)
    factors = range(2)
    if node.fun is anp.einsum:
        n = len(node.args)
        factors = range(1, n) if isinstance(node.args[0], str) else range(0, n - 1, 2)
    for i, parent in zip(node.argnums, node.parents, strict=True):
        squares = [(j, np.square(node.args[j])) for j in factors if j != i]
        by_first, by_square = _vjp(node, i, node.args), _vjp(node, i, subvals(node.args, squares))
        yield values[parent].pull(by_first(g), by_square(h))


def _matched(node: RecordedNode) -> str | None:
    """How a product of two arrays entry by entry is summed; None where it is another product."""
    if len(node.parents) != 2:
        return None
    if node.fun is anp.einsum and isinstance(node.args[0], str):
        factors, result, _ = anp.parse_einsum_input(*node.args)
        first, _, second = factors.partition(",")
        return f"{first}->{result}" if first == second else None
    vectors = np.ndim(node.args[0]) == np.ndim(node.args[1]) == 1
    return "i->" if node.fun in {anp.dot, anp.inner, anp.matmul} and vectors else None


def _pull_reduced(node: RecordedNode, values: _Values, g: Any, h: Any) -> Iterator[_Terms]:
    """Every entry of the argument goes into one entry of the result."""
    vjp = _vjp(node, 0, node.args)
    first = vjp(np.ones_like(g))
    # The first derivatives p of logsumexp have the slopes p - p²; those of the others are constant.
    second_g = 0.0 if node.fun in _LINEAR_IN_EACH else (1.0 - first) * vjp(g)
    yield values[node.parents[0]].pull(vjp(g), first * vjp(h) + second_g)


# --- which primitive has which rule ---------------------------------------------------------------


def _named(names: str, module: Any = numpy_wrapper) -> set[Any]:
    # Releases differ in what they have.
    return {getattr(module, name) for name in names.split() if hasattr(module, name)}


# Later releases of autograd have functions around these primitives, under their names.
_WHERE, _MEAN = (
    next(fun for fun in primitive_vjps if name_of(fun) == name) for name in ("where", "mean")
)

_ELEMENTWISE = {_WHERE} | _named(
    "add subtract negative multiply divide true_divide reciprocal power square sqrt abs absolute "
    "fabs maximum minimum fmax fmin clip mod remainder exp exp2 expm1 log log2 log10 log1p "
    "logaddexp logaddexp2 sin cos tan arcsin arccos arctan arctan2 hypot sinh cosh tanh arcsinh "
    "arccosh arctanh sinc rad2deg degrees deg2rad radians nan_to_num"
)
# The entries stay in their order.
_RESHAPING = _named(
    "reshape ravel squeeze expand_dims broadcast_to atleast_1d atleast_2d atleast_3d transpose "
    "real real_if_close conj conjugate _astype _array_from_scalar_or_array"
)
# The entries of one array elsewhere, again, or with zeros between them.
_REARRANGING = {ArrayBox.__getitem__} | _RESHAPING
_REARRANGING |= _named(
    "swapaxes moveaxis rollaxis roll repeat tile tril triu diag diagonal make_diagonal flipud "
    "fliplr rot90 pad"
)
# The same, by their values.
_CHOOSING = _named("max min amax amin sort partition")
# Sums of entries, and several arrays in one.
_JOINING = {builtins.container_take, builtins.make_sequence, builtins._make_dict} | _named(
    "sum trace cumsum concatenate_args array_from_args full split array_split vsplit hsplit dsplit"
)
_MULTILINEAR = _named("dot matmul tensordot einsum inner outer kron")
_LINEAR_IN_EACH = {_MEAN, anp.prod}

_Rule = Callable[[RecordedNode, _Values, Any, Any], Iterator[_Terms]]
_RULES: dict[Any, _Rule] = {
    **dict.fromkeys(_REARRANGING | _CHOOSING | _JOINING, _pull_moved),
    **dict.fromkeys(_ELEMENTWISE, _pull_elementwise),
    **dict.fromkeys(_MULTILINEAR, _pull_multilinear),
    **dict.fromkeys(_LINEAR_IN_EACH, _pull_reduced),
}


@cache
def _scipy_rules() -> dict[Any, _Rule]:
    # Imported where one of them may have been met: it is slow, and few functions need it.
    from autograd.scipy import signal, special, stats

    elementwise = _named(
        "beta betainc betaln polygamma psi digamma gamma gammaln gammainc gammaincc rgamma "
        "multigammaln j0 y0 j1 y1 jn yn i0 i1 iv ive erf erfc erfinv erfcinv logit expit",
        special,
    )
    for family in (stats.norm, stats.t, stats.beta, stats.gamma, stats.chi2, stats.poisson):
        elementwise |= _named("pdf logpdf pmf logpmf cdf logcdf sf logsf", family)
    return {
        **dict.fromkeys(elementwise, _pull_elementwise),
        signal.convolve: _pull_multilinear,
        special.logsumexp: _pull_reduced,
    }


def _rule_of(node: RecordedNode) -> _Rule:
    rule = _RULES.get(node.fun) or _scipy_rules().get(node.fun)
    if rule is None:
        _refuse(node)
    if isinstance(node.value, np.ndarray | np.generic | complex) and np.iscomplexobj(node.value):
        _refuse(node, " with complex values")
    return rule
