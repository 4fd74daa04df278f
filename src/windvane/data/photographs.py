"""Real colour pictures without a download: patches of two photographs."""

import numpy as np

from windvane.data.digits import bundled
from windvane.data.images import ImageData
from windvane.data.pixels import Size, parse_size
from windvane.data.shuffle import uniforms


def natural_patches(n: int = 2000, size: Size = 32, seed: int = 0) -> ImageData:
    """n random patches (3, H, W) of the photographs that come with scikit-learn, a temple and a flower.

    Each patch takes its picture, place, scale (side evenly spread in logarithm from the target's size to the
    whole picture) and mirroring from the seed; it is scaled with antialiasing. The picture is the label.
    The same seed gives the same patches, and a larger n begins with those of a smaller one.

    Raises:
        ValueError: if n or size is not positive, or the size exceeds the photographs (427 x 640).
    """
    from PIL import Image

    if n < 1:
        raise ValueError(f"n must be positive, got {n}")
    height, width = parse_size(size) or (32, 32)
    files = sorted(bundled("images").glob("*.jpg"))
    pictures = [Image.open(file).convert("RGB") for file in files]
    rows = np.empty((n, 3, height, width), np.uint8)
    labels = np.empty(n, np.int64)
    for i, (which, scale, across, down, mirror) in enumerate(uniforms((n, 5), seed)):
        labels[i] = int(which * len(pictures))
        picture = pictures[labels[i]]
        largest = min(picture.width / width, picture.height / height)
        if largest < 1:
            raise ValueError(
                f"size {height} x {width} exceeds the photographs, {picture.height} x {picture.width}"
            )
        zoom = largest**scale
        left, top = across * (picture.width - zoom * width), down * (picture.height - zoom * height)
        box = (left, top, min(left + zoom * width, picture.width), min(top + zoom * height, picture.height))
        patch = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS, box=box))
        rows[i] = (patch[:, ::-1] if mirror < 0.5 else patch).transpose(2, 0, 1)
    return ImageData(rows, labels=labels, label_names=[file.stem for file in files])
