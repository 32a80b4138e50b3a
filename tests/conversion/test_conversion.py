"""Weights of a PyTorch checkpoint in a Keras net, without PyTorch: against the nets written in NumPy."""

import numpy as np
import pytest
from numpy_nets import SPEC, conv, convolved, dense, drawn, images, norm, wrn

from keras_adv import InvalidInput, registry, zoo
from keras_adv.conversion import converted
from keras_adv.conversion.checkpoint import sources
from keras_adv.conversion.matching import match, targets
from keras_adv.data.torch_files import read_checkpoint


@pytest.fixture
def file(state, tmp_path):
    np.savez(tmp_path / "net.npz", **state)
    return tmp_path / "net.npz"


def test_arrays_of_words_are_left_out(state, tmp_path):
    np.savez(tmp_path / "net.npz", **state, classes=np.array(["cat", "dog"]), made=np.array(b"today"))
    assert set(read_checkpoint(tmp_path / "net.npz")) == set(state)


@pytest.mark.parametrize(("padding", "strided"), [("both", (1, 1)), ("same", (0, 1))])
def test_the_net_computes_what_its_formula_does_with_either_padding(state, padding, strided):
    x = images()
    net = converted(
        state, registry.parse("model", f"wrn(depth=10, width=1, padding='{padding}')"), (12, 12, 3)
    )
    np.testing.assert_allclose(net(x, training=False), wrn(state, x, strided), atol=1e-4)
    other = (1, 1) if strided == (0, 1) else (0, 1)
    assert np.abs(wrn(state, x, strided) - wrn(state, x, other)).max() > 1e-2  # the sizes tell them apart


@pytest.mark.parametrize("given", [True, False], ids=["argument", "checkpoint"])
def test_normalisation_goes_inside(state, given):
    mean, std = [0.4, 0.5, 0.3], [0.2, 0.25, 0.3]
    kept = {"norm.mu": np.reshape(mean, (1, 3, 1, 1)), "norm.sigma": np.reshape(std, (1, 3, 1, 1))}
    design, x = registry.parse("model", SPEC), images()
    net = converted(state if given else kept | state, design, x.shape[1:], (mean, std) if given else None)
    wanted = wrn(state, (x - np.array(mean)) / np.array(std), (1, 1))
    np.testing.assert_allclose(net(x, training=False), wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ({"mean": np.full(3, 120.0), "std": np.full(3, 60.0)}, "not of images in"),
        ({"mean": np.full(1, 0.5), "std": np.full(1, 0.5)}, "of 3 channels"),
        (
            {"a.mean": np.full(3, 0.5), "a.std": np.ones(3), "mu": np.zeros(3), "sigma": np.ones(3)},
            "has not one",
        ),
    ],
    ids=["0 to 255", "one channel", "two"],
)
def test_a_normalisation_that_is_not_clear_is_asked_for(state, kept, words):
    design = registry.parse("model", SPEC)
    with pytest.raises(InvalidInput, match=f"`normalize` must be given.*{words}"):
        converted(kept | state, design, (12, 12, 3))
    converted(kept | state, design, (12, 12, 3), ([0.5] * 3, [0.5] * 3))


def test_what_is_flattened_keeps_its_place():
    def shapes():
        return {
            "conv1.weight": (32, 1, 5, 5), "conv1.bias": (32,), "conv2.weight": (64, 32, 5, 5),
            "conv2.bias": (64,), **dense("linear1", 2 * 3 * 64, 5), **dense("linear2", 5, 10),
        }  # fmt: skip

    state, x = drawn(shapes()), np.random.default_rng(1).random((2, 8, 12, 1)).astype("float32")
    net = converted(state, registry.parse("model", "madry_cnn(hidden=5)"), (8, 12, 1))
    h = x.transpose(0, 3, 1, 2)
    for name in ("conv1", "conv2"):
        h = convolved(h, state[f"{name}.weight"], 1, (2, 2)) + state[f"{name}.bias"][:, None, None]
        h = np.maximum(h, 0).reshape(2, h.shape[1], h.shape[2] // 2, 2, h.shape[3] // 2, 2).max((3, 5))
    h = np.maximum(h.reshape(2, -1) @ state["linear1.weight"].T + state["linear1.bias"], 0)
    np.testing.assert_allclose(net(x), h @ state["linear2.weight"].T + state["linear2.bias"], atol=1e-4)


@pytest.fixture(scope="module")
def resnet50():
    return targets(registry.parse("model", "resnet50(width=4)").build((8, 8, 3), 10))


@pytest.mark.parametrize("first", [False, True], ids=["last", "first"])
def test_a_shortcut_is_told_by_its_name_where_its_shape_is_that_of_another(first, resnet50):
    shapes = conv("conv1", 3, 4, 3) | norm("bn1", 4)
    before, names = 4, []
    for stage, (units, width) in enumerate(zip((3, 4, 6, 3), (4, 8, 16, 32), strict=True)):
        for unit in range(units):
            at = f"layer{stage + 1}.{unit}"
            short = conv(f"{at}.downsample.0", before, 4 * width, 1) | norm(f"{at}.downsample.1", 4 * width)
            main = conv(f"{at}.conv1", before, width, 1) | norm(f"{at}.bn1", width)
            main |= conv(f"{at}.conv2", width, width, 3) | norm(f"{at}.bn2", width)
            main |= conv(f"{at}.conv3", width, 4 * width, 1) | norm(f"{at}.bn3", 4 * width)
            shapes |= ((short | main) if first else (main | short)) if unit == 0 else main
            before = 4 * width
            names += ["conv1", "bn1", "conv2", "bn2", "conv3", "bn3"]
    shapes |= dense("fc", before, 10)
    pairs = match(resnet50, sources(drawn(shapes)))
    told = {source.name: target.on_shortcut for target, source in pairs}
    assert {name for name, short in told.items() if short} == {n for n in told if "downsample" in n}
    main = [source.name.rpartition(".")[2] for target, source in pairs if not target.on_shortcut]
    assert main == ["conv1", "bn1", *names, "fc"]


# -- what does not fit -------------------------------------------------------------------------------------


def changed(state, **values):
    return {**state, **{name.replace("__", "."): value for name, value in values.items()}}


BAD = {
    "deeper": (lambda s: s, "wrn(depth=16, width=1)", r"without tensors: conv2d\S* .*and \d+ more"),
    "wider": (lambda s: s, "wrn(depth=10, width=2)", r"without a layer: block1.layer.0.conv1 \(16x16x3x3\)"),
    "another family": (
        lambda s: s,
        "resnet18(form='afd_mnist')",
        "The checkpoint has 9 conv, 7 norm, 1 dense",
    ),
    "one more": (lambda s: changed(s, aux__weight=np.ones((5, 5))), SPEC, r"aux \(5x5\)"),
    "unknown tensor": (
        lambda s: changed(s, gate=np.ones(3)),
        SPEC,
        r"gate \(3\); .*without tensors: none",
    ),
    "one less": (
        lambda s: {name: value for name, value in s.items() if "block2.layer.0.conv2" not in name},
        SPEC,
        r"without a layer: none; layers without tensors: conv2d\S* \(conv 32x32x3x3\)",
    ),
    "no statistics": (
        lambda s: {name: value for name, value in s.items() if "running" not in name},
        SPEC,
        "must have running_mean and running_var of",
    ),
    "a bias too many": (
        lambda s: changed(s, conv1__bias=np.ones(16)),
        SPEC,
        "a bias at .*conv1.bias",
    ),
    "a bias too long": (lambda s: changed(s, fc__bias=np.ones(11)), SPEC, r"fc.bias of shape \(10,\)"),
    "NaN": (lambda s: changed(s, fc__bias=np.full(10, np.nan)), SPEC, "finite weights.*fc.bias"),
    "a negative variance": (
        lambda s: changed(s, bn1__running_var=-np.ones(64)),
        SPEC,
        "no negative variance",
    ),
    "no classifier": (lambda s: {"conv1.weight": s["conv1.weight"]}, SPEC, "a linear layer at its end"),
    "no weights": (lambda s: {"epoch": np.ones(3)}, SPEC, "a checkpoint with weights"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_does_not_fit_is_named_and_nothing_is_written(kind, state, tmp_path):
    change, spec, words = BAD[kind]
    np.savez(tmp_path / "net.npz", **change(state))
    with pytest.raises(InvalidInput, match=words) as caught:
        zoo.convert(tmp_path / "net.npz", spec, tmp_path / "out", shape=(12, 12, 3), data="cifar10")
    assert len(str(caught.value)) <= 600 and [p.name for p in tmp_path.iterdir()] == ["net.npz"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"file": "none.pt"}, "`file` must be an existing checkpoint"),
        ({"file": "net.txt"}, r"`file` must be one of \.pt"),
        ({"out": "full"}, "`out` must be a new or empty folder"),
        ({"out": "a b"}, "`out` must be a folder whose name"),
        ({"shape": (12, 12)}, "`shape` must be"),
        ({"shape": (12, 0, 3)}, "`shape` must be"),
        ({"normalize": ([0.5], [0.5])}, "`normalize` must be"),
        ({"normalize": ([0.5] * 3, [0.5, 0.0, 0.5])}, "`normalize` must be"),
        ({"part": "ema"}, "`part` must be one of"),
        ({"data": None}, "`data` must be given"),
        ({"architecture": "wrn50()"}, "`model` must be one of"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(changes, words, file, tmp_path):
    (tmp_path / "net.txt").write_text("weights")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("precious")
    given = {"file": file.name, "architecture": SPEC, "out": "out", "shape": (12, 12, 3), "data": "cifar10"}
    given |= changes
    given |= {name: tmp_path / given[name] for name in ("file", "out")}
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidInput, match=words):
        zoo.convert(**given)
    assert sorted(tmp_path.rglob("*")) == before
