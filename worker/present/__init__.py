"""Sentences and JSON shapes that the CLI and the web app show alike."""
