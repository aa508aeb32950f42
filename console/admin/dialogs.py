"""Confirmations of changes of users and keys: what will happen, what the change needs, a reason; then the call."""

from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import streamlit as st

from console import confirmation, frame, session
from console.admin import secret
from console.admin.words import (
    LIVES,
    OVERLAPS,
    ROLES,
    SCOPES,
    KeyChange,
    UserChange,
    allowed_scopes,
    new_password,
    username_problem,
)
from console.changes import reason_problem
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.keys import KeyIn
from trajops.contracts.session import Role, Scope

Name = UserChange | KeyChange
TITLES: dict[Name, str] = {
    "create": "Add a user",
    "role": "Change the role of {about}",
    "password": "New password for {about}",
    "disable": "Disable {about}",
    "enable": "Enable {about}",
    "key_create": "Make an API key",
    "key_rotate": "Rotate the key {about}",
    "key_revoke": "Revoke the key {about}",
}
BUTTONS: dict[Name, str] = {
    "create": "Add",
    "role": "Change role",
    "password": "Set new password",
    "disable": "Disable",
    "enable": "Enable",
    "key_create": "Make key",
    "key_rotate": "Rotate",
    "key_revoke": "Revoke",
}
EFFECTS: dict[Name, str] = {
    "create": "They sign in with this name and a password that is made now and shown once.",
    "role": "It holds within a minute, also for who is signed in.",
    "password": "The password so far opens nothing any more. The new one is made now and shown once. Sessions that are open go on.",
    "disable": "They are out within a minute, and sign in no more. What they have done stays in the audit.",
    "enable": "They sign in again with the role and the password that they had.",
    "key_create": "The key is made now and shown once. Give each program a key of its own, with no more than it needs.",
    "key_rotate": "A new key with the same rights is made and shown once. The old one stays valid for a while, so that its program can "
    "change over without a gap.",
    "key_revoke": "Its program is out within a minute, and stays out. To replace the key without a gap, rotate it instead.",
}
DONE: dict[Name, str] = {
    "create": "{about} may sign in",
    "role": "{about} has another role",
    "password": "{about} has a new password",
    "disable": "{about} is disabled",
    "enable": "{about} may sign in again",
    "key_create": "The key {about} is made",
    "key_rotate": "The key {about} is replaced",
    "key_revoke": "The key {about} is revoked",
}


class PendingAdmin(NamedTuple):
    """A change that waits for confirmation.

    Attributes:
        dialog_id: one opening of the dialog.
        name: which change.
        subject_id: the username, or the id of the key; empty for a new one.
        about: what it is called.
        role: that it has.
    """

    dialog_id: str
    name: Name
    subject_id: str = ""
    about: str = ""
    role: Role = "viewer"


class Given(NamedTuple):
    """What was typed and chosen.

    Attributes:
        reason: why.
        name: of a new user or key.
        role: that it gets.
        scopes: of a new key; empty: all of its role.
        life, overlap: keys of LIVES and OVERLAPS.
        rate: predictions a second; None: everybody's limit.
    """

    reason: str
    name: str = ""
    role: Role = "viewer"
    scopes: tuple[Scope, ...] = ()
    life: str = "90 days"
    overlap: str = "1 day"
    rate: float | None = None


def show_pending() -> None:
    """Show the confirmation when one is pending."""
    pending = confirmation.waiting(PendingAdmin)
    if pending is not None:
        confirmation.show(pending, TITLES[pending.name].format(about=pending.about), partial(body, pending))


def body(pending: PendingAdmin) -> None:
    """What the change does, and the form that confirms it."""
    st.markdown(EFFECTS[pending.name])
    uid = pending.dialog_id
    name, role, scopes, life, overlap, rate = pending.about, pending.role, (), "90 days", "1 day", None
    if pending.name in {"create", "key_create"}:
        # Outside of the form, because it decides what the form offers.
        role = _role(f"admin-role-{uid}", "viewer")
    with st.form(f"admin-form-{uid}", border=False):
        if pending.name == "create":
            name = st.text_input("Name", key=f"admin-name-{uid}", max_chars=128, autocomplete="off")
        if pending.name == "role":
            role = _role(f"admin-role-{uid}", pending.role)
        if pending.name == "key_create":
            name = st.text_input("Name of the program", key=f"admin-name-{uid}", max_chars=120, autocomplete="off")
            scopes = st.multiselect(
                "Restricted to",
                allowed_scopes(role),
                key=f"admin-scopes-{uid}-{role}",
                format_func=SCOPES.__getitem__,
                placeholder="all that its role may",
            )
            life = st.selectbox("Ends after", list(LIVES), index=1, key=f"admin-life-{uid}")
            rate = st.number_input(
                "Predictions a second",
                min_value=0.0,
                max_value=1e6,
                value=None,
                key=f"admin-rate-{uid}",
                placeholder="everybody's limit",
                help="How many predictions a second it may ask for; 0: without a limit.",
            )
        if pending.name == "key_rotate":
            overlap = st.selectbox("The old key stays valid for", list(OVERLAPS), index=1, key=f"admin-overlap-{uid}")
        reason = confirmation.reason_area(f"admin-reason-{uid}")
        is_sent = st.form_submit_button(BUTTONS[pending.name], key="admin-submit", type="primary")
    needs_name = pending.name in {"create", "key_create"}
    if is_sent and confirmation.is_complete(username_problem(name) if needs_name else None, reason_problem(reason)):
        send(pending, Given(reason.strip(), name.strip(), role, tuple(scopes), life, overlap, rate))


def _role(key: str, present: Role) -> Role:
    roles = list(ROLES)
    return st.selectbox("Role", roles, index=roles.index(present), key=key, format_func=ROLES.__getitem__)


def send(pending: PendingAdmin, given: Given) -> None:
    """Make the change, then draw the page anew from what the API holds."""
    try:
        with st.spinner("Sending…"):
            audit_id = call(pending, given)
    except ApiUnavailable as error:
        kept = pending.name in {"role", "disable", "enable", "key_revoke"}
        after = "Press again when it is back." if kept else "When it is back, look at the list first: the change may have been made."
        frame.refused(error, after)
    except ApiProblem as error:
        if error.status == 409 and pending.name != "create":
            confirmation.came_too_late(pending, f"Nothing was done: {error.detail.removesuffix('.')}. The page has been read again.")
        frame.refused(error)
    else:
        about = frame.plain(pending.about or given.name)
        session.flash(DONE[pending.name].format(about=about) + (f" · audit {audit_id}" if audit_id else ""))
        confirmation.settle(pending)


def call(pending: PendingAdmin, given: Given) -> str:
    """The one API call that the change is; the id of its audit entry, where the answer says it."""
    client = session.client()
    key = confirmation.call_key(pending.dialog_id, pending.name, given)
    match pending.name:
        case "create":
            password = new_password()
            made = client.create_user(given.name, given.role, password, given.reason)
            secret.keep(f"Password of {given.name}", password, "Hand it over, and have it changed after the first sign-in.")
            return made.audit_id
        case "role":
            return client.set_role(pending.subject_id, given.role, given.reason, idempotency_key=key).audit_id
        case "password":
            password = new_password()
            changed = client.set_password(pending.subject_id, password, given.reason)
            secret.keep(f"New password of {pending.about}", password, "Hand it over, and have it changed after the first sign-in.")
            return changed.audit_id
        case "disable":
            return client.disable_user(pending.subject_id, given.reason, idempotency_key=key).audit_id
        case "enable":
            return client.enable_user(pending.subject_id, given.reason, idempotency_key=key).audit_id
        case "key_create":
            span = LIVES[given.life]
            fields = {
                "name": given.name,
                "role": given.role,
                "scopes": list(given.scopes) or None,
                "expires_at": None if span is None else datetime.now(UTC) + span,
                "rate_limit_per_s": given.rate,
                "reason": given.reason,
            }
            new = client.create_key(KeyIn.model_validate({name: value for name, value in fields.items() if value is not None}))
            secret.keep(f"API key {given.name}", new.secret, "Put it where its program reads it.")
        case "key_rotate":
            new = client.rotate_key(pending.subject_id, OVERLAPS[given.overlap], given.reason)
            secret.keep(f"New API key {pending.about}", new.secret, "Put it where its program reads it, before the old one ends.")
        case "key_revoke":
            client.revoke_key(pending.subject_id, given.reason, idempotency_key=key)
    return ""
