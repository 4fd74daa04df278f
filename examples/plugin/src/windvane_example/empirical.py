"""A kind of model: the exact denoiser of a few samples, which has no network."""

from windvane.checkpoint import ModelKind
from windvane.point_set import PointsDenoiser
from windvane.process import process_from_config


class EmpiricalKind(ModelKind):
    """A :class:`windvane.point_set.PointsDenoiser` as a model folder: points, weights and process."""

    name = "empirical"

    def holds(self, model):
        return type(model) is PointsDenoiser

    def settings(self, model):
        return {"process": model.process.to_config()}

    def modules(self, model):
        return {"samples": {"points": model.points, "weights": model.log_weights.exp()}}

    def build(self, settings, modules):
        samples, process = modules["samples"], process_from_config(settings["process"])
        return PointsDenoiser(samples["points"], process, weights=samples["weights"])
