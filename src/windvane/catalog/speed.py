"""Systems about sampling better or faster: solvers, processes, acceleration, distillation."""

from windvane.catalog.model import Paper, System

SPEED = (
    System(
        slug="evodiff",
        title="EVODiff",
        kind="solver",
        gives="A few-step solver that sets its own coefficients per sample, for 5 to 20 network calls.",
        limits="Deterministic; only on a grid even in log-SNR; loses to 2M below 8 calls or over wide ranges.",
        papers=(
            Paper(
                "EVODiff: Entropy-aware Variance Optimized Diffusion Inference",
                ("Li", "Chen", "Zeng"),
                2025,
                "NeurIPS",
                "2509.26096",
            ),
            Paper(
                "Denoising Diffusion Implicit Models", ("Song", "Meng", "Ermon"), 2021, "ICLR", "2010.02502"
            ),
            Paper(
                "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
                ("Lu", "Zhou", "Bao", "Chen", "Li", "Zhu"),
                2022,
                None,
                "2211.01095",
            ),
            Paper(
                "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models",
                ("Zhao", "Bai", "Rao", "Zhou", "Lu"),
                2023,
                "NeurIPS",
                "2302.04867",
            ),
        ),
        state="works",
        callable="windvane.samplers.EVODiff",
        test="tests/samplers/test_sampler_evodiff.py",
        reproduction="reproductions/evodiff.py",
    ),
    System(
        slug="pfgmpp",
        title="PFGM++",
        kind="process",
        gives="A dial between Poisson flow and diffusion: heavier-tailed noise forgives errors while sampling.",
        limits="Not Gaussian: no ancestral steps, scores, renoising. The gain needs a network that sees |x|.",
        papers=(
            Paper(
                "PFGM++: Unlocking the Potential of Physics-Inspired Generative Models",
                ("Xu", "Liu", "Tian", "Tong", "Tegmark", "Jaakkola"),
                2023,
                "ICML",
                "2302.04265",
            ),
        ),
        state="works",
        callable="windvane.process.PFGMPP",
        test="tests/test_noise.py",
        reproduction="reproductions/pfgmpp.py",
    ),
    System(
        slug="t-stitch",
        title="T-Stitch",
        kind="acceleration",
        gives="A small model takes the noisiest steps and the large one the rest; nothing is trained.",
        limits="Both models must share process, data scale and condition; little to gain below five steps.",
        papers=(
            Paper(
                "T-Stitch: Accelerating Sampling in Pre-Trained Diffusion Models with Trajectory Stitching",
                ("Pan", "Zhuang", "Huang", "Nie", "Yu", "Xiao", "Cai", "Anandkumar"),
                2024,
                None,
                "2402.14167",
            ),
        ),
        state="works",
        callable="windvane.compress.stitched",
        test="tests/compress/test_stitching.py",
        reproduction="reproductions/t_stitch.py",
    ),
    System(
        slug="deediff",
        title="DeeDiff",
        kind="acceleration",
        gives="Each sample leaves the network early as soon as its own uncertainty estimate allows.",
        limits="Needs heads trained on every block; saved operations are not always saved seconds.",
        papers=(
            Paper(
                "DeeDiff: Dynamic Uncertainty-Aware Early Exiting for Accelerating Diffusion Model Generation",
                ("Tang", "Wang", "Ding", "Liang", "Li", "Xu"),
                2024,
                "ECCV",
                "2309.17074",
            ),
        ),
    ),
    System(
        slug="guided-distillation",
        title="Guided distillation",
        kind="distillation",
        gives="One network that takes the guidance weight as an input and samples in one to eight steps.",
        limits="The weight stays adjustable only inside the range that was distilled.",
        papers=(
            Paper(
                "On Distillation of Guided Diffusion Models",
                ("Meng", "Rombach", "Gao", "Kingma", "Ermon", "Ho", "Salimans"),
                2023,
                "CVPR",
                "2210.03142",
            ),
            Paper(
                "Progressive Distillation for Fast Sampling of Diffusion Models",
                ("Salimans", "Ho"),
                2022,
                "ICLR",
                "2202.00512",
            ),
        ),
    ),
    System(
        slug="score-implicit-matching",
        title="Score implicit matching",
        kind="distillation",
        gives="A one-step generator learnt from a trained model, with no data.",
        limits="Gaussian processes only; backpropagates through three networks.",
        papers=(
            Paper(
                "One-Step Diffusion Distillation through Score Implicit Matching",
                ("Luo", "Huang", "Geng", "Kolter", "Qi"),
                2024,
                "NeurIPS",
                "2410.16794",
            ),
        ),
    ),
)
