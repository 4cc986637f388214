"""From the features table to a fresh StandardScaler and PCA of it."""
