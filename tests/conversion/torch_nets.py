"""The families of RobustBench in PyTorch, small: names and order of their layers are their authors'."""

import torch
from torch import nn
from torch.nn import functional as F


def conv(before, after, size, stride=1, padding=None):
    return nn.Conv2d(before, after, size, stride, size // 2 if padding is None else padding, bias=False)


def same(x, stride):
    """Padding for a 3x3 convolution without any, as TensorFlow has it for even sides."""
    return F.pad(x, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1))


def pooled(x):
    return x.mean((2, 3))


class TradesBlock(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(before), conv(before, after, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(after), conv(after, after, 3)
        self.convShortcut = conv(before, after, 1, stride) if before != after else None

    def forward(self, x):
        h = F.relu(self.bn1(x))
        x = x if self.convShortcut is None else self.convShortcut(h)
        return x + self.conv2(F.relu(self.bn2(self.conv1(h))))


class Stage(nn.Module):
    def __init__(self, block, units, before, after, stride):
        super().__init__()
        several = [block(before if k == 0 else after, after, stride if k == 0 else 1) for k in range(units)]
        self.layer = nn.Sequential(*several)

    def forward(self, x):
        return self.layer(x)


class TradesWRN(nn.Module):
    """yaodongyu/TRADES, models/wideresnet.py, with the stage that it never calls."""

    def __init__(self, units=2, width=2, classes=10, channels=3):
        super().__init__()
        w = [16, 16 * width, 32 * width, 64 * width]
        self.conv1 = conv(channels, 16, 3)
        self.block1 = Stage(TradesBlock, units, w[0], w[1], 1)
        self.sub_block1 = Stage(TradesBlock, units, w[0], w[1], 1)
        self.block2 = Stage(TradesBlock, units, w[1], w[2], 2)
        self.block3 = Stage(TradesBlock, units, w[2], w[3], 2)
        self.bn1, self.fc = nn.BatchNorm2d(w[3]), nn.Linear(w[3], classes)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(pooled(F.relu(self.bn1(x))))


class DeepMindBlock(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.stride = stride
        self.batchnorm_0, self.conv_0 = nn.BatchNorm2d(before), conv(before, after, 3, stride, padding=0)
        self.batchnorm_1, self.conv_1 = nn.BatchNorm2d(after), conv(after, after, 3)
        self.shortcut = conv(before, after, 1, stride) if before != after else None

    def forward(self, x):
        h = F.silu(self.batchnorm_0(x))
        x = x if self.shortcut is None else self.shortcut(h)
        return x + self.conv_1(F.silu(self.batchnorm_1(self.conv_0(same(h, self.stride)))))


class Normalized(nn.Module):
    """Has the normalisation of its images as buffers."""

    def __init__(self, mean, std, names=("mean", "std")):
        super().__init__()
        self.names = names
        for name, values in zip(names, (mean, std), strict=True):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1))

    def normalized(self, x):
        mean, std = (getattr(self, name) for name in self.names)
        return (x - mean) / std


class DeepMindWRN(Normalized):
    """Gowal et al.'s, with SiLU and TensorFlow's padding."""

    def __init__(self, units=2, width=2, classes=10):
        super().__init__([0.4914, 0.4822, 0.4465], [0.2471, 0.2435, 0.2616])
        w = [16, 16 * width, 32 * width, 64 * width]
        self.init_conv = conv(3, 16, 3)
        stages = [Stage(DeepMindBlock, units, w[k], w[k + 1], 2 if k else 1) for k in range(3)]
        self.layer = nn.Sequential(*stages)
        self.batchnorm, self.logits = nn.BatchNorm2d(w[3]), nn.Linear(w[3], classes)

    def forward(self, x):
        x = self.layer(self.init_conv(self.normalized(x)))
        return self.logits(pooled(F.silu(self.batchnorm(x))))


class Basic(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(before, after, 3, stride), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = conv(after, after, 3), nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride > 1 or before != after:
            self.shortcut = nn.Sequential(conv(before, after, 1, stride), nn.BatchNorm2d(after))

    def forward(self, x):
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(h + self.shortcut(x))


class Bottleneck(nn.Module):
    """With the shortcut registered first: of its 1x1 convolution there is another of the same shape."""

    def __init__(self, before, after, stride):
        super().__init__()
        width = after // 4
        self.downsample = nn.Sequential()
        if stride > 1 or before != after:
            self.downsample = nn.Sequential(conv(before, after, 1, stride), nn.BatchNorm2d(after))
        self.conv1, self.bn1 = conv(before, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, after, 1), nn.BatchNorm2d(after)

    def forward(self, x):
        h = F.relu(self.bn1(self.conv1(x)))
        h = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(h)))))
        return F.relu(h + self.downsample(x))


class ResNet(nn.Module):
    def __init__(self, block, units, widths, stem=64, classes=10):
        super().__init__()
        self.conv1, self.bn1 = conv(3, stem, 3), nn.BatchNorm2d(stem)
        befores = [stem, *widths[:-1]]
        for k, (count, before, after) in enumerate(zip(units, befores, widths, strict=True)):
            setattr(self, f"layer{k + 1}", Stage(block, count, before, after, 2 if k else 1).layer)
        self.linear = nn.Linear(widths[-1], classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.linear(pooled(self.layer4(self.layer3(self.layer2(self.layer1(x))))))


class PreBlock(nn.Module):
    """The shortcut is of the block's input or of what is activated; `padded` is DeepMind's, with a 3x3."""

    activated, padded, act = False, False, staticmethod(F.relu)

    def __init__(self, before, after, stride):
        super().__init__()
        self.stride, zeros = stride, 0 if self.padded else None
        self.bn1, self.conv1 = nn.BatchNorm2d(before), conv(before, after, 3, stride, padding=zeros)
        self.bn2, self.conv2 = nn.BatchNorm2d(after), conv(after, after, 3)
        if stride > 1 or before != after:
            size = 3 if self.padded else 1
            self.shortcut = nn.Sequential(conv(before, after, size, stride, padding=zeros))

    def forward(self, x):
        def pad(v):
            return same(v, self.stride) if self.padded else v

        h = self.act(self.bn1(x))
        short = self.shortcut(pad(h if self.activated else x)) if hasattr(self, "shortcut") else x
        return self.conv2(self.act(self.bn2(self.conv1(pad(h))))) + short


class ActivatedBlock(PreBlock):
    activated = True


class DeepMindPreBlock(PreBlock):
    padded, act = True, staticmethod(F.silu)


class PreActResNet18(Normalized):
    def __init__(self, block, end_norm, classes=10):
        super().__init__([0.5, 0.4, 0.3], [0.2, 0.3, 0.25], names=("mu", "sigma"))
        self.conv1, self.act = conv(3, 64, 3), block.act
        for k, (before, after) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)]):
            setattr(self, f"layer{k + 1}", Stage(block, 2, before, after, 2 if k else 1).layer)
        self.bn = nn.BatchNorm2d(512) if end_norm else None
        self.linear = nn.Linear(512, classes)

    def forward(self, x):
        x = self.conv1(self.normalized(x))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(pooled(x if self.bn is None else self.act(self.bn(x))))


class MadryCNN(nn.Module):
    """advertorch's LeNet5Madry (Ding et al.), after the MNIST challenge."""

    def __init__(self, hidden=1024):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 5, padding=2), nn.Conv2d(32, 64, 5, padding=2)
        self.linear1, self.linear2 = nn.Linear(7 * 7 * 64, hidden), nn.Linear(hidden, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv2(F.max_pool2d(F.relu(self.conv1(x)), 2))), 2)
        return self.linear2(F.relu(self.linear1(x.flatten(1))))


class SmallCNN(nn.Module):
    """TRADES' net for MNIST."""

    def __init__(self):
        super().__init__()
        pairs = [nn.Conv2d(1, 32, 3), nn.Conv2d(32, 32, 3), nn.Conv2d(32, 64, 3), nn.Conv2d(64, 64, 3)]
        self.feature_extractor = nn.ModuleDict({f"conv{k}": layer for k, layer in enumerate(pairs)})
        lines = [nn.Linear(64 * 4 * 4, 200), nn.Linear(200, 200), nn.Linear(200, 10)]
        self.classifier = nn.ModuleDict({f"fc{k}": layer for k, layer in enumerate(lines)})

    def forward(self, x):
        for k, layer in enumerate(self.feature_extractor.values()):
            x = F.relu(layer(x))
            x = F.max_pool2d(x, 2) if k % 2 else x
        x = x.flatten(1)
        for k, layer in enumerate(self.classifier.values()):
            x = layer(x) if k == 2 else F.relu(layer(x))
        return x


def randomized(net, seed=0):
    """The net in evaluation mode with weights and statistics that no initialiser makes."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(value, low, high):
        value.copy_(low + (high - low) * torch.rand(value.shape, generator=generator))

    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.ndim > 1 and name.endswith("weight"):
                spread = (2 / value[0].numel()) ** 0.5
                value.copy_(spread * torch.randn(value.shape, generator=generator))
            elif name.endswith(("weight", "running_var")):
                uniform(value, 0.5, 1.5)
            elif name.endswith(("bias", "running_mean")):
                uniform(value, -0.3, 0.3)
    return net.eval()
