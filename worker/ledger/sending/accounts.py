"""The accounts of the ledger: a small id for each name, and the msgIds that each has given out."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from threading import Lock

from sqlalchemy import Connection, Engine, select, update

from worker.domain.message import MSG_ID_END
from worker.ledger import tables as t
from worker.ledger.dialect import insert_new

log = logging.getLogger(__name__)

BLOCK = 1000


class RenamedAccount(ValueError):
    """The settings give an account of the ledger another name. The text says what to do."""


def refuse_renames(connection: Connection, credentials: Mapping[str, tuple[int, str]]) -> None:
    """Raises RenamedAccount where the settings name an account otherwise than the ledger does. Its eprId and userId
    identify it.

    Caps, keys, rate and waiting messages go by the name, in all workers and apps. So an account keeps its name for
    good.
    """
    rows = connection.execute(select(t.accounts.c.name, t.accounts.c.epr_id, t.accounts.c.user_id)).all()
    names = {(row.epr_id, row.user_id): row.name for row in rows}
    renamed = {name: names[keys] for name, keys in credentials.items() if names.get(keys, name) != name}
    if renamed:
        raise RenamedAccount(
            "\n".join(
                f"account {name!r} has the eprId and userId of {ledger_name!r} in the ledger:"
                f" call it {ledger_name!r} again,"
                " because caps, keys, campaigns and apps know it by that name"
                for name, ledger_name in sorted(renamed.items())
            )
        )


def note_credentials(connection: Connection, credentials: Mapping[str, tuple[int, str]]) -> None:
    """Notes the eprId and the userId of each account, which identify it later. Writes only what is new."""
    query = select(t.accounts.c.name, t.accounts.c.epr_id, t.accounts.c.user_id)
    for name, epr_id, user_id in connection.execute(query).all():
        keys = credentials.get(name)
        if keys is None or keys == (epr_id, user_id):
            continue
        if epr_id is not None:
            log.warning(
                "account %s has another eprId or userId now: reports on its earlier messages match nothing", name
            )
        values = {"epr_id": keys[0], "user_id": keys[1]}
        connection.execute(update(t.accounts).where(t.accounts.c.name == name).values(values))


def by_credentials(connection: Connection) -> dict[tuple[str, str], int]:
    """Returns the id of each present or former account, by eprId and userId as pushes have them."""
    rows = select(t.accounts.c.epr_id, t.accounts.c.user_id, t.accounts.c.id).where(t.accounts.c.epr_id.is_not(None))
    return {(str(epr_id), user_id): account_id for epr_id, user_id, account_id in connection.execute(rows)}


def register(connection: Connection, names: Iterable[str], *, first_msg_id: int, now: datetime) -> dict[str, int]:
    """Adds the accounts that are missing. Returns the id of each account, by name. A new account's msgIds begin at
    `first_msg_id`.
    """
    # An INSERT uses up an id even where the row exists already, and there are only 32,767 ids.
    missing = set(names) - ids(connection).keys()
    if missing:
        new = {"next_msg_id": first_msg_id, "gate": "open", "gate_since": now}
        connection.execute(insert_new(connection, t.accounts), [{"name": name, **new} for name in sorted(missing)])
    return ids(connection)


def ids(connection: Connection) -> dict[str, int]:
    """Returns the id of each account, by name."""
    return {name: account_id for account_id, name in connection.execute(select(t.accounts.c.id, t.accounts.c.name))}


def reserve_msg_ids(connection: Connection, account_id: int) -> range:
    """Returns the next block of an account's msgIds that no submission in the ledger has. After the last msgId it
    begins again at 1.
    """
    row = select(t.accounts.c.next_msg_id).where(t.accounts.c.id == account_id).with_for_update()
    first = connection.execute(row).scalar_one()
    while True:
        if first + BLOCK > MSG_ID_END:
            first = 1
        block = range(first, first + BLOCK)
        used = select(t.submissions.c.id).where(
            t.submissions.c.account_id == account_id, t.submissions.c.msg_id.between(block[0], block[-1])
        )
        first = block.stop
        if connection.execute(used.limit(1)).first() is None:
            break
    connection.execute(update(t.accounts).where(t.accounts.c.id == account_id).values(next_msg_id=first))
    return block


class MsgIds:
    """Gives out msgIds, unique within their account across all processes. Each process holds a block of its own.

    So no thread waits for another's transaction to get one. A process that is killed wastes at most a block.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = Lock()
        self._blocks: dict[int, Iterator[int]] = {}

    def take(self, account_id: int, count: int) -> list[int]:
        """Returns `count` msgIds that nobody else gets. It must not be called within a transaction: it may need one of
        its own.
        """
        with self._lock:
            taken: list[int] = []
            while len(taken) < count:
                msg_id = next(self._blocks.get(account_id, iter(())), None)
                if msg_id is None:
                    with self._engine.begin() as connection:
                        self._blocks[account_id] = iter(reserve_msg_ids(connection, account_id))
                else:
                    taken.append(msg_id)
            return taken
