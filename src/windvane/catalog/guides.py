"""Systems that make a guide of an ordinary classifier or a weaker model."""

from windvane.catalog.model import Paper, System

GUIDES = (
    System(
        slug="elucd",
        title="EluCD",
        kind="guidance",
        gives="An ordinary classifier, trained on clean images only, becomes a good guide; no retraining.",
        limits="Needs a classifier of the wanted classes, well calibrated along the noise.",
        papers=(
            Paper(
                "Elucidating The Design Space of Classifier-Guided Diffusion Generation",
                ("Ma", "Hu", "Wang", "Sun"),
                2024,
                "ICLR",
                "2310.11311",
            ),
        ),
        state="works",
        callable="windvane.guidance.presets.elucd",
        test="tests/guidance/test_kicked_sampler.py",
        reproduction="reproductions/elucd.py",
    ),
    System(
        slug="gfcg",
        title="Autoguidance, intervals, gradient-free classifier guidance",
        kind="guidance",
        gives="Better samples, variety kept: a weaker model, a noise interval, a classifier run forwards only.",
        limits="Autoguidance needs a second, similarly flawed model; too much weight collapses quickly.",
        papers=(
            Paper(
                "Gradient-Free Classifier Guidance for Diffusion Model Sampling",
                ("Shenoy", "others"),
                2024,
                None,
                "2411.15393",
            ),
            Paper(
                "Guiding a Diffusion Model with a Bad Version of Itself",
                ("Karras", "others"),
                2024,
                "NeurIPS",
                "2406.02507",
            ),
            Paper(
                "Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in Diffusion Models",
                ("Kynkäänniemi", "others"),
                2024,
                "NeurIPS",
                "2404.07724",
            ),
        ),
        state="works",
        callable="windvane.guidance.GradientFree",
        test="tests/guidance/test_autoguidance.py",
        reproduction="reproductions/gfcg.py",
    ),
    System(
        slug="ppap",
        title="PPAP",
        kind="guidance",
        gives="Any network trained on clean data guides an unconditional model, with no labels.",
        limits="One small adapter per noise range has to be trained on samples of the model.",
        papers=(
            Paper(
                "Towards Practical Plug-and-Play Diffusion Models",
                ("Go", "Lee", "Kim", "Lee", "Jeong", "Lee", "Choi"),
                2023,
                "CVPR",
                "2212.05973",
            ),
        ),
        state="works",
        callable="windvane.training.noise_aware.adapt_guide",
        test="tests/training/noise_aware/test_experts.py",
        reproduction="reproductions/ppap.py",
    ),
)
