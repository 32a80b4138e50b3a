"""Runs an attack over a data set, and spends passes only on images that still need them."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_adv import noise, registry, validate
from keras_adv.attacks import Attack, Task
from keras_adv.attacks.host import HostAttack
from keras_adv.backend import Net, View, compile
from keras_adv.evaluation import goals
from keras_adv.evaluation.checks import check_logits, check_model
from keras_adv.evaluation.journal import Journal
from keras_adv.evaluation.slots import Compiled, Finished, Slots, in_batches
from keras_adv.losses import decision
from keras_adv.threats.base import Tensor

Progress = Callable[[int, int], None]


class Result(NamedTuple):
    """An attack on a data set, one row an image (NumPy).

    Attributes:
        images: adversarial images; the clean one where it was misclassified anyway or, for a minimal
            attack, where none was found.
        clean: bool, the clean image is classified correctly.
        success: bool, `images` are misclassified (so true where `clean` is false), or reach their target.
        distance: norm of the change in the attack's threat.
        gradients: passes spent on the image: forward-backward, or forward for an attack without gradients.
        seconds: wall time of the whole run, compilation included.
        parts: for an attack of several parts, spec -> images standing after it; else empty.
    """

    images: np.ndarray
    clean: np.ndarray
    success: np.ndarray
    distance: np.ndarray
    gradients: np.ndarray
    seconds: float
    parts: dict[str, int]


_cache: weakref.WeakKeyDictionary[keras.Model, dict[str, Any]] = weakref.WeakKeyDictionary()


def _once(model: keras.Model, key: str, make: Callable[[], Any]) -> Any:
    """What `make` made for this model and key the first time."""
    known = _cache.setdefault(model, {})
    if key not in known:
        known[key] = make()
    return known[key]


class _Weak(View):
    """A view that does not keep its model alive: the cache must not keep its own key."""

    def __init__(self, model: keras.Model) -> None:
        self.ref = weakref.ref(model)

    @property
    def net(self) -> Net:  # type: ignore[override]
        model = self.ref()
        if model is None:
            raise ReferenceError("the attacked model is gone")
        return Net(model, frozen=True)


def _neutral(attack: Attack) -> Attack:
    """The attack with eps = 1: eps travels as an argument, so all radii share what is compiled."""
    if attack.threat.eps is None:
        return attack
    return attack.replace(threat=attack.threat.replace(eps=1.0))


def _compiled(model: keras.Model, attack: Attack) -> Any:
    """The compiled loop of an attack."""
    one, view, compiler = _neutral(attack), _Weak(model), _compiler(model)
    if isinstance(one, HostAttack):
        return _once(model, "host " + registry.spec(one), lambda: one.build(view, compiler))
    return _once(model, registry.spec(one), lambda: Compiled(view, one, compiler))


def _judge(model: keras.Model, attack: Attack) -> Callable[..., Any]:
    """The compiled judge: the same for all attacks of a contract in a norm."""
    view, one = _Weak(model), _neutral(attack)
    key = f"judge {one.contract} {registry.spec(one.threat)}"
    return _once(model, key, lambda: compile(lambda f, found: one.judge(Task(view, *f), found), model))


def _compiler(model: keras.Model) -> Callable[..., Any]:
    return lambda fn: compile(fn, model)


def attack(
    model: keras.Model,
    x: Any,
    y: Any,
    attack: Attack | str,
    *,
    eps: Any = None,
    targets: Any = None,
    batch_size: int = 256,
    seed: int = 0,
    progress: Progress | None = None,
    resume: Path | str | None = None,
) -> Result:
    """Attacks every image of a data set that the model classifies correctly.

    Args:
        model: Keras model, images (B, H, W, C) in [0, 1] -> logits (B, K). It is left as it was: inference
            mode, no state update.
        x: images (N, H, W, C) in [0, 1].
        y: integer labels (N,).
        attack: an attack or its spec, "pgd(threat=linf(eps=8/255), steps=20)".
        eps: the radius in place of the threat's own: a number, or one for each image (N,).
        targets: classes to reach (N,), or "next", "random", "least_likely", "runner_up"; None: any mistake will do.
        batch_size: images at a time; changes speed and memory, not results.
        seed: of random starts; image i of the set draws from (seed, i).
        progress: called with (images finished, images).
        resume: folder where finished images are kept: the same call, killed and made again, goes on.

    Returns:
        `Result`, in the order of x.

    Raises:
        InvalidInput: unusable model, images, labels or targets, an unknown attack, one that needs an eps, more
            classes or a target form that is not there.
    """
    chosen: Attack = registry.parse("attack", attack)
    started = time.perf_counter()
    folder = None if resume is None else validate.path(resume, "resume")
    x, y, logits = classify(model, x, y, batch_size, seed)
    classes, clean = logits.shape[1], np.asarray(decision(logits)) == y
    seeds = np.asarray(noise.seeds(seed, np.arange(len(x), dtype="uint32")))
    fields = goals.fields(chosen, x, y, seeds, logits, eps, targets)
    images, success, distance = x.copy(), ~clean, np.zeros(len(x), "float32")
    cost, parts = np.zeros(len(x), "int64"), {}
    for number, part in enumerate(chosen.parts(classes)):
        queue = np.flatnonzero(clean & ~success)
        if number:  # every part draws its own random starts
            fields = (x, y, np.asarray(noise.fold(seeds, number)), *fields[3:])
        journal = Journal(folder, registry.spec(part), number, model, *fields)
        for index, found, used in _finish(model, part, fields, queue, batch_size, journal):
            images[index] = found
            cost[index] += used * part.gradients(classes) + part.opening(classes)
            if progress is not None:
                queue = queue[~np.isin(queue, index)]
                progress(len(x) - len(queue), len(x))
        standing = np.flatnonzero(clean & ~success)
        judged = _judged(model, chosen, fields, standing, images, batch_size)
        images[standing], success[standing], distance[standing] = judged
        name = registry.spec(part)
        parts[name if name not in parts else f"{name} #{number + 1}"] = int((clean & ~success).sum())
    seconds = time.perf_counter() - started
    return Result(images, clean, success, distance, cost, seconds, parts if len(parts) > 1 else {})


def _judged(
    model: keras.Model, chosen: Attack, fields: Any, rows: np.ndarray, images: np.ndarray, batch_size: int
) -> list[np.ndarray]:
    """(images, success, distance) of these rows, as the model decides."""
    if not len(rows):
        return [images[rows], np.zeros(0, bool), np.zeros(0, "float32")]
    judge = _judge(model, chosen)
    given = [None if field is None else field[rows] for field in fields]
    return in_batches(lambda found, *own: judge(own, found), batch_size, images[rows], *given)


def _finish(
    model: keras.Model, part: Attack, fields: Any, queue: np.ndarray, batch_size: int, journal: Journal
) -> Iterator[Finished]:
    """Images of the queue as they finish; first those that the journal knows."""
    for index, images, rounds in journal.known():
        # the folder may also hold images that an earlier part of this attack has broken, or hold one twice
        wanted = np.isin(index, queue)
        queue = queue[~np.isin(queue, index)]
        if wanted.any():
            yield index[wanted], images[wanted], rounds[wanted]
    compiled = _compiled(model, part)
    if isinstance(part, HostAttack):
        run = compiled.run(fields, queue, batch_size)
    else:
        run = Slots(part, compiled, fields, queue, batch_size).run()
    for finished in run:
        journal.add(finished)
        yield finished
    journal.write()


def classify(
    model: keras.Model, x: Any, y: Any, batch_size: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(images, labels, logits), all checked. Raises InvalidInput as `attack`."""
    shape, classes = check_model(model)
    x = validate.images(x, shape=shape)
    y = validate.labels(y, len(x), classes)
    validate.number("batch_size", batch_size, low=1, whole=True)
    validate.seed(seed)
    view: Callable[[Tensor], Tensor] = _Weak(model)
    run = _once(model, "logits", lambda: compile(lambda part: view(part), model))
    logits = in_batches(lambda part: (run(part),), batch_size, x)[0]
    check_logits(logits)
    return x, y, logits
