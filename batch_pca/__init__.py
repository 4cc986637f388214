"""Refit a StandardScaler and PCA on the features table, and publish the reduced vectors."""

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, RefitResult, refit

__all__ = ["FitOptions", "RefitOptions", "RefitResult", "refit"]
