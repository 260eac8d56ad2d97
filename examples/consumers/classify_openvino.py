"""Classify pictures with an exported OpenVINO folder: classify_openvino.py FOLDER PICTURE..."""

import json
import sys

import numpy as np
import openvino
from PIL import Image, ImageOps

folder, *pictures = sys.argv[1:]
model = openvino.Core().read_model(f"{folder}/model.xml")
names = json.loads(model.get_rt_info("tlkit").astype(str))["class_names"]
# Without this, processors that have bfloat16 compute in it.
classify = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
for picture in pictures:
    image = ImageOps.exif_transpose(Image.open(picture)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(image.convert("RGB"))[None]
    probabilities = classify(pixels)[0][0]
    print(ascii(names[probabilities.argmax()]), f"{probabilities.max():.4f}", picture)
