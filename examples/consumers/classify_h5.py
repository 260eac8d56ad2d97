"""Classify pictures with an exported .h5 file: classify_h5.py MODEL PICTURE..."""

import json
import sys

import h5py
import keras
import numpy as np
from PIL import Image

file, *pictures = sys.argv[1:]
names = json.loads(h5py.File(file).attrs["tlkit"])["class_names"]
model = keras.models.load_model(file, compile=False)
for picture in pictures:
    pixels = np.asarray(Image.open(picture).convert("RGB"))[None]
    probabilities = model.predict(pixels, verbose=0)[0]
    print(ascii(names[probabilities.argmax()]), f"{probabilities.max():.4f}", picture)
