"""The API's description is exact about answers: what routes always send is not called optional."""

import pytest

from stead.web.app import api


@pytest.fixture(scope="module")
def schemas():
    return api().openapi()["components"]["schemas"]


def test_fields_of_answers_are_required_even_when_they_may_be_null(schemas):
    run = schemas["Run"]

    assert set(run["required"]) == set(run["properties"])


def test_fields_of_requests_stay_optional_where_they_have_a_default(schemas):
    assert schemas["NewKey"]["required"] == ["name"]
