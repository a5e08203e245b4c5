"""Keras, as its examples classify texts: padded in front to the longest, unmasked Embedding, LSTM, Dense; Adam."""

import keras
import numpy
from serve import serve


def prepare(task):
    """The step of a classifier."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(task["threads"])
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(task["seed"])
    shape = task["shape"]
    texts = numpy.zeros((len(task["texts"]), task["steps"]), numpy.int32)
    for row, text in enumerate(task["texts"]):
        texts[row, task["steps"] - len(text) :] = text
    labels = numpy.array(task["labels"], numpy.int32)
    layers = [
        keras.layers.Embedding(shape["vocabulary"], shape["embedding"]),
        keras.layers.LSTM(shape["size"]),
        keras.layers.Dense(shape["classes"]),
    ]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-3, clipnorm=None, global_clipnorm=1.0), loss=loss)

    def step(number):
        model.train_on_batch(texts, labels)

    return step, f"Keras {keras.__version__}, {keras.backend.backend()}"


serve(prepare)
