"""The composition root: the only place that knows every part of the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from aiohttp import web

from .authorization import Authorization
from .config import Settings
from .edges.admission import Admission, Told
from .edges.cors import Cors
from .edges.guard import guard
from .edges.http_api import HttpApi
from .edges.own_hosts import Hosts
from .edges.refusals import answer_problems
from .edges.websocket import WebSocketApi
from .edges.welcome import welcome
from .groups.local import LocalGroups
from .hub import Hub
from .identities import Identities
from .limits.identity_rate import IdentityRate, PacedIssue
from .limits.paced_log import PacedLog
from .limits.publish_rate import Kept, PublishRate
from .limits.request_bytes import RequestBytes
from .log import Log
from .log.retention import Retention
from .problems import LogUnavailable
from .publishing import Publishing
from .server.plain_requests import FAST_PATH, FastPath
from .server.running import http_protocols
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
    identities = Identities(log, lifetime=lifetime, is_connected=hub.has, clock=clock)
    authorization = Authorization(services=services, identities=identities, client_events=settings.client_events)
    kept = Kept(events=settings.retention_events, size=settings.retention_bytes)
    publish_rate = PublishRate(settings.client_rate, kept=kept, most_at_once=settings.max_body)
    publishing = Publishing(
        authorization=authorization,
        append=PacedLog(log, publish_rate).append,
        max_event=settings.max_event,
        max_batch=settings.max_batch,
    )
    http = HttpApi(
        authorization=authorization,
        publishing=publishing,
        log=log,
        hold_bytes=RequestBytes().hold,
        proxies=settings.trusted_proxies,
    )
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
    sockets = WebSocketApi(admission=admission, authorization=authorization, cors=cors, settings=settings)

    async def background(app: web.Application) -> AsyncIterator[None]:
        await retention.begin()
        refresh = identities.keep_refreshing(lambda: hub.addresses)
        forever = [hub.run(), groups.run(), groups.keep_keeping_places(), sockets.keep_beating(), refresh]
        tasks = [asyncio.create_task(each) for each in (*forever, retention.keep_trimming())]
        app[TASKS].extend(tasks)
        yield
        if FAST_PATH in app:
            await app[FAST_PATH].close()
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

    guards = [answer_problems, guard(hosts=hosts, cors=cors, services=services)]
    app = web.Application(middlewares=guards, client_max_size=settings.max_body)
    app[TASKS] = []
    if settings.fast_path:
        app[FAST_PATH] = FastPath(api=http, cors=cors, hosts=hosts, settings=settings)
    app.on_response_prepare.append(cors.add_headers)
    app.cleanup_ctx.append(background)
    app.on_shutdown.append(drain)
    for path in ("/", "/events"):
        app.router.add_post(path, http.publish)
        app.router.add_get(path, welcome(settings, http.read) if path == "/" else http.read)
        app.router.add_options(path, cors.preflight)
    app.router.add_get("/ws", sockets.connect, allow_head=False)
    app.router.add_get("/healthz", http.healthz)
    app.router.add_get("/readyz", http.readyz)
    return app


def protocol_of(runner: web.AppRunner) -> Callable[[], asyncio.Protocol]:
    """Return what makes the protocol that speaks with the other side of a connection to a runner's app."""
    others = http_protocols(runner)
    return runner.app[FAST_PATH].before(others) if FAST_PATH in runner.app else others
