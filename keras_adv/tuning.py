"""KerasTuner over the tunable fields of a recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras_tuner

from keras_adv import registry, validate
from keras_adv.card import ModelCard
from keras_adv.recipes import Recipe
from keras_adv.run_folder import claim_folder
from keras_adv.training import train

OBJECTIVES = ("robust", "clean", "norm")
ATTACKS = ("pgd(threat=linf(eps=0.1), steps=20)", "deepfool()")


class RecipeTuner(keras_tuner.Tuner):
    """Each trial trains one recipe with `train` and is scored on the validation split."""

    def __init__(self, recipe: Recipe, out: Path, **kwargs: Any) -> None:
        self.recipe, self.out = recipe, out
        super().__init__(directory=str(out), project_name="tuner", **kwargs)

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        recipe = _draw(self.recipe, trial.hyperparameters)
        folder = self.out / f"trial_{trial.trial_id}"
        card = train(recipe, folder, attacks=ATTACKS, split="validation", verbose=0)
        return scores(card)

    def load_model(self, trial: Any) -> Any:
        """Not kept in memory: the model of a trial is trial_<id>/model.keras."""
        raise NotImplementedError


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

    Args:
        recipe: where to start; `registry.tunables(recipe)` lists what varies.
        out: folder for the trials, best_recipe.txt and leaderboard.json. A second call goes on with it.
        objective: "robust" (PGD accuracy, linf 0.1), "norm" (mean DeepFool l2 norm) or "clean", all on
            validation images.
        trials: recipes to train.
        seed: of the search.

    Returns:
        The leaderboard, best first: {"trial", "recipe", "robust", "norm", "clean"}.

    Raises:
        InvalidInput: unknown objective, trials < 1, a recipe with nothing to tune.
    """
    chosen: Recipe = registry.parse("recipe", recipe)
    validate.one_of("objective", objective, OBJECTIVES)
    validate.number("trials", trials, low=1, whole=True)
    validate.seed(seed)
    if not registry.tunables(chosen):
        raise validate.invalid("recipe", "one with tunable fields", registry.spec(chosen))
    out = Path(out)
    claim_folder(out, registry.spec(chosen))
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective(objective, "max"), max_trials=trials, seed=seed
    )
    tuner = RecipeTuner(chosen, out, oracle=oracle)
    tuner.search()
    board = []
    for trial in tuner.oracle.get_best_trials(trials):
        card = ModelCard.read(out / f"trial_{trial.trial_id}")
        board.append({"trial": trial.trial_id, "recipe": card.recipe, **scores(card)})
    (out / "best_recipe.txt").write_text(board[0]["recipe"] + "\n")
    (out / "leaderboard.json").write_text(json.dumps(board, indent=1) + "\n")
    return board
