"""Views of hosts, and of where a machine would be placed."""

from __future__ import annotations

from collections.abc import Sequence

from guesthouse.doors.native.host_documents import HostDocument, OfHost, PlaceDocument
from guesthouse.doors.native.rows import Call, NoParams
from guesthouse.engine.host_views import HostView


async def hosts(call: Call[NoParams]) -> Sequence[HostDocument]:
    return [_document(view) for view in await call.engine.hosts.hosts()]


async def host(call: Call[OfHost]) -> HostDocument:
    return _document(await call.engine.hosts.host(call.params.host))


async def placements(call: Call[NoParams]) -> Sequence[PlaceDocument]:
    return [
        PlaceDocument(
            host=verdict.host.id,
            name=verdict.host.name,
            fits=verdict.fits,
            score=round(verdict.score, 3),
            scores={name: round(score, 3) for name, score in verdict.scores.items()},
            lacks=tuple(lack.text for lack in verdict.lacks),
        )
        for verdict in await call.engine.accept.explain(call.asker, call.body)
    ]


def _document(view: HostView) -> HostDocument:
    host, load = view.host, view.load
    return HostDocument(
        **{name: getattr(host, name) for name in host.__struct_fields__ if name in HostDocument.__struct_fields__},
        state="away" if view.away else "ready",
        machines=load.machines,
        vcpus_placed=load.vcpus,
        memory_placed_mib=load.memory_mib,
    )
