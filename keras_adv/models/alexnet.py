"""AlexNet for ImageNet."""

from __future__ import annotations

import keras
from keras import ops

from keras_adv.arrays import Tensor
from keras_adv.models.base import Architecture, conv
from keras_adv.registry import option, register
from keras_adv.validate import invalid

# form: (filters, size, groups) of each convolution, padding of the first, smallest side of an image
FORMS = {
    "one_tower": (((64, 11, 1), (192, 5, 1), (384, 3, 1), (256, 3, 1), (256, 3, 1)), 2, 63),
    "caffe": (((96, 11, 1), (256, 5, 2), (384, 3, 1), (384, 3, 2), (256, 3, 2)), 0, 67),
}


def local_response(x: Tensor, size: int = 5, alpha: float = 1e-4, beta: float = 0.75) -> Tensor:
    """x / (1 + alpha mean of x^2 over `size` neighbouring channels)^beta, zeros beyond the ends."""
    channels, half = x.shape[-1], size // 2
    square = ops.pad(ops.square(x), [[0, 0], [0, 0], [0, 0], [half, half]])
    mean = sum(square[..., k : k + channels] for k in range(size)) / size
    return x / ops.power(1.0 + alpha * mean, beta)


@register("model", "alexnet")
class AlexNet(Architecture):
    """Five convolutions, three 3x3 max pools of stride 2 and two hidden layers of 4096, ReLU.

    Args:
        form: "one_tower": Krizhevsky, arXiv:1404.5997, as in torchvision: 224x224, convolutions 64, 192, 384,
            256, 256, dropout before each hidden layer; 61,100,840 weights with 1000 classes;
            "caffe": the NIPS 2012 net from Caffe's model zoo, from which Deep Defense starts: 227x227, 96,
            256, 384, 384, 256, two groups in the second, fourth and fifth, local response normalisation
            after the first two, dropout after each hidden layer; 60,965,224 weights. Caffe's images are BGR
            of 0..255 less their mean: build with std 1/255 and swap the channels of imported weights.
        dropout: rate at the hidden layers (0.5).
        hidden: units of each hidden layer (4096).

    Other sizes of images, from 63x63 ("caffe": 67x67), change the input of the first hidden layer;
    torchvision averages the map to 6x6 instead.
    """

    reference = "arXiv:1404.5997"
    form: str = option(default="one_tower", choices=tuple(FORMS))
    dropout: float = option(default=0.5, low=0.0, high=0.9)
    hidden: int = option(default=4096, low=1)

    def body(self, x: Tensor) -> Tensor:
        layers, pad, smallest = FORMS[self.form]
        if min(x.shape[1:3]) < smallest:
            allowed = f"at least {smallest}x{smallest} pixels for form {self.form!r} of alexnet"
            raise invalid("shape", allowed, tuple(x.shape[1:3]))
        x = keras.layers.ZeroPadding2D(pad)(x) if pad else x
        for place, (filters, size, groups) in enumerate(layers):
            strides, padding = (4, "valid") if place == 0 else (1, "same")
            x = conv(filters, size, strides, padding, activation="relu", groups=groups)(x)
            if self.form == "caffe" and place < 2:
                x = local_response(x)
            if place in (0, 1, 4):
                x = keras.layers.MaxPooling2D(3, 2)(x)
        return self._hidden(keras.layers.Flatten()(x))

    def _hidden(self, x: Tensor) -> Tensor:
        before = self.form == "one_tower"
        for name in ("hidden", "features"):
            x = self._drop(x) if before else x
            x = keras.layers.Dense(
                self.hidden, activation="relu", kernel_initializer=self.initializer, name=name
            )(x)
            x = x if before else self._drop(x)
        return x

    def _drop(self, x: Tensor) -> Tensor:
        return keras.layers.Dropout(self.dropout)(x) if self.dropout else x
