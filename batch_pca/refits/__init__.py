"""Published refits: folder, catalog, lineage, reduced vectors, drift since the previous refit."""
