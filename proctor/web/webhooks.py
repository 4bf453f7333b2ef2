"""Webhooks over HTTP: which addresses are told what, and what became of it."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring, validate_request

from proctor.errors import InvalidRequest
from proctor.services import Services, now_ms
from proctor.storage.outbox import Delivery
from proctor.storage.webhooks import Webhook
from proctor.times import iso_from_ms
from proctor.web.access import who
from proctor.web.problems import Problem
from proctor.web.sessions import Nothing, json_response
from proctor.webhooks.addresses import URL_CHARACTERS
from proctor.webhooks.events import EventType

WEBHOOK_ID_PATTERN = "[0-9a-f]{16}"
_ID = "<string(length=16):webhook_id>"
"""In an address; so long that it is not taken for the other addresses below `/webhooks`."""
NUMBER_PATTERN = "[1-9][0-9]{0,17}"


class NewWebhook(BaseModel):
    """An address that is to be told what happens."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(
        max_length=URL_CHARACTERS,
        description="`https://…`, of a host with public addresses only.",
        json_schema_extra={"pattern": "^https?://"},
    )
    events: list[EventType] = Field(default_factory=list, description="What it is told; all if empty.")


class ShownWebhook(BaseModel):
    """An address that is told what happens."""

    webhook_id: str
    url: str
    events: list[EventType]
    created_at: str = Field(description="ISO 8601, UTC.")
    disabled_at: str | None = Field(description="When it answered 410, since when it is told nothing.")


class AddedWebhook(ShownWebhook):
    """A new webhook, with what its messages are signed with."""

    secret: str = Field(description="For the receiver, which verifies with it; never shown again.")


class WebhookList(BaseModel):
    """All webhooks, the oldest first."""

    webhooks: list[ShownWebhook]


class Tested(BaseModel):
    """What came of a test."""

    delivered: bool
    status: int | None = Field(description="HTTP status of the answer, if there was one.")
    reason: str | None = Field(description="Why it was not delivered.")


class ShownDelivery(BaseModel):
    """An event for an address, and what became of it."""

    number: int
    webhook_id: str
    event: EventType
    session_id: str
    happened_at: str = Field(description="ISO 8601, UTC.")
    state: str = Field(description="`pending`, `delivered`, or `failed` once it was given up.")
    attempts: int
    next_attempt_at: str | None = Field(description="While it is pending.")
    settled_at: str | None = Field(description="When it was delivered or given up.")
    status: int | None = Field(description="HTTP status of the last answer.")
    reason: str | None = Field(description="Why the last attempt failed.")


class DeliveryList(BaseModel):
    """A page of deliveries, the newest first."""

    deliveries: list[ShownDelivery]
    next: int | None = Field(description="Pass as `before` for the next page; null on the last.")


class DeliveryQuery(BaseModel):
    """Filters and place in the list."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["pending", "delivered", "failed"] | None = None
    webhook_id: str | None = Field(default=None, max_length=16)
    limit: int = Field(50, ge=1, le=500, description="Most deliveries on one page.")
    before: int | None = Field(default=None, ge=1, lt=2**63, description="`next` of the page before.")


def webhook_routes(services: Services) -> Blueprint:
    """Return the routes of whoever decides what other systems are told."""
    routes = Blueprint("webhooks", __name__, url_prefix="/api/v1/webhooks")
    registry, outbox = services.announcing.registry, services.announcing.outbox

    @routes.get("")
    @document_response(WebhookList)
    @document_response(Problem, 503)
    async def list_webhooks() -> Response:
        """List webhooks: addresses, and what each is told."""
        return json_response(WebhookList(webhooks=[shown(each) for each in await registry.all()]))

    @routes.post("")
    @validate_request(NewWebhook)
    @document_response(AddedWebhook, 201)
    @document_response(Problem, 400)
    @document_response(Problem, 415)
    @document_response(Problem, 503)
    async def add(data: NewWebhook) -> Response:
        """Add a webhook: have an address told what happens. Answers its secret, once."""
        webhook = await registry.add(data.url, data.events, who())
        return json_response(AddedWebhook(**dict(shown(webhook)), secret=webhook.secret), 201)

    @routes.delete(f"/{_ID}")
    @document_response(Nothing, 204)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 503)
    async def remove(webhook_id: str) -> Response:
        """Remove a webhook, with what it was still to be told."""
        await registry.remove(_checked(webhook_id), who())
        response = Response(b"", 204)
        del response.headers["Content-Type"]
        return response

    @routes.post(f"/{_ID}/test")
    @document_response(Tested)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 503)
    async def test(webhook_id: str) -> Response:
        """Send a webhook the event `webhook.test`, once, and tell what came of it."""
        outcome = await registry.test(_checked(webhook_id))
        tested = Tested(delivered=outcome.delivered, status=outcome.status, reason=outcome.reason)
        return json_response(tested)

    @routes.get("/deliveries")
    @validate_querystring(DeliveryQuery)
    @document_response(DeliveryList)
    @document_response(Problem, 400)
    @document_response(Problem, 503)
    async def deliveries(query_args: DeliveryQuery) -> Response:
        """List what webhooks were told and are still to be told, the newest first."""
        webhook_id = None if query_args.webhook_id is None else _checked(query_args.webhook_id)
        found = await outbox.listed(
            state=query_args.state,
            webhook_id=webhook_id,
            before=query_args.before,
            limit=query_args.limit + 1,  # one more tells whether there is a next page
        )
        page = found[: query_args.limit]
        following = page[-1].number if len(found) > len(page) else None
        return json_response(DeliveryList(deliveries=list(map(shown_delivery, page)), next=following))

    @routes.post("/deliveries/<number>/retry")
    @document_response(ShownDelivery)
    @document_response(Problem, 400)
    @document_response(Problem, 409)
    @document_response(Problem, 503)
    async def retry(number: str) -> Response:
        """Deliver an event again now, whatever became of it."""
        delivery = await outbox.retry(checked_number(number, "number"), now_ms())
        return json_response(shown_delivery(delivery))

    return routes


def _checked(webhook_id: str) -> str:
    if re.fullmatch(WEBHOOK_ID_PATTERN, webhook_id, re.ASCII):
        return webhook_id
    raise InvalidRequest("a webhook's id is 16 hexadecimal digits", field="webhook_id")


def checked_number(text: str, field: str) -> int:
    """Return the number of a delivery. Raises InvalidRequest for what is none."""
    if re.fullmatch(NUMBER_PATTERN, text, re.ASCII):
        return int(text)
    raise InvalidRequest("a delivery has a whole number from 1", field=field)


def shown(webhook: Webhook) -> ShownWebhook:
    """Return an address as the API shows it, without its secret."""
    return ShownWebhook(
        webhook_id=webhook.webhook_id,
        url=webhook.url,
        events=webhook.events,
        created_at=iso_from_ms(webhook.created_ms),
        disabled_at=_iso(webhook.disabled_ms),
    )


def shown_delivery(delivery: Delivery) -> ShownDelivery:
    """Return a delivery as the API shows it."""
    pending = delivery.state == "pending"
    return ShownDelivery(
        number=delivery.number,
        webhook_id=delivery.webhook_id,
        event=delivery.event,
        session_id=delivery.session_id,
        happened_at=iso_from_ms(delivery.at_ms),
        state=delivery.state,
        attempts=delivery.attempts,
        next_attempt_at=_iso(max(delivery.due_ms, delivery.at_ms)) if pending else None,
        settled_at=_iso(delivery.settled_ms),
        status=delivery.status,
        reason=delivery.reason,
    )


def _iso(time_ms: int | None) -> str | None:
    return None if time_ms is None else iso_from_ms(time_ms)
