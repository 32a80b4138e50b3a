"""The papers' own settings as names of specs: `--defense=trades_cifar`, or "trades_cifar(weight=3.0)"."""

from keras_adv.defenses.afd import AFD_CIFAR, AFD_MNIST
from keras_adv.defenses.awp import AT_AWP_CIFAR, TRADES_AWP_CIFAR
from keras_adv.defenses.critic import THESIS as CRITIC_THESIS
from keras_adv.defenses.deep_defense import DEEP_DEFENSE_CIFAR, DEEP_DEFENSE_MNIST
from keras_adv.defenses.fast import FAST_CIFAR
from keras_adv.defenses.mad import MADNET_CIFAR, MADNET_CIFAR_ADVERSARIAL, MADNET_MNIST
from keras_adv.defenses.margin import CIFAR as MARGIN_CIFAR
from keras_adv.defenses.margin import LINF as MARGIN_LINF
from keras_adv.defenses.mart import MART_CIFAR
from keras_adv.defenses.mat import MAT_CIFAR, MAT_MNIST
from keras_adv.defenses.mmc import AT_MMC_CIFAR, MMC_CIFAR, MMC_MNIST
from keras_adv.defenses.parseval import PARSEVAL_CIFAR, PARSEVAL_MNIST
from keras_adv.defenses.trades import TRADES_CIFAR, TRADES_MNIST
from keras_adv.defenses.vat import THESIS as VAT_THESIS
from keras_adv.defenses.vat import VAT_MNIST
from keras_adv.registry import preset

PRESETS = {
    "afd_cifar": AFD_CIFAR,
    "afd_mnist": AFD_MNIST,
    "at_awp_cifar": AT_AWP_CIFAR,
    "at_mmc_cifar": AT_MMC_CIFAR,
    "critic_thesis": CRITIC_THESIS,
    "deep_defense_cifar": DEEP_DEFENSE_CIFAR,
    "deep_defense_mnist": DEEP_DEFENSE_MNIST,
    "fast_cifar": FAST_CIFAR,
    "madnet_cifar": MADNET_CIFAR,
    "madnet_cifar_adversarial": MADNET_CIFAR_ADVERSARIAL,
    "madnet_mnist": MADNET_MNIST,
    "margin_cifar": MARGIN_CIFAR,
    "margin_linf": MARGIN_LINF,
    "mart_cifar": MART_CIFAR,
    "mat_cifar": MAT_CIFAR,
    "mat_mnist": MAT_MNIST,
    "mmc_cifar": MMC_CIFAR,
    "mmc_mnist": MMC_MNIST,
    "parseval_cifar": PARSEVAL_CIFAR,
    "parseval_mnist": PARSEVAL_MNIST,
    "trades_awp_cifar": TRADES_AWP_CIFAR,
    "trades_cifar": TRADES_CIFAR,
    "trades_mnist": TRADES_MNIST,
    "vat_mnist": VAT_MNIST,
    "vat_thesis": VAT_THESIS,
}
for _name, _made in PRESETS.items():
    preset(_name, _made)
