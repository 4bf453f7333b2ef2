"""Versions of an ended session's report, over HTTP: judge again, list, read; and what others would say."""

import re

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring, validate_request

from proctor.analysis.compare import Comparison
from proctor.analysis.schema import Report
from proctor.analysis.what_if import WhatIf
from proctor.audit import Action
from proctor.errors import InvalidRequest
from proctor.model import check_session_id
from proctor.reanalysis import Wish
from proctor.services import Services
from proctor.storage.analyses import Analysis
from proctor.times import iso_from_ms
from proctor.web.access import note_done
from proctor.web.problems import Problem
from proctor.web.sessions import Accommodations

_WORDS_MAX_CHARACTERS = 500
VERSION_PATTERN = "[1-9][0-9]{0,8}"


class ReanalyzeRequest(BaseModel):
    """Who wants an ended session judged again, why, and by what."""

    model_config = ConfigDict(extra="forbid")

    requested_by: str = Field(min_length=1, max_length=_WORDS_MAX_CHARACTERS, description="Who asks for it.")
    reason: str = Field(min_length=1, max_length=_WORDS_MAX_CHARACTERS, description="Why; kept with it.")
    policy: str | None = Field(
        default=None, min_length=1, description="Exam policy; without it the one of last time."
    )
    accommodations: Accommodations | None = Field(
        default=None, description="All that the candidate is granted; without it what was last time."
    )


class WhatIfQuery(BaseModel):
    """By what else to judge."""

    model_config = ConfigDict(extra="forbid")

    policy: str = Field(min_length=1, description="Exam policy, another one than the report was judged by.")


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a session's report; the highest stands."""

    version: int
    """1 is the final report."""
    policy: str
    analysed_at: str
    score: int
    review_priority: str
    requested_by: str | None
    reason: str | None


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """All versions of a session's report, the first first."""

    session_id: str
    versions: list[Version]


class Reanalyzed(msgspec.Struct, frozen=True, kw_only=True):
    """The new version, and what it says otherwise than the one before."""

    version: Version
    difference: Comparison


def analysis_routes(services: Services) -> Blueprint:
    """Return the routes of those who have sessions judged again."""
    routes = Blueprint("analyses", __name__, url_prefix="/api/v1/session")
    reanalysis = services.reanalysis

    @routes.post("/<session_id>/reanalyze")
    @validate_request(ReanalyzeRequest)
    @document_response(Reanalyzed)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @document_response(Problem, 415)
    @document_response(Problem, 503)
    async def reanalyze(session_id: str, data: ReanalyzeRequest) -> Response:
        """Judge an ended session again from its dump.

        The report becomes the version that stands; the ones before are kept. Answers the difference.
        """
        wish = Wish(data.requested_by, data.reason, data.policy, data.accommodations)
        analysis, difference = await reanalysis.reanalyze(check_session_id(session_id), wish)
        after = {"policy": analysis.policy, "version": analysis.version}
        await note_done(services.audit, Action.REANALYSED, session_id, before=None, after=after)
        return _json(Reanalyzed(version=_shown(analysis), difference=difference))

    @routes.get("/<session_id>/analyses")
    @document_response(Versions)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 503)
    async def versions(session_id: str) -> Response:
        """List the versions of a session's report: by whom, when and why."""
        listed = [_shown(each) for each in await reanalysis.versions(check_session_id(session_id))]
        return _json(Versions(session_id=session_id, versions=listed))

    @routes.get("/<session_id>/analyses/<version>")
    @document_response(Report)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 503)
    async def version(session_id: str, version: str) -> Response:
        """Read a version of a session's report."""
        if not re.fullmatch(VERSION_PATTERN, version, re.ASCII):
            raise InvalidRequest("a version is a whole number from 1", field="version")
        report = await reanalysis.report(check_session_id(session_id), int(version))
        return Response(report, content_type="application/json")

    @routes.get("/<session_id>/what-if")
    @validate_querystring(WhatIfQuery)
    @document_response(WhatIf)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @document_response(Problem, 503)
    async def what_if(session_id: str, query_args: WhatIfQuery) -> Response:
        """Tell what another policy would have flagged in an ended session, judged again from its dump.

        Nothing is kept: the report that stands, its versions and its review stay as they are.
        """
        return _json(await reanalysis.what_if(check_session_id(session_id), query_args.policy))

    return routes


def _shown(analysis: Analysis) -> Version:
    fields = msgspec.structs.asdict(analysis)
    analysed_at = iso_from_ms(fields.pop("analysed_ms"))
    return Version(analysed_at=analysed_at, score=round(fields.pop("score")), **fields)


def _json(answer: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(answer), content_type="application/json")
