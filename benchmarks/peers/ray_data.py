"""Ray Data with ONNX Runtime: `read_binary_files`, one actor per core, Parquet output.

`python -m benchmarks.peers.ray_data IMAGES MODEL OUT`
"""

from __future__ import annotations

import os
import sys
from typing import Any

import pyarrow.dataset

from benchmarks.measuring.timing import Stopwatch
from benchmarks.peers.network import features, onnx_session


class Featurizer:
    """An actor that keeps its ONNX Runtime session across batches."""

    def __init__(self, model: str) -> None:
        self.session = onnx_session(f"{model}/model.onnx")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the features of a batch of files."""
        paths = [str(path) for path in batch["path"]]
        return {
            "path": paths,
            "label": [path.split("/")[-2] for path in paths],
            "features": features(self.session, list(batch["bytes"])),
        }


def main() -> None:
    """Featurize a folder of images."""
    watch = Stopwatch()
    images, model, out = sys.argv[1:4]
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    # Loopback only and no dashboard, so that no port is open to the network.
    ray.init(include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    ray.data.DataContext.get_current().enable_progress_bars = False
    cores = os.cpu_count() or 1

    watch.start()
    features_dataset = ray.data.read_binary_files(images, include_paths=True).map_batches(
        Featurizer,
        fn_constructor_args=(model,),
        batch_size=32,
        num_cpus=0.5,  # whole cores would leave none for the read and write tasks
        compute=ray.data.ActorPoolStrategy(size=cores),
    )
    features_dataset.write_parquet(out)
    watch.stop(pyarrow.dataset.dataset(out).count_rows())
    ray.shutdown()


if __name__ == "__main__":
    main()
