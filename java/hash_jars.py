"""Write the SHA-256 of the jars of each supported Spark version to `streaming/spark/jars-X.Y.sha256`.

`make jar-hashes` calls it after a change of `streaming/spark/jar_versions.py`. It downloads the jars anew, and does not
use the cache. Commit the files: sessions use no other jars.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from streaming.spark.jar_versions import JAR_SETS
from streaming.spark.jars import download, hash_file


def write_hashes() -> None:
    """Download the jars of each version of Spark, and write their hashes in the format of ``sha256sum``."""
    for minor, jars in JAR_SETS.items():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "jars")
            download(jars, folder)
            lines = [
                f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
                for file in sorted(folder.glob("*.jar"))
            ]
        hash_file(minor).write_text("".join(lines))
        print(f"{hash_file(minor).name}: {len(lines)} jars")


if __name__ == "__main__":
    write_hashes()
