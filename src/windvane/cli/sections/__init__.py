"""The sections of a run's configuration, one file each."""

from windvane.cli.sections.annotate import AnnotateSection
from windvane.cli.sections.data import DataSection
from windvane.cli.sections.evaluate import EvaluateSection
from windvane.cli.sections.model import ModelSection
from windvane.cli.sections.process import ProcessSection
from windvane.cli.sections.sample import SampleSection
from windvane.cli.sections.train import TrainSection

__all__ = [
    "AnnotateSection",
    "DataSection",
    "EvaluateSection",
    "ModelSection",
    "ProcessSection",
    "SampleSection",
    "TrainSection",
]
