"""Time of a training step against published PyTorch code: same net, same batch, same cores.

python benchmarks/compare_torch.py --net=wrn --steps=2 --precision=bfloat16

It measures time, the two in turn, so run it on an idle machine; it needs PyTorch. `trades` follows the
authors' `trades_loss` (yaodongyu/TRADES) line by line, `madry` the loop of MadryLab's challenges as it is
usually ported. PyTorch's images are channels-last in memory, and half precision is its autocast.
"""

import contextlib
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
from keras_adv.models import WRN, LeNet
from keras_adv.precision import computing_in

REPEATS = flags.DEFINE_integer("repeats", 9, "timings of each")
BATCH = flags.DEFINE_integer("batch_size", 128, "images")
STEPS = flags.DEFINE_integer("steps", 10, "of the inner attack")
NET = flags.DEFINE_enum("net", "lenet", ["lenet", "wrn"], "the thesis' LeNet at 28x28x1, WRN-16-2 at 32x32x3")
PRECISION = flags.DEFINE_enum("precision", "float32", ["float32", "bfloat16"], "what layers compute in")
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


class Block(nn.Module):
    """Two 3x3 convolutions, each after normalisation and ReLU."""

    def __init__(self, old, new, stride):
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(old), nn.BatchNorm2d(new)])
        self.first = nn.Conv2d(old, new, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(new, new, 3, 1, 1, bias=False)
        self.short = None if old == new else nn.Conv2d(old, new, 1, stride, bias=False)

    def forward(self, x):
        h = F.relu(self.norms[0](x))
        short = x if self.short is None else self.short(h)
        return self.second(F.relu(self.norms[1](self.first(h)))) + short


def wrn():
    """WRN-16-2, channels first."""
    sizes = [(16, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    blocks = [Block(*size) for size in sizes]
    end = [nn.BatchNorm2d(128), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)]
    return nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), *blocks, *end)


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


NETS = {
    "lenet": (LeNet(), lenet, (28, 28, 1)),
    "wrn": (WRN(depth=16, width=2), wrn, (32, 32, 3)),
}


def mine(spec, x, y, held):
    """One step of ours, in the precision asked for while `held` is open."""
    architecture, _, shape = NETS[NET.value]
    net = architecture.build(shape, 10)
    half = PRECISION.value == "bfloat16"
    held.enter_context(computing_in(net, "mixed_bfloat16" if half else "float32"))
    defense = registry.parse("defense", spec)
    game = Game(net, defense)
    game.compile_moves(defense.moves(), 100, 1)
    return lambda: game.train_on_batch(x, y)


def theirs(step, x, y):
    """One step of PyTorch's, in the precision asked for."""
    model = NETS[NET.value][1]().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.tensor(x.transpose(0, 3, 1, 2).copy()).contiguous(memory_format=torch.channels_last)
    labels, half = torch.tensor(y, dtype=torch.int64), PRECISION.value == "bfloat16"

    def run():
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            step(model, optimizer, images, labels)

    return run


def main():
    rng = np.random.default_rng(0)
    x = rng.random((BATCH.value, *NETS[NET.value][2]), "float32")
    y = rng.integers(0, 10, BATCH.value).astype("int32")
    ascent, sgd = f"pgd(threat=linf(eps={EPS}), steps={STEPS.value}", "optimizer=sgd(learning_rate=0.01)"
    beside = f"{ascent}, random_start=False, jitter=0.001, loss=kl())"
    ours = {
        "trades": f"trades(weight={BETA}, attack={beside}, {sgd})",
        "madry": f"adversarial(attack={ascent}), {sgd})",
    }
    for name, step in (("trades", trades), ("madry", madry)):
        with contextlib.ExitStack() as held:
            runs = mine(ours[name], x, y, held), theirs(step, x, y)
            for run in runs * 2:
                run()
            pairs = [tuple(clock(run) for run in runs) for _ in range(REPEATS.value)]
        one, other = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"{name}: {one:.3f} s, PyTorch {torch.__version__} {other:.3f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    cli.run(main)
