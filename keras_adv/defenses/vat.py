"""Virtual adversarial training."""

from __future__ import annotations

from types import MappingProxyType

from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor, flatten
from keras_adv.backend import ACCURACY, batch_numbers, value_and_grad, where_rows
from keras_adv.defenses.base import Batch, Move, Nets
from keras_adv.defenses.crafting import PairedDefense, run_both
from keras_adv.losses import cross_entropy, hits, kl_divergence
from keras_adv.optimizers import Adam, Drop, Optimizer
from keras_adv.ramps import Ramp, now
from keras_adv.registry import option, preset, register, tunable
from keras_adv.threats import L2


@register("defense", "vat")
class VAT(PairedDefense):
    """CE(x) + weight KL(p(x) || p(x + r)), |r|_2 = eps, p(x) held fixed (arXiv:1704.03976; thesis 2.23).

    r is eps times the direction in which p changes most: from a random d, `power` times
        d <- g / |g|,   g = grad_d KL(p(x) || p(x + xi d)),
    a power iteration on the Hessian of the divergence (thesis 2.24). r is found in inference mode, takes no
    label and is not projected on the box; where float32 has no gradient (p saturated, or the net flat) the
    direction stays random (the authors make r in training mode).

    Args:
        weight: of the divergence; 1 (paper, thesis).
        eps: length of r in [0, 1] units; 2.1 (paper, MNIST), 2.0 (thesis, MNIST), 8 (paper, CIFAR-10,
            semi-supervised, on whitened images: another unit).
        xi: length at which the divergence is differentiated; 1e-6 in the paper, where float32 leaves few
            digits of p(x + xi d) - p(x).
        power: power iterations; 1 (paper).
        statistics: whose statistics batch normalisation uses and keeps: "joint" (both kinds of images are one
            batch), "clean" or "each" (`crafting.STATISTICS`; authors: "clean").
        optimizer: of the classifier.

    Cost a step: 1 forward and `power` forward-backward passes to prepare, then 2 forward-backward passes.
    """

    reference = "arXiv:1704.03976"
    reported = MappingProxyType(
        {
            "MNIST MLP (thesis 3.5): error, under FGSM eps 0.2, rho by DeepFool": (
                "0.87% +- 0.04, 24.33% +- 1.38, 0.269 +- 0.002"
            ),
            "MNIST (thesis 4.5): error, rho by DeepFool / C&W / high confidence": (
                "MLP 0.84%, 0.244 / 0.215 / 0.355; LeNet 0.60%, 0.225 / 0.195 / 0.330"
            ),
        }
    )
    weight: float | Ramp = tunable(default=1.0, lowest=0.1, highest=10.0, log=True)
    eps: float = tunable(default=0.5, lowest=0.1, highest=10.0, log=True)
    xi: float = option(default=1e-2, above=0.0)
    power: int = option(default=1, low=1)
    optimizer: Optimizer = option(default=Adam())

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        logits = nets["net"].frozen.logits
        z = logits(x)
        seeds = noise.seeds(seed, batch_numbers(x))
        d = L2().steepest(noise.normal(seeds, tuple(x.shape[1:])))

        def change(v: Tensor) -> tuple[Tensor, None]:
            return kl_divergence(z, logits(x + self.xi * v)), None

        for _ in range(self.power):
            _, _, g = value_and_grad(change, d)
            known = ops.any(flatten(g) != 0, axis=1)
            d = where_rows(known, L2().steepest(g), d)
        return {"virtual": x + self.eps * d}

    def passes(self, classes: int) -> dict[str, int]:
        return {"net.forward": 1, "net.input": self.power, "net.weights": 2}

    def moves(self) -> tuple[Move, ...]:
        return (self.classifier_move("cross_entropy", "divergence", loss=self._loss),)

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Tensor]:
        z, moved = run_both(nets["net"].logits, batch["x"], batch["virtual"], self.statistics)
        change = kl_divergence(ops.stop_gradient(z), moved)
        return {
            "cross_entropy": cross_entropy(z, batch["y"]),
            "divergence": now(self.weight, nets["net"]) * change,
            ACCURACY: hits(z, batch["y"]),
        }


preset(
    "vat_mnist",
    VAT(eps=2.1, optimizer=Adam(learning_rate=2e-3, schedule=Drop(every=1, factor=0.9))),
    "The authors' supervised MNIST; their MLP has batch normalisation, xi is ours.",
    model="mlp(units=(1200, 600, 300, 150))",
    data="mnist",
    epochs=100,
    batch_size=100,
)
preset(
    "vat_mnist_thesis",
    VAT(eps=2.0),
    "Thesis 4.5, MLP and LeNet; xi is ours, the rate is not printed.",
    model="mlp()",
    data="mnist",
    epochs=100,
    batch_size=100,
)
