"""The documents tell the truth: settings, plan and files are those of the code, links lead somewhere, sentences are short."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from worker.config import SECRETS, VARIABLES, load_settings
from worker.config.needs import NEEDS
from worker.config.settings import CREDENTIALS, variable
from worker.domain.caller import MAX_CALLER
from worker.domain.lane import LANES, QUEUES
from worker.domain.message import MAX_RECIPIENTS, MAX_VALID_FOR
from worker.domain.read_message import FIELDS, HORIZON, MAX_METADATA_BYTES
from worker.domain.status import STATUSES
from worker.ledger.roles import RIGHTS

REPO = Path(__file__).parents[2]
DOCS = REPO / "docs"
DOCUMENTS = [*REPO.glob("*.md"), *DOCS.glob("*.md")]
OURS = ("worker/", "callback_app/", "simulator/", "deploy/", "tests/", "docs/", "attack/", "bench/", "chaos/")
KINDS = (".py", ".lua", ".acl", ".toml", ".yml", ".lock", ".md")
MADE_LATER = {
    "deploy/secrets",
    "deploy/secrets/push_token",
    "deploy/secrets/redis_url_producer",
    "deploy/secrets/ledger_url",
}

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def test_the_table_of_settings_has_a_row_for_every_setting_and_none_for_another() -> None:
    rows = re.findall(r"^\| `(SMS_\w+)`( 🔑)?", (DOCS / "configuration.md").read_text(), re.MULTILINE)
    assert {name for name, _ in rows} == {name for name in VARIABLES if not name.endswith("_FILE")}
    assert {name for name, key in rows if key} == {f"SMS_{name.upper()}" for name in SECRETS}


def test_the_file_of_accounts_and_lanes_is_one_that_the_settings_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (DOCS / "configuration.md").read_text(), re.DOTALL)
    (tmp_path / "shop").write_text("password")
    (tmp_path / "sms.toml").write_text(example.replace("/run/secrets", str(tmp_path)))
    monkeypatch.setenv("SMS_CONFIG", str(tmp_path / "sms.toml"))
    settings = load_settings()
    said = tomllib.loads(example)["lanes"]
    assert settings.accounts.keys() == {"shop"}
    for name, options in said.items():
        for option in options.keys() - {"resend_unknown"}:
            assert getattr(settings.lanes[name], option) == getattr(LANES[name], option), "the default, as it says"


def test_the_worker_that_is_started_takes_from_every_queue_and_is_started_as_compose_does() -> None:
    running = (DOCS / "running.md").read_text()
    assert f"-Q {','.join(QUEUES)} " in running
    services = yaml.safe_load((REPO / "docker-compose.yml").read_text())["services"]
    for service in ("worker", "beat"):
        assert f"`{services[service]['command'].removesuffix(' --loglevel INFO')}`" in running


def test_the_least_settings_of_each_process_are_those_that_it_needs() -> None:
    table = (DOCS / "running.md").read_text().partition("| process | settings | its URLs |")[2].partition("\n\n")[0]
    said = {
        row[0]: set(re.findall("`(SMS_\\w+)`", row[1]))
        for row in re.findall(r"^\| (.*?) \| (.*?) \|", table, re.MULTILINE)
    }
    needed = {
        process: {variable(name) for need in NEEDS[role] for name in (CREDENTIALS if need == "accounts" else (need,))}
        for process, role in (("worker", "worker"), ("beat", "beat"), ("callback app", "callback"))
    }
    assert said == needed


def test_the_glossary_explains_every_status() -> None:
    glossary = (DOCS / "glossary.md").read_text()
    assert [status for status in STATUSES if f"`{status}`" not in glossary] == []


def test_the_table_of_fields_has_every_field_of_a_message_and_no_other() -> None:
    sending = (DOCS / "sending.md").read_text()
    assert set(
        re.findall(r"^\| `(\w+)` \|", sending.partition("\n## What `send` raises")[0], re.MULTILINE)
    ) == FIELDS - {"notify"}
    for limit in (MAX_RECIPIENTS, MAX_METADATA_BYTES, MAX_CALLER, HORIZON.days, MAX_VALID_FOR.days):
        assert f" {limit:,} " in sending


def test_the_plan_of_the_rooms_is_the_order_in_which_imports_run_downwards() -> None:
    rows = rows_of_the_plan("| rooms | what they are for |")
    assert [rooms(row[0]) for row in rows] == floors("worker")


@pytest.mark.parametrize("package", ["worker/ledger/", "callback_app/"])
def test_the_floors_of_a_package_are_those_of_its_contract(package: str) -> None:
    ((_, said),) = [row for row in rows_of_the_plan("| package | its floors, from the top |") if package in row[0]]
    assert [rooms(floor) for floor in said.split(";")] == floors(package.strip("/").replace("/", "."))


def rows_of_the_plan(header: str) -> list[list[str]]:
    """The cells of the rows under that header in docs/architecture.md."""
    table = (DOCS / "architecture.md").read_text().partition(header)[2].partition("\n\n")[0]
    return [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]


def rooms(said: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", said))


def floors(package: str) -> list[set[str]]:
    """The layers of its contract, each as the modules that stand on it."""
    contracts = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return [
        set(floor.split(" | "))
        for contract in contracts
        if contract.get("containers") == [package]
        for floor in contract["layers"]
    ]


def test_the_allow_lists_are_those_of_the_stores() -> None:
    security = (DOCS / "security.md").read_text()
    assert (REPO / "worker/redis_store/redis.acl").read_text().rstrip() in security
    rights = {
        table: f"| `{table}` | {' | '.join(right or '–' for right in asdict(said).values())} |"
        for table, said in RIGHTS.items()
    }
    assert {table for table, row in rights.items() if row not in security} == set()
    assert set(re.findall(r"^\| `(\w+)` \| [A-Z]+[ ,(|]", security, re.MULTILINE)) == RIGHTS.keys()


@each_document
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(document: Path) -> None:
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", document.read_text()):
        leads_to = (document.parent / target) if target else document
        assert leads_to.exists(), target
        assert not heading or heading in headings(leads_to), f"{target}#{heading}"


def headings(document: Path) -> set[str]:
    """The anchors of its headings, as the hosts of repositories make them."""
    titles = re.findall(r"^#+ (.+)$", without_code(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each_document
def test_every_file_that_is_named_is_there(document: Path) -> None:
    named = set(re.findall(r"`([\w.-]+(?:/[\w.-]*)*)`", document.read_text()))
    files = {name for name in named if name.endswith(KINDS) or name.startswith(OURS)} - MADE_LATER
    assert [name for name in sorted(files) if not is_there(name)] == []


def is_there(name: str) -> bool:
    """Whether the file is in the repo, or in worker/ as docs/architecture.md writes it. A bare name may be anywhere."""
    if "/" in name:
        return (REPO / name).exists() or (REPO / "worker" / name).exists()
    return (REPO / name).exists() or any(next((REPO / folder).rglob(name), None) for folder in OURS)


@each_document
def test_sentences_have_25_words_at_most_paragraphs_five_lines_and_lines_120_characters(document: Path) -> None:
    text = without_code(document)
    assert [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")] == []
    for paragraph in paragraphs(text):
        assert len(paragraph) <= 5, paragraph
        for sentence in re.split(r"(?<=[.!?])[*)]*\s+", plain(" ".join(paragraph))):
            assert len(re.findall(r"\S*\w\S*", sentence)) <= 25, sentence


def without_code(document: Path) -> str:
    return re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def paragraphs(text: str) -> Iterator[list[str]]:
    """Yields paragraphs, items of lists and cells of tables, each as its lines."""
    for block in re.split(r"\n\s*\n|\n(?=#)|\n(?=\s*(?:[-*]|\d+\.) )", text):
        lines = [line for line in block.splitlines() if line.strip() and not line.startswith("#")]
        cells = [cell for line in lines if line.startswith("|") for cell in re.split(r"(?<!\\)\|", line)]
        yield from ([cell] for cell in cells)
        yield [line for line in lines if not line.startswith("|")]


def plain(text: str) -> str:
    """The text without the marks of Markdown: a piece of code is a word, a link its text."""
    return re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "X", text))
