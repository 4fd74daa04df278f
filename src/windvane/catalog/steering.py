"""Systems that steer at sampling time: annotation, guidance, inverse problems, search, optimisation."""

from windvane.catalog.guides import GUIDES
from windvane.catalog.model import Paper, System

SELF_GUIDED = System(
    slug="self-guided",
    title="Self-guided diffusion",
    kind="annotation",
    gives="Guidance from unlabelled images: their own clusters, boxes or masks serve as the labels.",
    limits="Many clusters on few images lead to copies; boxes need one object that stands out from the rest.",
    papers=(
        Paper(
            "Self-Guided Diffusion Models",
            ("Hu", "Zhang", "Asano", "Burghouts", "Snoek"),
            2023,
            "CVPR",
            "2210.06462",
        ),
    ),
    state="works",
    callable="windvane.annotate.annotate",
    test="tests/tasks/test_self_guided.py",
    reproduction="reproductions/self_guided.py",
)

STEERING = (
    SELF_GUIDED,
    System(
        slug="idiff-face",
        title="IDiff-Face",
        kind="annotation",
        gives="Varied images that share one identity, from a model conditioned on each image's own features.",
        limits="Needs an encoder of identity; faithfulness trades against variation.",
        papers=(
            Paper(
                "IDiff-Face: Synthetic-based Face Recognition through Fizzy Identity-Conditioned Diffusion Models",
                ("Boutros", "Grebe", "Kuijper", "Damer"),
                2023,
                "ICCV",
                "2308.04995",
            ),
        ),
    ),
    System(
        slug="classifier-guidance-family",
        title="Classifier guidance family",
        kind="guidance",
        gives="Steering by the gradient of any score: one update whose settings are nine published methods.",
        limits="Strengths do not carry over between variants; the guide must not be the judge.",
        papers=(
            Paper(
                "TFG: Unified Training-Free Guidance for Diffusion Models",
                ("Ye", "Lin", "Han", "Xu", "Liu", "Liang", "Ma", "Zou", "Ermon"),
                2024,
                "NeurIPS",
                "2409.15761",
            ),
            Paper(
                "Diffusion Models Beat GANs on Image Synthesis",
                ("Dhariwal", "Nichol"),
                2021,
                "NeurIPS",
                "2105.05233",
            ),
            Paper("Classifier-Free Diffusion Guidance", ("Ho", "Salimans"), 2022, None, "2207.12598"),
            Paper("Universal Guidance for Diffusion Models", ("Bansal", "others"), 2023, None, "2302.07121"),
            Paper(
                "FreeDoM: Training-Free Energy-Guided Conditional Diffusion Model",
                ("Yu", "Wang", "Zhao", "Ghanem", "Zhang"),
                2023,
                "ICCV",
                "2303.09833",
            ),
            Paper(
                "Diffusion Posterior Sampling for General Noisy Inverse Problems",
                ("Chung", "others"),
                2023,
                "ICLR",
                "2209.14687",
            ),
            Paper(
                "Loss-Guided Diffusion Models for Plug-and-Play Controllable Generation",
                ("Song", "others"),
                2023,
                "ICML",
            ),
            Paper("Manifold Preserving Guided Diffusion", ("He", "others"), 2024, "ICLR", "2311.16424"),
        ),
        state="works",
        callable="windvane.guidance.presets.tfg",
        test="tests/guidance/test_presets.py",
        reproduction="reproductions/classifier_guidance_family.py",
    ),
    System(
        slug="semantic-diffusion-guidance",
        title="Semantic diffusion guidance",
        kind="guidance",
        gives="Text, a picture's content, its style or a mix steers a model trained without captions.",
        limits="Needs a noise-aware image-text encoder; near pure noise its gradient is weak.",
        papers=(
            Paper(
                "More Control for Free! Image Synthesis with Semantic Diffusion Guidance",
                ("Liu", "Park", "Azadi", "Zhang", "Chopikyan", "Hu", "Shi", "Rohrbach", "Darrell"),
                2023,
                "WACV",
                "2112.05744",
            ),
        ),
    ),
    *GUIDES,
    System(
        slug="steered-diffusion",
        title="Steered Diffusion",
        kind="inverse",
        gives="Colouring, inpainting, super-resolution, same identity or layout, from one unconditional model.",
        limits="Hard replacement trusts a noisy measurement completely; strengths depend on the resolution.",
        papers=(
            Paper(
                "Steered Diffusion: A Generalized Framework for Plug-and-Play Conditional Image Synthesis",
                ("Nair", "Cherian", "Lohit", "Wang", "Koike-Akino", "Patel", "Marks"),
                2023,
                "ICCV",
                "2310.00224",
            ),
        ),
        state="works",
        callable="windvane.guidance.Projected",
        test="tests/guidance/test_projection.py",
        reproduction="reproductions/steered_diffusion.py",
    ),
    System(
        slug="forward-models",
        title="Diffusion with forward models",
        kind="inverse",
        gives="Samples of whole signals (scenes, motions) learnt from partial measurements of them alone.",
        limits="The measurement must be known and differentiable, for every example.",
        papers=(
            Paper(
                "Diffusion with Forward Models: Solving Stochastic Inverse Problems Without Direct Supervision",
                ("Tewari", "Yin", "Cazenavette", "Rezchikov", "Tenenbaum", "Durand", "Freeman", "Sitzmann"),
                2023,
                "NeurIPS",
                "2306.11719",
            ),
        ),
    ),
    System(
        slug="diffmatch",
        title="DiffMatch",
        kind="inverse",
        gives="Dense correspondences between two pictures, with an uncertainty from a few samples.",
        limits="Depends on its first guess: a match outside the local window is the prior's invention.",
        papers=(Paper("Diffusion Model for Dense Matching", ("Nam", "others"), 2024, "ICLR", "2305.19094"),),
    ),
    System(
        slug="diffpose",
        title="DiffPose",
        kind="inverse",
        gives="Several 3-D poses for one ambiguous picture instead of a single average pose.",
        limits="The best of many hypotheses rewards spread; mean error and calibration belong beside it.",
        papers=(
            Paper(
                "DiffPose: Multi-hypothesis Human Pose Estimation using Diffusion Models",
                ("Holmquist", "Wandt"),
                2023,
                "ICCV",
                "2211.16487",
            ),
        ),
    ),
    System(
        slug="inference-time-scaling",
        title="Inference-time scaling",
        kind="search",
        gives="Better samples for more computing: search over the starting noises or paths with any scorer.",
        limits="The scorer can be hacked; judge with another one, and count its cost too.",
        papers=(
            Paper(
                "Inference-Time Scaling for Diffusion Models beyond Scaling Denoising Steps",
                ("Ma", "others"),
                2025,
                "CVPR",
                "2501.09732",
            ),
        ),
    ),
    System(
        slug="diffusion-tree-sampling",
        title="Diffusion tree sampling",
        kind="search",
        gives="Samples tilted by any reward, or one of high reward, from a tree that improves as it grows.",
        limits="Needs a stochastic sampler and a bounded reward; small budgets hardly branch.",
        papers=(
            Paper(
                "Diffusion Tree Sampling: Scalable inference-time alignment of diffusion models",
                ("Jain", "Sareen", "Pedramfar", "Ravanbakhsh"),
                2025,
                "NeurIPS",
                "2506.20701",
            ),
        ),
    ),
    System(
        slug="overview-survey",
        title="Diffusion as a black-box optimiser",
        kind="optimisation",
        gives="Designs of high measured value that stay close to the data, by conditions, gradients and rounds.",
        limits="Rewards beyond the labelled range are extrapolations, and the learnt reward can be hacked.",
        papers=(
            Paper(
                "An Overview of Diffusion Models: Applications, Guided Generation, Statistical Rates and Optimization",
                ("Chen", "Mei", "Fan", "Wang"),
                2024,
                None,
                "2404.07771",
            ),
            Paper(
                "Reward-Directed Conditional Diffusion: Provable Distribution Estimation and Reward Improvement",
                ("Yuan", "others"),
                2023,
                "NeurIPS",
                "2307.07055",
            ),
            Paper(
                "Gradient Guidance for Diffusion Models: An Optimization Perspective",
                ("Guo", "others"),
                2024,
                "NeurIPS",
                "2404.14743",
            ),
        ),
    ),
)
