"""LEO and the methods it is compared with, each behind the two calls of `model.baselines.method.Method`."""
