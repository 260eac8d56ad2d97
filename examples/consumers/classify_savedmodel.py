"""Classify pictures with an exported SavedModel: classify_savedmodel.py FOLDER PICTURE..."""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

folder, *pictures = sys.argv[1:]
names = json.loads(Path(folder, "assets.extra", "tlkit.json").read_text())["class_names"]
model = tf.saved_model.load(folder)
for picture in pictures:
    pixels = np.asarray(Image.open(picture).convert("RGB"))[None]
    probabilities = model.serve(tf.constant(pixels))["probabilities"].numpy()[0]
    print(ascii(names[probabilities.argmax()]), f"{probabilities.max():.4f}", picture)
