"""TRADES' WideResNet as names and shapes of a checkpoint, and as a formula in NumPy."""

import numpy as np

SPEC = "wrn(depth=10, width=1, padding='both')"


def conv(name, before, after, size):
    return {f"{name}.weight": (after, before, size, size)}


def norm(name, size):
    parts = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{part}": (size,) for part in parts}, f"{name}.num_batches_tracked": ()}


def dense(name, before, after):
    return {f"{name}.weight": (after, before), f"{name}.bias": (after,)}


def wrn_shapes(width=1, classes=10, channels=3):
    """name -> shape of TRADES' WideResNet with one block a stage, in its order."""
    shapes = conv("conv1", channels, 16, 3)
    widths = [16, 16 * width, 32 * width, 64 * width]
    for stage in range(3):
        for block in (f"block{stage + 1}", *(["sub_block1"] if stage == 0 else [])):
            at, before, after = f"{block}.layer.0", widths[stage], widths[stage + 1]
            shapes |= norm(f"{at}.bn1", before) | conv(f"{at}.conv1", before, after, 3)
            shapes |= norm(f"{at}.bn2", after) | conv(f"{at}.conv2", after, after, 3)
            shapes |= conv(f"{at}.convShortcut", before, after, 1) if before != after else {}
    return shapes | norm("bn1", widths[3]) | dense("fc", widths[3], classes)


def drawn(shapes, seed=0):
    """Arrays of these shapes; statistics and scales that no initialiser makes."""
    rng, made = np.random.default_rng(seed), {}
    for name, shape in shapes.items():
        if name.endswith("tracked"):
            made[name] = np.array(7)
        elif len(shape) > 1:
            made[name] = rng.normal(size=shape, scale=(2 / np.prod(shape[1:])) ** 0.5).astype("float32")
        else:
            low, high = (0.5, 1.5) if name.endswith(("weight", "var")) else (-0.3, 0.3)
            made[name] = rng.uniform(low, high, shape).astype("float32")
    return made


# -- the net in NumPy, images (N, C, H, W) as PyTorch has them ---------------------------------------------


def convolved(x, weight, stride, pads):
    x = np.pad(x, [(0, 0), (0, 0), pads, pads])
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows[:, :, ::stride, ::stride], weight)


def activated(x, state, at):
    weight, bias, mean, var = (
        state[f"{at}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return np.maximum((x - mean) / np.sqrt(var + 1e-5) * weight + bias, 0)


def wrn(state, x, strided):
    """Logits of TRADES' net; `strided`: rows of zeros before and after what a strided convolution sees."""
    x = convolved(x.transpose(0, 3, 1, 2), state["conv1.weight"], 1, (1, 1))
    for stage in range(3):
        at, stride = f"block{stage + 1}.layer.0", 2 if stage else 1
        h = activated(x, state, f"{at}.bn1")
        if (name := f"{at}.convShortcut.weight") in state:
            x = convolved(h, state[name], stride, (0, 0))
        h = convolved(h, state[f"{at}.conv1.weight"], stride, strided if stage else (1, 1))
        x = x + convolved(activated(h, state, f"{at}.bn2"), state[f"{at}.conv2.weight"], 1, (1, 1))
    features = activated(x, state, "bn1").mean((2, 3))
    return features @ state["fc.weight"].T + state["fc.bias"]


def images(side=12, channels=3):
    return np.random.default_rng(5).random((2, side, side, channels)).astype("float32")
