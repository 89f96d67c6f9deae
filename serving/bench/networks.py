"""What runs the segmenter fastest here: ONNX Runtime, or torch, eager or compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from components.release.inference.ensemble import stack_channels
from components.release.inference.local_release import LocalRelease
from components.release.inference.onnx_network import OnnxNetwork
from components.release.release import network_file
from components.release.tensors import Step
from serving.bench.ensemble import Tensors, in_turn


def bench_networks(
    repository: Path, segmenter: Path, tensors: Tensors, *, threads: int, rounds: int = 8
) -> list[dict[str, Any]]:
    """Time the exported and the trained segmenter on one patient, in turn, in this process.

    Args:
        repository: an exported release.
        segmenter: the model folder that it was exported from.
        tensors: see components.release.inference.request.request_tensors.
        threads: CPU threads of each.
        rounds: times that each is timed, after once that is not.

    Returns:
        A row each: {"runtime", "threads", "ms" (median), "ratio" (over the first),
        "largest_difference" (in any voxel's probability, to the first), "failed" (why, of a
        runtime that cannot run this network; its numbers are None)}.

    Raises:
        BadInput: the release, the model folder or the tensors cannot be used.
    """
    runtimes = _runtimes(repository, segmenter, tensors, threads)
    answers, failures = {}, {}
    for name, run in runtimes.items():
        try:
            answers[name] = run()
        except (RuntimeError, AssertionError) as error:
            failures[name] = str(error).splitlines()[0]
    timed = in_turn([runtimes[name] for name in answers], rounds)
    took = {n: float(np.median(t.milliseconds)) for n, t in zip(answers, timed, strict=True)}
    first = next(iter(runtimes))
    return [
        {
            "runtime": name,
            "threads": threads,
            "ms": round(took[name], 1) if name in took else None,
            "ratio": round(took[name] / took[first], 2) if name in took else None,
            "largest_difference": float(np.abs(answers[name] - answers[first]).max())
            if name in answers
            else None,
            "failed": failures.get(name, ""),
        }
        for name in runtimes
    ]


def _runtimes(
    repository: Path, segmenter: Path, tensors: Tensors, threads: int
) -> dict[str, Callable[[], np.ndarray]]:
    import torch

    from components.segment.inference.segmenter import Segmenter

    interface = LocalRelease(repository).contents().interface
    volumes, brain = stack_channels(tensors, interface), tensors["brain"]
    exported = OnnxNetwork(network_file(repository, Step.SEGMENTER), threads)
    trained, compiled = Segmenter.load(segmenter), Segmenter.load(segmenter)
    torch.set_num_threads(threads)
    for network in compiled.networks:
        network.compile(dynamic=False)
    return {
        "ONNX Runtime": lambda: exported({"volumes": volumes, "brain": brain})["probability"],
        "torch, eager": lambda: trained.probability(volumes, brain),
        "torch, compiled": lambda: compiled.probability(volumes, brain),
    }
