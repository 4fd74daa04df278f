"""Systems about the model: backbones, training, fine-tuning, personalisation."""

from windvane.catalog.model import Paper, System

TRAINING = (
    System(
        slug="dico",
        title="DiCo",
        kind="backbone",
        gives="A purely convolutional denoiser with channel attention, at a cost linear in the pixels.",
        limits="Image sides must be divisible by four; resolutions do not mix.",
        papers=(
            Paper(
                "DiCo: Revitalizing ConvNets for Scalable and Efficient Diffusion Modeling",
                ("Ai", "Fan", "Hu", "Yang", "He", "Huang"),
                2025,
                "NeurIPS",
                "2505.11196",
            ),
            Paper(
                "Scalable Diffusion Models with Transformers", ("Peebles", "Xie"), 2023, "ICCV", "2212.09748"
            ),
        ),
    ),
    System(
        slug="dimr",
        title="DiMR",
        kind="backbone",
        gives="A denoiser with a coarse transformer and fine convolutional branches, against smeared detail.",
        limits="Three grids to tune; classes reach the fine branches only through the coarse one.",
        papers=(
            Paper(
                "Alleviating Distortion in Image Generation via Multi-Resolution Diffusion Models",
                ("Liu", "Zeng", "He", "Yu", "Shen", "Chen"),
                2024,
                "NeurIPS",
                "2406.09416",
            ),
        ),
    ),
    System(
        slug="pixart-alpha",
        title="PixArt-α",
        kind="backbone",
        gives="A class-conditional transformer becomes a token-conditioned one and keeps what it knows.",
        limits="The order of the training stages matters more than the block; half precision needs care.",
        papers=(
            Paper(
                "PixArt-α: Fast Training of Diffusion Transformer for Photorealistic Text-to-Image Synthesis",
                ("Chen", "Yu", "Ge", "Yao", "Xie", "Wu", "Wang", "Kwok", "Luo", "Lu", "Li"),
                2024,
                "ICLR",
                "2310.00426",
            ),
        ),
    ),
    System(
        slug="difficulty-curriculum",
        title="Difficulty curriculum",
        kind="training",
        gives="Noise levels are trained from easy to hard; any network, target and loss weight.",
        limits="No sensible samples before the last stage, and little room for it in very small budgets.",
        papers=(
            Paper(
                "Denoising Task Difficulty-based Curriculum for Training Diffusion Models",
                ("Kim", "Go", "Kwon", "Kim"),
                2025,
                "ICLR",
                "2403.10348",
            ),
        ),
    ),
    System(
        slug="slight-corruption",
        title="Condition embedding perturbation",
        kind="training",
        gives="A little noise on the embedded condition while training, for better quality and variety.",
        limits="Strength is relative to the embedding's size; small problems gain little.",
        papers=(
            Paper(
                "Slight Corruption in Pre-training Data Makes Better Diffusion Models",
                ("Chen", "Han", "Misra", "Li", "Hu", "Zou", "Sugiyama", "Wang", "Raj"),
                2024,
                "NeurIPS",
                "2405.20494",
            ),
        ),
    ),
    System(
        slug="unified-masked-diffusion",
        title="Unified masked diffusion",
        kind="training",
        gives="One pretraining by masks and by noise: features for annotation and a start for a generator.",
        limits="Samples need a fine-tuning phase with all patches visible.",
        papers=(
            Paper(
                "Unified Auto-Encoding with Masked Diffusion",
                ("Hansen-Estruch", "Vishwanath", "Zhang", "Tomar"),
                2024,
                None,
                "2406.17688",
            ),
        ),
    ),
    System(
        slug="ctrl",
        title="CTRL",
        kind="fine-tuning",
        gives="A new control for a trained model, from pairs of data and labels, free when sampling.",
        limits="The classifier of the control can be hacked; every step must stay random.",
        papers=(
            Paper(
                "Adding Conditional Control to Diffusion Models with Reinforcement Learning",
                ("Zhao", "Uehara", "Scalia", "Kung", "Biancalani", "Levine", "Hajiramezanali"),
                2025,
                "ICLR",
                "2406.12120",
            ),
        ),
    ),
    System(
        slug="dreambooth",
        title="DreamBooth",
        kind="personalisation",
        gives="A model that draws one given subject in new settings, from three to five pictures of it.",
        limits="Without its prior images the model drifts and forgets the subject's class.",
        papers=(
            Paper(
                "DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven Generation",
                ("Ruiz", "Li", "Jampani", "Pritch", "Rubinstein", "Aberman"),
                2023,
                "CVPR",
                "2208.12242",
            ),
        ),
    ),
    System(
        slug="class-diffusion",
        title="ClassDiffusion",
        kind="personalisation",
        gives="Personalisation that still obeys the rest of the prompt, by one extra loss in text space.",
        limits="Too strong a loss glues the new concept to its class and costs likeness.",
        papers=(
            Paper(
                "ClassDiffusion: More Aligned Personalization Tuning with Explicit Class Guidance",
                ("Huang", "Liew", "Yan", "Yin", "Zhao", "Shi", "Wei"),
                2025,
                "ICLR",
                "2405.17532",
            ),
        ),
    ),
    System(
        slug="domain-studio",
        title="DomainStudio",
        kind="personalisation",
        gives="A model moved to a new style or subtype by about ten images, without collapsing onto them.",
        limits="Needs early stopping: ten images are memorised in the end.",
        papers=(
            Paper(
                "DomainStudio: Fine-Tuning Diffusion Models for Domain-Driven Image Generation using Limited Data",
                ("Zhu", "Ma", "Chen", "Yuan"),
                2023,
                None,
                "2306.14153",
            ),
            Paper(
                "Few-shot Image Generation with Diffusion Models",
                ("Zhu", "Ma", "Chen", "Yuan"),
                2022,
                None,
                "2211.03264",
            ),
        ),
    ),
)
