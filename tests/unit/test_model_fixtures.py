"""What several processes of a test run share is made once."""

from pathlib import Path

import pytest

from tests.model_fixtures import made_once


def test_a_folder_is_filled_once_for_all_processes(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    made: list[Path] = []
    first = made_once(tmp_path_factory, "shared_once", made.append)
    assert made_once(tmp_path_factory, "shared_once", made.append) == first
    assert made == [first]
    assert first.is_dir()


def test_what_could_not_be_made_is_made_by_the_next_process(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        made_once(tmp_path_factory, "shared_again", fail)
    made: list[Path] = []
    folder = made_once(tmp_path_factory, "shared_again", made.append)
    assert made == [folder]
    assert list(folder.iterdir()) == []
