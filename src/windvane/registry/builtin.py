"""The library's own rows. A new method of a known kind is one row here, beside its file."""

from windvane.registry.row import Row

_SAMPLERS = (
    Row("sampler", "ddpm", "windvane.samplers.ancestral:DDPM", "ancestral sampling, fresh noise every step"),
    Row("sampler", "ddim", "windvane.samplers.ancestral:DDIM", "first order, any share of noise (eta)"),
    Row("sampler", "euler", "windvane.samplers.euler:Euler", "Euler's rule on the flow; equals ddim"),
    Row("sampler", "heun", "windvane.samplers.euler:Heun", "second order, two evaluations a step (EDM)"),
    Row(
        "sampler", "dpm++2s", "windvane.samplers.singlestep:DPMSolverSinglestep",
        "DPM-Solver++ of second order without history", {"order": 2},
    ),
    Row(
        "sampler", "dpm++3s", "windvane.samplers.singlestep:DPMSolverSinglestep",
        "DPM-Solver++ of third order without history", {"order": 3},
    ),
    Row("sampler", "dpm++2m", "windvane.samplers.dpmpp:DPMSolverPP", "DPM-Solver++ 2M", {"order": 2}),
    Row("sampler", "dpm++3m", "windvane.samplers.dpmpp:DPMSolverPP", "DPM-Solver++ 3M", {"order": 3}),
    Row(
        "sampler", "dpm++sde", "windvane.samplers.sde:DPMSolverSDE",
        "DPM-Solver++ for the SDE, first order", {"order": 1},
    ),
    Row(
        "sampler", "dpm++2m-sde", "windvane.samplers.sde:DPMSolverSDE",
        "DPM-Solver++ for the SDE, second order", {"order": 2},
    ),
    Row("sampler", "unipc2", "windvane.samplers.unipc:UniPC", "UniPC of order 2, corrected", {"order": 2}),
    Row("sampler", "unipc3", "windvane.samplers.unipc:UniPC", "UniPC of order 3, corrected", {"order": 3}),
    Row("sampler", "evodiff", "windvane.samplers.evodiff:EVODiff", "entropy-aware two-step solver"),
)  # fmt: skip
_GRIDS = (
    Row("grid", "uniform", "windvane.grids:uniform", "even in time"),
    Row("grid", "log_snr", "windvane.grids:log_snr", "even in log-SNR"),
    Row("grid", "edm", "windvane.grids:edm", "EDM's, in powers of the noise level"),
    Row("grid", "quadratic", "windvane.grids:quadratic", "finer towards the data"),
)
_GUIDANCES = (
    Row("guidance", "cfg", "windvane.guidance.contrast:ClassifierFree", "classifier-free guidance"),
    Row(
        "guidance", "autoguidance", "windvane.guidance.autoguidance:Autoguidance",
        "away from a weaker model of the same data: weak=RUN",
    ),
    Row(
        "guidance", "gradient-free", "windvane.guidance.gradient_free:GradientFree",
        "away from the class that a classifier confuses it with: classifier=FILE",
    ),
    Row("guidance", "apg", "windvane.adapters.guiders:adaptive_projected", "adaptive projected guidance"),
    Row("guidance", "zero-star", "windvane.adapters.guiders:zero_star", "CFG-Zero*"),
    Row("guidance", "tangential", "windvane.adapters.guiders:tangential", "tangential guidance"),
    Row(
        "guidance", "energy", "windvane.guidance.methods:by_energy",
        "pushed by an energy: energy:NAME=VALUE, weight=, preset=",
    ),
    Row(
        "guidance", "kicked", "windvane.guidance.kicked_sampler:KickedSampler",
        "the state kicked before each step by an energy: kicked:NAME=VALUE, size=, sine=",
    ),
    Row(
        "guidance", "projected", "windvane.guidance.projection:projected",
        "onto a measurement: measure=superres:small.png",
    ),
)  # fmt: skip
_ENERGIES = (
    Row(
        "energy", "class", "windvane.energies.classes:ClassLogProb",
        "the log-probability of a class: class=3, classifier=FILE",
    ),
    Row(
        "energy", "measure", "windvane.energies.measurement:measured_norm",
        "agreement with a measurement: measure=superres:small.png",
    ),
    *(
        Row("energy", name, "windvane.energies.image_rewards:image_reward", help, {"name": name})
        for name, help in (
            ("brightness", "the mean value"), ("darkness", "minus the mean value"),
            ("contrast", "the standard deviation of the values"),
            ("smoothness", "minus the mean difference of neighbouring pixels"),
        )
    ),
)  # fmt: skip
_PROCESSES = (
    Row("process", "vp_linear", "windvane.process:VPLinear", "variance preserving, linear rate (DDPM)"),
    Row("process", "vp_cosine", "windvane.process:VPCosine", "variance preserving, cosine"),
    Row("process", "edm", "windvane.process:EDM", "variance exploding (EDM)"),
    Row("process", "rectified_flow", "windvane.process:RectifiedFlow", "straight lines from data to noise"),
    Row("process", "vp_table", "windvane.process:VPTable", "a discrete schedule by its cumulative products"),
    Row("process", "pfgmpp", "windvane.process:PFGMPP", "EDM's with Student-t noise (PFGM++)"),
)
_NETWORKS = (
    Row(
        "network", "unet", "windvane.networks.unet:ConditionedUNet",
        "convolutions at several sizes", also=("conditioned_unet",),
    ),
    Row(
        "network", "dit", "windvane.networks.dit:ConditionedDiT",
        "transformer over patches", also=("conditioned_dit",),
    ),
    Row(
        "network", "mlp", "windvane.networks.mlp:ResidualMLP",
        "residual layers on flattened data", also=("residual_mlp",),
    ),
)  # fmt: skip
_SIGNALS = (
    Row("signal", "vector", "windvane.networks.vector:VectorEmbedding", "class ids or a vector, added"),
    Row("signal", "layout", "windvane.networks.layout:LayoutInput", "a map, joined to the input"),
    Row("signal", "tokens", "windvane.networks.tokens:TokenInput", "tokens of the attention"),
    Row("signal", "scalar", "windvane.networks.scalar:ScalarEmbedding", "a real number, added"),
    Row(
        "signal", "attributes", "windvane.networks.attributes:AttributesEmbedding",
        "several attributes, each possibly unknown, added",
    ),
)  # fmt: skip
_UNET, _DIT = "windvane.networks.unet:ConditionedUNet.build", "windvane.networks.dit:ConditionedDiT.build"
_ARCHITECTURES = (
    Row("architecture", "mlp", "windvane.networks.mlp:ResidualMLP.build", "for flat data, vectors only"),
    Row(
        "architecture", "unet-digits", _UNET, "0.7 M parameters, for 8 x 8",
        {"channels": (32, 64), "layers_per_block": 1},
    ),
    Row(
        "architecture", "unet-small32", _UNET, "for 32 x 32 on a CPU",
        {"channels": (32, 64, 96), "layers_per_block": 1, "attention": (-1,)},
    ),
    Row(
        "architecture", "unet-ddpm32", _UNET, "DDPM's size for 32 x 32, about 38 M parameters, for a GPU",
        {"channels": (128, 256, 256, 256), "layers_per_block": 2, "attention": (1,), "dropout": 0.1},
        also=("unet-cifar",),
    ),
    Row(
        "architecture", "dit-digits", _DIT, "a small transformer for 8 x 8",
        {"width": 128, "depth": 4, "heads": 4},
    ),
    Row("architecture", "dit-s2", _DIT, "DiT-S/2"),
    Row("architecture", "dit-b2", _DIT, "DiT-B/2", {"width": 768, "depth": 12, "heads": 12}),
)  # fmt: skip
_PRESETS = (
    Row("preset", "digits", "windvane.cli.common.presets:digits", "8 x 8 on a CPU"),
    Row("preset", "small32", "windvane.cli.common.presets:small32", "32 x 32 on a CPU"),
    Row("preset", "cifar", "windvane.cli.common.presets:cifar", "32 x 32 in colour on a GPU"),
)
_TRAINING = (
    Row(
        "objective", "denoising", "windvane.training.objective:Denoising",
        "squared error of the clean picture, weighted by noise level",
    ),
    Row("corruption", "noise", "windvane.training.corruption:Noised", "the noise of the process"),
)  # fmt: skip
_MODELS = (
    Row("model", "denoiser", "windvane.checkpoint.kinds:DenoiserKind", "a network and what it predicts"),
    Row(
        "model", "latent", "windvane.adapters.latent_model:LatentKind",
        "a denoiser of latents with its autoencoder",
    ),
    Row(
        "model", "adapter", "windvane.training.noise_aware.adapter:AdapterKind",
        "low-rank adapters, with the hash of their base",
    ),
)  # fmt: skip
_FEATURES = (
    Row("features", "pixels", "windvane.annotate.features.pixels:Pixels", "the pixels themselves"),
    Row("features", "pca", "windvane.annotate.features.pixels:PCA", "principal components of the pixels"),
    Row(
        "features", "selfsup", "windvane.annotate.features.selfsup:SelfSup",
        "an encoder trained on the images without labels",
    ),
)  # fmt: skip
_ANNOTATORS = (
    Row(
        "annotator", "boxes:lost", "windvane.annotate.regions.rules:ObjectRule",
        "a box an image by LOST, seed expansion", {"method": "lost"},
    ),
    Row(
        "annotator", "boxes:ncut", "windvane.annotate.regions.rules:ObjectRule",
        "a box an image by the normalised cut", {"method": "ncut"},
    ),
    Row(
        "annotator", "masks:clusters", "windvane.annotate.regions.masks.patch_clusters:PatchClusters",
        "masks by k-means of patches",
    ),
    Row(
        "annotator", "masks:stego", "windvane.annotate.regions.masks.stego:Stego",
        "masks by STEGO, a trained head",
    ),
)  # fmt: skip


def _command(name: str, help: str) -> Row:
    word = name.replace("-", "_")
    return Row("command", name, f"windvane.cli.{word}.command:{word}", help)


#: In the order in which a user needs them, with the first sentence of their help.
_COMMANDS = (
    _command(
        "demo", "Label digits by themselves, train, guide, measure against controls, and write a report"
    ),
    _command("annotate", "Give every training image a cluster id, a box, or a mask, from the images alone"),
    _command("train", "Train a model; stop it at any time, --resume continues exactly where it was"),
    _command("sample", "Make pictures with a trained model; each carries its settings and its own seed"),
    _command(
        "steer",
        "Steer a model trained without captions: by text, pictures, classes, measurements, or a mixture",
    ),
    _command(
        "search", "Search for samples that a reward likes, or draw from p(x) exp(reward), within a budget"
    ),
    _command(
        "compare-solvers",
        "Which solver for this model: error against network calls, as a table, a CSV, a JSON file and a plot",
    ),
    _command(
        "stitch",
        "Let SMALL take the noisiest steps and LARGE the rest: quality over cost, with nothing trained",
    ),
    _command("evaluate", "Measure quality, diversity, agreement and memorisation, with intervals"),
    _command(
        "report",
        "Write a page with clusters, boxes or masks, guided samples, curves, metrics and a search for copies",
    ),
    _command(
        "settings",
        "List all settings with their values and meanings, the values of a preset if one is named",
    ),
    _command("papers", "List the published systems of the catalogue; --cite prints one's BibTeX"),
    _command(
        "doctor",
        "Check Python, torch, devices, packages, disk and memory; exit code 1 when something is broken",
    ),
)

ROWS: tuple[Row, ...] = (
    *_SAMPLERS,
    *_GRIDS,
    *_GUIDANCES,
    *_ENERGIES,
    *_PROCESSES,
    *_NETWORKS,
    *_SIGNALS,
    *_ARCHITECTURES,
    *_PRESETS,
    *_TRAINING,
    *_MODELS,
    *_FEATURES,
    *_ANNOTATORS,
    *_COMMANDS,
)
