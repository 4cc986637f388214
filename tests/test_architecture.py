"""Tests for the architecture: import contracts, lazy imports of slow packages, file names, lock files."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("streaming", "batch_pca", "bootstrap", "pomona")
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    """Return the top-level names of all modules imported anywhere in the tree."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(str(node.module).partition(".")[0])
    return names


def imported_at_module_level(tree: ast.Module) -> set[str]:
    """Return the same without imports inside functions and below TYPE_CHECKING."""
    type_checking = "TYPE_CHECKING"
    nodes = [
        node
        for node in tree.body
        if not isinstance(node, ast.FunctionDef)
        and not (isinstance(node, ast.If) and ast.unparse(node.test) == type_checking)
    ]
    return set().union(*map(imported, nodes))


@cache
def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), str(file))


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def loaded_by(program: str) -> set[str]:
    """Return what a program in a new interpreter prints: the modules that it has loaded."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=ROOT)
    return set(done.stdout.split())


def first_names(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def tracked() -> list[Path]:
    """Return the files that git tracks or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git repository")
    return [ROOT / path for path in listed.stdout.split("\0") if path and (ROOT / path).is_file()]


def test_source_files_are_found() -> None:
    assert len(FILES) > 100
    assert {file.relative_to(ROOT).parts[0] for file in FILES} == set(PACKAGES)


def test_import_contracts_are_kept() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", done.stdout)


def test_import_contracts_reject_imports_from_higher_layers(tmp_path: Path) -> None:
    for package in (*PACKAGES, "benchmarks"):
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, line in (
        ("streaming/storage/retry.py", "from streaming.ingest.pipeline import ingest"),
        ("batch_pca/pca/fit.py", "import pomona.cli"),
        ("bootstrap/errors.py", "import streaming.errors"),
        ("benchmarks/inputs/sizes.py", "from benchmarks.report import targets"),
    ):
        with (tmp_path / file).open("a") as source:
            source.write(f"\n{line}\n")
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 1
    for importer, imported_name in (
        ("streaming.storage", "streaming.ingest"),
        ("batch_pca", "pomona"),
        ("bootstrap", "streaming"),
        ("benchmarks.inputs", "benchmarks.report"),
    ):
        assert f"{importer} is not allowed to import {imported_name}:" in done.stdout


def test_bootstrap_is_imported_inside_functions_only() -> None:
    files = [file for file in FILES if name(file).startswith("pomona/")]
    assert len(files) > 50
    assert [
        name(file) for file in files if "bootstrap" in imported_at_module_level(parse(file))
    ] == []


def test_only_one_file_imports_tensorflow_inside_functions() -> None:
    slow = {"tensorflow", "keras", "tf2onnx"}
    assert {name(file) for file in FILES if imported(parse(file)) & slow} == {
        "streaming/model/keras.py"
    }
    assert not imported_at_module_level(parse(ROOT / "streaming/model/keras.py")) & slow


def test_modules_that_need_no_spark_do_not_import_it() -> None:
    modules = [
        "streaming.model.export",
        "streaming.model.store",
        "streaming.model.weights",
        "streaming.engines.registry",
        "streaming.images.decode",
        "streaming.images.fetch",
        "streaming.storage.s3",
        "streaming.spark.jars",
        "pomona.demo.images",
    ]
    loaded = loaded_by(f"import sys, {', '.join(modules)}; print(*sys.modules)")
    assert set(modules) < loaded
    assert not first_names(loaded) & {"pyspark", "delta", "py4j", "tensorflow", "keras"}
    # The package batch_pca itself imports Spark; these modules do not use it.
    for file in ("pca/fit.py", "pca/moments.py", "report/render.py"):
        assert not imported(parse(ROOT / "batch_pca" / file)) & {"pyspark", "delta", "py4j"}


def test_cloud_commands_need_neither_spark_nor_tensorflow() -> None:
    program = (
        "import sys, pomona.cloud.cli, bootstrap.deploy.plan, bootstrap.deploy.clone; "
        "print(*sys.modules)"
    )
    loaded = first_names(loaded_by(program))
    assert "boto3" in loaded
    assert not loaded & {"pyspark", "delta", "py4j", "tensorflow", "keras", "onnxruntime"}


def test_command_line_starts_without_slow_packages() -> None:
    loaded = first_names(loaded_by("import pomona.cli, sys; print(*sys.modules)"))
    assert "typer" in loaded
    slow = {"pyspark", "tensorflow", "keras", "matplotlib", "boto3", "onnxruntime", "pandas"}
    assert not loaded & slow
    loaded = first_names(loaded_by("import pomona.queries.status, sys; print(*sys.modules)"))
    assert "pyarrow" in loaded
    assert not loaded & {"pyspark", "tensorflow", "keras", "matplotlib", "pandas"}


def test_no_module_or_folder_is_named_like_one_of_the_standard_library() -> None:
    # spark-submit puts a script's folder first on the path: its modules and folders would hide the library's.
    for file in FILES:
        names = {file.stem, *file.relative_to(ROOT).parent.parts[1:]}
        assert not names & sys.stdlib_module_names, name(file)
        assert not {found.lower() for found in names} & FORBIDDEN_NAMES, name(file)


def test_every_file_has_a_docstring() -> None:
    for file in (*FILES, *TESTS):
        text = file.read_text()  # not parsed: this takes seconds
        assert text.startswith('"""'), name(file)
        assert text[3].isupper() or text[3] in "`'\"", name(file)


def test_only_the_command_line_prints() -> None:
    calls = {
        name(file)
        for file in FILES
        for node in ast.walk(parse(file))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"print", "input", "breakpoint"}
    }
    assert calls == {"pomona/cli.py", "pomona/output/console.py"}


def test_no_file_names_the_address_of_a_package_registry() -> None:
    # Put together from pieces, so that this file names none either.
    hosts = [
        ".".join(pieces)
        for pieces in (
            ("pypi", "org"),
            ("files", "python" + "hosted", "org"),
            ("test", "pypi"),
            ("repo1", "maven", "org"),
            ("repo", "maven", "apache"),
            ("maven", "org"),
            ("repos", "spark-packages"),
            ("registry", "npmjs"),
            ("conda", "anaconda"),
            ("proxy", "golang"),
        )
    ]
    pattern = re.compile("|".join(map(re.escape, hosts)))
    options = re.compile(
        rf"^\s*--?({'|'.join(('index', 'extra-index', 'find'))})-?(url|links)", re.M
    )
    guilty = []
    for file in tracked():
        content = file.read_bytes().decode(errors="replace")
        if pattern.search(content) or (
            file.suffix in (".lock", ".txt") and options.search(content)
        ):
            guilty.append(name(file))
    assert guilty == []


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.lock")), ids=name)
def test_a_lock_file_pins_everything_by_hash(lock: Path) -> None:
    lines = lock.read_text().replace("\\\n", " ").splitlines()
    pins = [line for line in lines if line and not line.lstrip().startswith("#")]
    assert len(pins) > (3 if "compat" in lock.name else 20)  # three packages and what they need
    for line in pins:
        assert re.match(r"^[A-Za-z0-9._-]+==\S+", line), line
        assert "--hash=sha256:" in line, line
