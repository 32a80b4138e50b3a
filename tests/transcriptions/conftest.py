"""The transcriptions take gradients with TensorFlow's tape, whatever the package would do it with."""

import keras

if keras.config.backend() != "tensorflow":
    collect_ignore_glob = ["test_*.py"]
