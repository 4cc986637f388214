"""Measure images per second: Pomona's stream, its peers, and the two upper limits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.inputs.workspace import Workspace
from benchmarks.measuring.competitors import Competitor, Run
from benchmarks.measuring.delta_log import commits
from benchmarks.sections.results import RunCollector, Section

#: Options of `pomona ingest` for each engine; without options it is ONNX Runtime in float32.
ENGINES: dict[str, tuple[str, ...]] = {
    "onnxruntime": (),
    "openvino": ("--engine", "openvino", "--precision", "float32"),
    "openvino_bfloat16": ("--engine", "openvino", "--precision", "bfloat16"),
    "openvino_int8": ("--engine", "openvino", "--precision", "int8"),
    "cuda": ("--device", "cuda"),
}
#: Engines that need their own model, because the precision is part of the model id.
_OWN_MODEL = ("openvino_bfloat16", "openvino_int8")
_TITLES = {
    "onnxruntime": "Pomona, ONNX Runtime float32",
    "openvino": "Pomona, OpenVINO float32",
    "openvino_bfloat16": "Pomona, OpenVINO bfloat16",
    "openvino_int8": "Pomona, OpenVINO int8",
    "cuda": "Pomona, ONNX Runtime on CUDA",
}


def competitors(workspace: Workspace) -> Iterator[Competitor]:
    """Yield all competitors, Pomona first."""
    size = workspace.size
    for name in ENGINES:
        yield pomona(workspace, name, secondary=name in ("openvino", "cuda"))
    yield plain_processes(workspace, "plain_processes", "onnxruntime")
    for precision in ("bfloat16", "int8"):
        limit = plain_processes(workspace, f"plain_processes_{precision}", f"openvino_{precision}")
        yield replace(limit, secondary=True)
    for competitor in (
        pomona(workspace, "onnxruntime", photographs=True),
        plain_processes(workspace, "plain_processes", "onnxruntime", photographs=True),
    ):
        title = f"{competitor.title}, photographs of 12 megapixels"
        key = f"{competitor.key}_photographs"
        yield replace(competitor, key=key, title=title, secondary=True)
    all_images, model = str(workspace.images_folder(size.images)), str(workspace.model())
    yield Competitor(
        "bare_engine",
        "ONNX Runtime alone, images decoded in memory",
        lambda out: ("benchmarks.peers.bare_engine", all_images, model, str(size.peer_images)),
        ("onnxruntime",),
    )
    peer_images = str(workspace.images_folder(size.peer_images))
    for key, title, requires in (
        ("predict_batch_udf", "Spark `predict_batch_udf`, ONNX Runtime", ("pyspark",)),
        ("ray_data", "Ray Data, ONNX Runtime", ("ray",)),
        ("daft_peer", "Daft, ONNX Runtime", ("daft",)),
    ):
        yield replace(_peer(key, title, requires, (peer_images, model)), secondary=True)
    for count in size.notebook_images:
        inputs = (str(workspace.images_folder(count)), model)
        peer = _peer("notebook", "notebook, Keras `predict`", ("tensorflow",), inputs)
        if count < size.notebook_images[-1]:
            key, title = f"notebook_{count}", f"… {count} images"
            peer = replace(peer, key=key, title=title, secondary=True)
        yield peer


def _peer(key: str, title: str, requires: Sequence[str], inputs: tuple[str, str]) -> Competitor:
    arguments = (f"benchmarks.peers.{key}", *inputs)
    return Competitor(key, title, lambda folder: (*arguments, str(folder / "out")), requires)


def plain_processes(
    workspace: Workspace, key: str, engine: str, *, photographs: bool = False
) -> Competitor:
    """Decode and run the engine without Spark, on the model that Pomona uses."""
    source, name = _source(workspace, photographs=photographs), engine.partition("_")[0]

    def arguments(folder: Path) -> Sequence[str]:
        """Prepare the model and return the arguments of the peer."""
        model = workspace.model(_model_options(engine))
        return ("benchmarks.peers.plain_processes", source, str(model), str(folder), name)

    title = _TITLES[engine].replace("Pomona, ", "decode + ")
    return Competitor(key, f"{title}, one plain process per core", arguments, (name,))


def _source(workspace: Workspace, *, photographs: bool) -> str:
    if photographs:
        return str(workspace.photographs_folder())
    return str(workspace.images_folder(workspace.size.images))


def pomona(
    workspace: Workspace, engine: str, *, secondary: bool = False, photographs: bool = False
) -> Competitor:
    """Run `pomona ingest --once` into a lake that has a model and no rows."""
    source = _source(workspace, photographs=photographs)

    def arguments(folder: Path) -> Sequence[str]:
        """Prepare the lake and return the arguments of the command."""
        if engine == "cuda":
            _require_cuda()
        lake = workspace.new_lake(folder, _model_options(engine))
        return ("pomona.cli", "ingest", source, str(lake), "--once", "--json", *ENGINES[engine])

    requires = ("openvino",) if engine.startswith("openvino") else ()
    return Competitor(
        f"pomona_{engine}", _TITLES[engine], arguments, requires, parse_ingest, secondary
    )


def _model_options(engine: str) -> tuple[str, ...]:
    return ENGINES[engine] if engine in _OWN_MODEL else ()


def _require_cuda() -> None:
    """Raise RuntimeError if ONNX Runtime cannot use a GPU."""
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise RuntimeError("ONNX Runtime sees no CUDAExecutionProvider here")


def parse_ingest(out: str, started: float, folder: Path) -> Run:
    """Return the result: the first trigger as the command reports it, the last row from the table's log."""
    summary = json.loads(out)
    added = commits(folder / "lake" / "features")
    count = sum(commit.rows for commit in added)
    if count != summary["featurized"]:
        raise RuntimeError(
            f"{count} rows in the table, but the command reports {summary['featurized']}"
        )
    first = summary["first_trigger_at"]
    return {"count": count, "seconds": added[-1].at - first, "startup": first - started}


def measure(workspace: Workspace) -> Section:
    """Run all competitors in turn, round by round."""
    collector = RunCollector()
    selected = list(competitors(workspace))
    for number in range(workspace.size.rounds):
        for competitor in selected:
            collector.run(competitor, workspace, number)
    facts = {
        "images_description": workspace.images.description,
        "weights_description": workspace.weights_description,
    }
    return collector.section(workspace, facts)
