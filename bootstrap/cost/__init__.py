"""Workload, sizing and price estimate."""
