"""Promises of the layout: arrows in one direction, few importers of what is slow to import, names that hide nothing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("streaming", "batch_pca", "bootstrap", "pomona")
#: Which of our packages each may import; `pomona` imports `bootstrap` inside of functions only.
ALLOWED = {
    "streaming": {"streaming"},
    "batch_pca": {"batch_pca", "streaming"},
    "bootstrap": {"bootstrap"},
    "pomona": set(PACKAGES),
}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").glob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    """First names of all modules that a piece of code imports, wherever in it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(str(node.module).partition(".")[0])
    return names


def imported_at_once(tree: ast.Module) -> set[str]:
    """The same without what stands in a function, and is imported when that runs."""
    types_alone = "TYPE_CHECKING"  # what stands below it is never imported
    outside = [
        node
        for node in tree.body
        if not isinstance(node, ast.FunctionDef)
        and not (isinstance(node, ast.If) and ast.unparse(node.test) == types_alone)
    ]
    return set().union(*map(imported, outside))


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), str(file))


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def loaded_by(program: str) -> set[str]:
    """What a new interpreter has imported, by a program that prints it."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=ROOT)
    return set(done.stdout.split())


def first_names(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def tracked() -> list[Path]:
    """Files that git tracks, or would."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git repository")
    return [ROOT / path for path in listed.stdout.split("\0") if path and (ROOT / path).is_file()]


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 30
    assert {file.relative_to(ROOT).parts[0] for file in FILES} == set(PACKAGES)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_the_arrows_between_the_packages_point_in_one_direction(file: Path) -> None:
    package = file.relative_to(ROOT).parts[0]
    # `spark-submit` runs this one file, which lies beside the requests that name it; nothing imports it.
    allowed = {"pomona"} if name(file) == "bootstrap/submit.py" else ALLOWED[package]
    assert imported(parse(file)) & set(PACKAGES) <= allowed
    if package == "pomona":
        assert "bootstrap" not in imported_at_once(parse(file))


def test_only_one_file_imports_tensorflow_and_only_inside_of_functions() -> None:
    slow = {"tensorflow", "keras", "tf2onnx"}
    assert {name(file) for file in FILES if imported(parse(file)) & slow} == {
        "streaming/model/keras.py"
    }
    assert not imported_at_once(parse(ROOT / "streaming" / "model.py")) & slow


def test_what_needs_no_spark_does_not_import_it() -> None:
    plain = [
        "streaming.model.export",
        "streaming.model.store",
        "streaming.engines.registry",
        "streaming.images.decode",
    ]
    plain += [
        "streaming.images.fetch",
        "streaming.storage.s3",
        "streaming.spark.jars",
        "streaming.model.weights",
    ]
    plain += ["pomona.demo.images"]
    program = f"import sys, {', '.join(plain)}; print(*sys.modules)"
    loaded = loaded_by(program)
    assert set(plain) < loaded
    assert not first_names(loaded) & {"pyspark", "delta", "py4j", "tensorflow", "keras"}
    for stem in (
        "fit",
        "moments",
        "report",
    ):  # the package itself imports Spark, these do not use it
        assert not imported(parse(ROOT / "batch_pca" / f"{stem}.py")) & {"pyspark", "delta", "py4j"}


def test_what_speaks_to_aws_does_without_spark_and_tensorflow() -> None:
    program = "import sys, pomona.cloud, bootstrap.deploy.plan, bootstrap.deploy.clone; print(*sys.modules)"
    loaded = first_names(loaded_by(program))
    assert "boto3" in loaded
    assert not loaded & {"pyspark", "delta", "py4j", "tensorflow", "keras", "onnxruntime"}


def test_the_command_answers_without_spark_and_tensorflow() -> None:
    loaded = first_names(loaded_by("import pomona.cli, sys; print(*sys.modules)"))
    assert "typer" in loaded
    slow = {"pyspark", "tensorflow", "keras", "matplotlib", "boto3", "onnxruntime", "pandas"}
    assert not loaded & slow


@pytest.mark.parametrize("file", FILES, ids=name)
def test_no_module_is_named_like_one_of_the_standard_library(file: Path) -> None:
    # `spark-submit` puts a script's folder first on the path: it would hide the library's.
    assert file.stem not in sys.stdlib_module_names
    assert file.stem.lower() not in FORBIDDEN_NAMES


@pytest.mark.parametrize("file", [*FILES, *TESTS], ids=name)
def test_every_file_says_what_it_is_for(file: Path) -> None:
    docstring = ast.get_docstring(parse(file))
    assert docstring
    assert docstring[0].isupper() or docstring[0] in "`'\""


@pytest.mark.parametrize("file", FILES, ids=name)
def test_files_and_functions_keep_to_a_size_that_can_be_read(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 250
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.FunctionDef) and not is_command(node):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 75, node.name
            assert len([arg for arg in node.args.args if arg.arg not in ("self", "cls")]) <= 5, (
                f"{node.name} has too many parameters"
            )


def is_command(node: ast.FunctionDef) -> bool:
    """Whether the parameters of a function are the options of a command."""
    return any("command" in ast.unparse(decorator) for decorator in node.decorator_list)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_only_the_command_prints(file: Path) -> None:
    calls = {
        node.func.id
        for node in ast.walk(parse(file))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    if name(file) not in ("pomona/cli.py", "pomona/output/console.py"):
        assert not calls & {"print", "input", "breakpoint"}


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
