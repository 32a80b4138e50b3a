"""Robust accuracy and time against AutoAttack in PyTorch (the port pyautoattack), on the same weights.

python benchmarks/compare_autoattack.py --model=adversarial_lenet_digits --data=digits --eps=0.1 --eps=0.2

It measures time, so run it on an idle machine, on the TensorFlow backend, after `pip install torch
pyautoattack`. Only for plain networks of convolutions, poolings and dense layers.
"""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import torch
from absl import flags
from pyautoattack.autoattack import AutoAttack
from rich.table import Table

import keras_adv
from keras_adv import cli

MODEL = flags.DEFINE_string("model", "adversarial_lenet_digits", "a zoo name, a run folder, or FILE.keras")
DATA = flags.DEFINE_string("data", "digits", "the images")
N = flags.DEFINE_integer("n", 500, "images")
EPS = flags.DEFINE_multi_float("eps", [0.1, 0.2], "radii")
NORM = flags.DEFINE_enum("norm", "linf", ["linf", "l2", "l1"], "norm")


class ChannelsLast(torch.nn.Module):
    """(B, C, H, W) -> (B, H, W, C), so that Flatten orders values as Keras does."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1)


def twin(model):
    """The same network in PyTorch: images (B, C, H, W)."""
    made = []
    for layer in model.layers:
        kind, weights = type(layer).__name__, layer.get_weights()
        if kind == "Conv2D":
            kernel, bias = weights
            one = torch.nn.Conv2d(*kernel.shape[2:], kernel.shape[0], padding=layer.padding)
            one.weight.data, one.bias.data = (
                torch.tensor(kernel.transpose(3, 2, 0, 1).copy()),
                torch.tensor(bias),
            )
        elif kind == "Dense":
            one = torch.nn.Linear(*weights[0].shape)
            one.weight.data, one.bias.data = torch.tensor(weights[0].T.copy()), torch.tensor(weights[1])
        else:
            one = {"MaxPooling2D": torch.nn.MaxPool2d(2), "InputLayer": None, "Dropout": None}.get(kind)
            made += [ChannelsLast(), torch.nn.Flatten()] if kind == "Flatten" else []
        made += [one] if one is not None else []
        if getattr(getattr(layer, "activation", None), "__name__", "") == "relu":
            made.append(torch.nn.ReLU())
    return torch.nn.Sequential(*made).eval()


def main():
    data, model = keras_adv.data.load(DATA.value), keras_adv.zoo.open(MODEL.value)
    splits = [data.test, data.validation, data.train]
    x, y = (np.concatenate([split[i] for split in splits])[: N.value] for i in (0, 1))
    net = twin(model)
    tx, ty = torch.tensor(x.transpose(0, 3, 1, 2).copy()), torch.tensor(y).long()
    logits = model.predict(x, verbose=0)
    difference = np.abs(net(tx).detach().numpy() - logits).max()
    if difference > 1e-3:
        cli.exit_with_error(f"the copy's logits differ by {difference}")
    table = Table(
        title=f"AutoAttack standard, {MODEL.value}, {len(x)} images, logits equal to {difference:.0e}"
    )
    for column in ("threat", "ours", "theirs", "seconds", "theirs", "time ratio", "ours after each part"):
        table.add_column(column, overflow="fold")
    for eps in EPS.value:
        start = time.perf_counter()
        result = keras_adv.attack(model, x, y, f"autoattack(threat={NORM.value}(eps={eps}))")
        ours = time.perf_counter() - start
        start = time.perf_counter()
        norm = {"linf": "Linf", "l2": "L2", "l1": "L1"}[NORM.value]
        made = AutoAttack(net, eps=eps, norm=norm, seed=0).run_standard_evaluation(tx, ty, batch_size=256)
        found = made[0] if isinstance(made, tuple) else made
        theirs = time.perf_counter() - start
        robust = float((net(torch.as_tensor(found)).argmax(1) == ty).float().mean())
        cells = [
            f"{NORM.value} {eps}",
            f"{(~result.success).mean():.2%}",
            f"{robust:.2%}",
            f"{ours:.1f}",
            f"{theirs:.1f}",
        ]
        table.add_row(*cells, f"{ours / theirs:.2f}", str(list(result.parts.values())))
    cli.show(table)


if __name__ == "__main__":
    cli.run(main)
