"""Time of a training step against published PyTorch code: same net, same batch, same cores.

python benchmarks/compare_torch.py

It measures time, so run it on an idle machine; it needs PyTorch. `trades` follows the authors' `trades_loss`
(yaodongyu/TRADES) line by line, `madry` the loop of MadryLab's challenges as it is usually ported.
"""

import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import torch
from absl import flags
from torch import nn
from torch.nn import functional as F

from keras_adv import cli, registry
from keras_adv.backend import Game
from keras_adv.models import LeNet

REPEATS = flags.DEFINE_integer("repeats", 9, "timings of each")
BATCH = flags.DEFINE_integer("batch_size", 128, "images")
STEPS = flags.DEFINE_integer("steps", 10, "of the inner attack")
EPS, BETA = 0.3, 6.0


def lenet():
    """The thesis' LeNet, channels first."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1024, 512),
        nn.ReLU(),
        nn.Linear(512, 10),
    )


def climb(model, x, x_adv, size, objective):
    for _ in range(STEPS.value):
        x_adv.requires_grad_()
        with torch.enable_grad():
            loss = objective(x_adv)
        grad = torch.autograd.grad(loss, [x_adv])[0]
        x_adv = x_adv.detach() + size * torch.sign(grad.detach())
        x_adv = torch.min(torch.max(x_adv, x - EPS), x + EPS)
        x_adv = torch.clamp(x_adv, 0.0, 1.0)
    return x_adv


def divergence(model, x_adv, x):
    return nn.KLDivLoss(reduction="sum")(F.log_softmax(model(x_adv), dim=1), F.softmax(model(x), dim=1))


def trades(model, optimizer, x, y):
    model.eval()
    x_adv = x.detach() + 0.001 * torch.randn(x.shape).detach()
    x_adv = climb(model, x, x_adv, 2.5 * EPS / STEPS.value, lambda v: divergence(model, v, x))
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y) + BETA / len(x) * divergence(model, x_adv, x)
    loss.backward()
    optimizer.step()


def madry(model, optimizer, x, y):
    x_adv = torch.clamp(x + (2 * torch.rand(x.shape) - 1) * EPS, 0, 1)
    x_adv = climb(model, x, x_adv, 2.5 * EPS / STEPS.value, lambda v: F.cross_entropy(model(v), y))
    optimizer.zero_grad()
    F.cross_entropy(model(x_adv), y).backward()
    optimizer.step()


def clock(fn):
    start = time.perf_counter()
    fn()
    return time.perf_counter() - start


def main():
    rng = np.random.default_rng(0)
    x = rng.random((BATCH.value, 28, 28, 1), "float32")
    y = rng.integers(0, 10, BATCH.value).astype("int32")
    tx, ty = torch.tensor(x.transpose(0, 3, 1, 2).copy()), torch.tensor(y, dtype=torch.int64)
    ascent, sgd = f"pgd(threat=linf(eps={EPS}), steps={STEPS.value}", "optimizer=sgd(learning_rate=0.01)"
    beside = f"{ascent}, random_start=False, jitter=0.001, loss=kl())"
    ours = {
        "trades": f"trades(weight={BETA}, attack={beside}, {sgd})",
        "madry": f"adversarial(attack={ascent}), {sgd})",
    }
    for name, theirs in (("trades", trades), ("madry", madry)):
        model = lenet()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        defense = registry.parse("defense", ours[name])
        game = Game(LeNet().build((28, 28, 1), 10), defense)
        game.compile_moves(defense.moves(), 100, 1)
        runs = (
            lambda game=game: game.train_on_batch(x, y),
            lambda step=theirs, m=model, o=optimizer: step(m, o, tx, ty),
        )
        for run in runs * 2:
            run()
        pairs = [tuple(clock(run) for run in runs) for _ in range(REPEATS.value)]
        mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"{name}: {mine:.3f} s, PyTorch {torch.__version__} {other:.3f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    cli.run(main)
