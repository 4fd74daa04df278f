"""STEGO: masks by a small head on frozen patch features, trained by correspondence distillation."""

from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor

from windvane.annotate.dense.dense_extractor import DenseExtractor, to_pixels
from windvane.annotate.features.extractor import Images, beside
from windvane.annotate.regions.masks.correspondence import BALANCED, PUBLISHED, ClusterProbe, CodeHead
from windvane.annotate.regions.masks.crf import DenseCRF
from windvane.annotate.regions.masks.feature_lift import Lift
from windvane.annotate.regions.masks.segmenter import LearntSegmenter, checked_k, in_parts
from windvane.annotate.regions.masks.stego_training import held_maps, train_stego
from windvane.annotate.work import Work
from windvane.randomness import generator

Shifts = Literal["balanced", "published"]


class Stego(LearntSegmenter):
    """Masks by STEGO (Hamilton et al. 2022, arXiv 2203.08414), as used by Self-Guided Diffusion Models.

    A head gives every patch a code; codes of patches whose frozen features correlate above a shift are drawn
    together, others pushed apart, within an image, with near neighbours and with random images; a probe
    clusters the codes by cosine. At use the code is averaged over the mirror image, brought to pixels
    bilinearly, and the cluster with the largest 2 cos(code, m_c) wins, after a CRF if one is given.

    Deviations: whole images instead of five crops, no dropout, and the probe is trained after the head and
    starts from k-means on the codes, instead of beside it from random vectors, which on small data leaves
    clusters empty. The published shifts fit the correlations of DINO's keys; features that all correlate
    above them (0.9 and more, as those of small networks do) would draw every code into one, so by default the
    shift is the mean correlation. Clusters are numbered by falling size, so 0 is usually the background.

    Args:
        extractor: dense features, fitted.
        k: the number of clusters, at most 255.
        codes: length of the codes.
        steps: of the head.
        probe_steps: of the probe.
        batch: images a step.
        learning_rate: of the head's Adam.
        probe_rate: of the probe's Adam.
        neighbours: each image is paired with one of so many nearest ones.
        partners: random images each image is paired with.
        points: positions drawn per image are points x points.
        shifts: "balanced" (the mean correlation of each batch) or "published" (0.18, 0.12, 0.46).
        lift: b of :class:`.Lift`. Cosines see the direction of the features alone; where their length says
            something too, as for restoring features, it is lost without. None is as published.
        flip: average codes over the mirror image; leave it off where mirror images mean something else.
        crf: refinement of the masks, needs a library.
        memory: bytes of features that are held in training; if those of all images need more, the head is
            trained on as many images as fit, drawn by ``seed``.
        seed: of initialisation, batches, pairs and positions.
    """

    kind = "stego"
    only_used = ("flip", "crf")

    def __init__(
        self,
        extractor: DenseExtractor,
        k: int,
        *,
        codes: int = 70,
        steps: int = 200,
        probe_steps: int = 200,
        batch: int = 64,
        learning_rate: float = 5e-4,
        probe_rate: float = 5e-3,
        neighbours: int = 7,
        partners: int = 5,
        points: int = 11,
        shifts: Shifts = "balanced",
        lift: float | None = None,
        flip: bool = True,
        crf: DenseCRF | None = None,
        memory: int = 1 << 30,
        seed: int = 0,
    ) -> None:
        if min(codes, steps, probe_steps, neighbours, partners, points) < 1 or batch < 2:
            raise ValueError(
                f"need batch >= 2 and all counts >= 1, got {codes=}, {steps=}, {probe_steps=}, {batch=}, "
                f"{neighbours=}, {partners=}, {points=}"
            )
        if shifts not in get_args(Shifts):
            raise ValueError(f"shifts are {' or '.join(get_args(Shifts))}, got {shifts!r}")
        if min(learning_rate, probe_rate) <= 0:
            raise ValueError(f"learning rates must be positive, got {learning_rate} and {probe_rate}")
        self.extractor, self.k, self.codes = extractor, checked_k(k), codes
        self.steps, self.probe_steps, self.batch = steps, probe_steps, batch
        self.learning_rate, self.probe_rate = learning_rate, probe_rate
        self.neighbours, self.partners, self.points = neighbours, partners, points
        self.shifts: Shifts = shifts
        self.flip, self.crf, self.memory, self.seed = flip, crf, memory, seed
        self.lift = Lift(lift)
        self.losses: list[float] = []
        self._parts: tuple[CodeHead, ClusterProbe] | None = None

    def _trained(self) -> tuple[CodeHead, ClusterProbe]:
        if self._parts is None:
            raise ValueError("the segmentation head is not trained yet: call .fit(data) first")
        return self._parts

    def gathered(self, data: Images, work: Work) -> Tensor:
        """Maps of the images, or of as many of them as the memory holds."""
        least = max(self.batch, self.neighbours + 1)
        return held_maps(self.extractor, data, work, memory=self.memory, least=least, seed=self.seed)

    def fitted(self, data: Images, work: Work) -> Self:
        """This segmenter, trained; see :meth:`fit`."""
        if len(data) <= self.neighbours:
            raise ValueError(f"{self.neighbours} neighbours need more images than that, got {len(data)}")
        return super().fitted(data, work)

    def learn(self, gathered: Tensor, progress: bool) -> None:
        """Train head and probe."""
        maps = gathered
        self.lift.fit(maps.norm(dim=1).flatten())
        head, probe, self.losses = train_stego(
            maps,
            self.lift,
            self._untrained(self.seed),
            steps=self.steps,
            probe_steps=self.probe_steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            probe_rate=self.probe_rate,
            neighbours=self.neighbours,
            partners=self.partners,
            points=self.points,
            kinds=PUBLISHED if self.shifts == "published" else BALANCED,
            seed=self.seed,
            progress=progress,
        )
        self._put(head, probe)

    def _untrained(self, seed: int) -> tuple[CodeHead, ClusterProbe]:
        # Made without memory first: the layers' own initialisation would draw from the global generator.
        with torch.device("meta"):
            head = CodeHead(self.lift.more(self.extractor.dim), self.codes)
            probe = ClusterProbe(self.codes, self.k)
        numbers = generator(seed, 0)
        for part in (head.to_empty(device="cpu"), probe.to_empty(device="cpu")):
            for parameter in part.parameters():
                fan = parameter[0].numel()
                parameter.data.normal_(0, fan**-0.5, generator=numbers)
                if parameter.ndim == 1:
                    parameter.data.zero_()
        return head, probe

    def _put(self, head: CodeHead, probe: ClusterProbe) -> None:
        self._parts = head.eval().requires_grad_(False), probe.eval().requires_grad_(False)

    def code(self, images: Tensor) -> Tensor:
        """Codes ``(B, codes, h, w)`` on the patches of images ``(B, C, H, W)``."""
        codes = self._code(images)
        if not self.flip:
            return codes
        # Patches begin at the left: pixels at the right that fill none would shift them in the mirror image.
        covered = self.extractor.grid.covered(codes.shape[-1])
        return (codes + self._code(images[..., :covered].flip(-1)).flip(-1)) / 2

    def _code(self, images: Tensor) -> Tensor:
        head = self._trained()[0]
        return head(self.lift(beside(self.extractor(images).float(), head)))

    def log_probabilities(self, images: Tensor) -> Tensor:
        """log softmax(2 cos) over the clusters at every pixel, ``(B, k, H, W)``, before the CRF."""
        shape = (images.shape[-2], images.shape[-1])
        return self._trained()[1].log_probabilities(to_pixels(self.code(images), self.extractor.grid, shape))

    def __call__(self, images: Tensor) -> Tensor:
        """Ids uint8 ``(B, H, W)`` of images ``(B, C, H, W)`` in [-1, 1]."""
        probe, shape = self._trained()[1], (images.shape[-2], images.shape[-1])
        ids, start = [], 0
        with torch.no_grad():
            for codes in in_parts(self.code(images), images.shape):
                scores = probe.log_probabilities(to_pixels(codes, self.extractor.grid, shape))
                if self.crf is not None:
                    scores = self.crf(images[start : start + len(codes)], scores)
                ids.append(scores.argmax(dim=1).to("cpu", torch.uint8))
                start += len(codes)
        return torch.cat(ids)

    def to(self, device: str | torch.device) -> Self:
        """Move features, head and probe."""
        for part in (*self._trained(), self.extractor):
            if hasattr(part, "to"):
                part.to(device)
        return self

    def options(self) -> dict[str, Any]:
        """The settings, without the features."""
        names = (
            "k codes steps probe_steps batch learning_rate probe_rate neighbours partners points shifts flip "
            "memory seed"
        )
        crf = None if self.crf is None else vars(self.crf)
        values = {name: getattr(self, name) for name in names.split()}
        return {**values, "lift": self.lift.b, "crf": crf}

    @classmethod
    def read_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that :meth:`options` gave as JSON values."""
        return {**options, "crf": None if options["crf"] is None else DenseCRF(**options["crf"])}

    def state(self) -> dict[str, Tensor]:
        """Weights of head and probe, and the scale of the lift."""
        parts = zip(("head", "probe"), self._trained())
        weights = {
            f"{name}.{key}": value.detach().cpu()
            for name, part in parts
            for key, value in part.state_dict().items()
        }
        return {**weights, "scale": self.lift.scale}

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Put the weights of ``state`` in place.

        Raises:
            ValueError: weights that do not fit.
        """
        head, probe = self._untrained(0)
        try:
            for name, part in (("head.", head), ("probe.", probe)):
                found = {key.removeprefix(name): v for key, v in state.items() if key.startswith(name)}
                part.load_state_dict(found)
        except RuntimeError as error:
            raise ValueError(
                f"the weights do not fit a segmentation head of {self.settings()}: {error}"
            ) from error
        self.lift.scale = state["scale"]
        self._put(head, probe)
