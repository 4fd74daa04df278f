"""Data: folders of images, parquet, the hub, arrays, and what is embedded, as one kind of object.

`open_data` opens any of them by what it is; the result is an `ImageData`.
"""

from windvane.data.arrays import from_arrays
from windvane.data.decode import Decoder
from windvane.data.digits import digits, train_and_held_out
from windvane.data.errors import MissingPackage, UnreadableImage
from windvane.data.export import to_folder, to_parquet
from windvane.data.folder import from_folder
from windvane.data.hub import from_hub
from windvane.data.images import ImageData
from windvane.data.longtail import longtail_counts
from windvane.data.name_list import with_names
from windvane.data.open import open_data
from windvane.data.parquet import from_parquet
from windvane.data.photographs import natural_patches
from windvane.data.resize import resized
from windvane.data.scan import Scan, scan

__all__ = [
    "Decoder",
    "ImageData",
    "MissingPackage",
    "Scan",
    "UnreadableImage",
    "digits",
    "from_arrays",
    "from_folder",
    "from_hub",
    "from_parquet",
    "longtail_counts",
    "natural_patches",
    "open_data",
    "resized",
    "scan",
    "to_folder",
    "to_parquet",
    "train_and_held_out",
    "with_names",
]
