"""Sets of TensorFlow Datasets as folders of images, which trainings then read image by image."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from keras_adv import files, validate
from keras_adv.data.sets import tfds_builder
from keras_adv.validate import unusable

SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""A split of TFDS, and the folder that `Folder` looks for."""
OWNER = ".tfds"
"""The file in a folder that says of which set it is."""
ENDINGS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"BM": ".bmp"}
"""How a file of each format begins, and what its name ends in."""


def unpack(name: str, out: str | Path, told: Callable[[str], None] = print) -> Path:
    """Writes the images of a set of TensorFlow Datasets into `out`, one file each, for trainings that keep
    them on disk: `--data="folder(path='OUT', size=224)"`.

    OUT/train/<number>_<class>/<image>.jpg, and OUT/val/ and OUT/test/ alike where the set has them and their
    images have labels. The files' own bytes are copied, so nothing is coded anew; one image at a time is in
    memory. A split that is whole is not written again; one that was cut short begins anew.

    Args:
        name: of the set, "imagenet2012" or "imagenette/320px" say, which TFDS has or can download.
        out: folder to write.
        told: is given a line for each split.

    Raises:
        InvalidInput: no such set, or one that is not of images and labels, before anything is written; `out`
            is a folder of another set; an image that is no jpg, png or bmp.
    """
    import tensorflow_datasets as tfds

    builder = tfds_builder(name)
    keys = list(builder.info.supervised_keys or [])
    kinds = [builder.info.features[key] for key in keys]
    if len(kinds) != 2 or not isinstance(kinds[0], tfds.features.Image) or not hasattr(kinds[1], "names"):
        raise unusable("data", "a set of images and of labels that are classes", f"{name}, of {keys}")
    folder = validate.output_folder(out)
    with files.sole_use(folder):
        _claim(folder / OWNER, builder.info.full_name)
        for split in [split for split in SPLITS if split in builder.info.splits]:
            if (folder / SPLITS[split]).is_dir():
                told(f"{folder / SPLITS[split]}: there already")
                continue
            count = _write(builder, split, folder)
            told(f"{folder / SPLITS[split]}: {count} images" if count else f"{split}: no labels, left out")
    return folder


def _claim(file: Path, name: str) -> None:
    """Makes the folder that of one set. Raises InvalidInput where it is that of another."""
    if file.exists() and (owner := file.read_text().strip()) != name:
        raise unusable("out", f"a folder of {name}, or an empty one", f"one of {owner}")
    files.write_text(file, name + "\n")


def _write(builder: Any, split: str, folder: Path) -> int:
    """One split, whole or not at all. Returns the number of its images."""
    part, count = folder / f".{split}.part", 0
    shutil.rmtree(part, ignore_errors=True)
    for name in _folders(builder):  # each, for it is their order that numbers the classes
        (part / name).mkdir(parents=True, exist_ok=True)
    for count, (name, raw) in enumerate(_images(builder, split), 1):
        (part / name / f"{count:08d}{_ending(raw, split, count)}").write_bytes(raw)
    if count:
        part.rename(folder / SPLITS[split])
    shutil.rmtree(part, ignore_errors=True)
    return count


def _images(builder: Any, split: str) -> Iterator[tuple[str, bytes]]:
    """(name of its class' folder, bytes of its file) of each image that has a label."""
    import tensorflow_datasets as tfds

    image, label = builder.info.supervised_keys
    folders = _folders(builder)
    decoders = {image: tfds.decode.SkipDecoding()}
    stored = builder.as_dataset(split=split, decoders=decoders, shuffle_files=False)
    for example in tfds.as_numpy(stored):
        if example[label] >= 0:
            yield folders[int(example[label])], example[image]


def _folders(builder: Any) -> list[str]:
    names = builder.info.features[builder.info.supervised_keys[1]].names
    plain = [re.sub(r"[^\w-]", "_", name)[:80] for name in names]
    width = len(str(len(names) - 1))
    return [f"{number:0{width}d}_{name}" for number, name in enumerate(plain)]


def _ending(raw: bytes, split: str, number: int) -> str:
    for start, ending in ENDINGS.items():
        if raw.startswith(start):
            return ending
    raise unusable("data", "images that are jpg, png or bmp", f"{raw[:4]!r} at the start of {split} {number}")
