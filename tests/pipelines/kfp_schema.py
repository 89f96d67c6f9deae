"""The KFP v2beta1 API's schema, as its published client carries it, against what is sent."""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from kfp_server_api import models

_PLAIN = {"str": str, "int": int, "float": (int, float), "bool": bool, "datetime": str}
_MANY = re.compile(r"(?:list\[|dict\(str, )(.+)[\])]")


def breaches(value: Any, kind: str, where: str = "body") -> list[str]:
    """What in a decoded JSON value the API's type `kind` does not know or does not allow."""
    if kind == "object" or value is None:
        return []
    if many := _MANY.fullmatch(kind):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        return [b for key, part in parts for b in breaches(part, many[1], f"{where}.{key}")]
    if kind in _PLAIN:
        # Protobuf's JSON writes 64-bit numbers as text, and reads them as numbers, too.
        fits = isinstance(value, _PLAIN[kind]) or (kind == "str" and isinstance(value, int))
        return [] if fits else [f"{where} is no {kind}: {value!r}"]
    model = getattr(models, kind)
    if not model.openapi_types:
        return [] if value in model.allowable_values else [f"{where} is no {kind}: {value!r}"]
    types = {model.attribute_map[name]: one for name, one in model.openapi_types.items()}
    found = [f"{where}.{name} is unknown to {kind}" for name in set(value) - set(types)]
    for name in set(value) & set(types):
        found += breaches(value[name], types[name], f"{where}.{name}")
    if value.get("pipeline_spec"):
        found += _spec_breaches(value["pipeline_spec"], f"{where}.pipeline_spec")
    return found


def _spec_breaches(spec: dict[str, Any], where: str) -> list[str]:
    """Of the IR, which the API takes as an object and then parses."""
    documents = {
        pipeline_spec_pb2.PipelineSpec: spec.get("pipeline_spec", spec),
        pipeline_spec_pb2.PlatformSpec: spec.get("platform_spec", {}),
    }
    found = []
    for message, document in documents.items():
        try:
            json_format.ParseDict(document, message())
        except json_format.ParseError as error:
            found.append(f"{where}: {error}")
    return found
