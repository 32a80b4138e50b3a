"""A killed evaluation goes on."""

import keras
import numpy as np
import pytest

from keras_adv import InvalidInput, attack, evaluate
from keras_adv.evaluation import journal, parts


@pytest.fixture
def images(digits):
    return digits.test[0][:96], digits.test[1][:96]


SPEC = "pgd(threat=linf(eps=0.1), steps=10)"


def test_goes_on_where_it_was_killed(net, images, tmp_path, monkeypatch):
    x, y = images
    whole = attack(net, x, y, SPEC, batch_size=32)
    monkeypatch.setattr(journal, "EVERY", 0.0)
    seen = []

    def killed(done, total):
        seen.append(done)
        if done >= 48:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attack(net, x, y, SPEC, batch_size=32, progress=killed, resume=tmp_path)
    assert list(tmp_path.glob("*.npz"))
    counted = []
    real = parts.Slots

    def counting(attack, compiled, fields, queue, batch_size):
        counted.append(len(queue))
        return real(attack, compiled, fields, queue, batch_size)

    monkeypatch.setattr(parts, "Slots", counting)
    resumed = attack(net, x, y, SPEC, batch_size=32, resume=tmp_path)
    assert 0 < counted[0] < int(whole.clean.sum())
    np.testing.assert_array_equal(resumed.success, whole.success)
    np.testing.assert_allclose(resumed.distance, whole.distance, atol=1e-4)
    np.testing.assert_array_equal(resumed.passes, whole.passes)


def test_another_question_is_not_answered_from_the_journal(net, images, tmp_path):
    x, y = images
    attack(net, x, y, SPEC, resume=tmp_path)
    files = len(list(tmp_path.glob("*.npz")))
    attack(net, x, y, SPEC, resume=tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == files
    for other in ({"seed": 1}, {"eps": 0.05}):
        attack(net, x, y, SPEC, resume=tmp_path, **other)
    attack(net, x[:50], y[:50], SPEC, resume=tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == files + 3


def test_a_torn_write_is_no_answer(net, images, tmp_path):
    x, y = images
    before = attack(net, x, y, SPEC, resume=tmp_path)
    (tmp_path / "half.tmp").write_bytes(b"half")
    after = attack(net, x, y, SPEC, resume=tmp_path)
    np.testing.assert_allclose(before.images, after.images, atol=1e-5)


def test_evaluate_takes_the_folder(net, images, tmp_path):
    x, y = images
    first, second = (evaluate(net, x, y, [SPEC, "ddn(steps=10)"], resume=tmp_path) for _ in range(2))
    drop = lambda r: [{k: v for k, v in row.items() if k != "seconds"} for row in r["attacks"]]  # noqa: E731
    assert drop(first) == drop(second)


@pytest.mark.slow
def test_parts_of_ensembles_share_a_folder_without_harm(net, images, tmp_path):
    # the second part is the same question in both, for other survivors
    x, y = images
    worst = "worst(threat=linf(eps=0.1), attacks=({}, pgd(steps=2, step_size=0.1)))"
    attack(net, x, y, worst.format("pgd(steps=1, step_size=0.01)"), resume=tmp_path)
    result = attack(net, x, y, worst.format("pgd(steps=9)"), resume=tmp_path)
    np.testing.assert_array_equal(net.predict(result.images, verbose=0).argmax(1) != y, result.success)
    plain = attack(net, x, y, worst.format("pgd(steps=9)"))
    np.testing.assert_array_equal(plain.success, result.success)


def test_damaged_files_and_bad_folders(net, images, tmp_path):
    x, y = images
    before = attack(net, x, y, SPEC, resume=tmp_path)
    for file in list(tmp_path.glob("*.npz")):
        file.with_name(file.stem + "0.npz").write_bytes(b"garbage")
        file.with_name(file.stem + "1.npz").write_bytes(file.read_bytes())  # and one twice
    after = attack(net, x, y, SPEC, resume=tmp_path)
    np.testing.assert_array_equal(before.passes, after.passes)
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file", 3):
        with pytest.raises(InvalidInput, match="resume"):
            attack(net, x, y, SPEC, resume=bad)


def damaged(part):
    yield {"index": part["index"].astype("f8")}
    yield {"index": part["index"][:5]}
    yield {"rounds": part["rounds"].astype("f4")}
    yield {"images": part["images"][:, :4]}
    yield {"images": np.full(part["images"].shape, "x")}
    yield {"images": part["images"] * np.nan}
    yield {"images": part["images"] + 0.01}


def test_what_is_not_as_it_was_written_is_done_again(net, images, tmp_path):
    whole = attack(net, *images, SPEC, resume=tmp_path)
    (file,) = tmp_path.glob("*.npz")
    part = dict(np.load(file))
    for changes in damaged(part):
        np.savez(file, **{**part, **changes})
        again = attack(net, *images, SPEC, resume=tmp_path)
        np.testing.assert_array_equal(again.images, whole.images)
        for other in set(tmp_path.glob("*.npz")) - {file}:
            other.unlink()


@pytest.mark.slow
def test_another_function_inside_a_layer_is_another_net(net, images, tmp_path):
    """Such a layer has no config, and the same weights."""
    inputs = keras.Input(net.input_shape[1:])
    nets = [
        keras.Model(inputs, net(keras.layers.Lambda(lambda x, by=by: by * x)(inputs))) for by in (1.0, 0.5)
    ]
    attack(nets[0], *images, SPEC, resume=tmp_path)
    got, want = attack(nets[1], *images, SPEC, resume=tmp_path), attack(nets[1], *images, SPEC)
    np.testing.assert_array_equal(got.images, want.images)


def test_only_journals_are_cleared(net, images, tmp_path):
    attack(net, *images, SPEC, resume=tmp_path)
    (tmp_path / "thesis.tex").write_text("mine")
    journal.clear(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "thesis.tex").unlink()
    journal.clear(tmp_path)
    assert not tmp_path.exists()
