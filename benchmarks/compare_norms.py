"""Mean norms of every minimal attack on the same images, norm by norm, with the passes that each spent.

python benchmarks/compare_norms.py --model=runs/x --data=mnist.npz

An image that an attack did not break counts with the largest norm that any attack found for it, so that
giving up is no advantage.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import flags
from rich.table import Table

import keras_adv
from keras_adv import cli

MODEL = flags.DEFINE_string("model", "standard_lenet_digits", "a zoo name, a run folder, or FILE.keras")
DATA = flags.DEFINE_string("data", "digits", "the images, of the test split")
N = flags.DEFINE_integer("n", 100, "images")
FIRST = flags.DEFINE_integer("first", 1000, "number of the first; none of those that defaults were chosen on")
NORMS = flags.DEFINE_list("norms", ["linf", "l2", "l1", "l0"], "which norms")
SEARCH = "searches=5, steps=200, initial=0.1, lr=0.05"
RIVALS = {
    "linf": ["deepfool(threat=linf())", "fab(threat=linf())", "brendel_bethge(threat=linf(), steps=490)"],
    "l2": [
        "deepfool()",
        "ddn(steps=500)",
        f"carlini_wagner({SEARCH})",
        "fab(threat=l2())",
        "brendel_bethge(steps=490)",
    ],
    "l1": [f"ead({SEARCH})", "fab(threat=l1())", "sparsefool()", "brendel_bethge(threat=l1(), steps=490)"],
    "l0": ["brendel_bethge(threat=l0(), steps=490)", "sparsefool(threat=l0())"],
}
OWN = {"linf": ["pdpgd()"], "l2": ["pdgd()", "pdpgd(threat=l2())"], "l1": ["pdpgd(threat=l1())"]}
OWN["l0"] = ["pdpgd(threat=l0())"]


def main():
    model, data = keras_adv.zoo.open(MODEL.value), keras_adv.data.load(DATA.value)
    x, y = (part[FIRST.value :][: N.value] for part in data.test)
    table = Table(title=f"{MODEL.value}, {len(x)} images of {data.name}")
    for column in ("norm", "attack", "mean norm", "broken", "passes", "seconds"):
        table.add_column(column, overflow="fold")
    for norm in NORMS.value:
        found = {spec: keras_adv.attack(model, x, y, spec) for spec in OWN[norm] + RIVALS[norm]}
        size = {s: np.where(r.success & (r.distance > 0), r.distance, np.nan) for s, r in found.items()}
        worst = np.nanmax(list(size.values()), axis=0)
        for spec, r in found.items():
            mean = np.where(np.isnan(size[spec]), worst, size[spec])[r.clean].mean()
            cells = (f"{mean:.4f}", f"{r.success[r.clean].mean():.1%}", f"{r.passes[r.clean].mean():.0f}")
            table.add_row(norm, spec, *cells, f"{r.seconds:.0f}")
            print(norm, spec, *cells, flush=True)
    cli.show(table)


if __name__ == "__main__":
    cli.run(main)
