"""Sets of TensorFlow Datasets as folders: the very bytes, the classes numbered as the set does."""

import io

import numpy as np
import pytest
from PIL import Image

from keras_adv import InvalidInput, data
from keras_adv.data import unpack

tfds = pytest.importorskip("tensorflow_datasets")
NAMES = ["wasp", "ant", "red bee/2"]  # not in the order of their names
RNG = np.random.default_rng(0)


def encoded(kind, value):
    pixels = np.full((20, 24, 3), value, "uint8")
    pixels[:10] = RNG.integers(0, 256, (10, 24, 3))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


FILES = {
    "train": [(encoded(("jpeg", "png")[n % 2], 40 * (n % 3)), n % 3) for n in range(9)],
    "validation": [(encoded("png", 40 * n), n) for n in range(3)],
    "test": [(encoded("png", 0), -1) for _ in range(2)],  # as in ImageNet
}


class Insects(tfds.core.GeneratorBasedBuilder):
    """Made here, not downloaded."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        label = tfds.features.ClassLabel(names=NAMES)
        features = tfds.features.FeaturesDict({"image": tfds.features.Image(), "label": label})
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

    def _split_generators(self, _):
        return {name: self._generate_examples(name) for name in FILES}

    def _generate_examples(self, name):
        for number, (raw, label) in enumerate(FILES[name]):
            yield number, {"image": io.BytesIO(raw), "label": label}


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    made = Insects(data_dir=tmp_path_factory.mktemp("tfds"))
    made.download_and_prepare()
    return made


@pytest.fixture
def insects(builder, monkeypatch):
    monkeypatch.setattr("keras_adv.data.tfds_files.tfds_builder", lambda name: builder)
    return "insects"


def test_every_image_is_there_byte_for_byte_under_its_class(insects, tmp_path):
    told = []
    out = unpack(insects, tmp_path / "out", told.append)
    folders = ["0_wasp", "1_ant", "2_red_bee_2"]
    for split, name in (("train", "train"), ("validation", "val")):
        found = [(p.read_bytes(), folders.index(p.parent.name)) for p in (out / name).glob("*/*")]
        assert sorted(found) == sorted(FILES[split])
    assert {p.suffix for p in out.glob("train/*/*")} == {".jpg", ".png"}
    assert sorted(p.name for p in (out / "train").iterdir()) == folders
    with pytest.raises(InvalidInput, match="`out` must be a folder of"):
        (out / ".tfds").write_text("another/1.0.0")
        unpack(insects, out)
    assert not (out / "test").exists() and told[-1] == "test: no labels, left out"
    loaded = data.load(f"folder(path={str(out)!r}, size=16)", 0)
    assert len(loaded.train[1]) == 9 and loaded.classes == 3
    np.testing.assert_array_equal(loaded.test[1], [0, 1, 2])
    last = np.asarray(loaded.test[0])[:, -2, 8, 0]
    np.testing.assert_allclose(last * 255, [0, 40, 80], atol=1)


def test_a_call_that_was_cut_short_goes_on(insects, tmp_path, monkeypatch):
    whole = FILES["validation"].copy()
    out = unpack(insects, tmp_path, lambda line: None)
    before = sorted((p, p.stat().st_mtime_ns) for p in out.glob("train/*/*"))
    (out / "val").rename(out / ".validation.part")  # as a kill leaves it, with what has no place there
    (out / ".validation.part" / "0_wasp" / "99999999.png").write_bytes(b"half")
    told = []
    unpack(insects, tmp_path, told.append)
    assert sorted((p, p.stat().st_mtime_ns) for p in out.glob("train/*/*")) == before
    assert told[0] == f"{out / 'train'}: there already"
    assert sorted(p.read_bytes() for p in out.glob("val/*/*")) == sorted(raw for raw, _ in whole)


def test_an_image_of_another_format_is_named(insects, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_adv.data.tfds_files._images", lambda *_: iter([("0_wasp", b"GIF89a")]))
    with pytest.raises(InvalidInput, match=r"jpg, png or bmp. Received: b'GIF8' at the start of train 1"):
        unpack(insects, tmp_path)
    assert not (tmp_path / "train").exists()


def test_a_set_without_classes_is_refused_before_anything_is_written(builder, tmp_path, monkeypatch):
    class Bare:
        info = type("Info", (), {"supervised_keys": None, "features": {}})

    monkeypatch.setattr("keras_adv.data.tfds_files.tfds_builder", lambda name: Bare())
    with pytest.raises(InvalidInput, match="`data` must be a set of images and of labels that are classes"):
        unpack("texts", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_set_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(InvalidInput, match="Did you mean 'mnist'"):
        unpack("mnst", tmp_path)
