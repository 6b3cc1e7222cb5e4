"""Sentences and JSON shapes that the CLI and the web app share: plain functions from a value to a text or a dict."""
