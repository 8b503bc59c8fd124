"""Meta-training: drawings, photos, baselines."""
