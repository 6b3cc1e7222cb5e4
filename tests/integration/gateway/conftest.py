"""A session that takes no proxy and no certificates from the environment of this machine."""

from collections.abc import Iterator

import pytest
import requests

from worker.gateway.client import open_session


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with open_session(2) as opened:
        yield opened
