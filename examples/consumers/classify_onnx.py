"""Classify pictures with an exported .onnx file: classify_onnx.py MODEL PICTURE..."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

file, *pictures = sys.argv[1:]
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
names = json.loads(session.get_modelmeta().custom_metadata_map["tlkit"])["class_names"]
for picture in pictures:
    image = ImageOps.exif_transpose(Image.open(picture)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(image.convert("RGB"))[None]
    probabilities = session.run(["probabilities"], {"pixels": pixels})[0][0]
    print(ascii(names[probabilities.argmax()]), f"{probabilities.max():.4f}", picture)
