"""Fake programs for every test of engines."""

from tests.fakes.programs import ollama_server, put_program

__all__ = ["ollama_server", "put_program"]
