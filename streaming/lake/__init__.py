"""A lake: layout, format version, table schemas, versions and tags, retention, index of known images."""
