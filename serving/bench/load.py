"""Requests at a steady rate, whatever the server makes of them; every answer is checked."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np

from components.release.inference.request import Answer
from components.release.tensors import ENSEMBLE, IMAGES_ENSEMBLE
from serving.bench.ensemble import Tensors, timed_requests
from serving.bench.images import ask_images
from serving.client.client import Client, infer_inputs
from serving.client.glioflow_client import ImagesClient
from serving.client.glioflow_client.errors import says_busy
from serving.client.glioflow_client.images import as_element
from serving.triton.server import LocalServer

SHARES = (0.5, 0.8, 1.0, 2.0, 4.0)
"""Offered rates, over the rate at which the server was kept busy."""

DEADLINE_S = 600.0
ANSWERED, BUSY, WRONG = "answered", "busy", "wrong"
SAME_PROBABILITY = 1e-5


@dataclass(frozen=True)
class Question:
    """One patient's request, and what its answer must be.

    Attributes:
        model: the ensemble it goes to.
        inputs: its tensors, as Triton's client takes them.
        holds: whether an answer, output name -> array, is this patient's.
    """

    model: str
    inputs: list[Any]
    holds: Callable[[dict[str, np.ndarray]], bool]


def prepared_question(client: Client, tensors: Tensors) -> Question:
    """A request of a patient's prepared tensors, which the server answers once beforehand."""
    expected = client.ask(tensors)
    return Question(
        ENSEMBLE,
        infer_inputs(tensors),
        lambda outputs: agree(Answer.from_tensors(outputs), expected),
    )


def image_question(client: ImagesClient, files: Mapping[str, bytes], age: float) -> Question:
    """A request of a patient's image files, which the server answers once beforehand."""
    expected = ask_images(client, files, age)
    tensors = {name: as_element(content) for name, content in files.items()}

    def holds(outputs: dict[str, np.ndarray]) -> bool:
        result = json.loads(outputs["result"][0])
        same = result == expected.result
        return bool(same and outputs["mask_nifti"][0] == expected.mask_nifti)

    inputs = infer_inputs({**tensors, "age": np.array([age], np.float32)})
    return Question(IMAGES_ENSEMBLE, inputs, holds)


@dataclass(frozen=True)
class Load:
    """What became of the requests of one offered rate.

    Attributes:
        per_minute: requests offered a minute.
        outcomes: how many were "answered", "busy", "wrong" (another patient's answer, or none that
            was expected), or failed, by Triton's status.
        p50_ms, p99_ms: from sending to the answer, of those answered; None when none was.
    """

    per_minute: float
    outcomes: dict[str, int]
    p50_ms: float | None
    p99_ms: float | None

    @property
    def sent(self) -> int:
        """Requests sent."""
        return sum(self.outcomes.values())


def offer(
    client: Client, questions: Sequence[Question], *, rate_per_s: float, seconds: float
) -> Load:
    """Send requests at a steady rate, in turn for each patient, without waiting for answers.

    Nothing is retried: a refusal is an outcome. Returns when every request has one.
    """
    outcomes: SimpleQueue[tuple[str, float]] = SimpleQueue()
    begin, count = time.perf_counter(), max(round(rate_per_s * seconds), 1)
    for number in range(count):
        time.sleep(max(begin + number / rate_per_s - time.perf_counter(), 0.0))
        question = questions[number % len(questions)]
        client.raw.async_infer(
            question.model,
            question.inputs,
            _judge(question, outcomes),
            request_id=f"load-{number}",
            client_timeout=DEADLINE_S,
        )
    ended = [outcomes.get(timeout=2.0 * DEADLINE_S) for _ in range(count)]
    took = [milliseconds for outcome, milliseconds in ended if outcome == ANSWERED]
    return Load(
        per_minute=60.0 * rate_per_s,
        outcomes=dict(Counter(outcome for outcome, _ in ended)),
        p50_ms=float(np.quantile(took, 0.5)) if took else None,
        p99_ms=float(np.quantile(took, 0.99)) if took else None,
    )


def _judge(question: Question, outcomes: SimpleQueue[tuple[str, float]]) -> Any:
    """A callback that notes what one request came to, and how many ms after now."""
    sent = time.perf_counter()

    def note(result: Any, error: Any) -> None:
        milliseconds = 1000.0 * (time.perf_counter() - sent)
        try:
            outcome = _failure(error) if error else _answer(result, question)
        except Exception as broken:
            outcome = f"{WRONG}: {type(broken).__name__}"
        outcomes.put((outcome, milliseconds))

    return note


def _failure(error: Any) -> str:
    status = str(error.status())
    return BUSY if says_busy(status, str(error.message())) else status


def _answer(result: Any, question: Question) -> str:
    outputs = {o.name: result.as_numpy(o.name) for o in result.get_response().outputs}
    return ANSWERED if question.holds(outputs) else WRONG


def agree(answer: Answer, expected: Answer) -> bool:
    """Whether two answers say the same of the same patient."""
    same = (
        answer.status is expected.status
        and answer.slices == expected.slices
        and np.array_equal(answer.mask, expected.mask)
    )
    if answer.probability is None or expected.probability is None:
        return same and answer.probability is expected.probability
    return same and abs(answer.probability - expected.probability) <= SAME_PROBABILITY


def bench_load(
    server: LocalServer,
    patients: Sequence[Tensors],
    *,
    seconds: float,
    shares: Sequence[float] = SHARES,
) -> list[dict[str, Any]]:
    """Offer growing rates to a server.

    Args:
        patients: see request_tensors; at least two, so that a mixed-up
            answer would be seen.
        seconds: how long each rate is offered.

    Returns:
        A row a rate: {"offered" (over the rate of four clients that wait for their answers),
        "per_minute", "sent", "answered", "busy", "wrong_or_failed", "p50_ms", "p99_ms",
        "memory_mib" (of the server and its models, after that rate)}.
    """
    with Client(server.grpc_address) as client:
        questions = [prepared_question(client, tensors) for tensors in patients]
        busy = timed_requests(lambda: client.ask(patients[0]), requests=16, at_once=4)
        rows = []
        for share in shares:
            load = offer(client, questions, rate_per_s=share * busy.per_s, seconds=seconds)
            rows.append(_row(share, load, server.memory_mib()))
    return rows


def _row(share: float, load: Load, memory_mib: float) -> dict[str, Any]:
    answered, busy = (load.outcomes.get(outcome, 0) for outcome in (ANSWERED, BUSY))
    return {
        "offered": share,
        "per_minute": round(load.per_minute, 1),
        "sent": load.sent,
        "answered": answered,
        "busy": busy,
        "wrong_or_failed": load.sent - answered - busy,
        "p50_ms": None if load.p50_ms is None else round(load.p50_ms, 1),
        "p99_ms": None if load.p99_ms is None else round(load.p99_ms, 1),
        "memory_mib": round(memory_mib),
    }
