"""Maintenance operations on a lake, and the queue of requests for them."""
