"""The executable companion to a study of pruning with synthetic data and of linear mode connectivity."""

__version__ = "0.1.0"
