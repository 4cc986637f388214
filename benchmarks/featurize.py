"""Images a second: Pomona's stream, its peers, and the two limits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.contestants import Contestant, Run
from benchmarks.delta_log import commits
from benchmarks.results import Section, Table
from benchmarks.workplace import Workplace

#: Words of `pomona ingest` by the name of a row; ONNX Runtime in float32 is what a lake gets without any.
ENGINES: dict[str, tuple[str, ...]] = {
    "onnxruntime": (),
    "openvino": ("--engine", "openvino", "--precision", "float32"),
    "openvino_bfloat16": ("--engine", "openvino", "--precision", "bfloat16"),
    "cuda": ("--device", "cuda"),
}
#: Which of them need a model of their own, as their precision is a part of its id.
_OWN_MODEL = ("openvino_bfloat16",)
_TITLES = {
    "onnxruntime": "Pomona, ONNX Runtime float32",
    "openvino": "Pomona, OpenVINO float32",
    "openvino_bfloat16": "Pomona, OpenVINO bfloat16",
    "cuda": "Pomona, ONNX Runtime on CUDA",
}


def contestants(place: Workplace) -> Iterator[Contestant]:
    """All of them, Pomona first."""
    size = place.size
    for name in ENGINES:
        yield pomona(place, name, aside=name in ("openvino", "cuda"))
    yield plain_processes(place, "plain_processes", "onnxruntime")
    limit = plain_processes(place, "plain_processes_bfloat16", "openvino_bfloat16")
    yield replace(limit, aside=True)
    everything, model = str(place.folder_of(size.images)), str(place.model())
    yield Contestant(
        "bare_engine",
        "ONNX Runtime alone, images decoded in memory",
        lambda out: ("benchmarks.peers.bare_engine", everything, model, str(size.peer_images)),
        ("onnxruntime",),
    )
    some = str(place.folder_of(size.peer_images))
    for key, title, needs in (
        ("predict_batch_udf", "Spark `predict_batch_udf`, ONNX Runtime", ("pyspark",)),
        ("ray_data", "Ray Data, ONNX Runtime", ("ray",)),
        ("daft_peer", "Daft, ONNX Runtime", ("daft",)),
    ):
        yield replace(_peer(key, title, needs, (some, model)), aside=True)
    for count in size.notebook_images:
        given = (str(place.folder_of(count)), model)
        peer = _peer("notebook", "the notebook's way, Keras `predict`", ("tensorflow",), given)
        if count < size.notebook_images[-1]:
            key, title = f"notebook_{count}", f"… {count} images"
            peer = replace(peer, key=key, title=title, aside=True)
        yield peer


def _peer(key: str, title: str, needs: Sequence[str], given: tuple[str, str]) -> Contestant:
    words = (f"benchmarks.peers.{key}", *given)
    return Contestant(key, title, lambda folder: (*words, str(folder / "out")), needs)


def plain_processes(place: Workplace, key: str, engine: str) -> Contestant:
    """Decoder and engine without Spark, on the model that Pomona runs."""
    source, name = str(place.folder_of(place.size.images)), engine.partition("_")[0]

    def words(folder: Path) -> Sequence[str]:
        model = place.model(_model_words(engine))
        return ("benchmarks.peers.plain_processes", source, str(model), str(folder), name)

    title = _TITLES[engine].replace("Pomona, ", "decode + ")
    return Contestant(key, f"{title}, one plain process a core", words, (name,))


def pomona(place: Workplace, engine: str, *, aside: bool = False) -> Contestant:
    """`pomona ingest --once` into a lake that has its model and no rows."""
    source = str(place.folder_of(place.size.images))

    def words(folder: Path) -> Sequence[str]:
        if engine == "cuda":
            _require_cuda()
        lake = place.new_lake(folder, _model_words(engine))
        return ("pomona.cli", "ingest", source, str(lake), "--once", "--json", *ENGINES[engine])

    needs = ("openvino",) if engine.startswith("openvino") else ()
    return Contestant(f"pomona_{engine}", _TITLES[engine], words, needs, read_ingest, aside)


def _model_words(engine: str) -> tuple[str, ...]:
    return ENGINES[engine] if engine in _OWN_MODEL else ()


def _require_cuda() -> None:
    """Raise RuntimeError where there is no GPU for ONNX Runtime, or not the package that drives one."""
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise RuntimeError("ONNX Runtime sees no CUDAExecutionProvider here")


def read_ingest(out: str, started: float, folder: Path) -> Run:
    """First trigger as the command tells it; the last row as the table's log shows it."""
    told = json.loads(out)
    rows = commits(folder / "lake" / "features")
    count = sum(commit.rows for commit in rows)
    if count != told["featurized"]:
        raise RuntimeError(f"{count} rows in the table, {told['featurized']} told of")
    began = told["first_trigger_at"]
    return {"count": count, "seconds": rows[-1].at - began, "startup": began - started}


def measure(place: Workplace) -> Section:
    """Run all contestants, in turn, round after round."""
    table = Table()
    runners = list(contestants(place))
    for number in range(place.size.rounds):
        for contestant in runners:
            table.run(contestant, place, number)
    facts = {"images_told": place.images.told, "weights_told": place.weights_told}
    return table.section(place, facts)
