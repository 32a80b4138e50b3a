"""Deep Defense's loss written out from the paper alone, slowly and literally.

Z. Yan, Y. Guo, C. Zhang, "Deep Defense: Training DNNs with Improved Adversarial Robustness", NeurIPS 2018.
Equations are the paper's; equation 2 prints the norm of the gradient where the solution of equation 1 has
its square.

The net is a Keras model that returns logits, run with the stored statistics of batch normalisation and
without dropout. One image at a time and one row of the Jacobian at a time; nothing here is shared with the
package.
"""

import tensorflow as tf


def logits_of(model, image):
    """The logits of one image."""
    return model(image[tf.newaxis], training=False)[0]


def logits_and_rows(model, image):
    """The logits of one image and grad f_k of each class, one at a time."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(image)
        logits = logits_of(model, image)
        entries = [logits[k] for k in range(logits.shape[0])]
    return entries, [tape.gradient(entry, image) for entry in entries]


def predicted(logits):
    """The class of the largest logit."""
    values = [float(value) for value in logits]
    return values.index(max(values))


def norm(r):
    """The Euclidean norm, 0 with no derivative at 0 (where the root has none)."""
    square = tf.reduce_sum(r * r)
    return tf.sqrt(square) if float(square) > 0 else tf.zeros((), r.dtype)


def step(difference, gradient):
    """Equation 2, corrected: the shortest r with difference + gradient . r = 0."""
    return tf.abs(difference) / tf.reduce_sum(gradient * gradient) * gradient


def perturbation(model, image, label, steps=5, overshoot=0.02):
    """Delta_x of one image: (1 + overshoot) (r_0 + ... + r_{u-1}), of equations 1 and 2.

    Each step linearises at x + r_0 + ... + r_{i-1} (equation 1), without the overshoot, and never forgets
    how the steps before depend on the weights. Whether the goal is reached is asked at x + (1 + overshoot)
    (r_0 + ...). An image that is classified rightly is led to the nearest other class. One that is not is
    led to its own class (section 3.4), from the likeliest other class where the step linearises: f and grad
    f are of the same two classes, and they are two even where the image has crossed the boundary, but not
    far enough to be done.
    """
    first = predicted(logits_of(model, image))
    total = tf.zeros_like(image)
    for _ in range(steps):
        now = predicted(logits_of(model, image + (1 + overshoot) * total))
        if first == label and now != label:
            break
        if first != label and now == label:
            break
        logits, rows = logits_and_rows(model, image + total)
        if first == label:
            best = None
            for k in range(len(logits)):
                if k == label:
                    continue
                difference, gradient = logits[k] - logits[label], rows[k] - rows[label]
                distance = abs(float(difference)) / float(norm(gradient))
                if best is None or distance < best[0]:
                    best = (distance, difference, gradient)
            total += step(best[1], best[2])
        else:
            others = [(float(logits[k]), k) for k in range(len(logits)) if k != label]
            given = max(others)[1]
            total += step(logits[label] - logits[given], rows[label] - rows[given])
    return (1 + overshoot) * total


def rho(model, image, label, steps=5, overshoot=0.02):
    """||Delta_x||_2 / ||x||_2, the argument of equation 3."""
    return norm(perturbation(model, image, label, steps, overshoot)) / norm(image)


def regulariser_of_image(model, image, label, c=25.0, d=5.0, steps=5, cap=20.0):
    """Equation 6 of one image: exp(-c rho) if it is classified rightly, exp(d rho) if not.

    exp(d rho) has no bound, so its exponent stops at `cap`.
    """
    relative = rho(model, image, label, steps)
    if predicted(logits_of(model, image)) == label:
        return tf.exp(-c * relative)
    return tf.exp(tf.minimum(d * relative, tf.constant(cap, image.dtype)))


def cross_entropy_of_image(model, image, label):
    """L(y, f(x)) of equation 3: the cross-entropy of the softmax."""
    logits = logits_of(model, image)
    return tf.math.log(sum(tf.exp(logits[k]) for k in range(logits.shape[0]))) - logits[label]


def values_and_gradients(model, x, y, weights, regularised=None, **how):
    """Both terms of each image, and the gradients of their means by each of the weights, before lambda.

    `regularised` are the names of the layers that the regulariser reaches: its gradient by all others is
    set to 0 (section 4.2, layer-wise regularisation). A name is a whole name: "dense" is not "dense_1".
    """
    values, sources = {"cross_entropy": [], "regulariser": []}, [weight.value for weight in weights]
    sums = {name: [0.0] * len(weights) for name in values}
    owners = {id(weight): layer.name for layer in model.layers for weight in layer.trainable_weights}
    for image, label in zip(x, y, strict=True):
        image, label = tf.convert_to_tensor(image), int(label)
        for name in values:
            with tf.GradientTape() as tape:
                if name == "cross_entropy":
                    value = cross_entropy_of_image(model, image, label)
                else:
                    value = regulariser_of_image(model, image, label, **how)
            gradients = tape.gradient(value, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            values[name].append(float(value))
            sums[name] = [
                total + gradient.numpy() for total, gradient in zip(sums[name], gradients, strict=True)
            ]
    means = {name: [total / len(x) for total in sums[name]] for name in values}
    if regularised is not None:
        for i, weight in enumerate(weights):
            if owners[id(weight)] not in regularised:
                means["regulariser"][i] = 0 * means["regulariser"][i]
    return values, means
