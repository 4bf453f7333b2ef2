"""What is kept about a candidate, shown to whoever has the link: no key, no account, and a place to answer.

The link is the credential. So it stands in no log, pages that are opened from here do not learn it, and no
copy of the page is kept on the way.
"""

from pydantic import BaseModel, Field
from quart import Blueprint, Response, redirect, request, url_for
from quart_schema import document_response, hide
from werkzeug.wrappers import Response as WerkzeugResponse

from proctor.access.links import issue_link, verify_link
from proctor.audit import Action, Who
from proctor.errors import InvalidRequest, ProctorError, UnknownSession
from proctor.model import check_session_id
from proctor.review_acts import CANDIDATE
from proctor.review_view import in_short
from proctor.reviewing import Case
from proctor.services import Services, now_ms
from proctor.storage.reviews import NOTE_CHARACTERS
from proctor.times import iso_from_ms
from proctor.transparency import disclose
from proctor.web.access import who
from proctor.web.pages.shell import Shell, texts_of
from proctor.web.problems import Problem
from proctor.web.sessions import json_response

_NOBODY = Who(actor=CANDIDATE, address=None)
"""Where a candidate is, is not recorded: nothing can be erased from the trail."""


class TransparencyLink(BaseModel):
    """A link for a candidate."""

    url: str = Field(
        description="Whoever has it sees the page and can make the statement: for the candidate alone."
    )
    expires_at: str = Field(description="ISO 8601, UTC.")


def transparency_routes(services: Services, shell: Shell) -> Blueprint:
    """Return the routes of candidates who want to know."""
    routes = Blueprint("transparency", __name__)

    @routes.post("/api/v1/session/<session_id>/transparency")
    @document_response(TransparencyLink)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @document_response(Problem, 503)
    async def link(session_id: str) -> Response:
        """Make a link to a page that tells the candidate what is kept about them, and takes a statement."""
        case = await services.reviewing.open(check_session_id(session_id))
        seconds, made_ms = services.settings.transparency_link_seconds, now_ms()
        token = issue_link(case.session, services.gate.signing_key, now_ms=made_ms, seconds=seconds)
        expires_at = iso_from_ms(made_ms + 1000 * seconds)
        await services.audit.record(Action.LINKED, session_id, **who(), after={"expires_at": expires_at})
        own = services.settings.public_url.rstrip("/") or request.host_url.rstrip("/")
        url = own + url_for("transparency.page", token=token)
        return json_response(TransparencyLink(url=url, expires_at=expires_at))

    @routes.get("/transparency/<token>")
    @hide
    async def page(token: str) -> Response:
        try:
            case = await linked(token)
        except ProctorError as error:
            return refused(error)
        return shown(case)

    @routes.post("/transparency/<token>")
    @hide
    async def state(token: str) -> WerkzeugResponse | Response:
        try:
            case = await linked(token)
            text = _statement((await request.form).get("statement", ""))
        except ProctorError as error:
            return refused(error)
        try:
            event = await services.reviewing.state(case.session.session_id, text)
        except ProctorError as error:
            return shown(case, text, error)
        await services.audit.record(Action.STATED, case.session.session_id, **_NOBODY, after=in_short(event))
        # So that to reload the page sends nothing again.
        return redirect(url_for("transparency.page", token=token), 303)

    async def linked(token: str) -> Case:
        link = verify_link(token, await services.gate.keys_for(token))
        case = await services.reviewing.open(link.session_id)
        if not link.is_of(case.session):
            raise UnknownSession("what was kept has been erased")
        return case

    def shown(case: Case, text: str | None = None, error: ProctorError | None = None) -> Response:
        words = texts_of(shell.language())["transparency"]
        told = disclose(case.session, case.report, case.review, services.settings, words)
        draft = text if text is not None else told.statement or ""
        return page_of(error, told=told, draft=draft, characters=NOTE_CHARACTERS)

    def refused(error: ProctorError) -> Response:
        return page_of(error, told=None)

    def page_of(error: ProctorError | None, **content: object) -> Response:
        status, failure = (200, None) if error is None else (error.status, error.detail)
        return shell.page("transparency", status=status, failure=failure, **content)

    return routes


def _statement(text: str) -> str:
    mended = text.replace("\r\n", "\n").strip()
    if not mended:
        raise InvalidRequest("write something before you send it", field="statement")
    if len(mended) > NOTE_CHARACTERS:
        raise InvalidRequest(f"a statement has at most {NOTE_CHARACTERS} characters", field="statement")
    if "\0" in mended:
        raise InvalidRequest("a statement is text", field="statement")
    return mended
