"""What Keras leaves to the framework: gradients by the input, Jacobians, compilation, `train_step`.

The only rooms, besides `data` and `serving`, that import TensorFlow or JAX. `KERAS_BACKEND` chooses.
"""

import keras

if keras.config.backend() == "tensorflow":
    from keras_adv.backend.tensorflow import (
        DYNAMIC_BATCH_SIZE,
        Game,
        chosen_grad,
        compile,
        in_graph,
        jacobian,
        put_rows,
        separate_graph,
        take_rows,
        value_and_grad,
        where_rows,
    )
    from keras_adv.backend.tensorflow_devices import (
        batch_numbers,
        batch_sum,
        device_count,
        device_mean,
        join,
        on_devices,
        process,
        rounds_products,
        sharing,
        whole_batch,
    )
elif keras.config.backend() == "jax":
    from keras_adv.backend.jax import (
        DYNAMIC_BATCH_SIZE,
        Game,
        chosen_grad,
        compile,
        in_graph,
        jacobian,
        put_rows,
        separate_graph,
        take_rows,
        value_and_grad,
        where_rows,
    )
    from keras_adv.backend.jax_devices import (
        batch_numbers,
        batch_sum,
        device_count,
        device_mean,
        join,
        on_devices,
        process,
        rounds_products,
        sharing,
        whole_batch,
    )
else:
    raise ImportError(
        "keras_adv runs on the Keras backends 'tensorflow' and 'jax'. Received: "
        f"{keras.config.backend()!r}. Set the environment variable KERAS_BACKEND=tensorflow (or jax) "
        "before Python starts."
    )

from keras_adv.backend.game import ACCURACY, IMAGES, ROWS
from keras_adv.backend.net import FrozenNet, Mode, Net

__all__ = [
    "ACCURACY",
    "DYNAMIC_BATCH_SIZE",
    "IMAGES",
    "ROWS",
    "FrozenNet",
    "Game",
    "Mode",
    "Net",
    "batch_numbers",
    "batch_sum",
    "chosen_grad",
    "compile",
    "device_count",
    "device_mean",
    "in_graph",
    "jacobian",
    "join",
    "on_devices",
    "process",
    "put_rows",
    "rounds_products",
    "separate_graph",
    "sharing",
    "take_rows",
    "value_and_grad",
    "where_rows",
    "whole_batch",
]
