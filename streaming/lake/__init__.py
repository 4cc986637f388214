"""What a lake is: layout, format version, table schemas, versions and tags, retention, index of known images."""
