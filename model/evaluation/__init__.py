"""How good a model is, and what a support set says of itself."""
