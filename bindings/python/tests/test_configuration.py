"""Which files and variables a registry obeys, and where projects and tasks come from."""

from __future__ import annotations

from pathlib import Path

import pytest
import trop

pytestmark = pytest.mark.usefixtures("range_of_files")


@pytest.fixture
def project(tmp_path: Path, data_dir: Path) -> Path:
    """Projects in the working directory, beside it and in a file of another name; and the user's file."""
    for directory, name in (("work", "here"), ("beside", "beside")):
        (tmp_path / directory).mkdir(exist_ok=True)
        (tmp_path / directory / "trop.yaml").write_text(f"project: {name}\n")
    (tmp_path / "other.yaml").write_text("project: other\n")
    data_dir.mkdir()
    (data_dir / "config.yaml").write_text("ports: {min: 26000, max: 26009}\n")
    return tmp_path


def asked(registry: trop.Registry) -> tuple[str | None, str | None, bool]:
    """Project and task of a new reservation, and whether the user's file counts."""
    with registry:
        held = registry.reserve("/a", dry_run=True, skip_occupancy_check=True)
        return held.project, held.task, held.port < 26010 and held.port >= 26000


def test_the_files_found_from_the_working_directory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(trop.Registry()) == ("here", None, True)
    (project / "work" / "deep").mkdir()
    monkeypatch.chdir(project / "work" / "deep")
    assert asked(trop.Registry()) == ("here", None, True)
    assert trop.reserve(dry_run=True).project == "here"
    monkeypatch.chdir(project / "beside")
    assert trop.reserve(dry_run=True).project == "beside"


def test_the_files_found_from_another_directory(project: Path) -> None:
    (project / "beside" / "deep").mkdir()
    for start in (project / "beside" / "deep", "../beside"):
        assert asked(trop.Registry(start_dir=start)) == ("beside", None, True)


def test_one_named_file(project: Path) -> None:
    for file in (project / "other.yaml", "../other.yaml"):
        assert asked(trop.Registry(config_file=file)) == ("other", None, True)


@pytest.mark.usefixtures("project")
def test_no_file_at_all() -> None:
    assert asked(trop.Registry(discovery=False)) == (None, None, False)


@pytest.mark.usefixtures("project")
def test_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TROP_PROJECT", "variable")
    monkeypatch.setenv("TROP_TASK", "errand")
    assert asked(trop.Registry()) == ("variable", "errand", True)
    assert asked(trop.Registry(discovery=False)) == ("variable", "errand", False)
    assert asked(trop.Registry(variables=False)) == ("here", None, True)
    assert asked(trop.Registry(variables=False, discovery=False)) == (None, None, False)
    with trop.Registry() as registry:
        held = registry.reserve("/a", project="asked", clear_task=True)
    assert (held.project, held.task) == ("asked", None)


def test_at_most_one_way_of_finding_files(project: Path) -> None:
    start, file = project / "beside", project / "other.yaml"
    for options, argument in (
        ({"discovery": False, "start_dir": start}, "discovery"),
        ({"discovery": False, "config_file": file}, "discovery"),
        ({"start_dir": start, "config_file": file}, "config_file"),
        ({"discovery": False, "start_dir": start, "config_file": file}, "discovery"),
    ):
        with pytest.raises(trop.InvalidArgumentError) as raised:
            trop.Registry(**options)  # type: ignore[arg-type]
        assert raised.value.argument == argument


def test_arguments_weigh_more_than_files(project: Path) -> None:
    (project / "work" / "trop.yaml").write_text("excluded_ports: [26000]\nallow_change_project: true\n")
    with trop.Registry(skip_occupancy_check=True) as registry:
        assert registry.reserve("/a").port == 26001
    with trop.Registry(ports=(27000, 27009), excluded="27000", skip_occupancy_check=True) as registry:
        assert registry.reserve("/b").port == 27001
        assert registry.reserve("/b", project="first", allow_project_change=False).project == "first"


@pytest.mark.usefixtures("project")
def test_a_bad_file_or_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TROP_PORT_MIN", "none")
    for opening in (trop.Registry, trop.list):
        with pytest.raises(trop.ConfigError, match="TROP_PORT_MIN"):
            opening()
    trop.Registry(variables=False).close()
    Path("trop.yaml").write_text("ports: 1\n")
    with pytest.raises(trop.ConfigError, match=r"trop\.yaml' line 1") as raised:
        trop.Registry(variables=False)
    assert (raised.value.code, raised.value.argument) == ("TROP_CONFIG", "ports")


def test_git_names_what_nobody_named(registry: trop.Registry, tmp_path: Path) -> None:
    data = tmp_path / "shop" / ".git"
    for directory in ("objects", "refs"):
        (data / directory).mkdir(parents=True)
    (data / "HEAD").write_text("ref: refs/heads/feat/one\n")
    held = registry.reserve(tmp_path / "shop" / "src")
    assert (held.project, held.task) == ("shop", "feat/one")
    named = registry.reserve(tmp_path / "shop", project="other", clear_task=True)
    assert (named.project, named.task) == ("other", None)
    (data / "HEAD").write_text("ref: refs/heads/two\n")
    assert registry.reserve(tmp_path / "shop" / "src").task == "feat/one"
    group = tmp_path / "shop" / "trop.yaml"
    group.write_text("reservations: {services: {web: }}\nports: {min: 26000, max: 27999}\n")
    port = registry.reserve_group(group)["web"]
    grouped = registry.find_port(port)
    assert grouped is not None
    assert (grouped.project, grouped.task) == ("shop", "two")
