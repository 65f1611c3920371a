from tests.fakes.places import home, online  # noqa: F401 - fixtures of this folder
