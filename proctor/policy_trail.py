"""Which policies a server judges by, in the audit trail whenever they are others than before."""

from collections.abc import Mapping

import msgspec

from proctor.analysis.policy import Policy
from proctor.analysis.review_policy import ReviewPolicy
from proctor.audit import Action, Audit, Who

_SERVER = Who(actor="server", address=None)


async def note_policies(audit: Audit, policies: Mapping[str, Policy]) -> None:
    """Record each policy that is not as it was recorded last. Raises Unavailable.

    Policies are files, so who has changed them is not known; that they were, is from the next start on.
    """
    for name, policy in sorted(policies.items()):
        last = await audit.entries(subject=name, action=Action.POLICY_CHANGED, limit=1)
        before = msgspec.json.decode(last[0].after) if last and last[0].after else None
        after = {"digest": policy.digest}
        if policy.review != ReviewPolicy():  # so that nothing has changed for those who say nothing of it
            after["review"] = policy.review.digest
        if before != after:
            await audit.record(Action.POLICY_CHANGED, name, **_SERVER, before=before, after=after)
