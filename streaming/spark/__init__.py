"""The Spark session: jars, Java, class data sharing, S3A settings and metrics, error translation."""
