"""The TOML file of SMS_CONFIG: further accounts, and what the operator decides about the lanes."""

import difflib
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from worker.config.gaps import Gap, details, sentence
from worker.config.settings import ACCOUNT_OPTIONS, Account, LaneOptions
from worker.domain.lane import LANES, Lane

NAME = "SMS_CONFIG"


class ConfigFile:
    """What the file says, or nothing where there is none. `gaps` has what is wrong with it."""

    def __init__(self, path: Path | None) -> None:
        """Reads the file."""
        self.accounts: dict[str, Account] = {}
        self.lanes: dict[str, Lane] = dict(LANES)
        self.gaps: list[Gap] = []
        self._place = f"{NAME}: {path}"
        for section, tables in ({} if path is None else self._content(path)).items():
            if section not in ("accounts", "lanes") or not isinstance(tables, dict):
                self._add(f"[{section}] is not a section; use [accounts.NAME] or [lanes.NAME]")
                continue
            for name, values in tables.items():
                (self._read_account if section == "accounts" else self._read_lane)(name, values)

    def _content(self, path: Path) -> Mapping[str, Any]:
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            self.gaps.append(Gap(NAME, f"{self._place} cannot be read: {error}"))
            return {}

    def _read_account(self, name: str, values: Any) -> None:
        try:
            self.accounts[name] = Account.model_validate(values)
        except ValidationError as error:
            self._add_faults(f"[accounts.{name}]", error, ACCOUNT_OPTIONS)

    def _read_lane(self, name: str, values: Any) -> None:
        where = f"[lanes.{name}]"
        if name not in LANES:
            self._add(f"{where} is not a lane; the lanes are {', '.join(LANES)}")
            return
        try:
            options = LaneOptions.model_validate(values)
        except ValidationError as error:
            self._add_faults(where, error, tuple(LaneOptions.model_fields))
            return
        if name != "otp" and "keep_text" in options.model_fields_set:
            self._add(f"{where} keep_text is an option of otp alone; leave it out, for other texts are kept")
        self.lanes[name] = options.apply_to(LANES[name])

    def _add(self, text: str) -> None:
        self.gaps.append(Gap(NAME, f"{self._place}: {text}"))

    def _add_faults(self, where: str, error: ValidationError, options: Collection[str]) -> None:
        for path, fault in _faults(error, options):
            self._add(f"{where}{' ' * bool(path)}{path}: {fault}")


def _faults(error: ValidationError, options: Collection[str]) -> Iterator[tuple[str, str]]:
    for fault in details(error):
        path = ".".join(map(str, fault["loc"]))
        if fault["type"] != "extra_forbidden":
            yield path, sentence(fault)
            continue
        close = difflib.get_close_matches(str(fault["loc"][-1]), options, 1)
        meant = f"did you mean {close[0]}?" if close else f"the settings are: {', '.join(options)}"
        yield path, f"is not a setting; {meant}"
