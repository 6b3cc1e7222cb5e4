"""Turns an error of redis-py into the error that a client raises, with what is known of its messages."""

from collections.abc import Sequence

from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)

from worker.domain.key import enqueued_in_words
from worker.domain.message import Message
from worker.domain.unavailable import Full, NotPermitted, Unavailable

_FORBIDDEN = (AuthenticationError, AuthorizationError, AuthenticationWrongNumberOfArgsError, NoPermissionError)
_NOT_CARRIED_OUT = (ResponseError, BusyLoadingError)
"""Redis answered that it did not carry out the command."""


def unavailable(why: RedisError, *, enqueued: Sequence[str] = (), asked: Sequence[Message] = ()) -> Unavailable:
    """The error to raise.

    `enqueued` has the ids that were enqueued before. `asked` has the messages that Redis was asked to take: without an
    answer they may be enqueued.
    """
    first = enqueued_in_words(enqueued)
    if isinstance(why, _FORBIDDEN):
        text = f"Redis refuses the user or the password of its address, so {first}; correct SMS_REDIS_URL: {why}"
        return NotPermitted(text, enqueued=enqueued)
    if isinstance(why, OutOfMemoryError):
        return Full(f"Redis has no room, so {first}: {why}", enqueued=enqueued)
    if isinstance(why, _NOT_CARRIED_OUT):
        return Unavailable(f"Redis does not take it, so {first}: {why}", enqueued=enqueued)
    if not asked:
        return Unavailable(f"Redis cannot be reached, so {first}: {why}", enqueued=enqueued)
    return _unanswered(why, enqueued, [message.id for message in asked])


def _unanswered(why: RedisError, enqueued: Sequence[str], perhaps: Sequence[str]) -> Unavailable:
    subject = f"message {perhaps[0]} is" if len(perhaps) == 1 else f"{len(perhaps)} messages from {perhaps[0]} on are"
    text = (
        f"Redis did not answer: {subject} perhaps enqueued. Send messages with a key again, with the same key."
        f" For a message without a key, `sms show` says whether it is there: sent again, it may go twice. {why}"
    )
    if enqueued:
        text = f"the first {len(enqueued)} messages are enqueued; then {text}"
    return Unavailable(text, enqueued=enqueued, perhaps=perhaps)
