"""Typed HTTP client of our own server: the seam for the desktop, `--server` and notebooks.

Knows nothing about what the server does.
"""
