"""What the scripts share: flags to a library call, errors to exit code 2."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from keras_adv import registry, zoo
from keras_adv.attacks import Attack
from keras_adv.card import ModelCard
from keras_adv.data.augmenting import AUGMENTS
from keras_adv.models import NORMALIZE
from keras_adv.precision import PRECISIONS
from keras_adv.recipes import Recipe
from keras_adv.threats import Threat
from keras_adv.validate import InvalidInput, invalid, output_folder

FLAGS = flags.FLAGS


def exit_with_error(message: object) -> None:
    """Prints the error and ends with exit code 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


INTERRUPTED = "interrupted: what is finished is kept; the same command goes on"


def run(main: Callable[[], Any], module: str = "__main__", about: str | None = None) -> None:
    """`absl.app.run` for the command that a module has the flags of, and of which --help says `about` (None:
    the docstring of what was started): a bad flag, bad input or a full disk is one line and exit code 2,
    Ctrl-C one line and 130, SIGTERM in a training one line and 143."""
    if about is not None:
        sys.modules["__main__"].__doc__ = f"{about}\n"
    for name in (module, __name__):  # what --help lists
        for flag in FLAGS.get_flags_for_module(name):
            FLAGS.register_key_flag_for_module(sys.argv[0], flag)

    def parse(args: Sequence[str]) -> list[str]:
        try:
            rest = FLAGS(args)
        except flags.Error as error:
            exit_with_error(error)
        if len(rest) > 1:
            exit_with_error(f"arguments are given as --flag=value. Received: {rest[1:]}")
        return list(rest)

    def checked(_: Sequence[str]) -> None:
        logging.set_verbosity(logging.WARNING)
        try:
            main()
        except (InvalidInput, FloatingPointError) as error:
            exit_with_error(error)
        except KeyboardInterrupt:
            print(f"\n{INTERRUPTED}", file=sys.stderr)
            sys.exit(130)
        except SystemExit as error:
            if error.code == 128 + signal.SIGTERM:
                print(INTERRUPTED, file=sys.stderr)
            raise
        except Exception as error:
            if (reason := _of_the_disk(error)) is None:
                raise
            exit_with_error(f"{reason}; what is finished is kept, and the same command goes on")

    app.run(checked, flags_parser=parse)


def _of_the_disk(error: BaseException) -> str | None:
    """What the operating system says of a file that could not be written or read; None for other errors."""
    full = os.strerror(errno.ENOSPC)
    if full in str(error):  # h5py and TensorFlow pass it on in errors of their own
        return full
    return str(error) if isinstance(error, OSError) else None


def number(name: str, text: str) -> float:
    """The number that a text says, 8/255 too. Raises InvalidInput where it is none."""
    over, _, under = text.partition("/")
    try:
        return float(over) / float(under or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise invalid(name, "a number", text) from error


def console() -> Console:
    """Where tables are printed, wide enough for specs also where there is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 120)


NARROW = 76
"""Columns of a terminal below which a table is printed row by row."""


def show(table: Table) -> None:
    """Prints a table; on a narrow terminal the first cell of each row, and below it what the others say."""
    made = console()
    if made.width >= NARROW:
        made.print(table)
        return
    heads = [str(column.header) for column in table.columns]
    for line in (table.title, table.caption):
        if line:
            made.print(line)
    for first, *rest in zip(*(column.cells for column in table.columns), strict=True):
        made.print(first)
        said = [f"{head} {cell}" for head, cell in zip(heads[1:], rest, strict=True) if cell not in ("", "-")]
        made.print(Padding(", ".join(said), (0, 0, 0, 2)))


def card_of(where: str) -> ModelCard:
    """The card of a zoo name or a run folder. Raises InvalidInput where there is none."""
    if Path(where).suffix == ".keras":
        raise invalid("model", "a zoo name or a run folder, which say how it was defended", where)
    return ModelCard.read(Path(where)) if Path(where).is_dir() else zoo.card(where)


def data_of(where: str) -> str:
    """The data set that a zoo entry or a run folder was trained on: the file, where its recipe names one that
    is there, else the name on its card; "digits" for a model without a card."""
    if not (Path(where) / "card.json").is_file() and where not in zoo.list():
        return "digits"
    card = card_of(where)
    source = registry.parse("recipe", card.recipe).data if card.recipe else ""
    return str(source if Path(source).exists() and source else card.data["name"])


def adaptive_attacks(where: str, threats: Sequence[str]) -> list[Attack]:
    """The attacks for whoever knows the defense of a zoo entry or a run folder, one for each threat."""
    if not threats:
        return []
    if not (spec := card_of(where).recipe):
        raise invalid(
            "adaptive", "none for a net that was trained elsewhere: its defense is not known", threats
        )
    recipe: Recipe = registry.parse("recipe", spec)
    return [recipe.defense.adaptive_attack(threat) for threat in threats]


def leading_words() -> list[str]:
    """The words before the first flag, taken off the command line."""
    words = []
    while len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        words.append(sys.argv.pop(1))
    return words


def check_given_once(flag: str, command: str) -> None:
    """Raises InvalidInput where a flag is given whose values are words on the command line too: it would drop
    them."""
    words: Any = FLAGS[flag].default
    if words and FLAGS[flag].present:
        raise invalid(
            flag, f"words after {command}, or flags, not both", [*words, *(FLAGS[flag].value or ())]
        )


def trained_threat(card: ModelCard) -> Threat | None:
    """The threat that the net of a card was trained to withstand; None where it was to none."""
    recipe: Recipe | None = registry.parse("recipe", card.recipe) if card.recipe else None
    return None if recipe is None else recipe.defense.trained_threat


def results_in(out: str | None, shared: bool) -> tuple[Path | None, Path | None]:
    """(results.json, the folder of what is finished before), in a folder that can be written; None without
    one. Raises InvalidInput where there is none, and the evaluation is `shared`."""
    if not out and shared:
        raise invalid("out", "a folder, with --shard or --merge", out)
    if not out:
        return None, None
    file = output_folder(out) / "results.json"
    if file.is_dir():
        raise invalid("out", "a folder whose results.json is a file", out)
    return file, Path(out) / "partial"


def names(kind: str) -> str:
    """The registered names of a kind and those of its presets, for help texts."""
    return ", ".join([*registry.registered(kind), *registry.presets(kind)])


def recipe_flags() -> None:
    """--recipe and the flags that change its fields."""
    flags.DEFINE_string(
        "recipe",
        "recipe()",
        "a whole recipe, as a card prints it, which other flags change; or a paper's own: "
        + ", ".join(registry.presets("recipe")),
    )
    flags.DEFINE_string("defense", None, f"one of {names('defense')}; options as critic(weight=0.5)")
    flags.DEFINE_string("model", None, f"one of {names('model')}; options as wrn(depth=16, width=2)")
    flags.DEFINE_string(
        "data", None, "digits, a TFDS name (mnist, cifar10, ...), FILE.npz, or a folder of images"
    )
    flags.DEFINE_integer("epochs", None, "passes over the training images")
    flags.DEFINE_integer("batch_size", None, "images a step")
    flags.DEFINE_enum("augment", None, AUGMENTS, "augmentation of the training images")
    flags.DEFINE_enum("precision", None, PRECISIONS, "what the layers compute in while they are trained")
    flags.DEFINE_string("average", None, "average of the weights to serve: ema(decay=0.998, start=0.6)")
    flags.DEFINE_string(
        "best", None, "serve the epoch that withstands it best: pgd(threat=linf(eps=0.1), steps=10)"
    )
    flags.DEFINE_string("grow", None, "smaller images first: grow(sides=(16, 24), until=(4, 8))")
    flags.DEFINE_enum(
        "normalize", None, NORMALIZE, "what images go through inside the model, by the training images"
    )
    flags.DEFINE_integer("seed", None, "of weights, order and random starts")
    flags.DEFINE_string("start", None, "train on from this model: a zoo name, a run folder, or FILE.keras")


def recipe_from_flags() -> Recipe:
    """The recipe that the flags describe. Raises InvalidInput."""
    recipe: Recipe = registry.parse("recipe", FLAGS.recipe)
    changes: dict[str, Any] = {}
    for kind in ("defense", "model", "average"):
        if FLAGS[kind].value is not None:
            changes[kind] = registry.parse(kind, FLAGS[kind].value)
    for name in ("data", "epochs", "batch_size", "augment", "precision", "normalize", "seed", "start"):
        if FLAGS[name].value is not None:
            changes[name] = FLAGS[name].value
    for name, kind in (("best", "attack"), ("grow", "growth")):
        if FLAGS[name].value is not None:
            changes[name] = registry.parse(kind, FLAGS[name].value)
    return recipe.replace(**changes)
