"""Classify pictures with an exported SavedModel: classify_savedmodel.py FOLDER PICTURE..."""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

folder, *pictures = sys.argv[1:]
names = json.loads(Path(folder, "assets.extra", "tlkit.json").read_text())["class_names"]
model = tf.saved_model.load(folder)
for picture in pictures:
    image = ImageOps.exif_transpose(Image.open(picture)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(image.convert("RGB"))[None]
    probabilities = model.serve(tf.constant(pixels))["probabilities"].numpy()[0]
    print(ascii(names[probabilities.argmax()]), f"{probabilities.max():.4f}", picture)
