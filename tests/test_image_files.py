"""Images that stay on disk: the same pixels in every way they are read, the same training as of arrays."""

import keras
import numpy as np
import pytest
from PIL import Image
from sampled import sampled

import keras_adv
from keras_adv import InvalidInput, data
from keras_adv.batches import Batches
from keras_adv.callbacks import Checkpoint
from keras_adv.data import ImageFiles, image_files
from keras_adv.data.augmenting import AUGMENTS, draw
from keras_adv.models import MLP

CLASSES, SIZE = ("ant", "bee", "cat"), 16
RNG = np.random.default_rng(0)


def paint(path, shape=(20, 24), value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (*shape, 3)) if value is None else np.full((*shape, 3), value)
    Image.fromarray(pixels.astype("uint8")).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("insects")
    for number, name in enumerate(CLASSES):
        for index in range(12):
            paint(root / "train" / name / f"{index:02d}.{('png', 'jpg')[index % 2]}", (20 + index, 30))
        for index in range(4):
            paint(root / "val" / name / f"{index}.png", value=60 * number + 5)
        (root / "train" / name / "notes.txt").write_text("no image")
    return root


def load(folder, validation=0.25):
    return data.load(f"folder(path={str(folder)!r}, size={SIZE})", validation)


def test_a_folder_is_a_data_set(folder):
    loaded = load(folder)
    assert loaded.shape == (SIZE, SIZE, 3) and loaded.classes == 3 and loaded.name == folder.name
    assert [len(part[0]) for part in (loaded.train, loaded.validation, loaded.test)] == [27, 9, 12]
    parts = [set(part[0].paths) for part in (loaded.train, loaded.validation)]
    assert not parts[0] & parts[1] and len(parts[0] | parts[1]) == 36
    for x, y in (loaded.train, loaded.validation, loaded.test):
        assert [CLASSES[label] for label in y] == [path.split("/")[-2] for path in x.paths]
    assert len(np.bincount(loaded.validation[1])) == 3  # mixed before it is cut
    assert [*load(folder).train[0].paths] == [*loaded.train[0].paths]
    images = np.asarray(loaded.test[0])
    np.testing.assert_allclose(images[:, 5, 5, 0] * 255, 60 * loaded.test[1] + 5, atol=1e-3)
    assert data.load(str(folder)).shape == (224, 224, 3)


def test_the_square_is_the_middle_of_the_scaled_image(tmp_path):
    """A picture of twice the scaled height: bilinear with antialiasing keeps a slope, from side to side."""
    wide = np.tile(np.linspace(0, 250, 96)[None, :, None], (48, 1, 3))
    Image.fromarray(wide.astype("uint8")).save(tmp_path / "wide.png")
    image = np.asarray(ImageFiles([str(tmp_path / "wide.png")], 21))[0]  # scaled to 24 x 48
    want = (np.arange(48) + 0.5)[13:34] / 48 * 96 / 95 * 250 / 255
    np.testing.assert_allclose(image[10, :, 0], want, atol=0.02)
    assert image.shape == (21, 21, 3)


def test_rows_and_slices_are_those_of_the_whole(folder):
    x, _ = load(folder).train
    whole, rows = np.asarray(x), np.array([5, 2, 2])
    np.testing.assert_array_equal(x[rows], whole[rows])
    np.testing.assert_array_equal(x[3], whole[3])
    assert isinstance(x[3:7], ImageFiles) and whole.dtype == np.float32
    np.testing.assert_array_equal(np.asarray(x[3:7]), whole[3:7])
    assert whole.min() >= 0 and whole.max() <= 1


def test_crops_of_random_size_are_parts_of_the_image_of_the_shares_drawn(tmp_path):
    import tensorflow as tf

    columns = np.broadcast_to(np.arange(90, dtype="uint8")[None, :, None], (60, 90, 1))
    rows = np.broadcast_to(np.arange(60, dtype="uint8")[:, None, None], (60, 90, 1))
    pixels = np.concatenate([rows, columns, rows], -1)
    tf.io.write_file(str(tmp_path / "a.png"), tf.io.encode_png(pixels))
    drawn = draw("resized_crop_flip", 300, (5,))
    area = drawn["area"]
    assert 0.08 <= area.min() < 0.12 and 0.96 < area.max() <= 1
    assert drawn["sides"].min() >= 0.75 and drawn["sides"].max() <= 1.34
    for number in range(0, 300, 10):
        one = {name: part[number] for name, part in drawn.items()}
        crop = 255 * np.asarray(image_files.random_crop(str(tmp_path / "a.png"), one, 12))
        assert crop.shape == (12, 12, 3)
        height, width = (12 / 11 * np.ptp(crop[..., channel]) for channel in (0, 1))
        wanted = one["area"] * 5400
        tall, wide = np.sqrt(wanted / one["sides"]), np.sqrt(wanted * one["sides"])
        assert abs(height - min(tall, 60)) < 0.1 * tall + 2 and abs(width - min(wide, 90)) < 0.1 * wide + 2
        middle = crop[5:7, 5:7, 0].mean()
        assert height / 2 - 2 <= middle <= 60 - height / 2 + 2


def test_batches_of_random_sizes_repeat_and_are_of_disk_alone(folder):
    x, y = load(folder).train
    batches = Batches((x, y), 6, seed=3, augment="resized_crop_flip")
    fed, seen = image_files.in_graph(batches), []
    for epoch in (0, 1, 0):
        batches.set_epoch(epoch)
        seen.append(np.concatenate([np.asarray(images) for images, _ in fed]))
    np.testing.assert_array_equal(seen[0], seen[2])
    assert (seen[0] != seen[1]).any() and seen[0].min() >= 0 and seen[0].max() <= 1
    with pytest.raises(keras_adv.InvalidInput, match="`augment`"):
        trained(np.asarray(x), y, augment="resized_crop_flip")


@pytest.mark.parametrize("augment", sampled(AUGMENTS, "resized_crop_flip"))
def test_a_net_with_statistics_is_averaged_whatever_the_augmentation(folder, augment):
    x, y = load(folder).train
    layers = [keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization(), keras.layers.Flatten()]
    net = keras.Sequential([keras.Input((SIZE, SIZE, 3)), *layers, keras.layers.Dense(3)])
    options = {"epochs": 1, "batch_size": 6, "augment": augment, "average": "ema(decay=0.5, start=0.0)"}
    served = keras_adv.defend(net, "standard()", x, y, verbose=0, **options)
    mean = np.asarray(served.layers[1].moving_mean)
    assert np.isfinite(mean).all() and np.abs(mean).max() > 0


@pytest.mark.parametrize("augment", ["none", "crop_flip", "crop_flip_cutout"])
def test_batches_in_the_graph_are_those_of_arrays(folder, augment):
    x, y = load(folder).train
    weights = np.arange(len(y), dtype="float32")
    on_disk = Batches((x, y), 6, seed=3, augment=augment, weights=weights)
    in_memory = Batches((np.asarray(x), y), 6, seed=3, augment=augment, weights=weights)
    fed = image_files.in_graph(on_disk)
    for epoch in (0, 1):
        on_disk.set_epoch(epoch)
        in_memory.set_epoch(epoch)
        count = 0
        for batch, want in zip(fed, in_memory, strict=False):
            for ours, theirs in zip(batch, want, strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-6)
            count += 1
        assert count == 4 == int(fed.cardinality())


def trained(x, y, held=None, **options):
    net = MLP(units=(8,)).build((SIZE, SIZE, 3), 3)
    options = {"epochs": 2, "batch_size": 6, "verbose": 0, "validation_data": held, **options}
    model = keras_adv.defend(net, "adversarial(attack=fgsm(threat=linf(eps=0.01)))", x, y, **options)
    return model, model.history.history


@pytest.mark.slow
def test_a_training_is_that_of_the_same_images_in_memory(folder, tmp_path):
    loaded = load(folder)
    options = {"augment": "crop_flip", "best": "fgsm(threat=linf(eps=0.01))"}
    ours, logs = trained(*loaded.train, loaded.validation, **options)
    arrays = [(np.asarray(x), y) for x, y in (loaded.train, loaded.validation)]
    theirs, want = trained(*arrays[0], arrays[1], **options)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    for name in want:
        np.testing.assert_allclose(logs[name], want[name], atol=1e-4)
    options["callbacks"] = Checkpoint(tmp_path)
    trained(*loaded.train, loaded.validation, **{**options, "epochs": 1})
    again, _ = trained(*loaded.train, loaded.validation, **options)
    for one, other in zip(again.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    with pytest.raises(InvalidInput, match="of another run: data"):
        x, y = loaded.train
        trained(x[::-1], y[::-1], loaded.validation, **options)


@pytest.mark.slow
def test_a_recipe_trains_on_a_folder(folder, tmp_path):
    spec = f"folder(path={str(folder)!r}, size={SIZE})"
    recipe = keras_adv.registry.parse("recipe", "recipe(defense=standard(), model=mlp(units=(4,)), epochs=1)")
    recipe = recipe.replace(data=spec, batch_size=9, normalize=True)
    assert recipe.title == f"standard_mlp_{folder.name}" == recipe.replace(data=str(folder) + "/").title
    card = keras_adv.train(recipe, tmp_path / "run", attacks=["fgsm()"], n=8, verbose=0)
    assert card.data["name"] == folder.name and card.data["shape"] == [SIZE, SIZE, 3]
    assert keras_adv.registry.parse("recipe", card.recipe) == recipe


def test_nothing_is_read_before_it_is_needed(tmp_path):
    """A set of a hundred thousand names, of which no file exists but those of the first batch."""
    paint(tmp_path / "one.png")
    paths = [str(tmp_path / "one.png")] * 100 + [str(tmp_path / f"{n}.png") for n in range(100_000)]
    x = ImageFiles(paths, 224)
    assert x.shape == (100_100, 224, 224, 3)  # 60 GB
    assert x[:100].shape[0] == 100 and np.asarray(x[:2]).shape == (2, 224, 224, 3)
    assert x.identity != x[:-1].identity


def restricted(root):
    for split in ("train", "val"):
        for number in range(1000):
            (root / split / f"n{number:08d}").mkdir(parents=True)
        for number in (151, 268, 269, 281, 319, 0):
            paint(root / split / f"n{number:08d}" / "a.png", (8, 8))
    return root


def test_restricted_imagenet_joins_its_classes(tmp_path):
    spec = f"folder(path={str(restricted(tmp_path))!r}, size=8, classes='restricted_imagenet')"
    loaded = data.load(spec, validation=0)
    pairs = {
        path.split("/")[-2]: label for path, label in zip(loaded.train[0].paths, loaded.train[1], strict=True)
    }
    assert pairs == {"n00000151": 0, "n00000268": 0, "n00000281": 1, "n00000319": 8}
    assert [len(numbers) for numbers in image_files.RESTRICTED.values()] == [118, 5, 3, 5, 21, 18, 9, 4, 20]
    assert loaded.name == f"restricted_imagenet_{tmp_path.name}"


def test_damaged_images_and_wrong_folders_are_told(folder, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(InvalidInput, match=r"`data` must be readable images.*bad\.jpg"):
        np.asarray(ImageFiles([str(tmp_path / "bad.jpg")], 8))
    for path, told in [
        (tmp_path, "train/ and test/ or val/"),
        (folder / "train", "train/ and test/ or val/"),
    ]:
        with pytest.raises(InvalidInput, match=told):
            data.load(str(path))
    with pytest.raises(InvalidInput, match="1,000 classes of ImageNet"):
        data.load(f"folder(path={str(folder)!r}, classes='restricted_imagenet')")
    paint(tmp_path / "a" / "train" / "x" / "0.png")
    (tmp_path / "a" / "train" / "z").mkdir()
    paint(tmp_path / "a" / "val" / "y" / "0.png")
    with pytest.raises(InvalidInput, match=r"the classes of train/ in val/ too.*y"):
        data.load(str(tmp_path / "a"))
    for split in ("train", "val"):
        for name in ("x", "y"):
            (tmp_path / "b" / split / name).mkdir(parents=True)
    with pytest.raises(InvalidInput, match="a folder of images"):
        data.load(str(tmp_path / "b"))


def test_an_unreadable_image_ends_a_training_in_a_sentence(folder):
    x, y = load(folder).train
    bad = folder / "bad.png"
    bad.write_bytes(b"no image")
    paths = [*np.tile(x.paths, 5)[:119], str(bad)]
    with pytest.raises(InvalidInput, match="`x` must be readable images"):
        trained(ImageFiles(paths, SIZE), np.tile(y, 5)[:120], epochs=1)


def test_validation_data_are_checked_as_arrays_are(folder):
    x, y = load(folder).train
    with pytest.raises(InvalidInput, match="`validation_data` must be without weights"):
        trained(x, y, (x, y, np.ones(len(y))))
    with pytest.raises(InvalidInput, match=r"`validation_data` must be images of shape .*8, 8, 3"):
        trained(x, y, (ImageFiles(x.paths, 8), y))


def test_names_of_sets_and_hidden_folders_are_no_data(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert data.load("digits").shape == (8, 8, 1)
    for bad in ("x" * 300, "folder(path='a\\0b')"):
        with pytest.raises(InvalidInput):
            data.load(bad)
    paint(tmp_path / "one" / "train" / "a" / "0.png")
    (tmp_path / "one" / "train" / ".hidden").mkdir()
    (tmp_path / "one" / "val").mkdir()
    with pytest.raises(InvalidInput, match="at least 2 classes"):
        data.load("one")


def test_defenses_that_look_at_the_whole_set_are_refused(folder):
    x, y = load(folder).train
    net = MLP(units=(8,)).build((SIZE, SIZE, 3), 3)
    for spec in ("pgi", "deepfool_training"):
        with pytest.raises(InvalidInput, match=f"`x` must be arrays for {spec}"):
            keras_adv.defend(net, spec, x, y, epochs=1)
    other = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    with pytest.raises(InvalidInput, match=r"shape"):
        keras_adv.defend(other, "standard", x, y, epochs=1)
