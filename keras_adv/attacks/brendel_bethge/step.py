"""One step of the Brendel & Bethge attack: towards the clean image, along the decision boundary.

min_d norm(x + d - x0) subject to <b, d> = c, |d|_2 <= r and x + d in the box, for a batch of images at once.
The minimiser of the Lagrangian is a clipped line in every norm: with u = x0 - x,

    l2:   d = clip(k u + s b)                         k in [0, 1]
    l1:   d = clip(median(u, s b - k, s b + k))       k in [0, MOST]
    linf: d = clip(s b) to |d - u| <= t, and to the box, t falling linearly with k in [0, 1]

so two numbers of an image are sought: s, which holds the plane, and k, as large as the trust region allows. k
= 0 is the shortest way to the plane. `paths` has these curves, `path_search` the search on them, `newton` a
faster one for l2. l0 is not convex and has a file of its own.
"""

from __future__ import annotations

from keras import ops

from keras_adv.arrays import Tensor, expand_like, flatten
from keras_adv.attacks.brendel_bethge.l0 import sparse_step
from keras_adv.attacks.brendel_bethge.newton import solve
from keras_adv.attacks.brendel_bethge.path_search import search
from keras_adv.attacks.brendel_bethge.paths import Region
from keras_adv.numerics.rows import update_rows
from keras_adv.threats import Threat


def move(threat: Threat, origin: Tensor, x: Tensor, b: Tensor, c: Tensor, r: Tensor) -> Tensor:
    """The image x + d. Where the plane is out of reach, as far towards it as box and trust region allow.

    Args:
        threat: the norm to be made small: linf, l2, l1 or l0.
        origin: the clean images x0 (B, ...).
        x: the images now.
        b: normal of the plane (B, ...).
        c: (B,) how far <b, d> is to go.
        r: (B,) radius of the trust region.
    """
    return advance(threat, origin, x, b, c, r, ops.stack([0.0 * c, 0.0 * c], axis=1))[0]


def advance(
    threat: Threat, origin: Tensor, x: Tensor, b: Tensor, c: Tensor, r: Tensor, last: Tensor
) -> tuple[Tensor, Tensor]:
    """(the image that `move` gives, the next `last`).

    `last` (B, 2) is where the step before ended, 0 at the first step: the search starts there, which only
    saves time.
    """
    size = ops.maximum(ops.max(ops.abs(flatten(b)), axis=1), 1e-35)
    now, clean = flatten(x), flatten(origin)
    region = Region(clean - now, flatten(b) / size[:, None], c / size, -now, 1.0 - now, r)
    if threat.name == "l0":
        d = sparse_step(region, x.shape[-1] if getattr(threat, "pixels", False) else 1)
        new = ops.where(d == region.u, clean, ops.clip(now + d, 0.0, 1.0))  # on x0 to the last bit
        return ops.reshape(new, ops.shape(x)), last
    if threat.name == "l2":
        unit = ops.stack([size * r, r], axis=1)
        found = solve(region, last[:, 0] * unit[:, 0], ops.minimum(last[:, 1] * r, 1.0))
        last = ops.where(found.open[:, None], 0.0, ops.stack([found.s, found.k], axis=1) / unit)
        d = update_rows(found.open, lambda: search(threat, region), found.d)
    else:
        d = search(threat, region)
    return ops.clip(x + ops.reshape(d, ops.shape(x)), 0.0, 1.0), last


def halfway(threat: Threat, x: Tensor, far: Tensor, share: Tensor) -> Tensor:
    """An image between x (share 0) and `far` (share 1), on the way that suits the norm."""
    change, share = far - x, expand_like(share, x)
    if threat.name == "linf":
        return x + ops.clip(change, -share, share)
    if threat.name == "l1":
        return x + ops.sign(change) * ops.maximum(ops.abs(change) - (1.0 - share), 0.0)
    if threat.name == "l0":
        return ops.where(ops.abs(change) <= share, far, x)
    return x + share * change
