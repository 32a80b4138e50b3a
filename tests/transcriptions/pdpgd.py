"""PDGD and PDPGD once more, slowly and literally: chapter 5 of the thesis, one image at a time, in NumPy.

This is the second of two independent readings. It shares no line with the package; it was written from the
text (Algorithms 2 and 3, eq. 5.2-5.16, section 5.4) before the package's own code was opened, so that a slip
in one of the two shows as a difference. Only the gradient of the net comes from outside (a gradient tape).

Where the printed formulas are wrong, the corrected ones are used:

* eq. 5.3 and 5.7 print ``max(0, -m)``. The surrogate must be large while the image is still *correct*
  (``m > 0``): it is ``max(0, m)``. For the same reason the indicator of the dual is that of ``m > 0``.
* The regularisation weight, 0.01 at first, is ``lambda1 / lambda2`` of eq. 5.8 (5.2 has it upside down).
* eq. 5.9 lacks the weight before ``||u||``: the threshold of eq. 5.10 is ``step * lambda1 / lambda2``.
* eq. 5.13 and 5.14 lack the absolute value; eq. 5.16 compares the largest element of a group, while the
  minimiser of eq. 5.4 compares its euclidean norm.
* Lines 7-9 start from ``r = 0``, whose norm nothing undercuts: "nothing found yet" has the norm infinity.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import tensorflow as tf

# --- The net: eq. 5.2 and the surrogate of eq. 5.3 ----------------------------------------------------------


def margin(logits: np.ndarray, label: int) -> float:
    """Eq. 5.2: the logit of the label less the largest of the others. Positive: still correct."""
    others = [value for index, value in enumerate(logits) if index != label]
    return float(logits[label] - max(others))


@functools.lru_cache(maxsize=4)
def _compiled(model):
    """(image, label) -> logits, gradient of ``max(0, m)``; compiled once for a net, for speed alone."""

    @tf.function(reduce_retracing=True)
    def net(image, label):
        with tf.GradientTape() as tape:
            tape.watch(image)
            logits = model(image[None], training=False)[0]  # inference: moving statistics, no dropout
            others = tf.boolean_mask(logits, tf.range(tf.shape(logits)[0]) != label)
            surrogate = tf.nn.relu(logits[label] - tf.reduce_max(others))
        return logits, tape.gradient(surrogate, image)

    return net


def net_at(model, image: np.ndarray, label: int):
    """Logits of one image and the gradient of its hinge surrogate, in the precision of the net."""
    point = tf.convert_to_tensor(image, dtype=model.compute_dtype)
    logits, gradient = _compiled(model)(point, tf.constant(label))
    return logits.numpy().astype("float64"), gradient.numpy().astype("float64")


# --- Proximal operators, section 5.3 ------------------------------------------------------------------------


def project_l1_ball(v: np.ndarray) -> np.ndarray:
    """The nearest point of the unit l1 ball, its threshold found by trying one support size after another."""
    if np.abs(v).sum() <= 1.0:
        return v.copy()
    descending = sorted(np.abs(v).ravel(), reverse=True)
    total, threshold = 0.0, 0.0
    for size, value in enumerate(descending, start=1):
        total += value
        if value > (total - 1.0) / size:  # the `size` largest stay positive
            threshold = (total - 1.0) / size
    return np.sign(v) * np.maximum(np.abs(v) - threshold, 0.0)


def prox_linf(u: np.ndarray, mu: float) -> np.ndarray:
    """Eq. 5.11, the Moreau decomposition (eq. 5.6) with the l1 ball as the dual norm's."""
    return u - mu * project_l1_ball(u / mu)


def prox_l2(u: np.ndarray, mu: float) -> np.ndarray:
    """Eq. 5.12, block soft thresholding."""
    length = np.sqrt((u**2).sum())
    return np.zeros_like(u) if length <= mu else (1.0 - mu / length) * u


def prox_l1(u: np.ndarray, mu: float) -> np.ndarray:
    """Eq. 5.13 with the absolute value that its print lacks."""
    return np.sign(u) * np.maximum(np.abs(u) - mu, 0.0)


def prox_l0(u: np.ndarray, mu: float) -> np.ndarray:
    """Eq. 5.14 with the absolute value: an element stays as it is, or goes."""
    return np.where(np.abs(u) > np.sqrt(2.0 * mu), u, 0.0)


def prox_l0_pixels(u: np.ndarray, mu: float) -> np.ndarray:
    """The minimiser of eq. 5.4 for eq. 5.15: a pixel costs 1 kept and ``sum_c u_c^2 / (2 mu)`` dropped."""
    kept = (u**2).sum(axis=-1, keepdims=True) > 2.0 * mu
    return np.where(kept, u, 0.0)


PROX = {"linf": prox_linf, "l2": prox_l2, "l1": prox_l1, "l0": prox_l0, "l0_pixels": prox_l0_pixels}


def norm(r: np.ndarray, name: str) -> float:
    """The norm that is minimised, and by which line 7 compares."""
    if name == "linf":
        return float(np.abs(r).max())
    if name == "l2":
        return float(np.sqrt((r**2).sum()))
    if name == "l1":
        return float(np.abs(r).sum())
    if name == "l0":
        return float(np.count_nonzero(r))
    return float(np.count_nonzero(np.abs(r).max(axis=-1)))  # eq. 5.15


# --- The settings of section 5.4 ----------------------------------------------------------------------------


@dataclasses.dataclass
class Settings:
    """The thesis' numbers; every field that a test changes is a place where two readings are possible."""

    steps: int = 500
    lr: float = 0.1  # the best of .01, .05, .1, .5, 1
    lr_final: float = 1e-2  # "linearly decreased the learning rate to 10^-2 of its initial value"
    dual_lr: float = 0.1
    dual_final: float = 1.0  # "was set to 0.1 for all experiments": constant
    ratio: float = 0.01  # lambda1 / lambda2 at the start
    ema: float = 0.9
    floor: float = 1e-6
    adam_eps: float = 1e-8
    # The text does not say whether the last step itself has the final rate (k / (T - 1)) or whether the step
    # after it would (k / T).
    last_step_has_final_rate: bool = True

    def rate(self, initial: float, final: float, k: int) -> float:
        """The rate of step ``k`` = 0 .. T - 1, on a line from the initial one to ``final`` times it."""
        whole = self.steps - 1 if self.last_step_has_final_rate else self.steps
        done = k / whole if whole else 0.0
        return initial * (1.0 - done * (1.0 - final))


# --- The dual player ----------------------------------------------------------------------------------------


class Duals:
    """``(lambda1, lambda2)`` on the simplex of eq. 5.3, ascended in the log domain: multiplicative."""

    def __init__(self, settings: Settings):
        ratio = settings.ratio
        self.settings = settings
        self.logs = np.log(np.array([ratio / (1.0 + ratio), 1.0 / (1.0 + ratio)]))
        self.smooth = np.exp(self.logs)  # the moving average starts at the first value

    def ascend(self, m: float, rate: float) -> None:
        """Line 6. ``lambda2`` grows while the image is still correct and shrinks once it is not."""
        self.logs[1] += rate * np.sign(m)
        self.logs = self.logs - np.log(np.exp(self.logs).sum())  # back to the simplex
        self.logs = np.maximum(self.logs, np.log(self.settings.floor))
        keep = self.settings.ema
        self.smooth = keep * self.smooth + (1.0 - keep) * np.exp(self.logs)


# --- Algorithms 2 and 3 -------------------------------------------------------------------------------------


@dataclasses.dataclass
class Run:
    """What one run leaves behind: the best perturbation and all that led to it."""

    best: np.ndarray
    best_norm: float
    iterates: list  # r(1), r(2), ... r(T + 1); the first is the start
    logs: list  # the log duals beside each iterate
    smooth: list  # the averaged duals that the next primal step uses
    margins: list  # m(x + r) of each iterate


def to_box(image: np.ndarray, r: np.ndarray) -> np.ndarray:
    """The projection of line 5: ``x + r`` into [0, 1]."""
    return np.clip(image + r, 0.0, 1.0) - image


def _attack(model, image, label, name, settings, start, make_step, judge_last=True) -> Run:
    image = np.asarray(image, "float64")
    r = to_box(image, np.zeros_like(image) if start is None else np.asarray(start, "float64"))
    duals = Duals(settings)
    step = make_step(settings)
    run = Run(np.zeros_like(image), np.inf, [r], [duals.logs.copy()], [duals.smooth.copy()], [])

    logits, gradient = net_at(model, image + r, label)
    run.margins.append(margin(logits, label))
    if int(np.argmax(logits)) != label:
        run.best, run.best_norm = (
            r,
            norm(r, name),
        )  # r(1) counts too: no norm is below 0
    for k in range(settings.steps):
        # Both players move from r(k) and lambda(k): lines 3 and 4 come before 5 and 6.
        m = run.margins[-1]
        r = to_box(image, step(k, r, gradient, duals.smooth))
        duals.ascend(m, settings.rate(settings.dual_lr, settings.dual_final, k))
        # Lines 7-9 are about r(k + 1): it is judged in the step that makes it, the last one as well.
        logits, gradient = net_at(model, image + r, label)
        run.margins.append(margin(logits, label))
        last = k == settings.steps - 1
        found = int(np.argmax(logits)) != label and (judge_last or not last)
        if found and norm(r, name) < run.best_norm:
            run.best, run.best_norm = r, norm(r, name)
        run.iterates.append(r)
        run.logs.append(duals.logs.copy())
        run.smooth.append(duals.smooth.copy())
    return run


def pdgd(model, image, label, settings, start=None, judge_last=True) -> Run:
    """Algorithm 2 for l2: Adam (section 5.2) on ``lambda1 ||r||_2 + lambda2 max(0, m)``."""

    def make_step(settings):
        first = np.zeros_like(np.asarray(image, "float64"))
        second = np.zeros_like(first)

        def step(k, r, gradient, duals):
            nonlocal first, second
            length = np.sqrt((r**2).sum())
            of_norm = r / length if length > 0 else np.zeros_like(r)  # the smallest subgradient at 0
            total = duals[0] * of_norm + duals[1] * gradient
            first = 0.9 * first + 0.1 * total
            second = 0.999 * second + 0.001 * total**2
            mean = first / (1.0 - 0.9 ** (k + 1))
            spread = np.sqrt(second / (1.0 - 0.999 ** (k + 1)))
            return r - settings.rate(settings.lr, settings.lr_final, k) * mean / (spread + settings.adam_eps)

        return step

    return _attack(model, image, label, "l2", settings, start, make_step, judge_last)


def pdpgd(model, image, label, name, settings, start=None, judge_last=True) -> Run:
    """Algorithm 3: a gradient step on the surrogate alone (line 3), then the prox of the norm (line 5)."""

    def make_step(settings):
        def step(k, r, gradient, duals):
            rate = settings.rate(settings.lr, settings.lr_final, k)
            return PROX[name](r - rate * gradient, rate * duals[0] / duals[1])

        return step

    return _attack(model, image, label, name, settings, start, make_step, judge_last)
