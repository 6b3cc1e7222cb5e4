"""The errors of a client that could not enqueue its messages, because of Redis and not because of the messages."""

from collections.abc import Sequence


class Unavailable(ConnectionError):
    """Redis could not be used. The text says what is known.

    `enqueued` has the ids of messages that are enqueued for certain. `perhaps` has the ids of messages that may be
    enqueued. No other message is enqueued. If a message in `perhaps` has a `key`, send it again: the same key is one
    message. If it has none, `sms show ID` shows whether it is there.
    """

    def __init__(self, text: str, *, enqueued: Sequence[str] = (), perhaps: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.enqueued, self.perhaps = tuple(enqueued), tuple(perhaps)


class NotPermitted(Unavailable):
    """Redis refuses the user, the password, or the command. Trying again changes nothing: correct SMS_REDIS_URL."""


class Full(Unavailable):
    """Redis has no room for new messages: workers are away, or slower than the senders.

    `enqueued` has the ids that were enqueued before. Nothing else was enqueued: send it again later.
    """
