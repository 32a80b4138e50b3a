"""Every registered attack with settings that end in seconds, and the groups that laws are asked of.

What is compiled for a model belongs to a spec: what ensembles share with single attacks is compiled once.
"""

from keras_adv import registry
from keras_adv.attacks.host import HostAttack

NAMES = list(registry.registered("attack"))
QUICK = {
    "apgd": "apgd(steps=20)",
    "autoattack": "autoattack(threat=linf(eps=0.1), steps=20, queries=150)",
    "boundary": "boundary(steps=150)",
    "brendel_bethge": "brendel_bethge(steps=30)",
    "carlini_wagner": "carlini_wagner(searches=3, steps=30, initial=0.1, lr=0.05)",
    "constraint_relaxation": "constraint_relaxation(targets=1, restarts=1)",
    "corner_search": "corner_search(steps=400, tries=10)",
    "daa": "daa(steps=10, particles=3)",
    "ddn": "ddn(steps=40)",
    "ead": "ead(searches=3, steps=30, initial=0.1, lr=0.05)",
    "fab": "fab(steps=20)",
    "feature_adversary": "feature_adversary(threat=linf(eps=0.2), steps=40)",
    "fmn": "fmn(steps=40)",
    "grid": "grid(attack=pdpgd(steps=20, restarts=1), values=(1.0, 4.0))",
    "high_confidence": "high_confidence(steps=60)",
    "hop_skip_jump": "hop_skip_jump(steps=150)",
    "jsma": "jsma(steps=60)",
    "lbfgs": "lbfgs(steps=60, initial=0.1)",
    "one_pixel": "one_pixel(threat=l0(eps=6), steps=5, population=40)",
    "pdgd": "pdgd(steps=40)",
    "pdpgd": "pdpgd(steps=40)",
    "pgd": "pgd(steps=10, restarts=2)",
    "sigma_zero": "sigma_zero(steps=60)",
    "smallest_ball": "smallest_ball(attack=pgd(steps=5), searches=5)",
    "sparsefool": "sparsefool(steps=5, inner=10)",
    "square": "square(threat=linf(eps=0.2), steps=150)",
    "vfga": "vfga(steps=20, samples=3)",
    "worst": "worst(attacks=(fgsm(), deepfool(threat=linf())))",
}


def quick(name):
    """The attack of this name with quick settings."""
    return registry.parse("attack", QUICK.get(name, name))


BOUNDED = [n for n in NAMES if quick(n).contract == "bounded"]
TARGETABLE = [n for n in NAMES if quick(n).targetable]
HOSTS = [n for n in NAMES if isinstance(quick(n), HostAttack)]
GUIDED = [n for n in NAMES if quick(n).guided]
# SciPy's optimiser cannot be part of a graph, and only the evaluation chooses guides
TRACED = [n for n in NAMES if n not in HOSTS and n not in GUIDED]
LOOPS = ["pgd", "ddn", "square"]
"""Three that use the base loop differently: restarts in the ball, the nearest mistake, queries of scores."""
