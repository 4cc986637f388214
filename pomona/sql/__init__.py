"""Read-only Spark SQL over a lake: plan validation and catalog."""
