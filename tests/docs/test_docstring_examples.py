"""Tests for the examples in the docstrings of the Python interface: they run on a small lake as shown."""

from __future__ import annotations

import doctest
import inspect
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pomona
import streaming.errors
from support.lakes.deltars_lakes import use_cache_folder
from support.lakes.small_lakes import ONCE, photos, put_all
from support.pages.docs_pages import load_generator

_GENERATOR = load_generator()


def public_objects() -> dict[str, Any]:
    """Return the objects of docs/reference/python-api.md by qualified name, those that write a lake last."""
    found = {}
    for item in (item for section in _GENERATOR.PUBLIC.values() for item in section):
        found[item.__name__] = item
        if inspect.isclass(item):
            for name, member in _GENERATOR.public_members(item).items():
                found[f"{item.__name__}.{name}"] = member
    writers = {name: found.pop(name) for name in ("ingest", "refit")}
    return found | writers


OBJECTS = public_objects()
EXAMPLES = [name for name, item in OBJECTS.items() if ">>> " in (inspect.getdoc(item) or "")]


@pytest.fixture(scope="module")
def folder(
    spark: Any, new_lake: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The current folder of the examples: images in fruits/, a lake with a refit, and a model for a new lake."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        use_cache_folder(patch, folder / "cache")
        shutil.move(new_lake(), folder / "lake")
        shutil.copytree(folder / "lake" / "models", folder / "new-lake" / "models")
        put_all(folder / "fruits", photos("Fig", range(4)) | photos("Kiwi", range(4, 8)))
        pomona.ingest("./fruits", "./lake", ONCE)
        pomona.refit("./lake", pomona.RefitOptions(pomona.FitOptions(components=3)))
        yield folder


def test_every_public_function_and_method_has_an_example() -> None:
    functions = {name for name, item in OBJECTS.items() if inspect.isfunction(item)}
    assert functions - set(EXAMPLES) == set()


def test_every_public_object_has_a_docstring() -> None:
    assert [name for name, item in OBJECTS.items() if not inspect.getdoc(item)] == []


@pytest.mark.parametrize("member", ["IngestSummary.images", "RefitRow.fit_on", "PruneResult"])
def test_reference_lists_public_objects_without_example(member: str) -> None:
    assert member in OBJECTS
    assert member in _GENERATOR.render_python_api()


def test_reference_contains_everything_that_the_package_exports() -> None:
    exceptions = inspect.getdoc(streaming.errors) or ""
    assert [name for name in pomona.__all__ if name not in OBJECTS and name not in exceptions] == []


@pytest.mark.long
@pytest.mark.spark
@pytest.mark.parametrize("name", EXAMPLES)
def test_docstring_example_prints_shown_output(name: str, folder: Path) -> None:
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    text = inspect.getdoc(OBJECTS[name]) or ""
    report: list[str] = []
    result = runner.run(parser.get_doctest(text, {}, name, None, 0), out=report.append)
    assert result.attempted
    assert not result.failed, "".join(report)
