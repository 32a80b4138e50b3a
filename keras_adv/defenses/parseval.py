"""Parseval networks."""

from __future__ import annotations

import math
from types import MappingProxyType

import keras
from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor
from keras_adv.defenses.base import Defense, Move
from keras_adv.defenses.standard import cross_entropy_move
from keras_adv.optimizers import SGD, Adam, Milestones, Optimizer
from keras_adv.registry import option, preset, register, tunable


@register("defense", "parseval")
class Parseval(Defense):
    """Cross-entropy, and after each step W_S <- (1 + beta) W_S - beta W_S W_S^T W_S for a random share S of
    the rows.

    A gradient step on |W_S W_S^T - I|_F^2: it draws the singular values of every weight matrix to 1, and with
    them the net's Lipschitz constant. A row is what feeds one output: a dense kernel is outputs x inputs, a
    convolution's outputs x (height width inputs).

    The paper also constrains the sums of residual nets to convex combinations; this leaves the network as it
    is. Nor does it touch the scale of batch normalisation, which can undo it.

    Args:
        beta: 1e-4 (MNIST), 3e-4 (CIFAR-10) as the baseline of Deep Defense. A singular value s comes nearer
            to 1 where s (s + 1) < 2 / beta.
        share: of the rows of each kernel, drawn anew each step; at least one row.
        lipschitz: draw a k x k convolution to 1 / k instead: every pixel is seen k^2 times, so singular
            values of 1 allow it to stretch an image k times.
        optimizer: of the classifier.

    Cost a step: 1 forward-backward pass, and 2 products of share^2 rows^2 columns multiplications a kernel.
    """

    reference = "Cisse et al., ICML 2017 (arXiv:1704.08847); Yan, Guo & Zhang, NeurIPS 2018, sec. 4"
    reported = MappingProxyType(
        {
            "rho_2 = mean |Delta|/|x| by DeepFool (Deep Defense, table 1)": (
                "MNIST MLP 0.111 (reference 0.111), LeNet 0.203 (0.205); CIFAR-10 ConvNet 0.0342 "
                "(0.0259), NIN 0.0433 (0.0420)"
            ),
            "Accuracy": "MNIST MLP 98.32% (reference 98.31%), LeNet 99.10% (99.02%); CIFAR-10 ConvNet 80.48% "
            "(79.74%), NIN 88.20% (89.64%)",
        }
    )
    beta: float = tunable(default=1e-4, lowest=1e-5, highest=1e-2, log=True, high=0.5)
    share: float = option(default=0.3, above=0.0, high=1.0)
    lipschitz: bool = option(default=False)
    optimizer: Optimizer = option(default=Adam())

    def moves(self) -> tuple[Move, ...]:
        return (cross_entropy_move(self),)

    def after_step(self, players: dict[str, keras.layers.Layer], seed: Tensor) -> None:
        kernels = [v for v in players["net"].trainable_variables if len(v.shape) > 1]
        for number, kernel in enumerate(kernels):
            kernel.assign(self._tightened(kernel, noise.fold(seed, number)))

    def _tightened(self, kernel: keras.Variable, seed: Tensor) -> Tensor:
        outputs, shape = kernel.shape[-1], kernel.shape
        gain = math.prod(shape[:-2]) if self.lipschitz else 1.0
        w = ops.transpose(ops.reshape(kernel.value, (-1, outputs)))
        order = ops.argsort(noise.uniform(ops.reshape(seed, (1,)), (outputs,))[0])
        drawn = order[: max(1, round(self.share * outputs))]
        part = ops.take(w, drawn, axis=0)
        new = (1.0 + self.beta) * part - self.beta * gain * _cubed(part)
        return ops.reshape(ops.transpose(ops.scatter_update(w, drawn[:, None], new)), shape)


def _cubed(w: Tensor) -> Tensor:
    """W W^T W, by the smaller of W W^T and W^T W."""
    if w.shape[0] <= w.shape[1]:
        return ops.matmul(ops.matmul(w, ops.transpose(w)), w)
    return ops.matmul(w, ops.matmul(ops.transpose(w), w))


_SGD = SGD(learning_rate=5e-4, weight_decay=5e-3, schedule=Milestones(at=(4,), factor=0.5))
preset(
    "parseval_mnist",
    Parseval(optimizer=_SGD),
    "The baseline of Deep Defense, fine-tuned like that (give `start`; see deep_defense_mnist).",
    model="mlp(units=(500, 150))",
    data="mnist",
    epochs=5,
    normalize="mean_image",
    batch_size=100,
)
preset(
    "parseval_cifar",
    Parseval(beta=3e-4, optimizer=_SGD.replace(schedule=Milestones(at=(40,), factor=0.5))),
    "The baseline of Deep Defense, fine-tuned like that (give `start`; see deep_defense_cifar).",
    model="convnet()",
    data="cifar10",
    epochs=50,
    normalize="matconvnet",
    batch_size=100,
)
