"""The documents tell the truth: the settings are those of the code, the links lead somewhere."""

import re
from dataclasses import asdict
from pathlib import Path

from worker.config import SECRETS, VARIABLES
from worker.domain.lane import QUEUES
from worker.domain.message import (
    FIELDS,
    HORIZON,
    MAX_CALLER,
    MAX_METADATA_BYTES,
    MAX_RECIPIENTS,
    MAX_VALID_FOR,
)
from worker.domain.status import STATUSES
from worker.ledger.roles import RIGHTS

REPO = Path(__file__).parents[2]
README = (REPO / "README.md").read_text()


def test_the_readme_has_a_row_for_every_setting_and_none_for_another() -> None:
    rows = re.findall(r"^\| `(SMS_\w+)`( 🔑)?", README, re.MULTILINE)
    assert {name for name, _ in rows} == {name for name in VARIABLES if not name.endswith("_FILE")}
    assert {name for name, key in rows if key} == {f"SMS_{name.upper()}" for name in SECRETS}


def test_the_readme_starts_a_worker_for_every_queue() -> None:
    assert f"-Q {','.join(QUEUES)} " in README


def test_the_glossary_explains_every_status() -> None:
    glossary = (REPO / "docs/glossary.md").read_text()
    assert [status for status in STATUSES if f"`{status}`" not in glossary] == []


def test_the_table_of_fields_has_every_field_of_a_message_and_no_other() -> None:
    sending = (REPO / "docs/sending.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", sending, re.MULTILINE)) == FIELDS - {"notify"}
    for limit in (MAX_RECIPIENTS, MAX_METADATA_BYTES, MAX_CALLER, HORIZON.days, MAX_VALID_FOR.days):
        assert f" {limit:,} " in sending


def test_the_allow_lists_are_those_of_the_stores() -> None:
    security = (REPO / "docs/security.md").read_text()
    assert (REPO / "worker/redis_store/redis.acl").read_text().rstrip() in security
    rights = {
        table: f"| `{table}` | {' | '.join(right or '–' for right in asdict(said).values())} |"
        for table, said in RIGHTS.items()
    }
    assert {table for table, row in rights.items() if row not in security} == set()
    assert set(re.findall(r"^\| `(\w+)` \| [A-Z]+[ ,(|]", security, re.MULTILINE)) == RIGHTS.keys()


def test_every_link_in_the_documents_leads_to_a_file() -> None:
    for document in [*REPO.glob("*.md"), *(REPO / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
