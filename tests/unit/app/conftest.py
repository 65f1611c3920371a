from tests.fakes.places import home, online, plugins  # noqa: F401 - fixtures of this folder
