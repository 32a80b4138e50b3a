"""The two contracts of an attack, and the loop that both share.

An attack is a state machine on a batch: `start` makes the state, `step` costs one round of gradients. The state
carries its own step counter for each image, so the evaluation can put a new image into the slot of a finished
one; nothing an image meets depends on the images beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import keras
from keras import ops

from keras_adv import noise
from keras_adv.backend import Net
from keras_adv.losses import decision
from keras_adv.registry import Spec
from keras_adv.threats import Threat
from keras_adv.threats.base import Tensor, flat, rows

Logits = Callable[[Tensor], Tensor]
State = dict[str, Tensor]


class Found(NamedTuple):
    """What an attack returns.

    Attributes:
        images: (B, H, W, C) in [0, 1]. Where the attack failed: the last try of a bounded attack,
            the clean image of a minimal one.
        success: (B,) bool, decided by the model on exactly these float32 images.
        distance: (B,) norm of images - x in the attack's threat; 0 where x was misclassified already.
        steps: (B,) int32 steps used; times `Attack.gradients` for the forward-backward passes.
    """

    images: Tensor
    success: Tensor
    distance: Tensor
    steps: Tensor


class Attack(Spec):
    """Base of both contracts. Subclasses write `start`, `step`, `total`; the rest is final.

    They see `logits`, a pure function (B, ...) -> (B, K) in inference mode with frozen weights.
    """

    contract: ClassVar[str]
    knowledge: ClassVar[str] = "gradients"
    threat: Threat

    @property
    def total(self) -> int:
        """Rounds of gradients that one image takes at most."""
        raise NotImplementedError

    def gradients(self, classes: int) -> int:
        """Forward-backward passes of one round (a Jacobian counts its rows)."""
        del classes
        return 1

    def opening(self, classes: int) -> int:
        """Forward-backward passes of `start`."""
        del classes
        return 0

    def start(self, logits: Logits, x: Tensor, y: Tensor, seeds: Tensor) -> State:
        """The state before the first step: tensors with one row for each image."""
        raise NotImplementedError

    def step(self, logits: Logits, x: Tensor, y: Tensor, state: State) -> tuple[State, Tensor]:
        """(the next state, (B,) bool): a bounded attack tells where state["x"], before the step, fools the
        model; a minimal one where it has converged."""
        raise NotImplementedError

    def begin(self, logits: Logits, x: Tensor, y: Tensor, seeds: Tensor) -> State:
        """`start`, with the counter and the done flag that the loop keeps."""
        zero = ops.zeros_like(y)
        return {**self.start(logits, x, y, seeds), "k": zero, "done": zero > 0}

    def advance(
        self, logits: Logits, x: Tensor, y: Tensor, state: State, rounds: Any, stop: bool = True
    ) -> State:
        """At most `rounds` more steps for the images that are not done."""
        names = sorted(state)

        def active(n: Tensor, *values: Tensor) -> Tensor:
            return ops.logical_and(n < rounds, ops.logical_not(ops.all(values[names.index("done")])))

        def body(n: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
            new = self._guarded(logits, x, y, dict(zip(names, values, strict=True)), stop)
            return (n + 1, *(new[name] for name in names))

        first = (ops.zeros((), "int32"), *(state[name] for name in names))
        return dict(zip(names, ops.while_loop(active, body, first)[1:], strict=True))

    def _guarded(self, logits: Logits, x: Tensor, y: Tensor, state: State, stop: bool) -> State:
        own = {name: v for name, v in state.items() if name not in ("k", "done")}
        new, finished = self.step(logits, x, y, {**own, "k": state["k"]})
        rest = state["done"]
        if self.contract == "bounded" and stop:
            rest = ops.logical_or(rest, finished)  # a fooling image stays as it is
        kept = {n: ops.where(rows(rest, v), v, new[n]) for n, v in own.items()}
        k = ops.where(state["done"], state["k"], state["k"] + 1)
        done = ops.logical_or(state["done"], k >= self.total)
        return {**kept, "k": k, "done": ops.logical_or(done, finished) if stop else done}

    def candidate(self, state: State) -> Tensor:
        """The image that the attack offers."""
        return state["x"] if self.contract == "bounded" else state["best"]

    def perturb(self, logits: Logits, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """Adversarial images for training: every step is taken, fooled or not.

        A bounded attack gives its last iterate, a minimal one the nearest mistake (x where it found none). In the
        box, and in the ball where there is an eps; without a check of success, no gradient attached. Cost:
        `total` rounds.
        """
        state = self.begin(logits, x, y, seeds)
        state = self.advance(logits, x, y, state, self.total, stop=False)
        return ops.stop_gradient(self.threat.project(self.candidate(state), x))

    def judge(self, logits: Logits, x: Tensor, y: Tensor, images: Tensor) -> tuple[Tensor, ...]:
        """(images, success, distance) of candidates, by the model's decision on what is returned."""
        finite = ops.all(ops.isfinite(flat(images)), axis=1)  # NaN gradients leave x as it is
        images = ops.clip(ops.where(rows(finite, x), images, x), 0.0, 1.0)
        if self.contract == "bounded":
            images = self.threat.project(images, x)
        z = logits(images)
        finite = ops.all(ops.isfinite(z), axis=1)
        wrong = ops.logical_and(finite, decision(z) != y)
        return images, wrong, self.threat.norm(images - x)

    def __call__(self, model: keras.Model | Logits, x: Tensor, y: Tensor, seed: int = 0) -> Found:
        """Attacks one batch, not compiled (for data sets and speed: `keras_adv.attack`).

        Args:
            model: a Keras model with logits (B, K), or a pure function.
            x: images (B, H, W, C) in [0, 1], float32.
            y: labels (B,), int32.
            seed: of the random starts; image i draws from (seed, i).
        """
        logits: Logits = Net(model, frozen=True).logits if isinstance(model, keras.Model) else model
        x, y = ops.convert_to_tensor(x, "float32"), ops.convert_to_tensor(y, "int32")
        seeds = noise.seeds(seed, ops.arange(ops.shape(x)[0]))
        state = self.begin(logits, x, y, seeds)
        wrong = self.judge(logits, x, y, x)[1]
        state["done"] = ops.logical_or(state["done"], wrong)
        state = self.advance(logits, x, y, state, self.total)
        images = ops.where(rows(wrong, x), x, self.candidate(state))
        images, success, distance = self.judge(logits, x, y, images)
        return Found(ops.stop_gradient(images), success, ops.stop_gradient(distance), state["k"])


class BoundedAttack(Attack):
    """Looks for a mistake inside the ball of radius `threat.eps`. State: "x", the current image."""

    contract = "bounded"

    def check(self) -> None:
        self.threat.radius()


class MinimalAttack(Attack):
    """Looks for the mistake nearest to x. State: "best", the nearest so far, and its norm "best_norm".

    `threat` gives the norm; its eps, if any, is only where the robust accuracy is reported.
    """

    contract = "minimal"

    def nothing_yet(self, x: Tensor) -> State:
        """The entries of the state before anything is found."""
        # from x, not from a constant: on JAX a loop's state keeps its exact type
        return {"best": x, "best_norm": ops.full_like(x[:, 0, 0, 0], 1e30)}

    def record(self, state: State, x: Tensor, tried: Tensor, hit: Tensor) -> State:
        """The entries after trying images `tried`, of which those with `hit` (B,) are adversarial."""
        norm = self.threat.norm(tried - x)
        better = ops.logical_and(hit, norm < state["best_norm"])
        return {
            "best": ops.where(rows(better, x), tried, state["best"]),
            "best_norm": ops.where(better, norm, state["best_norm"]),
        }
