"""Attacks by files that an operator reads or writes."""

import re
import resource
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from attack.system import sms
from attack.table import Result
from worker.devstack.stack import Stack
from worker.ledger.engine import open_engine
from worker.ledger.sending import optouts

MOST_MIB = 512
"""Memory that the command may use for a workbook of 200 KiB. It once took 757 MiB."""
SHEET = (
    '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{}</sheetData></worksheet>'
)
PARTS = {
    "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/></Types>',
    "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1"'
    ' Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/>'
    "</Relationships>",
    "xl/workbook.xml": '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    ' xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">'
    '<sheets><sheet name="a" sheetId="1" r:id="r1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet"'
    ' Target="worksheets/sheet1.xml"/></Relationships>',
}


def workbook(stack: Stack) -> Result:
    """Imports a workbook of 200 KiB whose only row unpacks to 200 MiB."""
    path = stack.directory / "bomb.xlsx"
    _write_bomb(path)
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", "audience", "import", "bomb", str(path)],
        env=stack.environment, capture_output=True, text=True, check=False, timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MOST_MIB << 20, MOST_MIB << 20)),
    )  # fmt: skip
    error = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    return Result(done.returncode == 1 and error.startswith("Error:") and "Memory" not in error, error[:200])


def _write_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, part in PARTS.items():
            packed.writestr(name, part)
        with packed.open("xl/worksheets/sheet1.xml", "w") as sheet:
            start, _, end = SHEET.partition("{}")
            sheet.write(f"{start}<row>".encode())
            for _ in range(4000):
                sheet.write(b"<c><v>1</v></c>" * 3500)
            sheet.write(f"</row>{end}".encode())


def export(stack: Stack) -> Result:
    """Exports an opt-out whose reason is a formula."""
    path = stack.directory / "optouts.csv"
    engine = open_engine(stack.ledger_url)
    with engine.begin() as connection:
        evil = '=HYPERLINK("http://evil.invalid")'
        optouts.add(connection, 1, [("13900900000", evil, None)], since=datetime.now(UTC), set_by="x")
    sms(stack, "optout", "export", "--csv", str(path))
    mode = path.stat().st_mode & 0o777
    with engine.begin() as connection:
        optouts.remove(connection, 1, ["13900900000"])
    engine.dispose()
    formulas = re.findall(r'(?:^|,)"?[=+@-][A-Z]', path.read_text(encoding="utf-8"))
    return Result(mode == 0o600 and not formulas, f"{len(formulas)} formulas, mode {mode:o}")
