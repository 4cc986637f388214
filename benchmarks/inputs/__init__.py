"""Prepared inputs: images, synthetic rows, the exported model, prefixes, lakes, and the sizes of a run."""
