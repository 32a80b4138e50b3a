"""A run folder belongs to one recipe, and a run that cannot go on says why."""

import pytest

import keras_adv
from keras_adv import InvalidInput, registry

TINY = "recipe(defense=standard(), model=mlp(units=(8,)), epochs=2)"


def test_a_search_folder_belongs_to_one_recipe(tmp_path):
    (tmp_path / "recipe.txt").write_text(TINY + "\n")
    with pytest.raises(InvalidInput, match="`out` must be new or of the same recipe"):
        keras_adv.search(TINY.replace("8", "9"), tmp_path, trials=1)


def test_a_search_keeps_its_hands_off_other_folders(tmp_path):
    (tmp_path / "best_recipe.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="`out` must be empty"):
        keras_adv.search(TINY, tmp_path, trials=1)
    assert (tmp_path / "best_recipe.txt").read_text() == "mine"


@pytest.mark.parametrize("left", ["recipe.txt", ".writable", "recipe.txt.part", ".lock"])
def test_a_claim_that_was_killed_does_not_lock_the_folder(left, tmp_path):
    from keras_adv.training import claim_folder

    (tmp_path / left).write_text("")
    claim_folder(tmp_path, TINY)
    assert (tmp_path / "recipe.txt").read_text().strip() == TINY


def test_a_damaged_checkpoint_is_named(tmp_path):
    spec = registry.spec(registry.parse("recipe", TINY))
    (tmp_path / "backup").mkdir()
    (tmp_path / "recipe.txt").write_text(spec + "\n")
    (tmp_path / "backup" / "epoch-0001.weights.h5").write_text("not a checkpoint")
    with pytest.raises(InvalidInput, match="epoch-0001"):
        keras_adv.train(TINY, tmp_path, verbose=0)


def test_logits_that_blow_up_are_a_divergence_though_the_loss_is_finite(tmp_path):
    wild = "recipe(defense=standard(optimizer=sgd(learning_rate=1e30)), epochs=1)"
    with pytest.raises(FloatingPointError, match="Training diverged"):
        keras_adv.train(wild, tmp_path / "run", verbose=0)
    assert not (tmp_path / "run" / "card.json").exists()


def test_a_word_as_a_value_wants_quotes():
    with pytest.raises(InvalidInput, match=r"a word in quotes\. Received: many\. Write .many."):
        registry.parse("attack", "pgd(steps=many)")


def test_one_attack_need_not_be_in_a_list(net, digits):
    x, y = digits.test[0][:20], digits.test[1][:20]
    assert len(keras_adv.evaluate(net, x, y, "fgsm()")["attacks"]) == 1
