"""The page of webhooks: which addresses are told what, and what became of it."""

from quart import Blueprint, Response, redirect, request
from quart_schema import hide
from werkzeug.wrappers import Response as WerkzeugResponse

from proctor.services import Services, now_ms
from proctor.web.pages.shell import Shell, local_path
from proctor.web.webhooks import checked_number, shown, shown_delivery

_AT_ONCE = 50
_STATES = ("pending", "delivered", "failed")


def webhook_pages(services: Services, shell: Shell) -> Blueprint:
    """Return the routes of the page, which works without a script."""
    routes = Blueprint("webhook_pages", __name__)
    registry, outbox = services.announcing.registry, services.announcing.outbox

    @routes.get("/webhooks")
    @hide
    async def show() -> Response:
        state = request.args.get("state")
        if state not in _STATES:
            state = None
        given = request.args.get("before")
        before = None if given is None else checked_number(given, "before")
        found = await outbox.listed(state=state, before=before, limit=_AT_ONCE + 1)
        deliveries = [shown_delivery(each) for each in found[:_AT_ONCE]]
        return shell.page(
            "webhooks",
            webhooks=[shown(each) for each in await registry.all()],
            deliveries=deliveries,
            states=(None, *_STATES),
            state=state,
            older=deliveries[-1].number if len(found) > _AT_ONCE else None,
        )

    @routes.post("/webhooks/deliveries/<number>/retry")
    @hide
    async def retry(number: str) -> WerkzeugResponse:
        await outbox.retry(checked_number(number, "number"), now_ms())
        return redirect(local_path((await request.form).get("next")), 303)

    return routes
