"""What Prometheus reads of a gateway."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from serving.pacs.gateway.state import GatewayState, Phase

if TYPE_CHECKING:
    from serving.pacs.gateway.spool import Spool


class Counted:
    """What happened since the gateway started."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, said: str) -> Counter:
            return Counter(f"glioflow_gateway_{name}", said, registry=registry)

        self.received = counter("images_received", "MR images kept, or there already")
        self.dropped = counter("objects_dropped", "Objects of other kinds, taken and dropped")
        self.full = counter("images_refused_full", "Images refused for want of room")
        self.rejected = counter("associations_rejected", "Associations of callers not listed")
        self.asked = counter("requests", "Requests to the Triton server")
        self.stored = counter("answers_stored", "Answers stored where they belong")
        self.errors = counter("errors", "Attempts that failed: server, receiver or disk away")


class StudyCollector(Collector):
    """How many studies stand where, read from the state at each scrape."""

    def __init__(self, state: GatewayState, spool: Spool) -> None:
        self._state, self._spool = state, spool

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every gauge."""
        studies = self._state.studies()
        phases = GaugeMetricFamily("glioflow_gateway_studies", "Studies by phase", labels=["phase"])
        counts = Count(study.phase for study in studies)
        for phase in Phase:
            phases.add_metric([phase.value], counts[phase])
        yield phases
        open_ones = [s.arrived for s in studies if s.phase in (Phase.RECEIVING, Phase.WAITING)]
        oldest = self._state.clock() - min(open_ones) if open_ones else 0.0
        yield _gauge("oldest_open_seconds", "Age of the oldest study without an end", oldest)
        yield _gauge("spool_bytes", "Images and answers on the disk", self._spool.used)


def _gauge(name: str, said: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"glioflow_gateway_{name}", said, value=value)
