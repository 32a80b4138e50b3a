"""Nets of PyTorch give the logits that they gave there."""

import argparse
import os

import keras
import numpy as np
import pytest

import keras_adv
from keras_adv import InvalidInput, zoo
from keras_adv.conversion.checkpoint import sources, weights_of
from keras_adv.data.torch_files import read_checkpoint

torch = pytest.importorskip("torch")
import torch_nets as nets  # noqa: E402

FAMILIES = {
    "TRADES' WRN": (nets.TradesWRN, "wrn(depth=16, width=2, padding='both')"),
    "DeepMind's WRN": (nets.DeepMindWRN, "wrn(depth=16, width=2, activation='silu')"),
    "ResNet-18": (
        lambda: nets.ResNet(nets.Basic, (2, 2, 2, 2), (64, 128, 256, 512)),
        "resnet18()",
    ),
    "ResNet-50": (
        lambda: nets.ResNet(nets.Bottleneck, (3, 4, 6, 3), (32, 64, 128, 256), stem=8),
        "resnet50(width=8)",
    ),
    "Wong et al.'s": (
        lambda: nets.PreActResNet18(nets.PreBlock, end_norm=False),
        "resnet18(block='pre', end_norm=False)",
    ),
    "Rice et al.'s": (
        lambda: nets.PreActResNet18(nets.ActivatedBlock, end_norm=True),
        "resnet18(block='pre_activated')",
    ),
    "Rebuffi et al.'s": (
        lambda: nets.PreActResNet18(nets.DeepMindPreBlock, end_norm=True),
        "resnet18(block='pre_3x3', activation='silu', padding='same')",
    ),
    "Madry et al.'s": (nets.MadryCNN, "madry_cnn()"),
    "TRADES' small": (nets.SmallCNN, "small_cnn()"),
}


def images(net):
    grey = isinstance(net, (nets.MadryCNN, nets.SmallCNN))
    shape = (28, 28, 1) if grey else (32, 32, 3)
    return np.random.default_rng(0).random((3, *shape)).astype("float32")


def logits(net, x):
    with torch.no_grad():
        return net(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_converted_net_gives_the_logits_that_it_gave_in_pytorch(family, tmp_path):
    make, spec = FAMILIES[family]
    net = nets.randomized(make())
    x = images(net)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    card = zoo.convert(tmp_path / "net.pt", spec, tmp_path / "out", shape=x.shape[1:])
    found = np.asarray(zoo.open(tmp_path / "out")(x, training=False))
    wanted = logits(net, x)
    assert wanted.std() > 0.1 and np.ptp(wanted, axis=0).max() > 1e-2  # it is the images that are told apart
    np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)
    assert card == zoo.verify(tmp_path / "out") and card.results == {} and card.data["classes"] == 10


@pytest.mark.parametrize("side", [9, 12])
def test_strided_layers_see_what_pytorchs_see_at_every_size(side, tmp_path):
    net = nets.randomized(nets.TradesWRN(units=1, width=1))
    x = np.random.default_rng(1).random((2, side, side, 3)).astype("float32")
    torch.save(net.state_dict(), tmp_path / "net.pt")
    zoo.convert(
        tmp_path / "net.pt", "wrn(depth=10, width=1, padding='both')", tmp_path / "out", shape=x.shape[1:],
        data="cifar10",
    )  # fmt: skip
    np.testing.assert_allclose(zoo.open(tmp_path / "out")(x), logits(net, x), atol=1e-4)


SMALL = "wrn(depth=10, width=1, padding='both')"


@pytest.fixture(scope="module")
def small():
    return nets.randomized(nets.TradesWRN(units=1, width=1))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 7},
        lambda s: {"model_state_dict": s, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
        lambda s: {"best": {"ema": s}, "losses": torch.ones(5)},
        lambda s: {f"module.{name}": value for name, value in s.items()},
        lambda s: {"net": {f"module.model.{name}": value for name, value in s.items()}, "acc": 0.5},
        lambda s: {name: value for name, value in s.items() if "num_batches" not in name},
        lambda s: {name: value for name, value in s.items() if not name.startswith("sub_block1")},
    ],
    ids=range(8),
)
def test_wrappers_and_prefixes_do_not_matter(wrap, small, tmp_path):
    torch.save(wrap(small.state_dict()), tmp_path / "net.pth")
    found = sources(weights_of(read_checkpoint(tmp_path / "net.pth")))
    wanted = [name for name, _ in small.named_modules() if hasattr(small.get_submodule(name), "weight")]
    wanted = [name for name in wanted if not name.startswith("sub_block1")]
    assert [one.name.removeprefix("module.").removeprefix("model.") for one in found] == wanted
    for one, name in zip(found, wanted, strict=True):
        for part, value in one.parts.items():
            np.testing.assert_array_equal(value, getattr(small.get_submodule(name), part).detach())


def test_of_several_weights_one_is_asked_for(small, tmp_path):
    other = nets.randomized(nets.TradesWRN(units=1, width=1), seed=1)
    torch.save({"last": small.state_dict(), "ema": other.state_dict()}, tmp_path / "net.pt")
    with pytest.raises(InvalidInput, match=r"`part` must be given.*'last', 'ema'"):
        zoo.convert(tmp_path / "net.pt", SMALL, tmp_path / "out")
    card = zoo.convert(tmp_path / "net.pt", SMALL, tmp_path / "out", part="ema")
    x = images(other)
    np.testing.assert_allclose(zoo.open(tmp_path / "out")(x), logits(other, x), atol=1e-4)
    assert card.origin["part"] == "ema"


def test_half_precision_is_read_in_full(small, tmp_path):
    whole = small.conv1.weight.detach()
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        torch.save({"conv1.weight": whole.to(kind)}, tmp_path / "net.pt")
        found = read_checkpoint(tmp_path / "net.pt")["conv1.weight"]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, whole, rtol=2**-8)


class Shell:
    """What unpickling would run."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize(
    "held", [{"a": Shell()}, {"args": argparse.Namespace(lr=0.1)}], ids=["code", "class"]
)
def test_a_file_with_anything_but_tensors_is_refused_and_runs_nothing(held, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(held, tmp_path / "net.pt")
    said = r"checkpoint of tensors.*net\.pt with [\w.]+; where you trust it, save its state_dict alone$"
    with pytest.raises(InvalidInput, match=said):
        zoo.convert(tmp_path / "net.pt", SMALL, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt"]


def test_damaged_files_and_views_of_more_than_is_held_are_refused(small, tmp_path):
    torch.save(small.state_dict(), tmp_path / "net.pt")
    whole = (tmp_path / "net.pt").read_bytes()
    for name, content in (("cut.pt", whole[: len(whole) // 2]), ("empty.pt", b""), ("text.pt", b"weights")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidInput, match="`file` must be a c"):
            zoo.convert(tmp_path / name, SMALL, tmp_path / "out")
    torch.save({"conv.weight": torch.ones(1).expand(10**9)}, tmp_path / "wide.pt")
    with pytest.raises(InvalidInput, match=r"`wide.pt` must hold what it declares.*4,000,000,000 bytes"):
        zoo.convert(tmp_path / "wide.pt", SMALL, tmp_path / "out")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InvalidInput, match="a dictionary of tensors"):
        zoo.convert(tmp_path / "list.pt", SMALL, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_converted_net_is_attacked_as_any_other(small, tmp_path):
    torch.save(small.state_dict(), tmp_path / "net.pt")
    zoo.convert(tmp_path / "net.pt", SMALL, tmp_path / "out")
    x = images(small)
    model = zoo.open(tmp_path / "out")
    y = model.predict(x, verbose=0).argmax(1)
    found = keras_adv.evaluate(model, x, y, "fgsm(threat=linf(eps=8/255))")
    assert isinstance(model, keras.Model) and found["clean_accuracy"] == 1.0
