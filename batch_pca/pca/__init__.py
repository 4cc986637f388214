"""The mathematics: sufficient statistics, StandardScaler + PCA, projection, subspace angles; no Spark but in spark_pipeline."""
