"""Networks: one file a family. Images in [0, 1] in, logits out, normalisation inside."""

from keras_adv.models.alexnet import AlexNet
from keras_adv.models.base import Architecture
from keras_adv.models.convnet import ConvNet
from keras_adv.models.lenet import LeNet
from keras_adv.models.madnet import MadNetResNet
from keras_adv.models.madry_cnn import MadryCNN
from keras_adv.models.mlp import MLP
from keras_adv.models.nin import NIN
from keras_adv.models.normalising import NORMALIZE, normalizer
from keras_adv.models.resnet import ResNet
from keras_adv.models.resnet18 import ResNet18
from keras_adv.models.resnet50 import ResNet50
from keras_adv.models.small_cnn import SmallCNN
from keras_adv.models.vgg import VGG
from keras_adv.models.wrn import WRN

__all__ = [
    "MLP",
    "NIN",
    "NORMALIZE",
    "VGG",
    "WRN",
    "AlexNet",
    "Architecture",
    "ConvNet",
    "LeNet",
    "MadNetResNet",
    "MadryCNN",
    "ResNet",
    "ResNet18",
    "ResNet50",
    "SmallCNN",
    "normalizer",
]
