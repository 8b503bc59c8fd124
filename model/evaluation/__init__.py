"""Measuring models: accuracy, calibration, unknown classes, comparison with baselines, model cards, support reports."""
