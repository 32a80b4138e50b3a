"""A report to look at: one HTML page that needs nothing beside itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from keras_adv import registry, validate
from keras_adv._version import __version__
from keras_adv.attacks import Attack
from keras_adv.card import ModelCard
from keras_adv.evaluation.auditing.surface import STEPS, Surface
from keras_adv.files import write_text
from keras_adv.pages import figures
from keras_adv.pages.zoo import measured, most_attacked

PAGES = jinja2.Environment(
    loader=jinja2.PackageLoader("keras_adv", "pages"), autoescape=True, undefined=jinja2.StrictUndefined
)


def write_report(
    path: str | Path,
    results: Mapping[str, Any],
    kept: Mapping[str, np.ndarray],
    surface: Surface | None = None,
) -> None:
    """Writes the page of one evaluation.

    Args:
        path: the HTML file.
        results: what `keras_adv.evaluate` returned; with "model", "data", "command" and "audit" where they
            are known.
        kept: the records of this evaluation (`evaluation.records.load`).
        surface: the loss surface around some of its images (`evaluation.surface`), to be shown too.

    Raises:
        InvalidInput: results that are none, records of another evaluation, or a file that cannot be written.
    """
    out = validate.output_file(path, "out")
    _check(results, kept)
    attacks: list[Attack] = [registry.parse("attack", row["spec"]) for row in results["attacks"]]
    absent: dict[str, Any] = {"certified": None, "targets": None, "worst": [], "audit": None}
    page = PAGES.get_template("evaluation.html").render(
        title=f"{results.get('model', 'model')} on {results.get('data', 'images')}",
        results={**absent, **results},
        command=_command(results, attacks),
        figures=[*_over_eps(attacks, results, kept), *_norms(attacks, results, kept), *_surface(surface)],
        galleries=list(_galleries(attacks, results, kept)),
        version=__version__,
    )
    write_text(out, page)


def _check(results: Mapping[str, Any], kept: Mapping[str, np.ndarray]) -> None:
    try:
        specs, n = [row["spec"] for row in results["attacks"]], results["n"]
    except (KeyError, TypeError) as error:
        raise validate.unusable("results", "those of an evaluation", f"some without {error}") from error
    if specs != [str(spec) for spec in kept["spec"]] or n != len(kept["label"]):
        theirs = f"those of {len(kept['label'])} images and {[str(spec) for spec in kept['spec']]}"
        raise validate.unusable("records", f"those of the results: {n} images and {specs}", theirs)


def write_zoo(path: str | Path) -> None:
    """Writes the page of all entries of the zoo, from their cards. Raises InvalidInput where it cannot."""
    out = validate.output_file(path, "out")
    cards = measured()
    page = PAGES.get_template("zoo.html").render(
        title="The zoo, measured",
        entries=[(card, most_attacked(card), _training(card), _curve(card)) for card in cards],
        command="keras-adv report",
        version=__version__,
    )
    write_text(out, page)


def _training(card: ModelCard) -> str:
    if card.origin is not None:
        return f"the authors of {card.origin['file']}"
    return f"keras-adv train {shlex.quote(f'--recipe={card.recipe}')}"


def _curve(card: ModelCard) -> str | None:
    """The picture of its training; None where its card has none."""
    return figures.training(card.training["curve"]) if card.training and card.training["curve"] else None


def _command(results: Mapping[str, Any], attacks: Sequence[Attack]) -> str:
    """What measures these attacks again: the command line of the evaluation, or the call from Python."""
    specs = [registry.spec(attack) for attack in attacks]
    if "command" not in results:
        return f"keras_adv.evaluate(model, x, y, {specs})"
    return " ".join([results["command"], *(shlex.quote(f"--attack={spec}") for spec in specs)])


def _by_norm(attacks: Sequence[Attack]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for k, attack in enumerate(attacks):
        groups.setdefault(attack.threat.norm_name, []).append(k)
    return groups


def _over_eps(
    attacks: Sequence[Attack], results: Mapping[str, Any], kept: Mapping[str, np.ndarray]
) -> Iterator[dict[str, str]]:
    for norm, several in _by_norm(attacks).items():
        names = _names([attacks[k] for k in several])
        lines = [_line(names[n], attacks[k], results, kept, k) for n, k in enumerate(several)]
        yield {
            "title": f"Accuracy over eps, {figures.words(norm)}",
            "image": figures.over_eps(lines, norm),
            "command": _command(results, [attacks[k] for k in several]),
        }


def _names(attacks: Sequence[Attack]) -> list[str]:
    """What a legend calls attacks of one norm: their names, or where these are not enough their specs."""
    names = [attack.name for attack in attacks]
    specs = [registry.spec(attack) for attack in attacks]
    return [spec if names.count(name) > 1 else name for name, spec in zip(names, specs, strict=True)]


def _line(
    name: str, attack: Attack, results: Mapping[str, Any], kept: Mapping[str, np.ndarray], k: int
) -> dict[str, Any]:
    """An attack over eps: its curve, the distribution of its norms, or the one radius at which it was run."""
    clean = results["clean_accuracy"]
    row = results["attacks"][k]
    if attack.contract == "minimal":
        right = kept["label"] == kept["prediction"]
        at = np.sort(kept[f"{k}_norm"][right & kept[f"{k}_success"]])
        left = clean - np.arange(1, len(at) + 1) / len(right)
        return {"name": name, "eps": [0.0, *at], "robust_accuracy": [clean, *left], "steps": True}
    if "curve" not in row:
        point = {"eps": [attack.threat.eps], "robust_accuracy": [row["robust_accuracy"]]}
        return {"name": name, **point, "steps": False}
    eps, robust = (list(row["curve"][key]) for key in ("eps", "robust_accuracy"))
    eps, robust = (eps, robust) if eps[0] == 0 else ([0.0, *eps], [clean, *robust])
    return {"name": name, "eps": eps, "robust_accuracy": robust, "steps": False}


def _norms(
    attacks: Sequence[Attack], results: Mapping[str, Any], kept: Mapping[str, np.ndarray]
) -> Iterator[dict[str, str]]:
    right = kept["label"] == kept["prediction"]
    for norm, several in _by_norm(attacks).items():
        minimal = [k for k in several if attacks[k].contract == "minimal"]
        names = _names([attacks[k] for k in minimal])
        norms = [kept[f"{k}_norm"][right & kept[f"{k}_success"]] for k in minimal]
        found = list(zip(names, norms, strict=True))
        if found := [(name, values) for name, values in found if len(values)]:
            yield {
                "title": f"Sizes of the smallest perturbations, {figures.words(norm)}",
                "image": figures.norms(found, norm),
                "command": _command(results, [attacks[k] for k in minimal]),
            }


def _surface(found: Surface | None) -> Iterator[dict[str, str]]:
    if found is not None:
        yield {
            "title": f"Loss surface of {len(found.margins)} images, {found.threat}",
            "image": figures.surface(found.margins, STEPS),
            "words": found.words,
            "command": f"keras_adv.evaluation.surface(model, x, y, {found.threat!r})",
        }


def _galleries(
    attacks: Sequence[Attack], results: Mapping[str, Any], kept: Mapping[str, np.ndarray]
) -> Iterator[dict[str, Any]]:
    """For each attack the images that it fooled, by true and predicted class."""
    for k, attack in enumerate(attacks):
        rows = kept[f"{k}_shown"]
        order = np.lexsort((kept[f"{k}_prediction"][rows], kept["label"][rows]))
        shown = [
            {
                "label": int(kept["label"][rows[i]]),
                "predicted": int(kept[f"{k}_prediction"][rows[i]]),
                "clean_confidence": float(kept["confidence"][rows[i]]),
                "confidence": float(kept[f"{k}_confidence"][rows[i]]),
                "norm": float(kept[f"{k}_norm"][rows[i]]),
                "before": figures.picture(kept[f"{k}_before"][i]),
                "after": figures.picture(kept[f"{k}_after"][i]),
            }
            for i in order
        ]
        spec, command = registry.spec(attack), _command(results, [attack])
        yield {"spec": spec, "command": command, "number": k, "images": shown}
