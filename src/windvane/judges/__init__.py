"""Judges: classifiers and feature spaces that measure, and took no part in what they measure."""

from windvane.judges.choice import feature_space, judge_and_features, judge_for, kept_judge, poor

__all__ = ["feature_space", "judge_and_features", "judge_for", "kept_judge", "poor"]
