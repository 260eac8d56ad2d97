"""Write pictures/CLASS/NUMBER.png: handwritten digits of 8 x 8 pixels, enlarged four times."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

digits = load_digits()
counts = dict.fromkeys(range(10), 0)
for pixels, label in zip(digits.images, digits.target.tolist(), strict=True):
    folder = Path("pictures", str(label))
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.uint8(pixels * 255 / 16)).resize((32, 32))
    picture.save(folder / f"{counts[label]:04}.png")
    counts[label] += 1
