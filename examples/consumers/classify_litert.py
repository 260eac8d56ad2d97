"""Classify pictures with an exported .tflite file: classify_litert.py MODEL PICTURE..."""

import json
import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

file, *pictures = sys.argv[1:]
names = json.loads(zipfile.ZipFile(file).read("tlkit.json"))["class_names"]
model = Interpreter(file)
pixels_at, answer_at = (
    details[0]["index"] for details in (model.get_input_details(), model.get_output_details())
)
for picture in pictures:
    image = ImageOps.exif_transpose(Image.open(picture)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(image.convert("RGB"))[None]
    model.resize_tensor_input(pixels_at, pixels.shape)
    model.allocate_tensors()
    model.set_tensor(pixels_at, pixels)
    model.invoke()
    probabilities = model.get_tensor(answer_at)[0]
    print(ascii(names[probabilities.argmax()]), f"{probabilities.max():.4f}", picture)
