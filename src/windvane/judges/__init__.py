"""Judges: classifiers and feature spaces that measure, and took no part in what they measure."""

from windvane.judges.choice import feature_space, judge_and_features, judge_for, kept_judge, poor
from windvane.judges.judge import Judge
from windvane.judges.training import train_judge

__all__ = ["Judge", "feature_space", "judge_and_features", "judge_for", "kept_judge", "poor", "train_judge"]
