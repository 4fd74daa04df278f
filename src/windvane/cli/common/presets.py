"""Starting points by the size of the data; every value can be overridden."""

from typing import Any

Settings = dict[str, dict[str, Any]]


def digits() -> Settings:
    """8 x 8 pictures on a CPU."""
    return {
        "model": {"type": "unet", "channels": [32, 64], "layers": 1, "prediction": "v"},
        "train": {
            "steps": 2_500,
            "batch_size": 128,
            "learning_rate": 1e-3,
            "warmup": 100,
            "ema": 0.999,
            "sample_every": 500,
            "checkpoint_every": 500,
        },
        "sample": {"steps": 40},
        "annotate": {"features": "pca", "k": 30},
    }


def small32() -> Settings:
    """32 x 32 pictures on a CPU."""
    return {
        "data": {"size": 32},
        "model": {"type": "unet", "channels": [32, 64, 96], "layers": 1, "prediction": "v"},
        "train": {
            "steps": 5_000,
            "batch_size": 32,
            "learning_rate": 5e-4,
            "warmup": 200,
            "ema": 0.999,
            "sample_every": 500,
            "checkpoint_every": 250,
        },
        "sample": {"steps": 40},
        "annotate": {"features": "selfsup", "k": 30},
    }


def cifar() -> Settings:
    """32 x 32 pictures in colour on a GPU."""
    return {
        "data": {"size": 32, "channels": 3},
        "model": {
            "type": "unet",
            "channels": [128, 256, 512],
            "layers": 2,
            "prediction": "eps",
            "dropout": 0.1,
        },
        "process": {"type": "vp_linear"},
        "train": {
            "steps": 200_000,
            "batch_size": 128,
            "learning_rate": 3e-4,
            "warmup": 500,
            "ema": 0.9999,
            "precision": "bf16",
            "compile": True,
            "flip": True,
            "sample_every": 5_000,
            "checkpoint_every": 2_000,
        },
        "sample": {"steps": 250, "weight": 2.0},
        "annotate": {"features": "selfsup:4000", "k": 100},
    }
