"""The API's description is exact about answers: what routes always send is not called optional."""

import jsonschema
import openapi_spec_validator
import pytest

from stead.web.app import api


@pytest.fixture(scope="module")
def document():
    return api().openapi()


@pytest.fixture(scope="module")
def schemas(document):
    return document["components"]["schemas"]


def test_fields_of_answers_are_required_even_when_they_may_be_null(schemas):
    run = schemas["Run"]

    assert set(run["required"]) == set(run["properties"])


def test_fields_of_requests_stay_optional_where_they_have_a_default(schemas):
    assert schemas["NewKey"]["required"] == ["name"]


def answers(document):
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                yield f"{method.upper()} {path}", status, answer


def test_the_description_is_one(document):
    openapi_spec_validator.validate(document)


def test_every_answer_is_typed_and_its_example_fits(document):
    untyped = []
    for route, status, answer in answers(document):
        assert answer["content"], (route, status)
        for kind, media in answer["content"].items():
            schema = media["schema"]
            if status == "default":
                assert (kind, schema) == ("application/problem+json", {"$ref": "#/components/schemas/Problem"})  # fmt: skip
            elif kind == "application/json" and "$ref" in schema:
                whole = schema | {"components": document["components"]}
                jsonschema.Draft202012Validator(whole).validate(media["example"])
            elif kind == "application/json":
                untyped.append(route)

    assert untyped == [
        "GET /api/evaluations/{evaluation_id}/download",
        "GET /api/schema/{name}",
        "GET /api/kinds",
    ]  # a file; a map of lists; a JSON Schema


def test_only_values_that_can_be_anything_have_no_type(document):
    loose = {
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, inner in schema.get("properties", {}).items()
        if is_loose(inner)
    }

    assert loose == LOOSE


def is_loose(schema):
    parts = [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())]
    free = schema.get("type") == "object" and "properties" not in schema
    return schema.keys() <= {"title", "default"} or (free and schema.get("additionalProperties") in (None, True)) or any(map(is_loose, parts))  # fmt: skip


LOOSE = {
    "AuditLine.after", "AuditLine.before",  # whatever was changed
    "Chat.settings", "ChatChange.settings", "ChatHead.settings", "NewChat.settings",  # the pages' own
    "Difference.values", "Fork.changes", "PlanInfo.config", "Recipe.config", "Training.config",  # recipes
    "Extension.json_schema", "RawRow.fields", "SplitOrder.shares",
    "Setting.default", "Setting.value", "Before.value",
    "Job.result", "Message.content", "NewMessage.content", "Message.usage", "NewMessage.usage",
    "Message.deviations", "NewMessage.deviations",  # as /v1 said them
}  # fmt: skip


def test_every_route_says_who_may_ask(document):
    told = {
        f"{method.upper()} {path}": (operation["x-stead-role"], bool(operation["security"]))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }

    assert told["POST /api/login"] == ("public", False)
    assert told["DELETE /api/users/{user_id}"] == ("admin", True)
    assert [route for route, (role, asked) in told.items() if not asked] == ["POST /api/login"]
