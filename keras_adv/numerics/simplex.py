"""Class centres that lie as far apart as they can: the vertices of a simplex (Max-Mahalanobis centres)."""

from __future__ import annotations

import functools

import numpy as np
from scipy.linalg import block_diag
from scipy.optimize import minimize

from keras_adv import validate


def simplex(classes: int, dim: int, scale: float = 1.0) -> np.ndarray:
    """(classes, dim) float64 rows of length `scale` whose largest pairwise cosine is the smallest possible.

    From dim = classes - 1 on these are the vertices of a regular simplex, every cosine -1 / (classes - 1),
    exact (Pang et al., arXiv:1802.09308; their code asks for dim >= classes, but the simplex spans one
    dimension less). In fewer, but at least classes / 2, no largest cosine is below 0 (Rankin, Proc. Glasgow
    Math. Assoc. 2, 1955), and classes - dim regular simplices in dimensions of their own have it. In fewer
    still it is minimised numerically.

    Args:
        classes: L, at least 2.
        dim: d, at least 2, or 1 for two classes.
        scale: C; 10 in arXiv:1905.10626.

    Raises:
        InvalidInput: one of them is out of its range.
    """
    validate.number("classes", classes, low=2, whole=True)
    validate.number("dim", dim, low=min(classes - 1, 2), whole=True)
    validate.number("scale", scale, above=0.0)
    form = _regular if dim >= classes - 1 else _orthogonal if 2 * dim >= classes else _spread
    return scale * form(int(classes), int(dim))


@functools.lru_cache
def _regular(classes: int, dim: int) -> np.ndarray:
    centres = np.zeros((classes, dim))
    for k in range(classes - 1):
        centres[k, k] = np.sqrt(1.0 - np.sum(centres[k] ** 2))
        # the rows below are alike in this column, and the sum of all rows is 0
        centres[k + 1 :, k] = -centres[k, k] / (classes - 1 - k)
    return centres


@functools.lru_cache
def _orthogonal(classes: int, dim: int) -> np.ndarray:
    """Groups of n centres each, a regular simplex in n - 1 dimensions of its own."""
    sizes = [len(part) for part in np.array_split(np.arange(classes), classes - dim)]
    return block_diag(*(_regular(size, size - 1) for size in sizes))


@functools.lru_cache
def _spread(classes: int, dim: int) -> np.ndarray:
    """L-BFGS on log sum exp(t cos) / t with t growing, from three starts that are always the same."""

    def best(seed: int) -> np.ndarray:
        v = np.random.default_rng(seed).normal(size=classes * dim)
        for t in 4.0 ** np.arange(8):
            v = minimize(_crowding, v, (classes, t), jac=True, method="L-BFGS-B", options={"maxiter": 150}).x
        return _units(v, classes)[0]

    return min((best(seed) for seed in range(3)), key=largest_cosine)


def _units(v: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rows = v.reshape(classes, -1)
    sizes = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / sizes, sizes


def _crowding(v: np.ndarray, classes: int, t: float) -> tuple[float, np.ndarray]:
    """(log sum_{i != j} exp(t cos_ij) / t, its gradient by v)."""
    u, sizes = _units(v, classes)
    z = t * (u @ u.T)
    np.fill_diagonal(z, -np.inf)
    p = np.exp(z - z.max())
    total, g = p.sum(), 2.0 * p @ u / p.sum()
    g = (g - np.sum(g * u, axis=1, keepdims=True) * u) / sizes
    return float(z.max() + np.log(total)) / t, g.ravel()


def largest_cosine(centres: np.ndarray) -> float:
    """max_{i != j} cos(mu_i, mu_j)."""
    u, _ = _units(centres, len(centres))
    return float((u @ u.T)[~np.eye(len(u), dtype=bool)].max())
