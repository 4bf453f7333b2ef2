"""Signing in to the pages: with an API key, or with an account of the institution's own (OpenID Connect)."""

import msgspec
from quart import Blueprint, Response, redirect, request
from quart_schema import hide
from werkzeug.wrappers import Response as WerkzeugResponse

from proctor.access import pages
from proctor.access.limits import Limits
from proctor.access.oidc import Provider, Request, open_provider
from proctor.access.roles import check_name
from proctor.access.tokens import claims_of, sign
from proctor.audit import Action
from proctor.errors import Forbidden, ProctorError, Unauthenticated
from proctor.services import Services, now_ms
from proctor.web.access import identified
from proctor.web.cookies import Cookies
from proctor.web.pages.shell import LANGUAGES, Shell, local_path
from proctor.web.problems import tell_when

_UNDER_WAY = "proctor-signing-in"
"""Audience of what the browser keeps while somebody signs in elsewhere."""
_UNDER_WAY_SECONDS = 600
_LANGUAGE_SECONDS = 365 * 24 * 3600
_NOT_OURS = "this form came from another site; open it here"


class SignIn:
    """Begins and ends sessions on the pages, and records both."""

    def __init__(
        self, services: Services, cookies: Cookies, provider: Provider | None, limits: Limits
    ) -> None:
        self._limits = limits
        self._gate, self._audit, self._settings = services.gate, services.audit, services.settings
        self._cookies = cookies
        self._provider = provider

    @property
    def provider(self) -> Provider:
        """The OpenID provider. Raises Unauthenticated if there is none."""
        if self._provider is None:
            raise Unauthenticated("no OpenID provider is set up here (OIDC_ISSUER); sign in with a key")
        return self._provider

    async def with_key(self, key: str, onward: str) -> WerkzeugResponse:
        """Sign in with an API key."""
        key_id = self._gate.key_named(key)
        somebody = await identified(self._limits, key, self._gate.by_key, key_id=key_id)
        session = pages.begin(somebody.name, key_id=key.split("_")[1])
        return await self._welcome(session, f"key {session.key_id}", onward)

    async def elsewhere(self, onward: str) -> WerkzeugResponse:
        """Send the browser to the OpenID provider."""
        url, under_way = await self.provider.begin(onward)
        response = redirect(url)
        kept = sign(
            msgspec.structs.asdict(under_way),
            self._gate.signing_key,
            _UNDER_WAY,
            now_ms=now_ms(),
            seconds=_UNDER_WAY_SECONDS,
        )
        self._cookies.set(response, self._cookies.signing_in, kept, _UNDER_WAY_SECONDS)
        return response

    async def back(self) -> WerkzeugResponse:
        """Sign in whom the OpenID provider sends back."""
        kept = request.cookies.get(self._cookies.signing_in)
        if kept is None:
            raise Unauthenticated("no sign-in was begun in this browser, or long ago; begin it again")
        fields = Request.__struct_fields__
        claims = claims_of(
            kept, await self._gate.keys_for(kept), _UNDER_WAY, fields, "begin the sign-in again"
        )
        under_way = Request(**{name: str(claims[name]) for name in fields})
        name, roles = await self.provider.finish(request.args, under_way)
        check_name(name)
        session = pages.begin(name, key_id=None, roles=roles)
        response = await self._welcome(session, self._settings.oidc_issuer, under_way.onward)
        self._cookies.clear(response, self._cookies.signing_in)
        return response

    async def _welcome(self, session: pages.PageSession, by: str, onward: str) -> WerkzeugResponse:
        await self._audit.record(
            Action.SIGNED_IN,
            session.name,
            actor=session.name,
            address=request.remote_addr,
            after={"by": by, "roles": sorted(session.roles)},
        )
        seconds = self._settings.sign_in_seconds
        value = pages.cookie_of(session, self._gate.signing_key, now_ms=now_ms(), seconds=seconds)
        response = redirect(local_path(onward), 303)
        self._cookies.set(response, self._cookies.signed_in, value, seconds)
        return response


def sign_in_routes(services: Services, cookies: Cookies, shell: Shell, limits: Limits) -> Blueprint:
    """Return the routes of signing in and out, and of choosing a language.

    Raises:
        Misconfigured: OpenID Connect is set up in part only.
    """
    routes = Blueprint("sign_in", __name__)
    provider = open_provider(services.settings)
    sign_in = SignIn(services, cookies, provider, limits)

    def form(failure: ProctorError | None = None) -> Response:
        page = shell.page(
            "sign_in",
            status=200 if failure is None else failure.status,
            failure=failure and failure.detail,
            onward=local_path(request.args.get("next")),
            by_provider=provider is not None,
            needed=services.gate.on,
        )
        if failure is not None:
            tell_when(page, failure)
        return page

    @routes.get("/sign-in")
    @hide
    async def ask() -> Response:
        return form()

    @routes.post("/sign-in")
    @hide
    async def with_key() -> Response | WerkzeugResponse:
        given = await request.form
        try:
            if not cookies.is_own(request):
                raise Forbidden(_NOT_OURS)
            return await sign_in.with_key(given.get("key", "").strip(), given.get("next", "/"))
        except ProctorError as failure:
            return form(failure)

    @routes.get("/sign-in/provider")
    @hide
    async def elsewhere() -> Response | WerkzeugResponse:
        try:
            return await sign_in.elsewhere(local_path(request.args.get("next")))
        except ProctorError as failure:
            return form(failure)

    @routes.get("/sign-in/callback")
    @hide
    async def back() -> Response | WerkzeugResponse:
        try:
            return await sign_in.back()
        except ProctorError as failure:
            return form(failure)

    @routes.post("/sign-out")
    @hide
    async def sign_out() -> WerkzeugResponse:
        if not cookies.is_own(request):
            raise Forbidden(_NOT_OURS)
        response = redirect("/sign-in", 303)
        cookies.clear(response, cookies.signed_in)
        return response

    @routes.post("/language")
    @hide
    async def language() -> WerkzeugResponse:
        given = await request.form
        response = redirect(local_path(given.get("next")), 303)
        if given.get("language") in LANGUAGES:
            cookies.set(response, cookies.language, given["language"], _LANGUAGE_SECONDS)
        return response

    return routes
