"""The networks have as many trainable weights as those of the papers."""

import keras
import pytest
from keras import ops
from paper_nets import CIFAR, COUNTS, DEEPER, made, weights

from keras_adv.models import WRN
from keras_adv.models.alexnet import AlexNet
from keras_adv.models.resnet18 import ResNet18
from keras_adv.models.resnet50 import ResNet50


@pytest.mark.parametrize(
    ("model", "shape", "count"),
    [*COUNTS, *(pytest.param(*case, marks=pytest.mark.slow) for case in DEEPER)],
    ids=str,
)
def test_trainable_weights_are_as_many_as_in_the_papers(model, shape, count):
    assert weights(made(model, shape)) == count


@pytest.mark.parametrize(
    ("model", "shape", "classes", "count"),
    [
        (AlexNet(), (224, 224, 3), 1000, 61100840),  # torchvision.models.alexnet
        # Caffe's bvlc_alexnet: 34944 + 307456 + 885120 + 663936 + 442624 + 37752832 + 16781312 + 4097000
        (AlexNet(form="caffe"), (227, 227, 3), 1000, 60965224),
        (ResNet18(form="imagenet"), (224, 224, 3), 1000, 11689512),  # torchvision.models.resnet18
        (ResNet50(), CIFAR, 10, 23520842),  # kuangliu/pytorch-cifar, ResNet50()
        (WRN(depth=34, width=10), CIFAR, 10, 46160474),  # TRADES, models/wideresnet.py
        (WRN(depth=28, width=10), CIFAR, 10, 36479194),  # 36.5 M, Zagoruyko, table 5
    ],
    ids=str,
)
def test_so_are_those_of_the_large_networks(model, shape, classes, count, monkeypatch):
    def zeros(self, shape, dtype=None, **kwargs):  # nobody looks at 61 million random numbers
        return ops.zeros(shape, dtype)

    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", zeros)
    large = model.build(shape, classes)
    assert weights(large) == count
    assert large.output_shape == (None, classes)
