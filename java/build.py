"""Build `streaming/spark/fenced-log-store.jar` from the Java sources in this folder.

Uses the `javac` on PATH (JDK 17 or newer); `make jar` calls it. The build is reproducible: the same sources and
compiler result in the same bytes. The manifest contains a hash of the sources.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import zipfile
from pathlib import Path

import pyspark

from streaming.spark.jars import FENCED_LOG_STORE, jar_files
from streaming.spark.java import MIN_JAVA

HERE = Path(__file__).parent
SOURCES = sorted(HERE.rglob("*.java"))


def manifest() -> str:
    """Return the manifest, with the hash of the sources."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in SOURCES)).hexdigest()
    return f"Manifest-Version: 1.0\nSources-SHA-256: {digest[:32]}\n {digest[32:]}\n\n"


def build(target: Path) -> None:
    """Compile the sources against the jars of Spark and Delta Lake, and write the jar."""
    dependencies = (*jar_files(), *Path(pyspark.__file__).parent.glob("jars/*.jar"))
    with tempfile.TemporaryDirectory() as folder:
        options = ["--release", str(MIN_JAVA), "-d", folder, "-nowarn"]
        class_path = ["-cp", os.pathsep.join(map(str, dependencies))]
        subprocess.run(["javac", *options, *class_path, *map(str, SOURCES)], check=True)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as jar:
            _add(jar, "META-INF/MANIFEST.MF", manifest().encode())
            for file in sorted(Path(folder).rglob("*.class")):
                _add(jar, str(file.relative_to(folder)), file.read_bytes())


def _add(jar: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    jar.writestr(entry, content)


if __name__ == "__main__":
    build(FENCED_LOG_STORE)
