"""When each request of a load was sent, against when its recipient's mail came to the sink."""

from __future__ import annotations

from pathlib import Path

from tests.doubles.sink_log import TOLD_YES, read_log
from tests.house.requests import number_of


def delivery_latencies_ms(marks: Path, dots: Path) -> list[float]:
    """Milliseconds from POST to the final dot that was answered with yes, of the requests in `marks` that came through."""
    arrived: dict[int, float] = {}
    for dot in read_log(dots):
        if dot.verdict in TOLD_YES:
            arrived.setdefault(number_of(dot.recipient), dot.time)
    latencies = []
    for line in marks.read_text().splitlines():
        number, sent, _ = line.split("\t")
        if int(number) in arrived:
            latencies.append((arrived[int(number)] - float(sent)) * 1000)
    return latencies
