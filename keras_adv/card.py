"""ModelCard: what is known of a trained model, measured; JSON for machines, Markdown for people."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

from keras_adv import registry
from keras_adv.card_schema import MEASURED, SCHEMA, checked, read_values
from keras_adv.files import write_text
from keras_adv.validate import invalid

CLAIMED = "Claimed by the source (not measured here)"
NOTHING_FOUND = "No sign of masked gradients was found."


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
        if "certified" in self.results:
            registry.parse("threat", self.results["certified"]["threat"])

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
        certified accuracy the one before. Worst cases over attacks go: they were over fewer.

        Raises:
            InvalidInput: the clean accuracy is another, so the images or the model are.
        """
        old = self.results
        for name in ("n", "clean_accuracy"):
            if results[name] != old[name]:
                raise invalid(name, f"the card's, {old[name]}", results[name])
        rows = {_attack_of(row): row for row in [*old["attacks"], *results["attacks"]]}
        proof = {name: results[name] for name in ("certified",) if name in results}
        kept = {name: value for name, value in old.items() if name != "worst"}
        return dataclasses.replace(self, results={**kept, "attacks": [*rows.values()], **proof})

    def first_measured(self, results: dict[str, Any], audit: list[str], split: str) -> ModelCard:
        """The card of a net that was not measured, with its first results, on images of this split."""
        kept = {name: results[name] for name in MEASURED if name in results}
        data = {**self.data, "split": split}
        return dataclasses.replace(self, results=kept, audit=audit, data=data)

    def markdown(self) -> str:
        """The card for people."""
        lines = [f"# {self.name}", "", self._made(), ""]
        lines += self._measured() if self.results else self._unmeasured()
        if self.reported:
            whose = "Reported by the paper (other data and protocol; not measured here)"
            lines += ["", f"## {whose if self.origin is None else CLAIMED}", ""]
            lines += [f"- {name}: {text}" for name, text in self.reported.items()]
        versions = ", ".join(f"{k} {v}" for k, v in self.versions.items())
        lines += ["", f"sha256 `{self.sha256}`; {versions}; licence {self.licence}.", ""]
        return "\n".join(lines)

    def _made(self) -> str:
        """Where the weights are from."""
        if self.origin is None:
            return f"Trained by `python scripts/train.py --recipe={_shell(self.recipe)}`."
        part = f", part `{self.origin['part']}`" if self.origin["part"] else ""
        file = f"`{self.origin['file']}`{part} (sha256 `{self.origin['sha256']}`)"
        source = self.origin["source"] or "source not stated"
        return f"Not trained here: the weights of {file}, {source}, in `{self.origin['architecture']}`."

    def _size(self) -> str:
        trained = f"; trained in {self.seconds:.0f} s" if self.origin is None else ""
        return f"- parameters: {self.parameters:,}; artifact {self.bytes / 2**20:.2f} MiB{trained}"

    def _unmeasured(self) -> list[str]:
        return [
            f"- data: {self.data['name']}",
            self._size(),
            "",
            "Not measured. `python scripts/evaluate.py --model=FOLDER --card`, with the folder of this file, "
            "measures it and adds the results.",
        ]

    def _measured(self) -> list[str]:
        clean = self.results
        lines = [
            f"- data: {self.data['name']}, {self.data['split']} split, n = {clean['n']}",
            f"- clean accuracy: {clean['clean_accuracy']:.2%} "
            f"(95% interval {_span(clean['clean_interval'])})",
            *([f"- {_proved(clean['certified'])}"] if "certified" in clean else []),
            self._size(),
            *([] if self.origin else [f"- reference: {self.reference or 'none'}"]),
            "",
            "| attack | robust accuracy (95%) | success | mean norm | rho | passes an image |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for row in clean["attacks"]:
            robust = row["robust_accuracy"]
            held = "-" if robust is None else f"{robust:.2%} ({_span(row['interval'])})"
            norm = "-" if row["mean_norm"] is None else f"{row['mean_norm']:.4f}"
            rho = "-" if row.get("mean_ratio") is None else f"{row['mean_ratio']:.4f}"
            shown = f"| `{row['spec']}` | {held} | {row['success_rate']:.2%} | {norm} | {rho} "
            lines.append(f"{shown}| {row['gradients_per_image']:.0f} |")
        lines += [
            "",
            "Success, norm and rho, the mean of norm / norm of the image, are over images classified "
            "correctly.",
        ]
        warned = [flag for part in (clean, *clean["attacks"]) for flag in part.get("flags", [])]
        if warned:
            lines += ["", *(f"- warning: {flag}" for flag in dict.fromkeys(warned))]
        lines += ["", "## Audit", ""]
        return lines + ([f"- {finding}" for finding in self.audit] or [NOTHING_FOUND])


def _attack_of(row: dict[str, Any]) -> str:
    """The full spec of a row's attack in today's form, so that rows of older cards compare equal."""
    return registry.spec(registry.parse("attack", row["full_spec"]), full=True)


def _proved(row: dict[str, Any]) -> str:
    held = f"{row['accuracy']:.2%} (95% interval {_span(row['interval'])})"
    return f"certified accuracy under `{row['threat']}`, by interval bounds: {held}"


def _shell(text: str) -> str:
    """One word for the shell; specs have single quotes, which double ones keep readable."""
    return shlex.quote(text) if set('"$`\\!') & set(text) else f'"{text}"'


def _span(interval: list[float]) -> str:
    return f"{interval[0]:.1%} to {interval[1]:.1%}"
