"""Fixtures for the tests of `pomona cloud`: a moto account and a working folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.aws.account import ADMIN, MotoAccount, serve
from support.aws.workspace import make_cloud_workspace


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoAccount]:
    with serve(tmp_path_factory.mktemp("tls")) as account:
        yield account


@pytest.fixture
def account(served: MotoAccount, monkeypatch: pytest.MonkeyPatch) -> MotoAccount:
    served.reset()
    for name, value in (served.variables | ADMIN).items():
        monkeypatch.setenv(name, value)
    return served


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_cloud_workspace(tmp_path / "workspace", monkeypatch)
