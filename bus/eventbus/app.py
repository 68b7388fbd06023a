"""The composition root: the only place that knows every part of the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

from .authorization import Authorization
from .config import Settings
from .edges.admission import Admission, Told
from .edges.cors import Cors
from .edges.guard import Guard
from .edges.handshake import Handshakes
from .edges.http_api import HttpApi
from .edges.own_hosts import Hosts
from .edges.parts import EDGES, Edges
from .edges.reading import Reading
from .edges.refusals import answer_problems
from .edges.sender import Sender
from .edges.websocket import WebSockets
from .edges.welcome import welcome
from .groups.local import LocalGroups
from .hub import Hub
from .limits.frame_rate import Strangers
from .limits.identity_rate import IdentityRate, PacedIssue
from .limits.paced_log import PacedLog
from .limits.publish_rate import Kept, PublishRate
from .limits.refused_bytes import RefusedBytes
from .limits.request_bytes import RequestBytes
from .limits.websockets import Seats
from .log import Log
from .log.kept_identities import KeptIdentities
from .log.retention import Retention
from .problems import LogUnavailable
from .publishing import Publishing
from .services import Services

TASKS = web.AppKey("TASKS", list[asyncio.Task[None]])
"""What runs as long as the app; if one of them ends, the app is broken."""


def create_app(*, log: Log, services: Services | None = None, settings: Settings | None = None) -> web.Application:
    """Join the parts to a bus that a server can run; shutting it down drains it.

    Args:
        log: Where events are kept; closed with the app.
        services: Which services there are; none by default.
        settings: The defaults, if not given.
    """
    settings = settings or Settings()
    services = services or Services({})
    cors, hosts = Cors(settings.allowed_origins), Hosts(settings)
    hub = Hub(log)
    retention = Retention(log, settings=settings)
    clock, lifetime = retention.ages.now, settings.identity_lifetime
    identities = KeptIdentities(log, lifetime=lifetime, is_connected=hub.has, clock=clock)
    authorization = Authorization(services=services, identities=identities, client_events=settings.client_events)
    kept = Kept.of(settings, log)
    publish_rate = PublishRate(settings.client_rate, kept=kept, most_at_once=settings.max_body)
    publishing = Publishing(
        authorization=authorization,
        append=PacedLog(log, publish_rate).append,
        max_event=settings.max_event,
        max_batch=settings.max_batch,
    )
    http = HttpApi(
        authorization=authorization,
        publish_body=RefusedBytes(publishing).publish,
        log=log,
        hold_bytes=RequestBytes().hold,
        sender=Sender(settings.trusted_proxies),
    )
    reading = Reading(authorization=authorization, log=log)
    groups = LocalGroups(log, ack_wait=settings.ack_wait, max_deliveries=settings.max_deliveries)
    admission = Admission(
        log=log,
        hub=hub,
        groups=groups,
        identities=identities,
        authorization=authorization,
        issue=PacedIssue(identities.issue, IdentityRate(settings.client_rate)),
        told=Told(max_event=settings.max_event, ack_wait=settings.ack_wait, heartbeat=settings.heartbeat),
    )
    sockets = WebSockets(
        admission=admission,
        identify_timeout=settings.identify_timeout,
        heartbeat=settings.heartbeat,
    )
    handshakes = Handshakes(
        sockets=sockets,
        cors=cors,
        authorization=authorization,
        seats=Seats(settings.max_connections),
        strangers=Strangers(settings.client_rate),
        proxies=settings.trusted_proxies,
        send_buffer=settings.send_buffer,
    )
    guard = Guard(hosts=hosts, cors=cors, authorization=authorization)

    async def background(app: web.Application) -> AsyncIterator[None]:
        await retention.begin()
        refresh = identities.keep_refreshing(lambda: hub.addresses)
        forever = [hub.run(), groups.run(), groups.keep_keeping_places(), sockets.keep_beating(), refresh]
        tasks = [asyncio.create_task(each) for each in (*forever, retention.keep_trimming())]
        app[TASKS].extend(tasks)
        yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        with suppress(LogUnavailable):  # then a little is delivered again
            await groups.keep_places()
            await retention.keep_ages()
        await log.close()

    async def drain(_app: web.Application) -> None:
        """Take nothing more, and part from everybody; what is being appended is still answered."""
        http.stopping = True
        await sockets.close_all()

    app = web.Application(middlewares=[answer_problems, guard.middleware], client_max_size=settings.max_body)
    app[TASKS] = []
    app[EDGES] = Edges(
        guard=guard,
        cors=cors,
        http=http,
        handshakes=handshakes,
        max_body=settings.max_body,
        proxies=settings.trusted_proxies,
    )
    app.on_response_prepare.append(cors.add_headers)
    app.cleanup_ctx.append(background)
    app.on_shutdown.append(drain)
    for path in ("/", "/events"):
        app.router.add_post(path, http.publish)
        app.router.add_get(path, welcome(settings, reading.read) if path == "/" else reading.read)
        app.router.add_options(path, cors.preflight)
    app.router.add_get("/ws", handshakes.connect, allow_head=False)
    app.router.add_get("/healthz", http.healthz)
    app.router.add_get("/readyz", http.readyz)
    return app
