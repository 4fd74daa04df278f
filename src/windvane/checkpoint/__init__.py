"""Model folders: settings and modules of a model as JSON, their weights as safetensors.

::

    model/
      windvane.json    format, kind, settings, modules, weights, step, extra, hashes ...
      ema/, raw/               weights of the module "network": one of them or both, each with
        unet/ or transformer/  a diffusers folder, which diffusers' ``from_pretrained`` opens
        conditioning.safetensors   the rest of such a network: embeddings of conditions
        model.safetensors      in the place of the two, for a network that is not diffusers'
      modules/NAME/            further modules of the model, such as an autoencoder

Which weights are loaded is said, never guessed. The description holds the hash of every other file and of
itself, and loading compares them; folders of before have none and are opened as they are. A folder is
replaced whole: a process killed while saving leaves the previous model or the new one.
"""

from windvane.checkpoint.folder import FORMAT, MODEL, WEIGHTS, find_model, read_description
from windvane.checkpoint.kinds import ModelKind, unwrapped
from windvane.checkpoint.load import load
from windvane.checkpoint.save import save_model

__all__ = [
    "FORMAT", "MODEL", "WEIGHTS", "ModelKind", "find_model", "load", "read_description", "save_model",
    "unwrapped",
]  # fmt: skip
