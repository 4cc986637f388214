"""Thin boto3 layer: client with error translation, request description, validation, describe calls."""
