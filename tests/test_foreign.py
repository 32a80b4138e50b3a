"""Files that declare far more than they hold are refused before memory is taken."""

import io
import zipfile

import h5py
import numpy as np
import pytest

from keras_adv import InvalidInput, data, foreign, zoo

ENTRY = zoo.path("standard_lenet_digits") / "model.keras"


def repacked(path, name, write):
    """The entry's file with the part `name` written by `write(file)`."""
    with zipfile.ZipFile(ENTRY) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.namelist():
            with new.open(part, "w", force_zip64=True) as file:
                write(file) if part == name else file.write(old.read(part))
    return path


def zeros(file):
    for _ in range(12):
        file.write(bytes(2**24))


def test_the_files_of_the_zoo_are_taken():
    for name in zoo.list():
        foreign.check_archive(zoo.path(name) / "model.keras")


@pytest.mark.parametrize("part", ["config.json", "model.weights.h5"])
def test_a_part_that_unpacks_to_far_more_is_refused(part, tmp_path):
    with pytest.raises(InvalidInput, match=rf"{part} of 201,326,592 bytes"):
        foreign.check_archive(repacked(tmp_path / "bomb.keras", part, zeros))


def test_weights_that_declare_far_more_are_refused(tmp_path):
    held = io.BytesIO()
    with h5py.File(held, "w") as tree:
        tree.create_dataset("w", (10**5, 1000), "float32", chunks=(1000, 1000), compression="gzip")
    path = repacked(tmp_path / "sparse.keras", "model.weights.h5", lambda file: file.write(held.getvalue()))
    with pytest.raises(InvalidInput, match=r"model\.weights\.h5 of 400,000,000 bytes"):
        foreign.check_archive(path)


def test_images_that_declare_far_more_are_refused(tmp_path):
    path = tmp_path / "sparse.npz"
    x, y = np.zeros((12, 4, 4, 1), "float32"), np.arange(12) % 3
    np.savez(path, y_train=y, x_test=x, y_test=y)
    header = {"descr": "<f4", "fortran_order": False, "shape": (2**22, 4, 4, 1)}
    with zipfile.ZipFile(path, "a", 8) as archive, archive.open("x_train.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, header)
        zeros(file)
    with pytest.raises(InvalidInput, match=r"x_train of 268,435,456 bytes"):
        data.load(str(path))
