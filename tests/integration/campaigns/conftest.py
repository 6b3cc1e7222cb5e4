"""A ledger with campaigns."""

import pytest
from campaign_driver import Campaigns
from ledger_driver import Ledger


@pytest.fixture
def people(ledger: Ledger) -> Campaigns:
    return Campaigns(ledger)
