"""ModelCard: what is known of a trained model, measured; JSON for machines, Markdown for people."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path
from typing import Any

from keras_adv import registry
from keras_adv.card_schema import SCHEMA, checked, read_values
from keras_adv.files import write_text
from keras_adv.validate import invalid


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """One trained model. Every number was measured on the artifact with this sha256.

    Attributes:
        name: <defense>_<model>_<dataset>.
        recipe: full spec of the run, defaults included; `train(recipe)` repeats it.
        data: name, split evaluated on, image shape, number of classes.
        results: what `evaluate` returned (clean and robust accuracy, counts, 95% intervals).
        audit: findings that hint at masked gradients.
        sha256: of model.keras.
        parameters: trainable and other weights of the exported model.
        bytes: size of model.keras.
        probe: logits on two fixed images, to tell a wrong load from a right one.
        versions: of Python, Keras, the backend and keras_adv, and (cards from 2026-11-25 on) the processor.
        seconds: wall time of training, of all starts of a run that was interrupted.
        reported: the paper's own numbers, which are not ours: column -> text.
        reference: the paper.
        licence: of the weights.
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
        registry.parse("recipe", self.recipe)
        for row in self.results["attacks"]:
            registry.parse("attack", row["spec"])
            registry.parse("attack", row["full_spec"])
        if "certified" in self.results:
            registry.parse("threat", self.results["certified"]["threat"])

    def check_images(self, data: str, split: str, n: int) -> None:
        """Raises InvalidInput unless the card was measured on `n` images of this split of these data."""
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

    def front_matter(self) -> list[str]:
        """The lines that Hugging Face reads, YAML with values in JSON: licence, library, data set, tags, and
        as its results the clean accuracy and the robust one under each bounded attack."""
        rows = [("clean", self.results["clean_accuracy"])]
        attacks = self.results["attacks"]
        rows += [(r["spec"], r["robust_accuracy"]) for r in attacks if r["robust_accuracy"] is not None]
        measured = {
            "task": {"type": "image-classification"},
            "dataset": {"name": self.data["name"], "type": self.data["name"], "split": self.data["split"]},
            "metrics": [
                {"type": "accuracy", "name": f"accuracy, {what}", "value": round(value, 4)}
                for what, value in rows
            ],
        }
        defense = re.findall(r"defense=(\w+)", self.recipe)
        values: dict[str, Any] = {
            "license": self.licence.lower(),
            "library_name": "keras",
            "pipeline_tag": "image-classification",
            "tags": ["keras", "keras_adv", "adversarial-robustness", *defense],
            "datasets": [self.data["name"]],
            "model-index": [{"name": self.name, "results": [measured]}],
        }
        return ["---", *(f"{key}: {json.dumps(value)}" for key, value in values.items()), "---", ""]

    def markdown(self) -> str:
        """The card for people."""
        clean = self.results
        lines = [
            *self.front_matter(),
            f"# {self.name}",
            "",
            f"Trained by `python scripts/train.py --recipe={_shell(self.recipe)}`.",
            "",
            f"- data: {self.data['name']}, {self.data['split']} split, n = {clean['n']}",
            f"- clean accuracy: {clean['clean_accuracy']:.2%} "
            f"(95% interval {_span(clean['clean_interval'])})",
            *([f"- {_proved(clean['certified'])}"] if "certified" in clean else []),
            f"- parameters: {self.parameters:,}; artifact {self.bytes / 2**20:.2f} MiB; "
            f"trained in {self.seconds:.0f} s",
            f"- reference: {self.reference or 'none'}",
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
        lines += [f"- {finding}" for finding in self.audit] or ["No sign of masked gradients was found."]
        if self.reported:
            lines += ["", "## Reported by the paper (other data and protocol; not measured here)", ""]
            lines += [f"- {name}: {text}" for name, text in self.reported.items()]
        versions = ", ".join(f"{k} {v}" for k, v in self.versions.items())
        lines += ["", f"sha256 `{self.sha256}`; {versions}; licence {self.licence}.", ""]
        return "\n".join(lines)


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
