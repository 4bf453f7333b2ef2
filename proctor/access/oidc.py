"""Sign-in with the institution's own accounts: OpenID Connect, authorization code flow with PKCE.

The provider is asked for its addresses and keys when somebody signs in; so one that is down keeps nobody but
those who would do that, and one that changes its keys needs nothing done here. PyJWT verifies what it says.
"""

import base64
import hashlib
import secrets
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx
import jwt
import msgspec
import trio

from proctor.access.roles import STAFF, Role
from proctor.errors import Forbidden, Misconfigured, Unauthenticated, Unavailable
from proctor.settings import Settings

_TIMEOUT_SECONDS = 10.0
_LEEWAY_SECONDS = 60
"""How far the provider's clock may be off."""
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""All with public keys, so that no shared secret or key that is public is taken for one."""


class Request(msgspec.Struct, frozen=True):
    """A sign-in under way, kept by the browser until it comes back."""

    state: str
    nonce: str
    verifier: str
    """Of PKCE: whoever sees the code go by cannot use it."""
    onward: str
    """Path of the page to go on to."""


class Provider:
    """One OpenID provider. Every call asks it over the network and takes ten seconds at the most."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redirect = f"{settings.public_url.rstrip('/')}/sign-in/callback"
        self._issuer = settings.oidc_issuer.rstrip("/")
        self._roles = roles_by_group(settings.oidc_roles)

    async def begin(self, onward: str) -> tuple[str, Request]:
        """Return where to send the browser, and what to have it keep. Raises Unavailable."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        request = Request(state, nonce, verifier, onward)
        async with _client() as client:
            metadata = await self._metadata(client)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(request.verifier.encode()).digest())
        query = {
            "response_type": "code",
            "client_id": self._settings.oidc_client_id,
            "redirect_uri": self._redirect,
            "scope": self._settings.oidc_scope,
            "state": request.state,
            "nonce": request.nonce,
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        address = _address(metadata, "authorization_endpoint")
        return f"{address}{'&' if urlsplit(address).query else '?'}{urlencode(query)}", request

    async def finish(self, answer: Mapping[str, str], request: Request) -> tuple[str, frozenset[Role]]:
        """Return the name and roles of who comes back with this answer.

        Raises:
            Unauthenticated: the provider did not say who it is, or not to this browser's question.
            Forbidden: it did, and that one has no role here; names the groups.
            Unavailable: the provider cannot be asked.
        """
        if not secrets.compare_digest(answer.get("state", "").encode(), request.state.encode()):
            raise Unauthenticated("the sign-in was begun elsewhere or long ago; begin it again")
        if "code" not in answer:
            reason = answer.get("error_description") or answer.get("error") or "it gave no code"
            raise Unauthenticated(f"the sign-in was refused: {reason}")
        async with _client() as client:
            metadata = await self._metadata(client)
            token = await self._token(client, _address(metadata, "token_endpoint"), answer["code"], request)
            keys = await _asked(client.get(_address(metadata, "jwks_uri")))
        claims = self._verified(token, keys, request.nonce)
        name = name_of(claims)
        return name, self._roles_of(claims, name)

    async def _metadata(self, client: httpx.AsyncClient) -> dict[str, Any]:
        metadata = await _asked(client.get(f"{self._issuer}/.well-known/openid-configuration"))
        if str(metadata.get("issuer", "")).rstrip("/") != self._issuer:
            raise Unavailable(f"the OpenID provider calls itself {metadata.get('issuer')!r}, not OIDC_ISSUER")
        return metadata

    async def _token(self, client: httpx.AsyncClient, url: str, code: str, request: Request) -> str:
        client_id, secret = self._settings.oidc_client_id, self._settings.oidc_client_secret
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect,
            "client_id": client_id,
            "code_verifier": request.verifier,
        }
        known = secret.get_secret_value()
        # RFC 6749 section 2.3.1 has both encoded as in a form.
        basic = httpx.BasicAuth(quote_plus(client_id), quote_plus(known)) if known else httpx.Auth()
        tokens = await _asked(client.post(url, data=form, auth=basic))
        token = tokens.get("id_token")
        if not isinstance(token, str):
            raise Unauthenticated("the OpenID provider gave no ID token; OIDC_SCOPE has to name `openid`")
        return token

    def _verified(self, token: str, keys: dict[str, Any], nonce: str) -> Mapping[str, Any]:
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            usable = [key for key in jwt.PyJWKSet.from_dict(keys).keys if kid in (None, key.key_id)]
            if not usable:
                raise jwt.InvalidKeyError(f"it is signed with key {kid!r}, which is none of the provider's")
            claims: dict[str, Any] = jwt.decode(
                token,
                usable[0],
                algorithms=_ALGORITHMS,
                audience=self._settings.oidc_client_id,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["iss", "sub", "aud", "exp", "iat", "nonce"]},
            )
        except (jwt.PyJWTError, TypeError, ValueError, AttributeError) as failure:
            raise Unauthenticated(f"the OpenID provider's token cannot be used: {failure}") from failure
        # Some write their name with a slash at its end in one place, and without in another.
        if str(claims["iss"]).rstrip("/") != self._issuer:
            raise Unauthenticated(f"the token is of another provider, {claims['iss']!r}")
        if not secrets.compare_digest(str(claims["nonce"]).encode(), nonce.encode()):
            raise Unauthenticated("the token answers another sign-in; begin it again")
        if claims.get("azp", self._settings.oidc_client_id) != self._settings.oidc_client_id:
            raise Unauthenticated("the token was made for another client")
        return claims

    def _roles_of(self, claims: Mapping[str, Any], name: str) -> frozenset[Role]:
        claim = self._settings.oidc_roles_claim
        given = claims.get(claim, [])
        groups = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        roles = {role for group in groups for role in self._roles.get(str(group), ())}
        if not roles:
            has = ", ".join(map(str, groups)) or "none"
            raise Forbidden(f"{name} has no role here: OIDC_ROLES names none of the {claim} {has}")
        return frozenset(roles)


def open_provider(settings: Settings) -> Provider | None:
    """Return the provider that the settings name; None if they name none. Asks nobody.

    Raises:
        Misconfigured: only some of what is needed is set, or a role does not exist.
    """
    if not settings.oidc_issuer:
        return None
    for field in ("public_url", "oidc_client_id", "oidc_roles"):
        if not getattr(settings, field):
            raise Misconfigured("OIDC_ISSUER needs this as well", field=field)
    return Provider(settings)


def roles_by_group(wanted: Mapping[str, Iterable[str]]) -> dict[str, frozenset[Role]]:
    """Return the roles that members of each group have. Raises Misconfigured for one of nobody's."""
    staff = ", ".join(sorted(STAFF))
    for group, roles in wanted.items():
        for role in roles:
            if role not in STAFF:
                raise Misconfigured(f"{group!r} has the role {role!r}; there are {staff}", field="oidc_roles")
    return {group: frozenset(map(Role, roles)) for group, roles in wanted.items()}


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, headers={"Accept": "application/json"})


def _address(metadata: Mapping[str, Any], name: str) -> str:
    address = metadata.get(name)
    if not isinstance(address, str):
        raise Unavailable(f"the OpenID provider says no {name}")
    return address


def name_of(claims: Mapping[str, Any]) -> str:
    """Return what somebody is called in the audit trail and in reviews.

    Not by an address which the provider says that nobody has checked: it may be another's.
    """
    email = claims.get("email") if claims.get("email_verified", True) in (True, "true") else None
    return str(email or claims.get("preferred_username") or claims["sub"])


async def _asked(asking: Awaitable[httpx.Response]) -> dict[str, Any]:
    """Return what the provider answers. Raises Unauthenticated for a refusal, Unavailable for all else."""
    try:
        with trio.fail_after(_TIMEOUT_SECONDS):
            answer = await asking
        found = msgspec.json.decode(answer.content, type=dict[str, Any])
    except (httpx.HTTPError, httpx.InvalidURL, trio.TooSlowError, ValueError) as failure:
        raise Unavailable(f"the OpenID provider does not answer: {failure}") from failure
    if answer.is_client_error:
        reason = found.get("error_description") or found.get("error") or answer.status_code
        raise Unauthenticated(f"the OpenID provider refused the sign-in: {reason}")
    if not answer.is_success:
        raise Unavailable(f"the OpenID provider answers {answer.status_code}")
    return found
