"""The lines that a worker logs."""

import io
import logging

from worker.runtime import log_filter


def test_what_is_logged_stays_on_its_line_and_a_traceback_begins_as_no_record_does() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("[%(levelname)s] %(message)s"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    before = logging.getLogRecordFactory()
    log_filter.install()
    try:
        raise ValueError("no\n[ERROR] false")
    except ValueError:
        logger.exception("it failed: %s", "no\n[ERROR] false")
    finally:
        logging.setLogRecordFactory(before)
    lines = written.getvalue().splitlines()
    assert lines[0] == r"[ERROR] it failed: no\x0a[ERROR] false"
    assert all(line.startswith("  ") for line in lines[1:])
