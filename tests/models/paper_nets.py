"""The networks of the papers with the counts of their trainable weights."""

import functools

import numpy as np

from keras_adv.models import MLP, WRN, LeNet, ResNet
from keras_adv.models.convnet import ConvNet
from keras_adv.models.madnet import MadNetResNet
from keras_adv.models.madry_cnn import MadryCNN
from keras_adv.models.nin import NIN
from keras_adv.models.resnet18 import ResNet18
from keras_adv.models.small_cnn import SmallCNN
from keras_adv.models.vgg import VGG

MNIST, CIFAR = (28, 28, 1), (32, 32, 3)

# Trainable weights, 10 classes. Statistics of batch norm do not count, here as in PyTorch's `parameters()`;
# its scales and offsets do. "by hand": from the shapes of the layers, in the comment or at `by_hand`.
COUNTS = [
    # TRADES, models/small_cnn.py: 320 + 9248 + 18496 + 36928 + 1024*200+200 + 200*200+200 + 200*10+10
    (SmallCNN(), MNIST, 312202),
    # MNIST challenge, model.py: 25*32+32 + 25*32*64+64 + 7*7*64*1024+1024 + 1024*10+10
    (MadryCNN(), MNIST, 3274634),
    # Caffe's cifar10_quick, the same net: 2432 + 25632 + 51264 + 4*4*64*64+64 + 64*10+10
    (ConvNet(), CIFAR, 145578),
    (ConvNet(pool=3), CIFAR, 145578),
    # FAB, by hand: 2688 + 83040 + 166080 + 4*331968 + 4*192*384+384 + 384*1200+1200 + 1200*10+10
    (ConvNet(form="fab"), CIFAR, 2348986),
    # the biases: 96 + 96 + 5*192 + 384
    (ConvNet(form="fab", bias=False), CIFAR, 2348986 - 1536),
    # Lin et al., by hand: 14592 + 30880 + 15456 + 460992 + 2*37056 + 331968 + 37056 + 192*10+10
    (NIN(), CIFAR, 966986),
    (NIN(pool=3), CIFAR, 966986),
    # kuangliu/pytorch-cifar, VGG('VGG16'): convolutions 14,714,688 with biases, norms 2*4224, 512*10+10
    (VGG(depth=16), CIFAR, 14728266),
    # by hand: 448 + 2320 + 4640 + 9248 + 18496 + 2*36928 + 73856 + 5*147584 + 128*10+10
    (VGG(depth=16, width=16, batch_norm=False), CIFAR, 922074),
    # the same repository, 'VGG11': convolutions 9,220,480, norms 2*(64+128+2*256+4*512), 5130
    (VGG(), CIFAR, 9231114),
    # kuangliu/pytorch-cifar, ResNet18()
    (ResNet18(), CIFAR, 11173962),
    # its PreActResNet18(), in which no norm follows the last block, nor a shortcut
    (ResNet18(block="pre_activated", end_norm=False), CIFAR, 11171146),
    # AFD, by hand: 144+32 + 9632 + 33088 + 78048 + 141952 (stages) + 64*10+10
    (ResNet18(form="afd_mnist"), MNIST, 263546),
    (ResNet18(form="afd_mnist", normalized=True), MNIST, 263546),
    # Pre-activation leaves every convolution one norm of its own width, so He et al.'s counts, table 6:
    (MadNetResNet(depth=20), CIFAR, 269722),  # 0.27 M
    (MadNetResNet(depth=56), CIFAR, 853018),  # 0.85 M
    (ResNet(depth=20), CIFAR, 269722),
    (WRN(depth=16, width=2), CIFAR, 691674),  # 0.7 M, Zagoruyko, table 5
    (MLP(), MNIST, 784 * 1200 + 2 * 1200 * 1200 + 3 * 1200 + 1200 * 10 + 10),
    (LeNet(), MNIST, 26 * 32 + 32 * 25 * 64 + 64 + 1024 * 512 + 512 + 5130),
    (LeNet(form="matconvnet"), MNIST, 431080),  # Caffe's LeNet
    # by hand: 640 + 36928 + 73856 + 2 * 147584 + 25088*512+512, norms 2*(64+64+3*128+512), 5130
    (ConvNet(form="cnn7"), MNIST, 13259338),
]
DEEPER = [
    (ResNet(depth=56), CIFAR, 853018),
    (MadNetResNet(depth=32), CIFAR, 464154),  # 0.46 M
    (ResNet(depth=32), CIFAR, 464154),
    # 1.7 M; by hand 432 + 36*2304 + 4608+35*9216 + 18432+35*36864 + 2*(16+36*112) + 650
    (ResNet(depth=110), CIFAR, 1727962),
]


@functools.cache
def made(model, shape, classes=10):
    return model.build(shape, classes)


def weights(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_variables)
