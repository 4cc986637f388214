"""Tests for README, docs/ and the other documents: the commands, options, files and names in them exist."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import streaming.images.synthetic
import streaming.lake.layout
from streaming import __version__
from streaming.images.decode import IMAGE_SUFFIXES
from streaming.lake.layout import Lake
from streaming.lake.schemas import QUARANTINE, REFITS, features_table
from streaming.outcomes import Reason
from support.pages.docs_pages import INDEX, decision_records, pages
from support.processes.cli import commands, is_name, options, parse

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
RELIABILITY = (ROOT / "RELIABILITY.md").read_text()
DOCUMENTS = {
    "README.md": README,
    "ARCHITECTURE.md": ARCHITECTURE,
    "CHANGELOG.md": CHANGELOG,
    "CONTRIBUTING.md": (ROOT / "CONTRIBUTING.md").read_text(),
    "RELIABILITY.md": RELIABILITY,
    **{str(page.relative_to(ROOT)): page.read_text() for page in [INDEX, *pages()]},
}
PACKAGES = ("streaming", "batch_pca", "bootstrap", "pomona")


def code_blocks(text: str) -> Iterator[str]:
    """Yield the code blocks, fenced or indented, in order."""
    pattern = r"^```\w*\n(?P<fenced>.*?)^```$|(?P<indented>(?:^    .*\n|^\n(?=    ))+)"
    for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        yield found["fenced"] or found["indented"]


def pomona_commands(text: str) -> Iterator[str]:
    """Yield the arguments of `pomona` in code blocks and inline code, without prompt, comment and pipe."""
    lines = [line for block in code_blocks(text) for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", text)
    for line in lines:
        found = re.match(r"\s*(?:\$ )?(?:\.venv/bin/)?pomona( [^#|>;&]+)", line)
        if found:
            yield found[1].strip()


COMMANDS = sorted({line for text in DOCUMENTS.values() for line in pomona_commands(text)})


def test_documents_contain_commands() -> None:
    assert len(COMMANDS) > 8
    assert {line.split()[0] for line in COMMANDS} >= set(commands())


def test_commands_in_documents_are_valid() -> None:
    for line in COMMANDS:
        words = shlex.split(line)
        if is_name(words):  # named, not called
            continue
        try:
            parse(words)
        except Exception as error:
            error.add_note(line)
            raise


def test_readme_shows_every_command() -> None:
    assert [name for name in commands() if f"pomona {name}" not in README] == []


def test_named_options_exist() -> None:
    for name, text in DOCUMENTS.items():
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+(?![\w.=-])", text))
        assert named - options() - {"--help", "--version"} == set(), name


def test_readme_starts_with_make_run_and_make_test() -> None:
    first = next(code_blocks(README))
    assert re.findall(r"^\s*(?:\$ )?make (\w+)", first, re.MULTILINE) == ["run", "test"]
    assert len(README[: README.index(first)].splitlines()) < 5


def test_named_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert {"run", "test", "check"} <= targets
    for name, text in DOCUMENTS.items():
        inline = re.findall(r"`make (\w+)`", text)
        named = inline + re.findall(r"^    make (\w+)", text, re.MULTILINE)
        assert set(named) <= targets, name


def test_documents_explain_every_reason_and_column() -> None:
    ingestion = DOCUMENTS["docs/explanation/ingestion.md"]
    layout = DOCUMENTS["docs/reference/lake-layout.md"]
    tables = DOCUMENTS["docs/reference/tables.md"]
    for reason in Reason:
        assert f"| `{reason}` |" in ingestion
    for table in (features_table(1), QUARANTINE, REFITS):
        section = re.search(rf"^## {table.name}\n(.*?)(?=^## |\Z)", tables, re.M | re.S)
        assert section
        for column in table.names:
            assert f"| `{column}` |" in section[1]
    lake = Lake("root")
    for part in (lake.features, lake.quarantine, lake.refits, lake.reduced, lake.models, lake.tags):
        assert f"`{part.removeprefix('root/')}/" in layout


def test_ingestion_lists_every_image_suffix() -> None:
    text = DOCUMENTS["docs/explanation/ingestion.md"]
    listed = re.findall(r"`\.(\w+)`", text.partition("Image suffixes are ")[2].partition("\n\n")[0])
    assert listed == list(IMAGE_SUFFIXES)


def test_layout_lists_the_files_of_refits_and_the_names_that_pomona_creates() -> None:
    layout = DOCUMENTS["docs/reference/lake-layout.md"]
    rows = dict(re.findall(r"^\| (`.*?) \| (.*) \|$", layout, re.MULTILINE))
    names = {name.partition("/")[0] for entry in rows for name in re.findall(r"`([^`]+)`", entry)}
    assert names >= streaming.lake.layout._OWN_NAMES
    files = rows["`reduced/<refit>/`"]
    for name in ("scatter.png", "variance.png", "drift.png", "reduced.csv", "refit.json", "pc1"):
        assert f"`{name}`" in files


def test_readme_names_the_commands_without_json_option() -> None:
    found = commands()
    found |= {f"cloud {name}": command for name, command in found.pop("cloud").commands.items()}
    without = {
        name
        for name, command in found.items()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    sentence = README.partition("and `--json`, except ")[2].partition(".")[0]
    assert set(re.findall(r"`([a-z ]+)`", sentence)) == without


def test_readme_links_every_page_and_stays_short() -> None:
    linked = set(re.findall(r"\]\(([\w./-]+)\)", README))
    records = {str(record.relative_to(ROOT)) for record in decision_records()}
    documented = {name for name in DOCUMENTS if name.startswith("docs/")}
    assert documented - records - linked == {"docs/README.md"}
    assert len(README.splitlines()) <= 210


def test_links_lead_to_files_and_headings() -> None:
    for name, text in DOCUMENTS.items():
        for link, anchor in re.findall(r"\]\(([^)#:]+)(?:#([^)]+))?\)", text):
            file = (ROOT / name).parent / link
            assert file.is_file(), (name, link)
            assert not anchor or anchor in anchors(file.read_text()), (name, f"{link}#{anchor}")


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings of a page, as MkDocs and GitHub derive them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def test_changelog_starts_with_current_version() -> None:
    headings = re.findall(r"^## (\d+\.\d+\.\d+)", CHANGELOG, re.MULTILINE)
    assert headings[0] == __version__
    assert headings == sorted(set(headings), key=lambda v: [*map(int, v.split("."))], reverse=True)


def test_architecture_names_every_package() -> None:
    for package in PACKAGES:
        assert f"{package}/" in ARCHITECTURE


def test_architecture_lists_the_layers_of_the_import_contracts() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = {
        contract["containers"][0]: [re.split(r" [|:] ", layer) for layer in contract["layers"]]
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers" and "containers" in contract
    }
    section = ARCHITECTURE.partition("## Layers")[2].partition("\n## ")[0]
    first, second = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    listed = {"streaming": [row.split(" | ")[0] for row in first.splitlines()[2:]]}
    for row in second.splitlines()[2:]:
        package, layers = row.strip("| ").split(" | ")
        listed[package.strip("`/")] = layers.split("; ")
    assert {
        package: [re.findall(r"\w+", layer) for layer in layers]
        for package, layers in listed.items()
    } == contracts


def test_named_files_exist() -> None:
    for name, text in DOCUMENTS.items():
        unlinked = re.sub(r"\]\([^)]*\)", "]", text)  # links have a test of their own
        named = set(re.findall(r"[\w/][\w/-]*\.(?:py|md|toml|lock)\b", unlinked))
        missing = {
            path for path in named if not (ROOT / path).exists() and not any(ROOT.glob(f"*/{path}"))
        }
        of_user = {"cluster.toml", "prices.toml", "environment/spark/submit.py"}
        assert missing - of_user == set(), name


def test_named_functions_exist() -> None:
    for name, text in DOCUMENTS.items():
        for dotted in re.findall(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)\(", text):
            module, _, function = dotted.rpartition(".")
            assert callable(getattr(importlib.import_module(module), function)), (name, dotted)


def test_python_blocks_are_valid_syntax() -> None:
    fenced = r"^```python\n(.*?)^```$"
    programs = {name: re.findall(fenced, text, re.M | re.S) for name, text in DOCUMENTS.items()}
    assert programs["README.md"]
    for blocks_of_page in programs.values():
        for program in blocks_of_page:
            ast.parse(program)


def test_readme_shows_row_count_of_demo() -> None:
    from pomona.demo.run import PER_LABEL

    images = 2 * PER_LABEL * len(streaming.images.synthetic.SAMPLE_LABELS)
    assert f"{images} rows in" in README


def test_documents_contain_no_local_paths() -> None:
    for text in DOCUMENTS.values():
        assert not re.search(r"/(?:home/\w|root|tmp|work)/", text)


def test_each_reliability_guarantee_names_existing_tests() -> None:
    section = RELIABILITY.split("\n## Guarantees\n")[1].split("\n## ")[0]
    _, _, *guarantees = re.findall(r"^\|.*\|$", section, re.MULTILINE)
    assert len(guarantees) > 25
    for guarantee in guarantees:
        named = re.findall(r"`((?:\w+/)*test_\w+)(?:::(test_\w+))?`", guarantee)
        assert named, guarantee
        for file, test in named:
            content = (ROOT / "tests" / f"{file}.py").read_text()
            assert f"def {test or 'test_'}" in content, guarantee
