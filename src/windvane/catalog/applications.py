"""Systems for other data and other jobs: joint models, tasks, series, tokens, flows, video, evaluation."""

from windvane.catalog.model import Paper, System

APPLICATIONS = (
    System(
        slug="unicon",
        title="UniCon",
        kind="joint",
        gives="One model of pictures and conditions: control, estimation, joint samples, inpainting.",
        limits="Needs aligned pairs, and one network row per stream.",
        papers=(
            Paper(
                "A Simple Approach to Unifying Diffusion-based Conditional Generation",
                ("Li", "others"),
                2025,
                "ICLR",
                "2410.11439",
            ),
        ),
    ),
    System(
        slug="diffusion-classifier",
        title="Diffusion classifier",
        kind="task",
        gives="Any conditional model becomes a classifier, with no training.",
        limits="Many network calls per picture; scores of different pictures are not comparable.",
        papers=(
            Paper(
                "Your Diffusion Model is Secretly a Zero-Shot Classifier",
                ("Li", "Prabhudesai", "Duggal", "Brown", "Pathak"),
                2023,
                "ICCV",
                "2303.16203",
            ),
        ),
    ),
    System(
        slug="pcdm",
        title="PCDMs",
        kind="task",
        gives="A subject in a new pose from one picture: embed, inpaint beside the source, refine.",
        limits="Three models to train and run; published scores may pick the best of several samples.",
        papers=(
            Paper(
                "Advancing Pose-Guided Image Synthesis with Progressive Conditional Diffusion Models",
                ("Shen", "Ye", "Zhang", "Wang", "Han", "Yang"),
                2024,
                "ICLR",
                "2310.06313",
            ),
        ),
    ),
    System(
        slug="galaxy",
        title="GalaxySD",
        kind="task",
        gives="Pictures for mixtures of attributes, rare ones too, to train classifiers and detectors with.",
        limits="Attributes that share their evidence do not combine; samples need checking.",
        papers=(
            Paper(
                "Can AI Dream of Unseen Galaxies? Conditional Diffusion Model for Galaxy Morphology Augmentation",
                ("Ma", "Sun", "Jing", "Cai", "Ting", "Huang", "Li"),
                2026,
                "ApJS",
                "2506.16233",
            ),
        ),
    ),
    System(
        slug="medical-survey",
        title="Medical image analysis",
        kind="task",
        gives="Anomaly maps, segmentation by sampled masks, reconstruction that agrees with the measurement.",
        limits="Small-scale compositions of published methods: nothing here is a medical device.",
        papers=(
            Paper(
                "Diffusion Models for Medical Image Analysis: A Comprehensive Survey",
                ("Kazerouni", "others"),
                2023,
                "Medical Image Analysis",
                "2211.07804",
            ),
            Paper(
                "Diffusion Models for Medical Anomaly Detection",
                ("Wolleb", "others"),
                2022,
                "MICCAI",
                "2203.04306",
            ),
            Paper(
                "Diffusion Models for Implicit Image Segmentation Ensembles",
                ("Wolleb", "others"),
                2022,
                "MIDL",
                "2112.03145",
            ),
            Paper(
                "Score-based diffusion models for accelerated MRI",
                ("Chung", "Ye"),
                2022,
                "Medical Image Analysis",
                "2110.05243",
            ),
        ),
    ),
    System(
        slug="tsdiff",
        title="TSDiff",
        kind="series",
        gives="One unconditional model of series forecasts, imputes, refines forecasts and makes data.",
        limits="One series at a time; known values are matched softly, not exactly.",
        papers=(
            Paper(
                "Predict, Refine, Synthesize: Self-Guiding Diffusion Models for Probabilistic Time Series Forecasting",
                ("Kollovieh", "Ansari", "Bohlke-Schneider", "Zschiegner", "Wang", "Wang"),
                2023,
                "NeurIPS",
                "2307.11494",
            ),
        ),
    ),
    System(
        slug="radd",
        title="RADD",
        kind="discrete",
        gives="Masked diffusion of tokens with a network that knows no time: calls can be cached.",
        limits="Caching helps only while fewer tokens than steps change; few steps cost coherence.",
        papers=(
            Paper(
                "Your Absorbing Discrete Diffusion Secretly Models the Conditional Distributions of Clean Data",
                ("Ou", "Nie", "Xue", "Zhu", "Sun", "Li", "Li"),
                2025,
                "ICLR",
                "2406.03736",
            ),
        ),
    ),
    System(
        slug="cdcd",
        title="CDCD",
        kind="discrete",
        gives="Token diffusion trained against wrong outputs, for closer agreement with the condition.",
        limits="The contrast is unbounded unless clipped; too much of it ruins likelihood and variety.",
        papers=(
            Paper(
                "Discrete Contrastive Diffusion for Cross-Modal Music and Image Generation",
                ("Zhu", "Wu", "Olszewski", "Ren", "Tulyakov", "Yan"),
                2023,
                "ICLR",
                "2206.07771",
            ),
        ),
    ),
    System(
        slug="starflow",
        title="STARFlow",
        kind="flow",
        gives="Autoregressive flows: exact likelihoods, one-pass encoding, guidance in closed form.",
        limits="Sampling inverts token by token; likelihoods hold for noised data only.",
        papers=(
            Paper(
                "STARFlow: Scaling Latent Normalizing Flows for High-resolution Image Synthesis",
                ("Gu", "others"),
                2025,
                "NeurIPS",
                "2506.06276",
            ),
            Paper(
                "Normalizing Flows are Capable Generative Models",
                ("Zhai", "others"),
                2024,
                None,
                "2412.06329",
            ),
        ),
    ),
    System(
        slug="conditional-image-leakage",
        title="Against conditional image leakage",
        kind="video",
        gives="More motion from image-to-video models: a later start, or a noised image in training.",
        limits="The later start ignores the condition; strong conditions want their own mean.",
        papers=(
            Paper(
                "Identifying and Solving Conditional Image Leakage in Image-to-Video Diffusion Model",
                ("Zhao", "Zhu", "Xiang", "Zheng", "Li", "Zhu"),
                2024,
                "NeurIPS",
                "2406.15735",
            ),
        ),
    ),
    System(
        slug="latent-flow-diffusion",
        title="LFDM",
        kind="video",
        gives="A picture set in motion by an action: only its flow is generated, its looks are warped.",
        limits="Appearance that the picture does not show has to come from the decoder.",
        papers=(
            Paper(
                "Conditional Image-to-Video Generation with Latent Flow Diffusion Models",
                ("Ni", "Shi", "Li", "Huang", "Min"),
                2023,
                "CVPR",
                "2303.13744",
            ),
        ),
    ),
    System(
        slug="llia",
        title="LLIA",
        kind="video",
        gives="Streaming video in few steps, steered as it goes by a signal and a switchable state.",
        limits="A guidance weight fixed by distillation stays fixed; errors build up over many clips.",
        papers=(
            Paper(
                "LLIA: Enabling Low-Latency Interactive Avatars: Real-Time Audio-Driven Portrait Video Generation "
                "with Diffusion Models",
                ("Yu", "Wang", "Pan", "Cheng", "Yang", "Wang", "Xie", "Xu", "Wei", "Cai"),
                2025,
                None,
                "2506.05806",
            ),
        ),
    ),
    System(
        slug="artifactgen",
        title="ArtifactGen",
        kind="evaluation",
        gives="An audit of generated signals: spectrum, channels, time, distribution, classes, usefulness.",
        limits="Real and generated windows must share scale and length, or the figures mean nothing.",
        papers=(
            Paper(
                "ArtifactGen: Benchmarking WGAN-GP vs Diffusion for Label-Aware EEG Artifact Synthesis",
                ("Arasu", "Jahangiri"),
                2025,
                None,
                "2509.08188",
            ),
        ),
    ),
    System(
        slug="sdm",
        title="SDM verification",
        kind="evaluation",
        gives="Says which predictions or samples may be trusted, at a promised accuracy.",
        limits="Needs labelled calibration data for every class; small sets are rejected wholesale.",
        papers=(
            Paper(
                "Similarity-Distance-Magnitude Universal Verification",
                ("Schmaltz",),
                2025,
                None,
                "2502.20167",
            ),
        ),
    ),
)
