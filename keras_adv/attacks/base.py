"""The base of all attacks, and the loop that they share.

An attack is a state machine on a batch: `start` makes the state, `step` costs one round of passes. The state
carries its own step counter for each image, so the evaluation can put a new image into the slot of a finished
one; nothing an image meets depends on the images beside it.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
from keras import ops

from keras_adv.arrays import Tensor, flatten, never
from keras_adv.attacks.task import Examples, Task, as_logits
from keras_adv.backend import batch_numbers, separate_graph, where_rows
from keras_adv.numerics.rows import update_rows
from keras_adv.registry import Spec
from keras_adv.threats import Threat
from keras_adv.validate import InvalidInput, invalid, unusable

State = dict[str, Tensor]
Passes = dict[str, int]
"""Kind of pass ("forward", "gradient": forward and backward, "jacobian") -> how many."""

MOST_ROUNDS = 2**31 - 1
"""Most rounds that an attack may take: the loop counts them in int32."""

KEPT_BY_THE_LOOP = {"k", "done", "kept", "kept_margin"}
"""Entries of the state that are the loop's, not the attack's."""

VERIFICATION_DRAW = 0x5EED
"""The draw of a random net on which success is decided: none that an attack has seen."""


class Found(NamedTuple):
    """What an attack returns.

    Attributes:
        images: (B, H, W, C) in [0, 1], if the threat has the box. Where the attack failed: the last try of a
            bounded attack, the clean image of a minimal one.
        success: (B,) bool, decided by the model on exactly these float32 images.
        distance: (B,) norm of images - x in the attack's threat; 0 where x was misclassified already.
        rounds: (B,) int32 rounds used; times `Attack.round_cost` for the passes.
    """

    images: Tensor
    success: Tensor
    distance: Tensor
    rounds: Tensor


class Attack(Spec):
    """Base of all attacks. Subclasses write `rounds`, `start` and `step`; the rest is final.

    They see a `Task`: the model as a pure function in inference mode with frozen weights, the images, and the
    goal. A whole attack stands in CONTRIBUTING.md. What `start` and `step` return is checked while it is
    compiled: an error of its author is an InvalidInput that names the attack.
    """

    kind = "attack"
    contract: ClassVar[str]
    """"bounded" or "minimal": see `BoundedAttack` and `MinimalAttack`."""
    offers: ClassVar[str]
    """The entry of the state that holds the image to offer."""
    knowledge: ClassVar[str] = "gradients"
    """What it asks the model for: "gradients" (forward-backward passes), "scores" or "decisions" (forward
    passes)."""
    targetable: ClassVar[bool] = False
    """Whether it has a targeted form."""
    guided: ClassVar[bool] = False
    """Whether it takes a second image for each image (`Examples.guide`)."""
    gives_up: ClassVar[bool] = False
    """Whether a bounded one may end before its last round without a mistake."""
    leaves_box: ClassVar[bool] = False
    """Whether it can do without the box of images (`box=False` of the threat)."""
    threat: Threat

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.threat.box or self.leaves_box):
            raise invalid("threat", f"one with the box: {self.name} stays in it", self.threat)
        if self.rounds > MOST_ROUNDS:
            raise invalid("steps", f"so few that there are at most {MOST_ROUNDS} rounds", self.rounds)

    @property
    def rounds(self) -> int:
        """Rounds that one image takes at most."""
        raise NotImplementedError

    @property
    def min_classes(self) -> int:
        """The fewest classes that it makes sense for."""
        return 2

    @property
    def passes_per_round(self) -> Passes:
        """The passes that one `step` takes: "forward", "gradient" (forward and backward) or "jacobian" -> how
        many."""
        return {"gradient" if self.knowledge == "gradients" else "forward": 1}

    @property
    def passes_at_start(self) -> Passes:
        """The passes that `start` takes, as `passes_per_round`."""
        return {}

    def round_cost(self, classes: int) -> int:
        """Passes of one round in all; a Jacobian counts one for each class."""
        return _count(self.passes_per_round, classes)

    def start_cost(self, classes: int) -> int:
        """Passes of `start` in all; a Jacobian counts one for each class."""
        return _count(self.passes_at_start, classes)

    def parts(self, classes: int) -> tuple[Attack, ...]:
        """The attacks to run one after the other, each on what the ones before it left standing."""
        del classes
        return (self,)

    def continued(self) -> Attack | None:
        """The attack that goes on, in another ball, from images that this one has found (`Examples.first`);
        None where it has no such form."""
        return None

    def start(self, task: Task) -> State:
        """The state before the first step: tensors with one row for each image.

        Raises InvalidInput: targets or guides that are missing or not supported.
        """
        raise NotImplementedError

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        """One round.

        Returns: the next state, with the same entries, and (B,) bool. Of a bounded attack: whether the given
        state["x"] fools the model, or it `gives_up`. Of a minimal one: whether no more rounds are needed.

        state["k"] (B,) int32 counts the rounds of each image and is kept by the loop.
        """
        raise NotImplementedError

    def begin(self, task: Task) -> State:
        """`start`, with what the loop keeps: the counter "k", the flag "done", and for a random net the best
        point so far. Raises InvalidInput for a bad state."""
        state = self.start(task)
        if self.offers not in state:
            raise self._mistake("start", f"a state without {self.offers!r}, the image to offer")
        for name, value in state.items():
            self._check_rows("start", f"the entry {name!r}", value, task.y)
        best = self.nothing_kept(task) if task.draws > 1 else {}
        return {**state, **best, "k": ops.zeros_like(task.y), "done": never(task.y)}

    def nothing_kept(self, task: Task) -> State:
        """The entries of the state that `keep_best` changes, before the first point."""
        del task
        return {}

    def keep_best(self, task: Task, state: State, images: Tensor) -> State:
        """Those entries after `images`, the next point of a random net. A bounded attack keeps the point
        whose margin is furthest beyond the goal in the mean over draws; a minimal one judges its points
        itself."""
        del task, state, images
        return {}

    def advance(self, task: Task, state: State, rounds: Any, stop: bool = True) -> State:
        """At most `rounds` more steps for the images that are not done; with stop=False also for those that
        are fooled, as always of a random net, where a mistake of one draw proves nothing."""
        stop = stop and task.draws == 1
        names = sorted(state)
        place = names.index("done")

        def unfinished(n: Tensor, *values: Tensor) -> Tensor:
            return ops.logical_and(n < rounds, ops.logical_not(ops.all(values[place])))

        def body(n: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
            new = self._round(task, dict(zip(names, values, strict=True)), stop)
            return (n + 1, *(new[name] for name in names))

        first = (ops.zeros((), "int32"), *(state[name] for name in names))
        ended = ops.while_loop(unfinished, separate_graph(body), first)[1:]
        return dict(zip(names, ended, strict=True))

    def _round(self, task: Task, state: State, stop: bool) -> State:
        """One step of the images that are not done; the others stay as they are."""
        own = {name: v for name, v in state.items() if name not in KEPT_BY_THE_LOOP}
        new, finished = self.step(task, {**own, "k": state["k"]})
        self._check_step(task, own, new, finished)
        rest = state["done"]
        if self.contract == "bounded" and stop:
            rest = ops.logical_or(rest, finished)  # a fooling image stays as it is
        kept = update_rows(rest, lambda: own, {n: new[n] for n in own})
        if task.draws > 1:
            # images that are done have taken all their steps: their point is judged again, to no effect
            kept |= self.keep_best(task, state, kept[self.offers])
        k = ops.where(state["done"], state["k"], state["k"] + 1)
        done = ops.logical_or(state["done"], k >= self.rounds)
        return {**kept, "k": k, "done": ops.logical_or(done, finished) if stop else done}

    def _check_step(self, task: Task, own: State, new: State, finished: Tensor) -> None:
        names = set(new) - KEPT_BY_THE_LOOP
        if lost := sorted(set(own) - names):
            raise self._mistake("step", f"a state without {lost}, which `start` returned")
        if added := sorted(names - set(own)):
            raise self._mistake("step", f"a state with {added}, which `start` did not return")
        for name in own:
            self._check_rows("step", f"the entry {name!r}", new[name], task.y)
        self._check_rows("step", "the second result", finished, task.y)

    def _check_rows(self, where: str, what: str, value: Any, y: Tensor) -> None:
        shape = tuple(getattr(value, "shape", ()))
        if not shape or (None not in (shape[0], y.shape[0]) and shape[0] != y.shape[0]):
            raise self._mistake(where, f"{what} of shape {shape}, not one row for each of the (B,) images")

    def _mistake(self, where: str, found: str) -> InvalidInput:
        return InvalidInput(f"`{self.name}.{where}` must keep its contract. Received: {found}")

    def candidate(self, state: State) -> Tensor:
        """(B, H, W, C) images on offer, in or near the box; `verify` projects them."""
        return state.get("kept", state[self.offers])

    def perturb(
        self, logits: Any, x: Tensor, y: Tensor, seeds: Tensor, target: Tensor | None = None
    ) -> Tensor:
        """Adversarial images for training: every step is taken, fooled or not.

        A bounded attack gives its last iterate, a minimal one the nearest mistake (x where it found none). In
        the box, and in the ball where there is an eps; without a check of success, no gradient attached.
        Cost: all rounds.

        Args:
            logits: the model, a `FrozenNet` or a pure function.
            x: images (B, H, W, C).
            y: (B,) int32 labels.
            seeds: (B,) uint32.
            target: (B,) int32 classes to reach, or None.

        Raises:
            InvalidInput: an attack driven by SciPy, or a target for an attack without a targeted form.
        """
        task = self._training_task(logits, x, y, seeds, target)
        state = self.advance(task, self.begin(task), self.rounds, stop=False)
        return ops.stop_gradient(self.threat.project(self.candidate(state), x, task.eps))

    def _training_task(self, logits: Any, x: Tensor, y: Tensor, seeds: Tensor, target: Tensor | None) -> Task:
        return Task(logits, Examples(x, y, batch_numbers(x), seeds, self.threat.radii(x), target))

    def verify(self, task: Task, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The images that the attack offers, put into ball and box, and the model's decision on exactly
        these.

        Returns: images (B, H, W, C), success (B,) bool, distance (B,) in the threat's norm. One forward pass.
        """
        finite = ops.all(ops.isfinite(flatten(images)), axis=1)  # NaN gradients leave x as it is
        images = self.threat.into_box(where_rows(finite, images, task.x))
        if self.contract == "bounded":
            images = self.threat.project(images, task.x, task.eps)
        fooled = task.fooled(task.logits(images, draw=VERIFICATION_DRAW))
        return images, fooled, self.threat.norm(images - task.x)

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

        Raises:
            InvalidInput: `eps` or `targets` of another length than the images.
        """
        x, y = ops.convert_to_tensor(x, "float32"), ops.convert_to_tensor(y, "int32")
        eps, targets = (np.asarray(v) if isinstance(v, (list, tuple)) else v for v in (eps, targets))
        for name, given in (("eps", eps), ("targets", targets)):
            if len(getattr(given, "shape", ())) and given.shape[0] != x.shape[0]:
                raise unusable(
                    name, f"one for each of the {x.shape[0]} images", f"shape {tuple(given.shape)}"
                )
        target = None if targets is None else ops.convert_to_tensor(targets, "int32")
        examples = Examples.of_batch(x, y, seed, eps=self.threat.radii(x, eps), target=target)
        return self.run(Task(as_logits(model), examples))

    def run(self, task: Task) -> Found:
        """The whole attack on one batch. Raises InvalidInput: state or targets that do not fit the attack."""
        state = self.begin(task)
        wrong = self.verify(task, task.x)[1]
        state["done"] = ops.logical_or(state["done"], wrong)
        state = self.advance(task, state, self.rounds)
        images = where_rows(wrong, task.x, self.candidate(state))
        images, success, distance = self.verify(task, images)
        return Found(ops.stop_gradient(images), success, ops.stop_gradient(distance), state["k"])


def _count(passes: Passes, classes: int) -> int:
    return sum(many * (classes if kind == "jacobian" else 1) for kind, many in passes.items())
