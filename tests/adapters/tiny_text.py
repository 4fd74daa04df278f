"""CLIP and SigLIP with tiny random weights and tokenizers made on the spot, saved like those on the hub."""

import torch

from tests.adapters.tiny_pipelines import filled
from windvane.randomness import scoped_seed

WORDS = ["a", "photo", "of", "red", "blue", "dog", "cat", "seven", "the"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
VISION = {**SMALL, "image_size": 16, "patch_size": 4}


def tokenizer(kind):
    """A tokenizer of whole words, with the special tokens of the family."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<unk>", "<bos>", "<eos>"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    frame = "<bos> $A <eos>" if kind == "clip" else "$A <eos>"
    tokens = [(name, vocabulary[name]) for name in ("<bos>", "<eos>")]
    made.post_processor = processors.TemplateProcessing(single=frame, special_tokens=tokens)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", bos_token="<bos>", eos_token="<eos>",
        model_max_length=8,
    )  # fmt: skip


def model(kind):
    import transformers as hf

    text = {**SMALL, "vocab_size": 4 + len(WORDS), "max_position_embeddings": 8}
    text |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    with scoped_seed(0):
        if kind == "clip":
            made = hf.CLIPModel(hf.CLIPConfig(vision_config=VISION, text_config=text, projection_dim=12))
        else:
            text["projection_size"] = 16
            made = hf.SiglipModel(hf.SiglipConfig(vision_config=VISION, text_config=text))
        return filled(made)


def save(kind, folder):
    """The folder of a whole model: weights, tokenizer and image processor."""
    import transformers as hf

    model(kind).save_pretrained(folder)
    tokenizer(kind).save_pretrained(folder)
    processor = {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor"}[kind]
    size = {"shortest_edge": 16} if kind == "clip" else {"height": 16, "width": 16}
    settings = {"size": size, "crop_size": {"height": 16, "width": 16}} if kind == "clip" else {"size": size}
    getattr(hf, processor)(**settings).save_pretrained(folder)
    return folder


def pictures(rows=2, side=20, seed=0):
    """Smooth pictures well inside [-1, 1], so that no clipping acts."""
    coarse = torch.rand(rows, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) - 0.5
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
