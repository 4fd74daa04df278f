"""The sections of a run's configuration, one file each."""

from windvane.cli.common.sections.annotate import AnnotateSection
from windvane.cli.common.sections.data import DataSection
from windvane.cli.common.sections.evaluate import EvaluateSection
from windvane.cli.common.sections.model import ModelSection
from windvane.cli.common.sections.process import ProcessSection
from windvane.cli.common.sections.sample import SampleSection
from windvane.cli.common.sections.train import TrainSection

__all__ = [
    "AnnotateSection",
    "DataSection",
    "EvaluateSection",
    "ModelSection",
    "ProcessSection",
    "SampleSection",
    "TrainSection",
]
