"""Models that a training keeps of its epochs, and attacks on them."""

import numpy as np
import pytest

import keras_adv
from keras_adv import InvalidInput, artifact, training, zoo
from keras_adv.callbacks import KeepEpochs
from keras_adv.evaluation import along_training, kept_epochs

RECIPE = "recipe(defense=adversarial(mix=0.5, attack=fgsm()), model=mlp(units=(16,)), epochs=4)"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training that was killed in its third epoch and went on."""
    with pytest.MonkeyPatch.context() as patch:
        for name, instead in (("audit", []), ("export", None), ("_picture", None)):
            patch.setattr(training, name, lambda *_, instead=instead, **__: instead)
        out = tmp_path_factory.mktemp("runs") / "run"
        options = {"attacks": [], "n": 30, "keep": (1, 2, 4), "verbose": 0}

        class Killed(KeepEpochs):
            def on_epoch_end(self, epoch, logs=None):
                super().on_epoch_end(epoch, logs)
                if epoch == 1:
                    raise RuntimeError("killed")

        patch.setattr(training, "KeepEpochs", Killed)
        with pytest.raises(RuntimeError, match="killed"):
            keras_adv.train(RECIPE, out, **options)
        assert list(kept_epochs(out)) == [1, 2]
        patch.setattr(training, "KeepEpochs", KeepEpochs)
        keras_adv.train(RECIPE, out, **options)
        yield out


def test_the_epochs_asked_for_are_kept_and_the_last_is_what_is_served(run):
    files = kept_epochs(run)
    assert list(files) == [1, 2, 4] and files[1].name == "epoch-0001.keras"
    assert sorted(p.name for p in (run / "epochs").iterdir()) == [f.name for f in files.values()]
    last, served = (zoo.open(str(file)).get_weights() for file in (files[4], run / "model.keras"))
    for one, other in zip(last, served, strict=True):
        np.testing.assert_array_equal(one, other)
    first = artifact.read(files[1]).get_weights()
    assert any((a != b).any() for a, b in zip(first, last, strict=True))


def test_attacks_along_the_training_are_evaluations_of_each(run, digits, tmp_path):
    x, y = (part[:40] for part in digits.test)
    spec = "fgsm(threat=linf(eps=0.1))"
    found = along_training(run, x, y, spec, resume=tmp_path / "journal")
    assert found["epochs"] == [1, 2, 4] and len(found["results"]) == 3
    assert list(found["robust_accuracy"]) == [spec]
    for number in (0, 2):
        alone = keras_adv.evaluate(artifact.read(list(kept_epochs(run).values())[number]), x, y, spec)
        assert alone["attacks"][0]["robust_accuracy"] == found["robust_accuracy"][spec][number]
        assert alone["clean_accuracy"] == found["clean_accuracy"][number]
    assert len(list((tmp_path / "journal").iterdir())) == 3


def test_what_cannot_be_kept_or_found_is_refused(tmp_path):
    for keep in ((0,), (5,), (1.5,), 3, "12"):
        with pytest.raises(InvalidInput, match="`keep` must be"):
            keras_adv.train(RECIPE, tmp_path / "run", keep=keep, attacks=[])
    assert not (tmp_path / "run").exists()
    with pytest.raises(InvalidInput, match="`run` must be a run folder of a training with `keep`"):
        kept_epochs(tmp_path)
