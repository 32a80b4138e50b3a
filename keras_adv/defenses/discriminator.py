"""The spectrally normalised projection discriminator of features."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_adv import validate
from keras_adv.arrays import TINY, Tensor

FORMS = ("fc3_pd", "fc1_pd", "fc3")


class SpectralDense(keras.layers.Layer):
    """x W / sigma + b, sigma the largest singular value of W (Miyato et al., arXiv:1802.05957, alg. 1).

    Each call takes one step of the power method from the vector that is kept; a training call keeps the new
    one. While the kernel stays the same, sigma is exact after a few calls; in training it lags (digits, Adam
    at 1e-3: the norm of W / sigma is up to 1.16). The gradient goes through sigma = u' W v, the vectors held
    fixed. The kernel itself is never written. `keras.layers.SpectralNormalization` overwrites it, in training
    calls only: as a pure function it would leave the kernel unnormalised in all other calls. On one-hot rows
    it is an embedding table.

    Args:
        units: width of the output.
        use_bias: add a bias.
    """

    def __init__(self, units: int, use_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.units, self.use_bias = units, use_bias

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.units), initializer="glorot_uniform", name="kernel"
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")
        self.u = self.add_weight(
            shape=(self.units,),
            initializer="random_normal",
            trainable=False,
            name="u",
            aggregation="only_first_replica",
        )
        for _ in range(15):  # a start near the singular vector, as in PyTorch
            self.u.assign(self._iterate()[0])

    def _iterate(self) -> tuple[Tensor, Tensor]:
        """The next (right, left) singular vectors; they stay where they are while the kernel is 0."""
        kernel, u = ops.stop_gradient(ops.convert_to_tensor(self.kernel)), ops.convert_to_tensor(self.u)
        left = ops.matmul(kernel, u[:, None])[:, 0]
        left = left / ops.maximum(ops.norm(left), TINY)
        right = ops.matmul(left[None, :], kernel)[0]
        size = ops.norm(right)
        return ops.where(size > TINY, right / ops.maximum(size, TINY), u), left

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        right, left = self._iterate()
        if training:
            self.u.assign(right)
        kernel = ops.convert_to_tensor(self.kernel)
        sigma = ops.sum(left[:, None] * kernel * right[None, :])
        out = ops.matmul(inputs, kernel) / ops.where(sigma > TINY, sigma, 1.0)
        return out if self.bias is None else out + self.bias


class Discriminator(keras.layers.Layer):
    """How natural features h look for class y: <w, g> + b + <e_y, g>, with g the hidden layers of h.

    Every matrix is normalised to spectral norm 1, the table of the e_y too (Miyato & Koyama,
    arXiv:1802.05637). Call with features (B, F) and labels (B,); returns (B,).

    Args:
        features: width F of the features.
        classes: number of classes.
        form: "fc3_pd": two hidden layers with LeakyReLU(0.2); "fc1_pd": none; "fc3": two, and no labels
            (MNIST robustness 97.0, 86.0 and 90.7%: AFD, table A6; that "FC1" has no hidden layer is
            inferred).
        width: of the hidden layers; None is F.
    """

    def __init__(self, features: int, classes: int, form: str = "fc3_pd", width: int | None = None) -> None:
        super().__init__(name="discriminator", dtype="float32")
        validate.one_of("form", form, FORMS)
        self.classes = classes
        depth, width = 0 if form == "fc1_pd" else 2, width or features
        self.hidden = [SpectralDense(width) for _ in range(depth)]
        sizes = [features, *([width] * depth)]
        self.score, self.table = SpectralDense(1), None
        for layer, size in zip([*self.hidden, self.score], sizes, strict=True):
            layer.build((None, size))
        if form != "fc3":
            self.table = SpectralDense(sizes[-1], use_bias=False)
            self.table.build((None, classes))
        self.built = True

    def call(self, features: Tensor, labels: Tensor, training: bool = False) -> Tensor:
        h = features
        for layer in self.hidden:
            h = ops.leaky_relu(layer(h, training=training), 0.2)
        out = self.score(h, training=training)[:, 0]
        if self.table is None:
            return out
        hot = ops.one_hot(labels, self.classes, dtype="float32")
        return out + ops.sum(self.table(hot, training=training) * h, axis=1)
