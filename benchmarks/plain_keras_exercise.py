"""The original exercise as a plain Keras script, to measure tlkit against.

    python benchmarks/plain_keras_exercise.py cifar10.npz

The data comes from an .npz with the keys of keras.datasets.cifar10, so that it also runs without
internet; the ImageNet weights come from Keras' cache (KERAS_HOME) or a download.
"""

import sys
import tempfile
import time
from pathlib import Path

begin = time.monotonic()

import keras
import numpy as np
from sklearn.metrics import classification_report, confusion_matrix

keras.utils.set_random_seed(0)
with np.load(sys.argv[1]) as data:
    x_train, y_train, x_test, y_test = (data[k] for k in ("x_train", "y_train", "x_test", "y_test"))
x_train, x_test = x_train.astype("float32") / 255, x_test.astype("float32") / 255
backbone = keras.applications.MobileNetV2(
    weights="imagenet", include_top=False, input_shape=(32, 32, 3)
)
backbone.trainable = False
model = keras.Sequential(
    [
        backbone,
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, epochs=5, validation_data=(x_test, y_test), verbose=2)
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
predictions = model.predict(x_test, verbose=0).argmax(axis=1)
print(confusion_matrix(y_test, predictions))
print(classification_report(y_test, predictions))
with tempfile.TemporaryDirectory() as folder:
    model.save(Path(folder) / "model.h5")
print(f"accuracy {accuracy:.4f} seconds {time.monotonic() - begin:.1f}")
