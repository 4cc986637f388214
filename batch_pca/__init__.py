"""From the features table to a fresh StandardScaler and PCA of it."""

from batch_pca.pca.fit import FitOptions
from batch_pca.refit import RefitOptions, refit

__all__ = ["FitOptions", "RefitOptions", "refit"]
