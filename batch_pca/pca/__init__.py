"""Sufficient statistics, StandardScaler + PCA, projection and subspace angles; only spark_pipeline uses Spark."""
