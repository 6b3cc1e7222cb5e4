"""The address of a stack's ledger."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from worker.devstack.errors import StackError
from worker.devstack.ledger import absolute, at_file


@pytest.mark.parametrize("name", ["plain", "my files", "has%41pct", "q?x", "q#x", "群发"])
def test_a_ledger_lies_in_its_directory_whatever_the_directory_is_called(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    engine = create_engine(at_file(tmp_path / name / "ledger.db"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE one (id INTEGER)"))
    engine.dispose()
    assert [path.name for path in (tmp_path / name).iterdir()] == ["ledger.db"]


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "sqlite:///", "sqlite://", "postgresql://host", ""])
def test_what_is_no_address_of_a_ledger_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(StackError, match="write it like postgresql://"):
        absolute(url)


def test_a_file_is_found_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("sqlite:///ledger.db") == f"sqlite:///{tmp_path}/ledger.db"
    assert absolute("sqlite:///ledger.db?timeout=9") == f"sqlite:///{tmp_path}/ledger.db?timeout=9"
    assert absolute("postgresql://sms:a@host/sms") == "postgresql://sms:a@host/sms"
