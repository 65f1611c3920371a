import pickle

import pytest

from stead.core import errors

ALL = sorted(errors.error_types().items())


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_every_error_survives_pickle_and_json(name, kind):
    error = kind("some-code", "the message", hint="stead doctor", count=3)

    by_pickle = pickle.loads(pickle.dumps(error))
    by_json = errors.from_dict(error.to_dict())

    for copy in (by_pickle, by_json):
        assert type(copy) is kind
        assert copy.to_dict() == error.to_dict()
        assert str(copy) == "the message"
        assert copy.to_dict()["type"] == name


def test_an_unknown_type_becomes_the_root():
    error = errors.from_dict({"type": "OSError", "code": "x", "message": "m", "details": None})

    assert type(error) is errors.SteadError
    assert (error.code, error.message, error.hint, error.details) == ("x", "m", None, {})


def test_nothing_known_is_still_an_error():
    assert errors.from_dict({}).code == "unknown"


def test_refused_input_ends_with_2_and_failures_with_1():
    usage = [k for _, k in ALL if issubclass(k, errors.UsageError)]
    others = [k for _, k in ALL if k not in usage and k is not errors.Interrupted]

    assert {k.exit_status for k in usage} == {2}
    assert {k.exit_status for k in others} == {1}
    assert errors.Interrupted.exit_status == 130


def test_the_docstring_draws_every_error():
    for name, kind in ALL:
        if kind.__module__ == errors.__name__:  # a room may add its own kinds below these
            assert name in errors.__doc__
