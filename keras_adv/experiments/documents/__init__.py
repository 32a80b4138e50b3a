"""The tables and figures of each document, as data."""

from keras_adv.experiments.documents import (
    afd,
    afd_curves,
    afd_features,
    deep_defense,
    madnet,
    mat,
    mat_features,
    thesis3,
    thesis4,
    thesis5,
)

DOCUMENTS = (
    madnet,
    mat,
    mat_features,
    deep_defense,
    afd,
    afd_curves,
    afd_features,
    thesis3,
    thesis4,
    thesis5,
)
