"""What every cross-language test needs."""

from __future__ import annotations

from pathlib import Path

import pytest

import agents


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Variables that keep a test away from the user's registry."""
    home = tmp_path / "home"
    home.mkdir()
    return {"HOME": str(home), "TROP_DATA_DIR": str(tmp_path / "default"), "TROP_PATH": "/unused"}


@pytest.fixture(params=agents.LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    """Every language in turn."""
    return str(request.param)
