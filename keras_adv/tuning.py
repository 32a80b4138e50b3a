"""KerasTuner over the tunable fields of a recipe."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import keras_tuner

from keras_adv import files, registry, validate
from keras_adv.callbacks import Checkpoint
from keras_adv.card import ModelCard
from keras_adv.recipes import Recipe
from keras_adv.run_folder import claim_folder
from keras_adv.training import train

ENVIRONMENT = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
"""What tells a process of a search on several of them who it is, and where the chief is."""
OBJECTIVES = ("robust", "clean", "norm")
ATTACKS = ("pgd(threat=linf(eps=0.1), steps=20)", "deepfool()")


class RecipeOracle(keras_tuner.oracles.RandomSearchOracle):
    """Random search whose first trial is the recipe itself, and which knows all fields before it: so workers
    that ask at the same time draw what one after the other would."""

    def populate_space(self, trial_id: str) -> Any:
        if int(trial_id):
            return super().populate_space(trial_id)
        values = {field.name: field.default for field in self.hyperparameters.space}
        return {"status": keras_tuner.engine.trial.TrialStatus.RUNNING, "values": values}


class RecipeTuner(keras_tuner.Tuner):
    """Each trial trains one recipe with `train` and is scored on the validation split."""

    def __init__(self, recipe: Recipe, out: Path, **kwargs: Any) -> None:
        self.recipe, self.out = recipe, out
        name = f"tuner_{os.environ['KERASTUNER_TUNER_ID']}" if role() == "worker" else "tuner"
        super().__init__(directory=str(out), project_name=name, **kwargs)

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        recipe = _draw(self.recipe, trial.hyperparameters)
        try:
            card = train(recipe, self.folder(trial), attacks=ATTACKS, split="validation", verbose=0)
            Checkpoint(self.folder(trial) / "backup").clear()
        except FloatingPointError as error:  # it is out of the race; the others go on
            raise keras_tuner.errors.FailedTrialError(f"{registry.spec(recipe)}: {error}") from error
        except Exception as error:  # KerasTuner would go on with the next trial
            raise keras_tuner.errors.FatalError(str(error)) from error
        return scores(card)

    def folder(self, trial: Any) -> Path:
        """The run folder of a trial, which a longer search finds again."""
        return self.out / f"trial_{int(trial.trial_id)}"  # KerasTuner's zeros depend on how many there are

    def load_model(self, trial: Any) -> Any:
        """Not kept in memory: the model of a trial is trial_<id>/model.keras."""
        raise NotImplementedError


def role() -> str:
    """ "alone", or by KerasTuner's variables of the environment the "chief" of a search on several processes
    or a "worker".

    Raises:
        InvalidInput: some of them are set and others are not.
    """
    given = {name: os.environ.get(name) for name in ENVIRONMENT}
    if not any(given.values()):
        return "alone"
    if not all(given.values()):
        missing = [name for name, value in given.items() if not value]
        raise validate.unusable("environment", f"with all of {', '.join(ENVIRONMENT)}", f"no {missing[0]}")
    return "chief" if "chief" in str(given[ENVIRONMENT[0]]) else "worker"


def scores(card: ModelCard) -> dict[str, float]:
    """robust: accuracy under PGD; norm: mean minimal l2 norm by DeepFool; clean: accuracy."""
    bounded, minimal = card.results["attacks"]
    return {
        "robust": bounded["robust_accuracy"],
        "norm": minimal["mean_norm"] or 0.0,
        "clean": card.results["clean_accuracy"],
    }


def _draw(recipe: Recipe, hp: Any) -> Recipe:
    values = {}
    for path, (default, span) in registry.tunables(recipe).items():
        if span.choices is not None:
            values[path] = hp.Choice(path, list(span.choices), default=default)
        else:
            sampling = "log" if span.log else "linear"
            low, high = min(span.low, default), max(span.high, default)
            if isinstance(default, int):
                values[path] = hp.Int(path, int(low), int(high), sampling=sampling, default=default)
            else:
                values[path] = hp.Float(path, low, high, sampling=sampling, default=default)
    return registry.with_values(recipe, values)


def search(
    recipe: Recipe | str, out: str | Path, *, objective: str = "robust", trials: int = 10, seed: int = 0
) -> list[dict[str, Any]]:
    """Searches the tunable fields of a recipe by random search; the first trial is the recipe itself.

    On several processes or machines KerasTuner's own chief hands out the trials: the same call in each, with
    `ENVIRONMENT` set, KERASTUNER_TUNER_ID=chief in one and another word in each worker, and `out` a folder
    that all of them see. The chief trains nothing; when all workers are done it writes the leaderboard. A
    worker that died goes on by its own command. What they say to each other is not encrypted: in a private
    network only.

    Args:
        recipe: where to start; `registry.tunables(recipe)` lists what varies.
        out: folder for the trials, best_recipe.txt and leaderboard.json. A second call goes on with it.
        objective: "robust" (PGD accuracy, linf 0.1), "norm" (mean DeepFool l2 norm) or "clean", all on
            validation images.
        trials: recipes to train.
        seed: of the search.

    Returns:
        The leaderboard, best first: {"trial", "recipe", "robust", "norm", "clean"}; of a worker an empty one.

    Raises:
        InvalidInput: unknown objective, trials < 1, a recipe with nothing to tune or nothing held out, or a
            folder that another search uses.
        FloatingPointError: every trial diverged.
    """
    chosen: Recipe = registry.parse("recipe", recipe)
    validate.one_of("objective", objective, OBJECTIVES)
    validate.number("trials", trials, low=1, whole=True)
    validate.seed(seed)
    if not registry.tunables(chosen):
        raise validate.invalid("recipe", "one with tunable fields", registry.spec(chosen))
    if not chosen.validation:
        raise validate.invalid("validation", "above 0: trials are scored on what is held out", 0.0)
    out, who = Path(out), role()
    claim_folder(out, registry.spec(chosen))
    if who == "worker":
        _tune(chosen, out, objective, trials, seed)
        return []
    with files.sole_use(out):
        board = _run(chosen, out, objective, trials, seed)
        if not board:
            raise FloatingPointError(f"Every one of {trials} trials diverged. Narrow the recipe's fields.")
        files.write_text(out / "best_recipe.txt", board[0]["recipe"] + "\n")
        files.write_text(out / "leaderboard.json", json.dumps(board, indent=1) + "\n")
    return board


def _run(recipe: Recipe, out: Path, objective: str, trials: int, seed: int) -> list[dict[str, Any]]:
    """The leaderboard, after all trials."""
    tuner = _tune(recipe, out, objective, trials, seed)
    board = []
    for trial in (t for t in tuner.oracle.get_best_trials(trials) if t.status == "COMPLETED"):
        card = ModelCard.read(tuner.folder(trial))
        board.append({"trial": str(int(trial.trial_id)), "recipe": card.recipe, **scores(card)})
    return board


def _tune(recipe: Recipe, out: Path, objective: str, trials: int, seed: int) -> RecipeTuner:
    """The tuner, after all trials.

    What KerasTuner keeps on disk is never read again, since a kill may leave half of it: the same seed draws
    the same trials, and those whose folders are finished are not repeated.
    """
    fields = keras_tuner.HyperParameters()
    _draw(recipe, fields)
    oracle = RecipeOracle(
        objective=keras_tuner.Objective(objective, "max"),
        max_trials=trials,
        seed=seed + 1,  # KerasTuner takes 0 for no seed
        max_consecutive_failed_trials=trials + 1,
        hyperparameters=fields,
    )
    tuner = RecipeTuner(recipe, out, oracle=oracle, overwrite=True)
    try:
        tuner.search()
    except keras_tuner.errors.FatalError as error:
        raise (error.__cause__ or error) from None
    return tuner
