"""Classify pictures with an exported .h5 file: classify_h5.py MODEL PICTURE..."""

import json
import sys

import h5py
import keras
import numpy as np
from PIL import Image, ImageOps

file, *pictures = sys.argv[1:]
names = json.loads(h5py.File(file).attrs["tlkit"])["class_names"]
model = keras.models.load_model(file, compile=False)
for picture in pictures:
    image = ImageOps.exif_transpose(Image.open(picture)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(image.convert("RGB"))[None]
    probabilities = model.predict(pixels, verbose=0)[0]
    print(ascii(names[probabilities.argmax()]), f"{probabilities.max():.4f}", picture)
