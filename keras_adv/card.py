"""ModelCard: what is known of a trained model, measured; JSON for machines, Markdown for people."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from keras_adv import card_page, registry
from keras_adv.card_schema import MEASURED, SCHEMA, checked, read_values
from keras_adv.files import write_text
from keras_adv.threats import Threat
from keras_adv.validate import invalid


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """One model. Every number but those of `reported` was measured on the artifact with this sha256.

    Attributes:
        name: <defense>_<model>_<dataset>.
        recipe: full spec of the run, defaults included; `train(recipe)` repeats it. "" for a net that was
            trained elsewhere.
        data: name, split evaluated on, image shape, number of classes.
        results: what `evaluate` returned (clean and robust accuracy, counts, 95% intervals); {} where nothing
            is measured.
        audit: findings that hint at masked gradients.
        audited: at what: "threat", its spec, and "n" images; None on cards from before 2026-11-28.
        sha256: of model.keras.
        parameters: trainable and other weights of the exported model.
        bytes: size of model.keras.
        probe: logits on two fixed images, to tell a wrong load from a right one.
        versions: of Python, Keras, the backend and keras_adv, and (cards from 2026-11-25 on) the processor.
        seconds: wall time of training, of all starts of a run that was interrupted.
        reported: the paper's or the source's own numbers, which are not ours: column -> text.
        reference: the paper.
        licence: of the weights.
        origin: of a net that was trained elsewhere: file, its sha256, the part of it that was read,
            architecture and source.
        training: what it took: "flop" of all steps and "forward_flop" of one image (`keras_adv.flop`), the
            "epochs" that were played, and the "curve": of some of them what was logged, with the seconds up
            to their end; None of a net that was trained elsewhere, and on cards from before 2026-11-28.
        schema: version of this layout.
    """

    name: str
    recipe: str
    data: dict[str, Any]
    results: dict[str, Any]
    audit: list[str]
    sha256: str
    parameters: int
    bytes: int
    probe: list[list[float]]
    versions: dict[str, str]
    seconds: float
    reported: dict[str, str]
    reference: str
    licence: str = "Apache-2.0"
    origin: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    audited: dict[str, Any] | None = None
    schema: int = SCHEMA

    def save(self, folder: Path) -> None:
        """Writes card.json and README.md. Raises InvalidInput where `read` would refuse them."""
        text = json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False)
        checked(text.encode(), folder / "card.json")
        for name, content in (("README.md", self.markdown()), ("card.json", text + "\n")):
            write_text(folder / name, content)

    @classmethod
    def read(cls, folder: Path) -> ModelCard:
        """The card of a folder. Raises InvalidInput when it is missing, damaged, of another schema, or a
        value in it is none that it can be."""
        return cls(**read_values(folder / "card.json"))

    def check_specs(self) -> None:
        """Raises InvalidInput where the recipe or an attack of the card is none that is known here."""
        if self.origin is None:
            registry.parse("recipe", self.recipe)
        else:
            registry.parse("model", self.origin["architecture"])
        for row in self.results.get("attacks", []):
            registry.parse("attack", row["spec"])
            registry.parse("attack", row["full_spec"])
        for part in (self.results.get("certified"), self.audited):
            if part is not None:
                registry.parse("threat", part["threat"])

    def check_images(self, data: str, split: str, n: int) -> None:
        """Raises InvalidInput unless the card was measured on `n` images of this split of these data, or on
        none."""
        if not self.results:
            if data != self.data["name"]:
                raise invalid("data", f"the card's {self.data['name']!r}", data)
            return
        ours, theirs = (self.data["name"], self.data["split"], self.results["n"]), (data, split, n)
        if ours != theirs:
            raise invalid("data, split, n", f"the card's {ours}", theirs)

    def with_attacks(self, results: dict[str, Any]) -> ModelCard:
        """The card with the rows of `results` added; a row replaces the one of the same attack, and a
        certified accuracy the one before. With new rows worst cases over attacks go: they were over fewer.

        Raises:
            InvalidInput: the clean accuracy is another, so the images or the model are.
        """
        old = self.results
        for name in ("n", "clean_accuracy"):
            if results[name] != old[name]:
                raise invalid(name, f"the card's, {old[name]}", results[name])
        rows = {_attack_of(row): row for row in [*old["attacks"], *results["attacks"]]}
        proof = {name: results[name] for name in ("certified",) if name in results}
        kept = {name: value for name, value in old.items() if name != "worst" or not results["attacks"]}
        return dataclasses.replace(self, results={**kept, "attacks": [*rows.values()], **proof})

    def first_measured(self, results: dict[str, Any], split: str) -> ModelCard:
        """The card of a net that was not measured, with its first results, on images of this split."""
        kept = {name: results[name] for name in MEASURED if name in results}
        return dataclasses.replace(self, results=kept, data={**self.data, "split": split})

    def with_audit(self, findings: list[str], threat: Threat, n: int) -> ModelCard:
        """The card with the findings of an audit at this threat, on so many images, for those it had."""
        at = {"threat": registry.spec(threat), "n": n}
        return dataclasses.replace(self, audit=findings, audited=at)

    def markdown(self) -> str:
        """The card for people."""
        return card_page.markdown(self)


def _attack_of(row: dict[str, Any]) -> str:
    """The full spec of a row's attack in today's form, so that rows of older cards compare equal."""
    return registry.spec(registry.parse("attack", row["full_spec"]), full=True)
