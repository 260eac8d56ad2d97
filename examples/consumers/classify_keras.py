"""Classify pictures with an exported .keras file: classify_keras.py MODEL PICTURE..."""

import json
import sys
import zipfile

import keras
import numpy as np
from PIL import Image, ImageOps

file, *pictures = sys.argv[1:]
names = json.loads(zipfile.ZipFile(file).read("metadata.json"))["tlkit"]["class_names"]
model = keras.models.load_model(file, compile=False)
for picture in pictures:
    image = ImageOps.exif_transpose(Image.open(picture)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(image.convert("RGB"))[None]
    probabilities = model.predict(pixels, verbose=0)[0]
    print(ascii(names[probabilities.argmax()]), f"{probabilities.max():.4f}", picture)
