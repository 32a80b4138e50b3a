"""Results of evaluations as tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from keras_adv.evaluation.black_box import TransferMatrix


def table(results: dict[str, Any], title: str = "") -> Table:
    """A row for each attack, and one for each threat that several share. With targets the success is that of
    reaching them."""
    proof = results.get("certified")
    proved = [f"certified under {proof['threat']}: {proof['accuracy']:.2%}"] if proof else []
    images = ", ".join([f"n = {results['n']}", *([results["images"]] if "images" in results else [])])
    made = Table(
        title=escape(title) or None,
        caption=", ".join([f"clean accuracy {results['clean_accuracy']:.2%}", images, *proved]),
    )
    success = "targeted success" if results.get("targets") else "success"
    aimed = ["still correct"] if any("still_correct" in row for row in results["attacks"]) else []
    for column in ("attack", "robust acc", success, *aimed, "mean norm", "median", "passes", "seconds"):
        made.add_column(column, justify="left" if column == "attack" else "right", overflow="fold")
    warned = [flag for part in (results, *results["attacks"]) for flag in part.get("flags", [])]
    if warned:
        made.caption = f"{made.caption}\n" + "\n".join(escape(f"warning: {flag}") for flag in warned)
    for row in results["attacks"]:
        made.add_row(
            escape(row["spec"]),
            _text(row["robust_accuracy"], "{:.2%}"),
            f"{row['success_rate']:.2%}",
            *(_text(row.get("still_correct"), "{:.2%}") for _ in aimed),
            _text(row["mean_norm"], "{:.4f}"),
            _text(row["median_norm"], "{:.4f}"),
            f"{row['gradients_per_image']:.1f}",
            f"{row['seconds']:.1f}",
        )
    for row in results.get("worst", []):
        several = f"worst of {len(row['attacks'])} in {row['threat']}"
        made.add_row(escape(several), f"{row['robust_accuracy']:.2%}")
    return made


def curve_table(results: dict[str, Any]) -> Table | None:
    """Robust accuracy at each radius and the area below, a row for each attack; None without curves."""
    rows = [row for row in results["attacks"] if "curve" in row]
    if not rows:
        return None
    made = Table(title="robust accuracy over eps")
    made.add_column("attack", overflow="fold")
    for name in (*(f"{r:.4g}" for r in rows[0]["curve"]["eps"]), "AUC"):
        made.add_column(name, justify="right")
    for row in rows:
        shown = [f"{v:.1%}" for v in row["curve"]["robust_accuracy"]]
        made.add_row(escape(row["spec"]), *shown, f"{row['curve']['auc']:.3f}")
    return made


def comparison_table(differences: Sequence[dict[str, Any]], first: str, second: str) -> Table:
    """What `records.compare` found, a row for each attack."""
    made = Table(title=escape(f"{first} against {second}, on the same images"))
    for column in ("attack", "difference", "95% interval", "only the first holds", "only the second"):
        made.add_column(column, justify="left" if column == "attack" else "right", overflow="fold")
    for row in differences:
        low, high = row["interval"]
        made.add_row(
            escape(row["spec"]),
            f"{row['difference']:+.2%}",
            f"{low:+.2%} to {high:+.2%}",
            str(row["only_first"]),
            str(row["only_second"]),
        )
    return made


def transfer_table(found: TransferMatrix, title: str = "") -> Table:
    """The robust accuracy of each model (a column) under images made on each (a row)."""
    made = Table(title=escape(title or f"robust accuracy under {found.attack}"), caption=f"n = {found.n}")
    made.add_column("made on", overflow="fold")
    for name in found.names:
        made.add_column(escape(name), justify="right", overflow="fold")
    made.add_row("(clean)", *(f"{share:.1%}" for share in found.clean_accuracy), end_section=True)
    for name, row in zip(found.names, found.robust_accuracy, strict=True):
        made.add_row(escape(name), *(f"{share:.1%}" for share in row))
    return made


def embedding_table(found: dict[str, Any], title: str = "") -> Table:
    """What `Embedding.summary` says of features, a row for each figure, a column for the clean images and for
    those of each attack."""
    sets = [found["clean"], *found["attacks"]]
    made = Table(
        title=escape(title) or None,
        caption=f"n = {found['n']}, {found['features']} features, cosines to {_CENTRES[found['centres']]}",
    )
    made.add_column("features of")
    for one in sets:
        made.add_column(escape(one["spec"]), justify="right", overflow="fold")
    for name, key, form in _FIGURES:
        made.add_row(name, *(_cell(one.get(key), form) for one in sets))
    for name, key, form in _OF_BOUND:
        made.add_row(name, *(_cell(one.get("bound", {}).get(key), form) for one in sets))
    return made


_CENTRES = {"means": "the means of the classes", "fixed": "the net's own centres"}
_FIGURES = (
    ("images", "n", "{}"),
    ("classified correctly", "accuracy", "{:.1%}"),
    ("Davies-Bouldin index", "davies_bouldin", "{:.3f}"),
    ("Ward match rate", "match_rate", "{:.1%}"),
    ("cosine to the own centre", "cosine_own", "{:.3f} ± {:.3f}"),
    ("cosine to the predicted centre", "cosine_predicted", "{:.3f} ± {:.3f}"),
    ("norm", "norm", "{:.2f} ± {:.2f}"),
    ("active units", "active_units", "{}"),
    ("PCA dimensions (99%)", "pca_dimensions", "{}"),
    ("sensitivity, median", "sensitivity", "{:.3f} ± {:.3f}"),
    ("mistakes at the nearest class", "nearest_share", "{:.1%}"),
    ("angle to the first attack", "angle", "{:.2f} ± {:.2f}"),
)
_OF_BOUND = (
    ("divergence, held out (0 to 2)", "held_out", "{:.2f}"),
    ("divergence, fitted", "divergence", "{:.2f}"),
    ("bound of the error", "bound", "{:.2f}"),
)


def _cell(value: Any, form: str) -> str:
    """A number, or a mean and its deviation."""
    parts = value if isinstance(value, list) else [value]
    return "-" if None in parts else form.format(*parts)


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
