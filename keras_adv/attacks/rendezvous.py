"""SciPy's optimisers, one for each image, run side by side so that the model is asked for whole batches."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np
from scipy import optimize

Answer = tuple[np.ndarray, ...]
"""What the evaluation found for one image: its row of each output."""
Ask = Callable[[np.ndarray], Answer]


Objective = Callable[[np.ndarray, Answer], tuple[float, np.ndarray]]
"""(point, what the model answers there) -> (value, gradient)."""


class Enough(Exception):
    """Raised by an objective to end the minimisation."""


class _Stopped(Exception):
    """Ends the threads that still wait when one of them, or the evaluation, has failed."""


def together(
    search: Callable[[int, Ask], Any], evaluate: Callable[[np.ndarray], tuple[Any, ...]], start: np.ndarray
) -> list[Any]:
    """`search(row, ask)` for every row of `start` (B, ...), each in a thread of its own.

    `ask(point)` waits until every search that still runs has asked; then the caller's thread evaluates one batch of
    always the same shape, in which finished rows keep their last point. So no result depends on who is faster.

    Args:
        search: the optimisation of one row.
        evaluate: (B, ...) points -> arrays with one row for each.
        start: what stands in the batch for a row before it first asks.

    Returns:
        What each search returned. The first exception, of a search or of `evaluate`, ends them all and is raised.
    """
    posts: SimpleQueue[tuple[int, bool, Any]] = SimpleQueue()
    answers: list[SimpleQueue[Answer | None]] = [SimpleQueue() for _ in start]

    def work(row: int) -> None:
        def ask(point: np.ndarray) -> Answer:
            posts.put((row, False, point))
            answer = answers[row].get()
            if answer is None:
                raise _Stopped
            return answer

        try:
            posts.put((row, True, search(row, ask)))
        except BaseException as error:
            posts.put((row, True, error))

    threads = [threading.Thread(target=work, args=(row,), daemon=True) for row in range(len(start))]
    try:
        for thread in threads:
            thread.start()
        return _serve(posts, answers, evaluate, np.array(start))
    finally:
        for answer in answers:
            answer.put(None)
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def _serve(
    posts: SimpleQueue[tuple[int, bool, Any]],
    answers: list[SimpleQueue[Answer | None]],
    evaluate: Callable[[np.ndarray], tuple[Any, ...]],
    points: np.ndarray,
) -> list[Any]:
    """Answers the searches until all have returned."""
    results: list[Any] = [None] * len(answers)
    running = list(range(len(answers)))
    while running:
        received = sorted((posts.get() for _ in running), key=lambda post: post[0])
        running = [row for row, done, _ in received if not done]
        for row, done, given in received:
            if isinstance(given, BaseException):
                raise given
            if done:
                results[row] = given
            else:
                points[row] = given
        if running:
            outputs = [np.asarray(v) for v in evaluate(points)]
            for row in running:
                answers[row].put(tuple(v[row] for v in outputs))
    return results


def minimise(ask: Ask, objective: Objective, start: np.ndarray, low: Any, high: Any, most: int) -> None:
    """SciPy's L-BFGS-B from `start` in the box [low, high]: `most` points at most, or until `Enough` is raised.

    It returns nothing: the objective sees every point, and keeps what it wants.
    """
    left = most

    def value(point: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal left
        if left == 0:
            raise Enough
        left -= 1
        point = point.reshape(start.shape)
        f, g = objective(point, ask(point.astype("float32")))
        return float(f), g.astype("float64").ravel()

    # SciPy's own tolerances are for float64; below these the value of a float32 model is noise
    options = {"maxiter": most, "ftol": 1e-7, "gtol": 1e-6}
    box = optimize.Bounds(np.ravel(low), np.ravel(high))
    with contextlib.suppress(Enough):
        optimize.minimize(value, np.ravel(start), jac=True, method="L-BFGS-B", bounds=box, options=options)
