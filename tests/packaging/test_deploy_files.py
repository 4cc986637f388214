"""Tests for `Dockerfile` and `deploy/`: they are valid for Docker, systemd, Kubernetes and the command line."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from streaming import __version__
from support.processes.cli import parse

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def value(file: str, key: str) -> str:
    """A setting of a systemd unit."""
    found = re.findall(rf"^{key}=(.*)$", (DEPLOY / file).read_text(), re.M)
    assert len(found) == 1
    return str(found[0])


@pytest.fixture
def cron_job() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "refit-cronjob.yaml").read_text())
    return loaded


def test_dockerfile_passes_hadolint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--failure-threshold", "style", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_copied_files_exist_and_are_not_ignored() -> None:
    sent = (ROOT / ".dockerignore").read_text().split()
    assert sent[0] == "*"
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M)
    names = {name for line in copied for name in line.split()}
    assert {"requirements.lock", "streaming", "bootstrap"} <= names
    for name in names:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in sent, name


def test_dockerfile_matches_pyproject() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]:
        package = pattern.removesuffix(".*")
        assert f"COPY {package} {package}\n" in DOCKERFILE
    for name in (project["project"]["readme"], *project["project"]["license-files"]):
        assert re.search(rf"^COPY .*\b{re.escape(name)}\b", DOCKERFILE, re.M), name


def test_archive_is_built_in_named_stage() -> None:
    assert "--target environment" in DOCKERFILE
    assert re.search(r"^FROM scratch AS environment$", DOCKERFILE, re.M)
    program = re.search(r'^RUN \.venv/bin/python -c "(.+)"$', DOCKERFILE, re.M)
    assert program
    compile(program[1], "Dockerfile", "exec")
    assert re.search(r"^FROM amazonlinux:2023\S+ AS installed$", DOCKERFILE, re.M)


def test_external_images_have_a_version_and_a_digest() -> None:
    stages = {"scratch", *re.findall(r"^FROM .* AS (\S+)$", DOCKERFILE, re.M)}
    images = set(re.findall(r"^FROM (?:--\S+ )*(\S+)", DOCKERFILE, re.M)) - stages
    images |= set(re.findall(r"^COPY --from=(\S+)", DOCKERFILE, re.M)) - stages
    devcontainer = (ROOT / ".devcontainer" / "devcontainer.json").read_text()
    images |= set(re.findall(r'"image": "(.+)"', devcontainer))
    assert len(images) == 2
    for image in images:
        assert re.fullmatch(r"[a-z0-9./-]+:\d+\.\d+\.\S+@sha256:[0-9a-f]{64}", image), image
    assert '"features"' not in devcontainer  # their scripts have no digest without a lock file


def test_actions_are_pinned_by_commit() -> None:
    workflows = list((ROOT / ".github" / "workflows").glob("*.yml"))
    actions = [line for file in workflows for line in re.findall(r"uses: (.+)", file.read_text())]
    assert len(actions) >= 3
    for action in actions:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", action), action


def test_cron_job_matches_kubernetes_schema(cron_job: dict[str, Any]) -> None:
    kubernetes_validate.validate(cron_job, kubernetes_validate.latest_version(), strict=True)


def test_unknown_field_is_rejected_by_schema(cron_job: dict[str, Any]) -> None:
    cron_job["spec"]["concurrency"] = "Forbid"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(cron_job, kubernetes_validate.latest_version(), strict=True)


def test_cron_job_runs_refit_with_image_of_this_version(cron_job: dict[str, Any]) -> None:
    [container] = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["args"][0] == "refit"
    assert parse(container["args"])["lake"].startswith("s3")
    assert container["image"] == f"pomona:{__version__}"
    assert f"--tag pomona:{__version__} " in DOCKERFILE


def test_cron_job_runs_as_user_of_image(cron_job: dict[str, Any]) -> None:
    pod = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert f"USER {pod['securityContext']['runAsUser']}\n" in DOCKERFILE


def test_service_runs_refit() -> None:
    _, *arguments = shlex.split(value("pomona-refit.service", "ExecStart"))
    assert arguments[0] == "refit"
    parse(arguments)
    assert value("pomona-refit.service", "Type") == "oneshot"


def test_units_pass_systemd_analyze(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("no systemd here")
    for name in ("pomona-refit.service", "pomona-refit.timer"):
        text = (DEPLOY / name).read_text()
        # Pomona is not installed there on this machine.
        runnable = text.replace("/srv/pomona/.venv/bin/pomona", shutil.which("true") or "")
        (tmp_path / name).write_text(runnable)
    units = [tmp_path / "pomona-refit.timer", tmp_path / "pomona-refit.service"]
    done = subprocess.run([analyze, "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
