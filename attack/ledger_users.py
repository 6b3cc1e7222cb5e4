"""Statements that an attacker tries with a stolen user of PostgreSQL."""

SERVER = {
    "run a program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "write a file of the server": "COPY (SELECT 1) TO '/tmp/sms-roles'",
    "read a file of the server": "SELECT pg_read_file('PG_VERSION')",
    "list files of the server": "SELECT pg_ls_dir('.')",
    "import a file of the server": "SELECT lo_import('/etc/hostname')",
    "read passwords": "SELECT rolpassword FROM pg_authid",
    "become a superuser": "SET ROLE postgres",
    "be a superuser from the start": "SET SESSION AUTHORIZATION postgres",
    "make itself a superuser": "ALTER ROLE CURRENT_USER SUPERUSER",
    "make a role": "CREATE ROLE mine LOGIN",
    "set the server": "ALTER SYSTEM SET fsync = off",
    "load code": "CREATE FUNCTION mine() RETURNS int LANGUAGE c AS 'libc', 'getpid'",
    "end a superuser's session": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
}
"""Statements by what they try. No role may run them."""
SCHEMA = {
    "make a table": "CREATE TABLE mine (no int)",
    "make a view": "CREATE VIEW mine AS SELECT 1",
    "make a function": "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "make a schema": "CREATE SCHEMA mine",
    "make an index": "CREATE INDEX ON marks (last_id)",
    "drop a table": "DROP TABLE marks",
    "empty a table": "TRUNCATE marks",
    "change a table": "ALTER TABLE marks ADD COLUMN mine int",
    "change a view": "CREATE OR REPLACE VIEW recipient_status AS SELECT 1",
    "put a trigger on a table": "CREATE TRIGGER mine BEFORE INSERT ON marks EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "set a sequence back": "SELECT setval('pushes_id_seq', 1)",
    "change whose a message is": "UPDATE messages SET account_id = 2",
    "forget a message": "DELETE FROM messages",
    "forget a submission": "DELETE FROM submissions",
    "forget a push": "DELETE FROM pushes",
    "change a reply": "UPDATE replies SET content = ''",
    "forget a campaign": "DELETE FROM campaigns",
}
"""Only the owner may run them."""
CHANGES = {
    "make a temporary table": "CREATE TEMPORARY TABLE mine (no int)",
    "say that the ledger is of another version": "UPDATE alembic_version SET version_num = '0'",
    "open a gate": "UPDATE accounts SET gate = 'open'",
    "send again": "UPDATE submissions SET state = 'held'",
    "lock what is to be sent": "SELECT id FROM submissions FOR UPDATE",
    "put a message": "INSERT INTO messages (public_id) VALUES ('m')",
    "take numbers for messages": "SELECT nextval('messages_id_seq')",
    "change a text": "UPDATE messages SET content = ''",
    "forget what was refused": "DELETE FROM refused",
    "forget a report": "DELETE FROM reports",
    "forget a reply": "DELETE FROM replies",
    "forge a report": "INSERT INTO reports (msg_id) VALUES (1)",
    "opt somebody in again": "DELETE FROM optouts",
    "start a campaign": "UPDATE campaigns SET state = 'active'",
    "have a push forgotten": "UPDATE pushes SET state = 'processed'",
    "lock pushes": "SELECT id FROM pushes FOR UPDATE",
}
"""Only a worker may run them."""

ATTEMPTS = (
    *(
        (role, statement)
        for role in ("owner", "worker", "callback", "web", "readonly")
        for statement in SERVER.values()
    ),
    *((role, statement) for role in ("worker", "callback", "web", "readonly") for statement in SCHEMA.values()),
    *((role, statement) for role in ("callback", "web", "readonly") for statement in CHANGES.values()),
)
"""Pairs of a role and a statement."""
