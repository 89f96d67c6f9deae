"""Cache keys of a compiled pipeline's tasks, as KFP's driver makes them.

A key holds a task's image, command and parameters, and the ids of the artifacts that it reads; a
task that is reused hands on the artifacts of the run it is taken from, with their ids
(kubeflow/pipelines, backend/src/v2/cacheutils/cache.go and driver/cache.go).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


def cache_keys(
    spec: dict[str, Any], run: str, parameters: dict[str, str], told: dict[str, str]
) -> dict[str, str]:
    """Task -> what identifies its outputs in a run; tasks of a loop once, for its first item.

    Args:
        spec: the IR.
        run: id of the run, of which tasks that are never cached make new artifacts.
        parameters: of the run.
        told: task -> its output parameter, where a task is not to be imagined.
    """
    found: dict[str, str] = {}

    def walk(dag: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        outputs: dict[str, Any] = {}
        waiting = dict(dag["tasks"])
        while waiting:
            name = next(n for n, t in waiting.items() if not _producers(t) & set(waiting))
            task = waiting.pop(name)
            inputs = _inputs(task, given, outputs)
            component = spec["components"][task["componentRef"]["name"]]
            if "dag" in component:
                outputs[name] = walk(component["dag"], inputs)
                continue
            container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
            code = {part: container.get(part) for part in ("image", "command", "args", "env")}
            key = hashlib.sha256(json.dumps([inputs, code], sort_keys=True).encode()).hexdigest()
            cached = task["cachingOptions"].get("enableCache")
            found[name] = key if cached else f"{run} {key}"
            outputs[name] = told.get(name, found[name])
        return outputs

    walk(spec["root"]["dag"], {"parameters": parameters, "artifacts": {}})
    return found


def _producers(task: dict[str, Any]) -> set[str]:
    return set(task.get("dependentTasks", ()))


def _inputs(task: dict[str, Any], given: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    """What a task reads: values of parameters, and of artifacts what identifies them."""
    resolved: dict[str, Any] = {"parameters": {}, "artifacts": {}}
    for kind in resolved:
        for name, source in task.get("inputs", {}).get(kind, {}).items():
            resolved[kind][name] = _value(source, given, outputs)
    loop = task.get("parameterIterator")
    if loop:
        items = loop["items"]
        first = items.get("raw") or resolved["parameters"][items["inputParameter"]]
        resolved["parameters"][loop["itemInput"]] = first
    return resolved


def _value(source: dict[str, Any], given: dict[str, Any], outputs: dict[str, Any]) -> Any:
    if "runtimeValue" in source:
        return source["runtimeValue"]["constant"]
    for kind, field in (
        ("parameters", "componentInputParameter"),
        ("artifacts", "componentInputArtifact"),
    ):
        if field in source:
            return given[kind].get(source[field], source)
    produced = next(
        (source[k] for k in ("taskOutputParameter", "taskOutputArtifact") if k in source), None
    )
    if produced is None:
        return source
    key = produced.get("outputParameterKey") or produced["outputArtifactKey"]
    return [outputs[produced["producerTask"]], key]
