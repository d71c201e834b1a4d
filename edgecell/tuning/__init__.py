"""Hyperparameter search with Optuna: the space, the storage that processes share, and the loop."""
