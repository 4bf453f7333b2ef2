"""The OpenAPI document: what the routes say of themselves, and what quart-schema cannot know of them."""

from typing import Any

import msgspec
from quart_schema import OpenAPIProvider
from werkzeug.routing import BaseConverter, Rule

from proctor.model import SESSION_ID_PATTERN
from proctor.web.access import NEEDED, PUBLIC
from proctor.web.analyses import VERSION_PATTERN
from proctor.web.problems import Problem
from proctor.web.sessions import Nothing
from proctor.web.webhooks import NUMBER_PATTERN, WEBHOOK_ID_PATTERN

_PATTERNS = {
    "session_id": SESSION_ID_PATTERN,
    "version": VERSION_PATTERN,
    "webhook_id": WEBHOOK_ID_PATTERN,
    "number": NUMBER_PATTERN,
}


class OpenAPI(OpenAPIProvider):
    """quart-schema's document, completed."""

    def build_response_object(
        self, model: type[Any], headers_model: type[Any] | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Describe an answer; one without content has none, and problems have a type of their own."""
        described, definitions = super().build_response_object(model, headers_model)
        if model is Nothing:
            return {"description": described["description"]}, {}
        if issubclass(model, msgspec.Struct):  # quart-schema forgets the types that it refers to
            (schema,), definitions = msgspec.json.schema_components(
                [model], ref_template="#/components/schemas/{name}"
            )
            described["content"]["application/json"]["schema"] = schema
        media_type = getattr(model, "media_type", None)
        if media_type is not None:
            described["content"] = {media_type: {"schema": {"type": "string"}}}
        if model is Problem:
            described["content"] = {"application/problem+json": described["content"]["application/json"]}
        return described, definitions

    def build_path_parameter(self, name: str, converter: BaseConverter) -> dict[str, Any]:
        """Describe a part of an address, with the pattern that it is held to."""
        parameter = super().build_path_parameter(name, converter)
        if name in _PATTERNS:
            parameter["schema"]["pattern"] = f"^{_PATTERNS[name]}$"
        return parameter

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        """Describe a route, with who may use it and what others are told."""
        paths, components = super().build_paths(rule)
        needed = NEEDED.get(rule.endpoint, PUBLIC)
        refused, more = self.build_response_object(Problem, None)
        components |= more
        for operation in (each for methods in paths.values() for each in methods.values()):
            operation["responses"].setdefault(429, refused)
            if needed is not PUBLIC:
                operation["security"] = [{"bearer": []}]
                operation["x-roles"] = sorted(needed)
                for status in (401, 403):
                    operation["responses"].setdefault(status, refused)
        return paths, components
