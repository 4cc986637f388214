"""Daft with ONNX Runtime: a glob of paths, `download`, one instance of a class per core, Parquet output.

`python -m benchmarks.peers.daft_peer IMAGES MODEL OUT`
"""

from __future__ import annotations

import os
import sys
from typing import Any

import pyarrow
import pyarrow.dataset

from benchmarks.measuring.timing import Stopwatch
from benchmarks.peers.network import features, onnx_session


class Featurizer:
    """A class whose instance keeps its ONNX Runtime session across batches."""

    def __init__(self, model: str) -> None:
        self.session = onnx_session(f"{model}/model.onnx")

    def features(self, contents: Any) -> Any:
        """Return the features of a batch of files."""
        vectors = features(self.session, contents.to_pylist())
        return pyarrow.array(list(vectors), pyarrow.list_(pyarrow.float32()))


def main() -> None:
    """Featurize a folder of images."""
    watch = Stopwatch()
    images, model, out = sys.argv[1:4]
    os.environ["DAFT_ANALYTICS_ENABLED"] = "0"
    import daft
    from daft.functions import download

    vector = daft.DataType.list(daft.DataType.float32())
    # Applied here and not as decorators, because Daft is imported only when the competitor runs.
    Featurizer.features = daft.method.batch(return_dtype=vector, batch_size=32)(Featurizer.features)  # type: ignore[method-assign]
    network = daft.cls(Featurizer, max_concurrency=os.cpu_count(), use_process=True)(model)

    path = daft.col("path")
    # Building a literal makes Daft import TensorFlow if it is installed; that is not part of the work.
    vectors = network.features(download(path)).alias("features")

    watch.start()
    daft.from_glob_path(f"{images}/**/*").select(path, vectors).write_parquet(out)
    watch.stop(pyarrow.dataset.dataset(out).count_rows())


if __name__ == "__main__":
    main()
