"""The app that gunicorn serves: `gunicorn callback_app.wsgi:app`.

A gap in the settings ends gunicorn with one message.
"""

from gunicorn.errors import AppImportError

from callback_app.app import create_app
from callback_app.inbox import open_inbox
from worker.config import ConfigError, load_settings, revealed
from worker.ledger.engine import open_engine
from worker.runtime import log_filter

try:
    settings = load_settings("callback")
except ConfigError as error:
    # After this exception gunicorn ends and prints its text. After any other it starts workers for ever.
    raise AppImportError(str(error)) from None

log_filter.install(settings)

app = create_app(
    open_inbox(
        open_engine(revealed(settings.ledger_url)),
        revealed(settings.redis_url),
        hourly_bytes=settings.push_hourly_mib * 1024**2,
    ),
    tokens=settings.push_tokens,
    allow=settings.push_allow,
    trusted_proxies=settings.push_trusted_proxies,
    proxy_networks=settings.push_proxy_networks,
)
