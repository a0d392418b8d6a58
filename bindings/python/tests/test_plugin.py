from __future__ import annotations

from pathlib import Path

import pytest
import trop


def test_the_fixture_is_the_registry_of_the_machine(pytester: pytest.Pytester, data_dir: Path) -> None:
    pytester.makepyfile(
        f"""
        import trop

        kept = []

        def test_it_is_open(trop_registry):
            kept.append(trop_registry)
            assert isinstance(trop_registry, trop.Registry)
            assert str(trop_registry.data_dir) == {str(data_dir)!r}
            trop_registry.reserve("/plugin", "web")

        def test_it_is_the_same_for_the_session(trop_registry):
            assert kept == [trop_registry]
            assert not trop_registry.closed
        """
    )
    pytester.makeconftest(
        """
        def pytest_unconfigure(config):
            from test_the_fixture_is_the_registry_of_the_machine import kept
            assert kept[0].closed
        """
    )
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    assert [held.tag for held in trop.list()] == ["web"]


def test_the_plugin_alone_opens_nothing(pytester: pytest.Pytester, data_dir: Path) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_subprocess("-W", "error")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines("plugins:*trop-ports*")
    assert not data_dir.exists()
    fixtures = pytester.runpytest_subprocess("--fixtures")
    fixtures.stdout.fnmatch_lines("trop_registry*session scope*")


def test_xdist_workers_share_the_registry(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(8))
        def test_worker(trop_registry, worker_id, number):
            port = trop_registry.reserve("/xdist", worker_id).port
            assert trop_registry.reserve("/xdist", f"{worker_id}-{number}").port != port
        """
    )
    pytester.runpytest_subprocess("-W", "error", "-n", "2").assert_outcomes(passed=8)
    ports = [held.port for held in trop.list()]
    assert len(ports) == len(set(ports)) == 10
