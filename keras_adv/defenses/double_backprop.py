"""Double backpropagation and the contractive penalty."""

from __future__ import annotations

from keras_adv.arrays import Tensor, square_norm
from keras_adv.backend import jacobian, value_and_grad
from keras_adv.defenses.base import Batch, Defense, Move, Nets
from keras_adv.defenses.standard import clean_loss
from keras_adv.losses import cross_entropy
from keras_adv.optimizers import Adam, Optimizer
from keras_adv.ramps import Ramp, now
from keras_adv.registry import option, register, tunable


@register("defense", "double_backprop")
class DoubleBackprop(Defense):
    """CE(x) + weight |grad_x CE(x)|_2^2, or CE(x) + weight |J(x)|_F^2 with J = dz / dx.

    of="loss": Drucker & Le Cun (1992), double backpropagation; their factor 1/2 is in the weight.
    of="logits": the contractive penalty of Rifai et al. (ICML 2011), of the whole net and exact; Gu & Rigazio
    (arXiv:1412.5068) sum it layer by layer, which costs less. The slopes are of the net in inference mode:
    batch normalisation in training mode would couple the images.

    Args:
        weight: of the penalty; squared slopes are those of images in [0, 1].
        of: "loss" or "logits".
        optimizer: of the classifier.

    Cost a step, K classes: 1 forward-backward pass and 1 second-order pass, K second-order passes for
    "logits".
    """

    reference = "Drucker & Le Cun, IEEE Trans. Neural Networks 3(6), 1992"
    weight: float | Ramp = tunable(default=0.1, lowest=1e-3, highest=10.0, log=True)
    of: str = option(default="loss", choices=("loss", "logits"))
    optimizer: Optimizer = option(default=Adam())

    def passes(self, classes: int) -> dict[str, int]:
        return {"net.weights": 1, "net.second": 1 if self.of == "loss" else classes}

    def moves(self) -> tuple[Move, ...]:
        return (self.classifier_move("cross_entropy", "slope", loss=self._loss),)

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Tensor]:
        slopes = self._slopes(nets, batch)
        size = square_norm(slopes)
        return {"slope": now(self.weight, nets["net"]) * size, **clean_loss(nets, batch)}

    def _slopes(self, nets: Nets, batch: Batch) -> Tensor:
        """(B, ...) of the loss, (B, K, ...) of the logits."""
        logits = nets["net"].logits
        if self.of == "logits":
            return jacobian(logits, batch["x"])[1]
        return value_and_grad(lambda v: (cross_entropy(logits(v), batch["y"]), None), batch["x"])[2]
