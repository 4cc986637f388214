"""The AWS resources: buckets, network, IAM, cluster, serverless application, schedule, uploads."""
