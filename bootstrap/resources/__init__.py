"""What is created: buckets, network, IAM, cluster, serverless application, schedule, uploads (what stands for long becomes templates/*.yaml later)."""
