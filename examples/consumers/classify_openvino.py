"""Classify pictures with an exported OpenVINO folder: classify_openvino.py FOLDER PICTURE..."""

import json
import sys

import numpy as np
import openvino
from PIL import Image

folder, *pictures = sys.argv[1:]
model = openvino.Core().read_model(f"{folder}/model.xml")
names = json.loads(model.get_rt_info("tlkit").astype(str))["class_names"]
# Without this, processors that have bfloat16 compute in it.
classify = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
for picture in pictures:
    pixels = np.asarray(Image.open(picture).convert("RGB"))[None]
    probabilities = classify(pixels)[0][0]
    print(ascii(names[probabilities.argmax()]), f"{probabilities.max():.4f}", picture)
