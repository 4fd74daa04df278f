"""A tiny random BERT with a tokenizer made on the spot, saved like a sentence encoder on the hub."""

from windvane.randomness import scoped_seed
from windvane.text.sentences import NUMBERS, SLANTS, STROKES

WORDS = [
    *NUMBERS, *(str(k) for k in range(10)), *(w for words in (*STROKES, *SLANTS) for w in words), "a", "the",
    "handwritten", "digit", "number", "picture", "image", "of", "drawing", "somebody", "wrote", "figure",
]  # fmt: skip


def save(folder, seed=0):
    """The folder of model and tokenizer; weights wide enough apart that words differ."""
    import transformers as hf

    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = hf.BertTokenizer(str(folder / "vocab.txt"), model_max_length=12)
    config = hf.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16, initializer_range=0.5,
    )  # fmt: skip
    with scoped_seed(seed):
        hf.BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
