"""Meta-training of models of drawings and of photos, and training of the baselines."""
