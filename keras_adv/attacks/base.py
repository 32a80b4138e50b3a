"""The contracts of an attack, and the loop that they share.

An attack is a state machine on a batch: `start` makes the state, `step` costs one round of passes. The state
carries its own step counter for each image, so the evaluation can put a new image into the slot of a finished
one; nothing an image meets depends on the images beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_adv import noise
from keras_adv.attacks.task import Task, ask
from keras_adv.backend import apart, select
from keras_adv.registry import Spec
from keras_adv.threats import Threat
from keras_adv.threats.base import Tensor, flat
from keras_adv.validate import fail

State = dict[str, Tensor]
Passes = dict[str, int]
MOST = 2**31 - 1
"""Rounds, which are counted in int32."""


class Found(NamedTuple):
    """What an attack returns.

    Attributes:
        images: (B, H, W, C) in [0, 1]. Where the attack failed: the last try of a bounded attack,
            the clean image of a minimal one.
        success: (B,) bool, decided by the model on exactly these float32 images.
        distance: (B,) norm of images - x in the attack's threat; 0 where x was misclassified already.
        steps: (B,) int32 rounds used; times `Attack.gradients` for the passes.
    """

    images: Tensor
    success: Tensor
    distance: Tensor
    steps: Tensor


class Attack(Spec):
    """Base of all attacks. Subclasses write `start`, `step`, `total`; the rest is final.

    They see a `Task`: the model as a pure function in inference mode with frozen weights, the images, and the goal.
    """

    contract: ClassVar[str]
    knowledge: ClassVar[str] = "gradients"
    """What it asks the model for: "gradients" (forward-backward passes), "scores" or "decisions" (forward passes)."""
    targetable: ClassVar[bool] = False
    """Has a targeted form."""
    guided: ClassVar[bool] = False
    """Takes a second image for each image (`Task.guide`)."""
    threat: Threat

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.total > MOST:
            raise fail("steps", f"so few that there are at most {MOST} rounds", self.total)

    @property
    def total(self) -> int:
        """Rounds that one image takes at most."""
        raise NotImplementedError

    @property
    def least_classes(self) -> int:
        """The fewest classes it makes sense for."""
        return 2

    @property
    def asks(self) -> Passes:
        """What one round asks of the model: how many of "forward", "gradient" (forward and backward), "jacobian"."""
        return {"gradient" if self.knowledge == "gradients" else "forward": 1}

    @property
    def opens(self) -> Passes:
        """What `start` asks of the model."""
        return {}

    def gradients(self, classes: int) -> int:
        """Passes of one round; a Jacobian counts its rows."""
        return count(self.asks, classes)

    def opening(self, classes: int) -> int:
        """Passes of `start`."""
        return count(self.opens, classes)

    def parts(self, classes: int) -> tuple[Attack, ...]:
        """The attacks to run one after the other, each on what the ones before it left standing."""
        del classes
        return (self,)

    def start(self, task: Task) -> State:
        """The state before the first step: tensors with one row for each image."""
        raise NotImplementedError

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        """(the next state, (B,) bool): a bounded attack tells where state["x"], before the step, fools the
        model; a minimal one where it has converged. state["k"] counts the rounds of each image."""
        raise NotImplementedError

    def begin(self, task: Task) -> State:
        """`start`, with the counter and the done flag that the loop keeps."""
        zero = ops.zeros_like(task.y)
        return {**self.start(task), "k": zero, "done": zero > 0}

    def advance(self, task: Task, state: State, rounds: Any, stop: bool = True) -> State:
        """At most `rounds` more steps for the images that are not done."""
        names = sorted(state)

        def active(n: Tensor, *values: Tensor) -> Tensor:
            return ops.logical_and(n < rounds, ops.logical_not(ops.all(values[names.index("done")])))

        def body(n: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
            new = self._guarded(task, dict(zip(names, values, strict=True)), stop)
            return (n + 1, *(new[name] for name in names))

        first = (ops.zeros((), "int32"), *(state[name] for name in names))
        return dict(zip(names, ops.while_loop(active, apart(body), first)[1:], strict=True))

    def _guarded(self, task: Task, state: State, stop: bool) -> State:
        own = {name: v for name, v in state.items() if name not in ("k", "done")}
        new, finished = self.step(task, {**own, "k": state["k"]})
        rest = state["done"]
        if self.contract == "bounded" and stop:
            rest = ops.logical_or(rest, finished)  # a fooling image stays as it is
        kept = where_any(rest, lambda: own, {n: new[n] for n in own})
        k = ops.where(state["done"], state["k"], state["k"] + 1)
        done = ops.logical_or(state["done"], k >= self.total)
        return {**kept, "k": k, "done": ops.logical_or(done, finished) if stop else done}

    def candidate(self, state: State) -> Tensor:
        """The image that the attack offers."""
        return state["x"] if self.contract == "bounded" else state["best"]

    def perturb(
        self, logits: Any, x: Tensor, y: Tensor, seeds: Tensor, target: Tensor | None = None
    ) -> Tensor:
        """Adversarial images for training: every step is taken, fooled or not.

        A bounded attack gives its last iterate, a minimal one the nearest mistake (x where it found none). In the
        box, and in the ball where there is an eps; without a check of success, no gradient attached. Cost:
        `total` rounds.

        Args:
            logits: the model, a `View` or a pure function.
            x: images (B, H, W, C).
            y: (B,) int32 labels.
            seeds: (B,) uint32.
            target: (B,) int32 classes to reach, or None.
        """
        task = Task(logits, x, y, seeds, self.threat.each(x), target)
        state = self.advance(task, self.begin(task), self.total, stop=False)
        return ops.stop_gradient(self.threat.project(self.candidate(state), x, task.eps))

    def judge(self, task: Task, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(images, success, distance) of candidates, by the model's decision on what is returned."""
        finite = ops.all(ops.isfinite(flat(images)), axis=1)  # NaN gradients leave x as it is
        images = ops.clip(select(finite, images, task.x), 0.0, 1.0)
        if self.contract == "bounded":
            images = self.threat.project(images, task.x, task.eps)
        z = task.see(images, draw=JUDGE)
        finite = ops.all(ops.isfinite(z), axis=1)
        return images, ops.logical_and(finite, task.fooled(z)), self.threat.norm(images - task.x)

    def __call__(
        self, model: Any, x: Tensor, y: Tensor, seed: int = 0, *, eps: Any = None, targets: Any = None
    ) -> Found:
        """Attacks one batch, not compiled (for data sets and speed: `keras_adv.attack`).

        Args:
            model: a Keras model with logits (B, K), or a pure function.
            x: images (B, H, W, C) in [0, 1], float32.
            y: labels (B,), int32.
            seed: of the random starts; image i draws from (seed, i).
            eps: one radius for each image, (B,); None is the threat's own.
            targets: (B,) classes to reach; None is any other class than y.
        """
        x, y = ops.convert_to_tensor(x, "float32"), ops.convert_to_tensor(y, "int32")
        eps, targets = (np.asarray(v) if isinstance(v, (list, tuple)) else v for v in (eps, targets))
        seeds = noise.seeds(seed, ops.arange(ops.shape(x)[0]))
        for name, given in (("eps", eps), ("targets", targets)):
            if len(getattr(given, "shape", ())) and given.shape[0] != x.shape[0]:
                raise fail(name, f"one for each of the {x.shape[0]} images", f"shape {tuple(given.shape)}")
        target = None if targets is None else ops.convert_to_tensor(targets, "int32")
        task = Task(ask(model), x, y, seeds, self.threat.each(x, eps), target)
        return self.attempt(task)

    def attempt(self, task: Task) -> Found:
        """The whole attack on one batch."""
        state = self.begin(task)
        wrong = self.judge(task, task.x)[1]
        state["done"] = ops.logical_or(state["done"], wrong)
        state = self.advance(task, state, self.total)
        images = select(wrong, task.x, self.candidate(state))
        images, success, distance = self.judge(task, images)
        return Found(ops.stop_gradient(images), success, ops.stop_gradient(distance), state["k"])


def where_any(which: Tensor, make: Callable[[], Any], old: Any) -> Any:
    """`make()` for `which` (B,) images, `old` for the others: a tensor or a state. Where there are none, nothing is made."""

    def changed() -> Any:
        return keras.tree.map_structure(lambda new, kept: select(which, new, kept), make(), old)

    return ops.cond(ops.any(which), changed, lambda: old)


def count(passes: Passes, classes: int) -> int:
    """Passes in all; a Jacobian counts its rows."""
    return sum(many * (classes if kind == "jacobian" else 1) for kind, many in passes.items())


JUDGE = 0x5EED
"""The draw of a random net on which attacks are judged: none that they have seen."""


class BoundedAttack(Attack):
    """Looks for a mistake inside the ball of radius eps. State: "x", the current image."""

    contract = "bounded"

    def check(self) -> None:
        self.threat.radius()


class MinimalAttack(Attack):
    """Looks for the mistake nearest to x. State: "best", the nearest so far, and its norm "best_norm".

    `threat` gives the norm; its eps, if any, is only where the robust accuracy is reported.
    """

    contract = "minimal"

    def nothing_yet(self, task: Task) -> State:
        """The entries of the state before anything is found."""
        # from x, not from a constant: on JAX a loop's state keeps its exact type
        return {"best": task.x, "best_norm": ops.full_like(task.x[:, 0, 0, 0], 1e30)}

    def record(self, task: Task, state: State, tried: Tensor, hit: Tensor) -> State:
        """The entries after trying images `tried`, of which those with `hit` (B,) are adversarial."""
        norm = self.threat.norm(tried - task.x)
        better = ops.logical_and(hit, norm < state["best_norm"])
        return {
            "best": select(better, tried, state["best"]),
            "best_norm": ops.where(better, norm, state["best_norm"]),
        }
