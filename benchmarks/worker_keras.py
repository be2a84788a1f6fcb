"""Keras' side of bench.py: worker_keras.py inference|training MODEL BATCH SIZE, by keras_cv_attention_models."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # its softmax refuses the six axes of these models' attention

import tensorflow as tf  # noqa: E402
from keras_cv_attention_models import halonet  # noqa: E402
from turns import take_turns  # noqa: E402


def make_step(work: str, model: str, batch_size: int, size: int) -> Callable[[], object]:
    network = getattr(halonet, model)(input_shape=(size, size, 3), pretrained=None, classifier_activation=None)
    images = tf.random.normal((batch_size, size, size, 3))
    labels = tf.range(batch_size)
    if work == "inference":
        run = tf.function(lambda images: network(images, training=False))
        return lambda: run(images).numpy()
    optimizer = tf.keras.optimizers.AdamW(weight_decay=0.05)
    loss_of = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def train() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(labels, network(images, training=True))
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return loss

    return lambda: train().numpy()


if __name__ == "__main__":
    work, model, batch_size, size = sys.argv[1:5]
    take_turns(make_step(work, model, int(batch_size), int(size)), least=0.3)
