import io

import keras
import numpy as np
import pytest
from rich.console import Console

from keras_adv import InvalidInput, attack, evaluate, models, registry, transfer
from keras_adv.attacks.task import as_logits
from keras_adv.evaluation import TransferMatrix, goals, pictures, records, transfer_matrix
from keras_adv.evaluation.black_box import transfers
from keras_adv.evaluation.image_set import classify
from keras_adv.evaluation.tables import transfer_table


def test_to_itself_is_the_attack(net, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    direct, sent = attack(net, x, y, "pgd()"), transfer(net, net, x, y, "pgd()")
    np.testing.assert_array_equal(direct.success, sent.success)
    np.testing.assert_allclose(direct.images, sent.images, atol=1e-5)


def test_is_judged_by_the_target(net, fresh, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    sent = transfer(net, fresh, x, y, "pgd()")
    np.testing.assert_array_equal(sent.clean, fresh.predict(x, verbose=0).argmax(1) == y)
    np.testing.assert_array_equal(sent.success, fresh.predict(sent.images, verbose=0).argmax(1) != y)


def test_other_shapes_are_refused(net, digits):
    other = models.MLP(units=(4,)).build((4, 4, 1), 10)
    with pytest.raises(InvalidInput, match="input_shape"):
        transfer(net, other, *digits.test, "pgd()")
    assert isinstance(other, keras.Model)


def test_transfers_are_an_evaluation_of_the_target(net, fresh, digits, tmp_path):
    x, y = digits.test[0][:60], digits.test[1][:60]
    specs = ["fgsm(threat=linf(eps=0.2))", "pgd(threat=linf(eps=0.2), steps=5)"]
    found = transfers(net, fresh, x, y, specs, records=tmp_path / "r.npz")
    right = fresh.predict(x, verbose=0).argmax(1) == y
    assert found["clean_accuracy"] == right.mean()
    for spec, row in zip(specs, found["attacks"], strict=True):
        held = right & ~transfer(net, fresh, x, y, spec).success
        assert row["spec"] == spec and row["robust_accuracy"] == held.mean()
    kept = records.load(tmp_path / "r.npz")
    np.testing.assert_array_equal(kept["1_held"], held)
    assert found["worst"][0]["robust_accuracy"] == (kept["0_held"] & kept["1_held"]).mean()


PGD = "pgd(threat=linf(eps=0.2), steps=5)"


def test_the_diagonal_of_a_matrix_is_the_evaluation_and_the_rest_is_transfer(net, fresh, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    nets = {"one": net, "other": fresh}
    found = transfer_matrix(nets, x, y, PGD)
    assert found.names == ("one", "other") and found.n == 60
    for i, source in enumerate(nets.values()):
        results = evaluate(source, x, y, PGD)
        assert found.robust_accuracy[i, i] == results["attacks"][0]["robust_accuracy"]
        assert found.clean_accuracy[i] == results["clean_accuracy"]
    direct = attack(net, x, y, PGD)
    examples = goals.make_examples(registry.parse("attack", PGD), classify(net, x, y, 60), 0, None, None)
    sent = registry.parse("attack", PGD).perturb(as_logits(net), x, y, examples.seeds)  # all steps
    clean, held = (fresh.predict(v, verbose=0).argmax(1) == y for v in (x, np.asarray(sent)))
    assert found.robust_accuracy[0, 1] == (clean & held).mean()
    both = direct.clean & clean
    assert found.success[0, 1] == (~held)[both].mean()
    assert found.success[0, 0] == direct.success[direct.clean].mean()


def test_a_minimal_attack_counts_within_the_eps_of_its_threat(net, digits):
    x, y, method = digits.test[0][:60], digits.test[1][:60], "ddn(threat=l2(eps=0.5), steps=10)"
    found = transfer_matrix({"one": net}, x, y, method).robust_accuracy[0, 0]
    assert 0 < found == evaluate(net, x, y, method)["attacks"][0]["robust_accuracy"]


def test_equal_models_have_equal_rows_and_columns(net, fresh, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    found = transfer_matrix({"a": net, "b": fresh, "c": net}, x, y, PGD)
    for matrix in (found.robust_accuracy, found.success):
        np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1 / 60)
        np.testing.assert_allclose(matrix[0], matrix[2], atol=2 / 60)  # a last point may be right again
    assert found.robust_accuracy[0, 0] < found.robust_accuracy[1, 0]  # another net's images fool it less


def test_a_matrix_of_no_or_of_unlike_models_is_refused(net, digits):
    other = models.MLP(units=(4,)).build((4, 4, 1), 10)
    for several in ({}, [net], {"a": net, "b": other}):
        with pytest.raises(InvalidInput, match="`models` must be"):
            transfer_matrix(several, *digits.test, PGD)


def test_a_matrix_is_shown_as_a_table_and_a_picture(tmp_path):
    shares = np.array([[0.25, 0.5], [0.75, 1.0]])
    found = TransferMatrix(("net[1]", "other"), PGD, 4, np.array([1.0, 0.5]), shares, 1 - shares)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(transfer_table(found))
    lines = [line.split("│")[1:-1] for line in console.export_text().splitlines() if "%" in line]
    cells = [[cell.strip() for cell in line] for line in lines]
    assert cells == [
        ["(clean)", "100.0%", "50.0%"], ["net[1]", "25.0%", "50.0%"], ["other", "75.0%", "100.0%"]
    ]  # fmt: skip
    pictures.transfers(found, tmp_path / "m.png")
    assert (tmp_path / "m.png").stat().st_size > 5000
