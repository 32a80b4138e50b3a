"""The geometry of a norm: everything an attack needs to know of it."""

from __future__ import annotations

from typing import Any, ClassVar

from keras import ops

from keras_adv.arrays import Tensor, zeros_per_image
from keras_adv.registry import Spec
from keras_adv.validate import invalid


class Threat(Spec):
    """A norm, its radius `eps`, and the box [0, 1] of images.

    eps is in input units of [0, 1]; None means "no radius": right for attacks that minimise the norm.
    All methods take batches (B, ...) and treat each image by itself. The norms that some papers leave the
    box with have the option `box`; without it, what they find is no image, and says nothing beyond that
    paper's table.
    """

    kind = "threat"
    eps: float | None
    box: bool = True
    metric_rounds: ClassVar[int] = 2
    """Rounds after which the prox in a diagonal metric has settled (PDPGD), where it has no closed form."""

    @property
    def norm_name(self) -> str:
        """Name of the norm: of threats with the same one, balls of the same eps are the same."""
        return self.name if self.box else f"{self.name} without the box"

    def radius(self, eps: Tensor | None = None) -> Tensor:
        """`eps`, or the threat's own, for those who need one. Raises InvalidInput when both are None."""
        if eps is None and self.eps is None:
            raise invalid("eps", f"given, for example {self.name}(eps=0.1)", None)
        return self.eps if eps is None else eps

    def radii(self, x: Tensor, eps: Any = None) -> Tensor | None:
        """(B,) radius of each image: `eps` (a number or one for each), the threat's own, or None without
        any."""
        value = self.eps if eps is None else eps
        if value is None:
            return None
        return zeros_per_image(x) + ops.convert_to_tensor(value, "float32")

    # -- what a norm defines -------------------------------------------------------------------
    def norm(self, delta: Tensor) -> Tensor:
        """(B,) norms of the perturbations."""
        raise NotImplementedError

    def dual(self, g: Tensor) -> Tensor:
        """(B,) dual norms: max <v, g> over norm(v) <= 1 (and |v_i| <= 1 for l0)."""
        raise NotImplementedError

    def steepest(self, g: Tensor) -> Tensor:
        """The v (B, ...) of norm at most 1 with the largest <v, g>, g (B, ...); 0 where g is 0."""
        raise NotImplementedError

    def project_to_ball(self, delta: Tensor, eps: Tensor | None = None) -> Tensor:
        """The point of the ball nearest to delta, both (B, ...). eps: (B,) or a number; None is the threat's
        own.

        Raises InvalidInput where neither eps nor the threat has a radius.
        """
        raise NotImplementedError

    def sample(self, origin: Tensor, seeds: Tensor, eps: Tensor | None = None) -> Tensor:
        """A random image of ball and box around `origin`, both (B, ...); seeds (B,) uint32, one for each
        image.

        Uniform in the ball, then projected on the box; l0: random values at random places. Raises
        InvalidInput without a radius.
        """
        raise NotImplementedError

    def prox(self, v: Tensor, weight: Tensor) -> Tensor:
        """argmin_u weight * norm(u) + |u - v|_2^2 / 2, (B, ...) as v, with one weight (B,) for each image."""
        raise NotImplementedError

    def metric_prox(self, v: Tensor, weight: Tensor, metric: Tensor) -> Tensor | None:
        """argmin_u weight * norm(u) + <u - v, metric (u - v)> / 2, metric > 0 shaped as v; None: no closed
        form."""
        del v, weight, metric
        return None

    def project_to_plane(self, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        """The point of {z in [0,1]^D: <w, z> = b} nearest to x in this norm, exact; x, w (B, ...), b (B,).

        Where the plane misses the box, the corner of the box nearest to the plane.
        """
        raise NotImplementedError

    # -- shared --------------------------------------------------------------------------------
    def ascent(self, g: Tensor, x: Tensor) -> Tensor:
        """The direction (B, ...) of a step along the gradient g at x: norm at most 1 (l0: l2 length 1), 0
        where g is 0. `steepest`, unless that changes too few values."""
        del x
        return self.steepest(g)

    def project(self, x: Tensor, origin: Tensor, eps: Tensor | None = None) -> Tensor:
        """x (B, ...) put into the ball around `origin` (when there is an eps), then into the box.

        The box step moves every coordinate towards the origin, so the ball is not left again.
        """
        free = self.eps is None and eps is None
        return self.into_box(x if free else origin + self.project_to_ball(x - origin, eps))

    def into_box(self, images: Tensor) -> Tensor:
        """The images (B, ...) with their values clipped to [0, 1]; as they are where there is no box."""
        return ops.clip(images, 0.0, 1.0) if self.box else images


def require_norm(threat: Threat, *names: str) -> None:
    """Raises InvalidInput unless the threat is one of these norms."""
    if threat.name not in names:
        raise invalid("threat", " or ".join(f"{name}()" for name in names), threat)
