"""Networks: one file a family. Images in [0, 1] in, logits out, normalisation inside."""

from keras_adv.models.base import Architecture
from keras_adv.models.lenet import LeNet
from keras_adv.models.mlp import MLP
from keras_adv.models.resnet import ResNet
from keras_adv.models.wrn import WRN

__all__ = ["MLP", "WRN", "Architecture", "LeNet", "ResNet"]
