"""Which directories of a stack stay after it."""

from pathlib import Path

import pytest

from worker.devstack.directory import kept_directory


def test_a_temporary_directory_is_deleted_unless_it_is_to_be_kept() -> None:
    kept: list[Path] = []
    with kept_directory(None, prefix="sms-test-", kept=kept.append) as (path, _):
        (path / "a log").touch()
    assert not path.exists()
    assert kept == []


def test_a_temporary_directory_that_is_kept_is_named_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kept: list[Path] = []
    with kept_directory(None, prefix="sms-test-", kept=kept.append) as (path, keep):
        keep()
    assert path.is_dir()
    assert kept == [path]


def test_a_given_directory_stays_even_after_an_error(tmp_path: Path) -> None:
    kept: list[Path] = []
    with pytest.raises(ZeroDivisionError), kept_directory(tmp_path, prefix="sms-test-", kept=kept.append):
        1 / 0  # noqa: B018 - the error
    assert tmp_path.is_dir()
    assert kept == [tmp_path]
