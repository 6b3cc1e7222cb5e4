"""What can be wrong with a template, and with a row for it."""

from collections.abc import Sequence


class TemplateFault(ValueError):
    """The text cannot be that of a campaign.

    `faults` lists everything that is wrong with it, each with its line and the remedy.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


class RowRefused(ValueError):
    """The row makes no text that can be sent. The sentence says why."""
