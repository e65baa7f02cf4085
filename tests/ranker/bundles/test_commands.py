import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ranker.bundles.bundle import MANIFEST, MODEL
from ranker.bundles.commands import app
from ranker.bundles.registry import Registry
from ranker.bundles.verdict import Verdict
from ranker.errors import BundleError, RegistryError
from tests.ranker.bundles.small_bundle import aged, resealed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two bundles, of which the second is current and the first its parent."""
    registry = Registry(str(tmp_path))
    registry.add(aged(1))
    registry.make_current(registry.add(aged(2, parent=1)))
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    """Run a command in this process; a mistake is raised as it is."""
    command, *rest = arguments
    done = CliRunner().invoke(
        app,
        [command, "--registry", str(folder), *rest],
        catch_exceptions=False,
        env={"COLUMNS": "200"},
    )
    assert done.exit_code == 0
    return done.output


def test_bundles_are_listed_newest_first_with_the_current_one_marked(folder: Path) -> None:
    Registry(str(folder)).add(aged(3))
    (folder / "bundles" / "small-3" / MANIFEST).write_bytes(b"{}")

    listed = json.loads(run(folder, "list", "--json"))
    assert [(e["version"], e["current"], e["parent"]) for e in listed] == [
        ("small-2", True, "small-1"),
        ("small-1", False, None),
        ("small-3", False, None),
    ]
    assert "expected a manifest" in listed[2]["problem"]
    lines = run(folder, "list").splitlines()
    assert [line.split()[1] for line in lines if "small-" in line and "│" in line][:2] == [
        "small-2",
        "small-1",
    ]
    assert "current" in next(line for line in lines if "small-2" in line)


def test_a_bundle_is_shown_verified(folder: Path) -> None:
    shown = json.loads(run(folder, "show", "--json"))
    assert (shown["model_version"], shown["current"], shown["rows"]) == ("small-2", True, 50)
    assert json.loads(run(folder, "show", "small-1", "--json"))["current"] is False
    assert "click" in run(folder, "show")
    path = folder / "bundles" / "small-1" / MODEL
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="the file was changed"):
        run(folder, "show", "small-1")


def test_the_current_version_is_printed(folder: Path) -> None:
    assert run(folder, "current") == "small-2\n"
    assert json.loads(run(folder, "current", "--json")) == {"version": "small-2"}


def test_a_roll_back_goes_to_the_parent_or_to_what_is_named(folder: Path) -> None:
    assert run(folder, "rollback") == "small-1 is current in place of small-2\n"
    assert Registry(str(folder)).current() == "small-1"
    with pytest.raises(RegistryError, match="expected 'small-1' to have a parent, found none"):
        run(folder, "rollback")
    (folder / "current.json").write_text("no JSON")
    assert run(folder, "rollback", "small-2") == "small-2 is current in place of a damaged current.json\n"
    assert json.loads(run(folder, "rollback", "small-1", "--json")) == {
        "version": "small-1",
        "replaced": "small-2",
    }


def test_a_damaged_bundle_is_not_rolled_back_to(folder: Path) -> None:
    path = folder / "bundles" / "small-1" / MODEL
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="the file was changed"):
        run(folder, "rollback")
    assert Registry(str(folder)).current() == "small-2"


def test_old_bundles_are_pruned(folder: Path) -> None:
    Registry(str(folder)).add(aged(3))
    Registry(str(folder)).add(aged(4))
    assert "would remove small-3" in run(folder, "prune", "--keep", "1", "--dry-run")
    assert json.loads(run(folder, "prune", "--keep", "1", "--json"))["removed"] == ["small-3"]
    assert Registry(str(folder)).versions() == ["small-1", "small-2", "small-4"]


def test_bundles_are_listed_though_current_json_is_damaged_or_names_none_of_them(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for content, warning in (
        (
            b"{}",
            "current.json: expected a version, found b'{}'; `watchnext bundles rollback VERSION` makes one",
        ),
        (b'{"version": "gone"}', "the current version is 'gone', which is not there"),
    ):
        (folder / "current.json").write_bytes(content)
        found = json.loads(run(folder, "list", "--json"))
        assert len(found) > 1
        assert not any(entry["current"] for entry in found)
        assert warning in caplog.text


def test_what_is_no_registry_has_no_list(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="expected a registry with a published bundle, found no current"):
        run(tmp_path / "nowhere", "list")


def test_a_bundle_that_was_held_back_says_why_and_may_be_made_current(folder: Path) -> None:
    reasons = ("click: expected better, found worse", "scores: expected those of before, found others")
    verdict = Verdict(
        compared_with="small-2",
        reasons=reasons,
        rows=1234,
        viewers=56,
        heads={"click": {"auc_before": 0.71234, "auc": None}},
        psi=1.5,
        overlap=0.25,
    )
    held = resealed(aged(3, parent=2), model_version="small-3", created_ms=1_700_000_000_003, gate=verdict)
    Registry(str(folder)).add(held)

    listed = json.loads(run(folder, "list", "--json"))
    assert [entry["held_back"] for entry in listed] == [list(reasons), [], []]
    assert "held back: click, scores" in run(folder, "list")
    assert json.loads(run(folder, "show", "small-3", "--json"))["gate"] == verdict.model_dump(mode="json")
    shown = run(folder, "show", "small-3")
    for text in (*reasons, "1,234 rows of 56 viewers", "auc_before 0.7123", "PSI of scores 1.5, 25% of"):
        assert text in shown
    assert run(folder, "rollback", "small-3") == "small-3 is current in place of small-2\n"


def test_a_roll_back_is_remembered_until_something_else_becomes_current(folder: Path) -> None:
    registry = Registry(str(folder))
    assert not registry.is_rolled_back_from("small-2")
    run(folder, "rollback")
    assert registry.is_rolled_back_from("small-2")
    assert not registry.is_rolled_back_from("small-1")
    registry.make_current("small-2")
    assert not registry.is_rolled_back_from("small-1")
