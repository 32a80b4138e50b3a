"""Image sets: arrays in [0, 1], and folders of images that stay on disk."""

from keras_adv.data.image_files import Folder, ImageFiles
from keras_adv.data.sets import TFDS_NAMES, Data, Split, load
from keras_adv.data.tfds_files import unpack

__all__ = ["TFDS_NAMES", "Data", "Folder", "ImageFiles", "Split", "load", "unpack"]
