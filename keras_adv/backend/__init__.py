"""What Keras leaves to the framework: gradients by the input, Jacobians, compilation, `train_step`.

The only rooms, besides `data` and `export`, that import TensorFlow or JAX. `KERAS_BACKEND` chooses.
"""

import keras

if keras.config.backend() == "tensorflow":
    from keras_adv.backend.tensorflow import (
        ANY_SIZE,
        Game,
        apart,
        chosen_grad,
        compile,
        jacobian,
        select,
        value_and_grad,
    )
elif keras.config.backend() == "jax":
    from keras_adv.backend.jax import (
        ANY_SIZE,
        Game,
        apart,
        chosen_grad,
        compile,
        jacobian,
        select,
        value_and_grad,
    )
else:
    raise ImportError(
        "keras_adv runs on the Keras backends 'tensorflow' and 'jax'. Received: "
        f"{keras.config.backend()!r}. Set the environment variable KERAS_BACKEND=tensorflow (or jax) "
        "before Python starts."
    )

from keras_adv.backend.pure import Net, View

__all__ = [
    "ANY_SIZE",
    "Game",
    "Net",
    "View",
    "apart",
    "chosen_grad",
    "compile",
    "jacobian",
    "select",
    "value_and_grad",
]
