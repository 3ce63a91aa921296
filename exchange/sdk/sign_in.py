"""The calls about signing in, and about one's own password, one-time codes and sessions."""

from __future__ import annotations

from urllib.parse import quote

from exchange.sdk.connection import SESSION, Connection, Json

__all__ = ["SignInCalls"]


class SignInCalls(Connection):
    """For people. A client that signed in shows its session instead of the profile's tokens."""

    def sign_in(self, name: str, password: str, code: str = "") -> Json:
        """Sign in; from now on this client calls as that person.

        Returns:
            The session; ``stage`` is ``enrolment`` where one-time codes must be enrolled first.
        """
        body = {"name": name, "password": password, "code": code}
        signed = self._object("POST", "/v1/sign-in", json=body)
        self.profile = self.profile.of_session(str(signed["secret"]))
        return dict(signed["session"])

    def sign_out(self, *, everywhere: bool = False) -> None:
        """End this client's session, or all sessions of this person."""
        path = "/v1/sessions"
        if not everywhere:
            path += "/" + quote(str(self.sessions()["present"]), safe="")
        self._send("DELETE", path, role=SESSION)
        self.profile = self.profile.of_session("")

    def accept_invitation(self, name: str, invitation: str, password: str) -> None:
        """Take up an invitation by choosing a password."""
        body = {"name": name, "invitation": invitation, "password": password}
        self._send("POST", "/v1/invitation", role=None, json=body)

    def sessions(self) -> Json:
        """List one's sessions; ``present`` is the id of the calling one."""
        return self._object("GET", "/v1/sessions", role=SESSION)

    def end_session(self, session: str) -> None:
        """End one of one's sessions."""
        self._send("DELETE", f"/v1/sessions/{quote(session, safe='')}", role=SESSION)

    def change_password(self, present: str, chosen: str) -> None:
        """Change the own password; other sessions end."""
        body = {"present": present, "chosen": chosen}
        self._renew(self._object("PUT", "/v1/password", role=SESSION, json=body))

    def factors(self) -> Json:
        """Whether one has one-time codes, and how many recovery codes are left."""
        return self._object("GET", "/v1/totp", role=SESSION)

    def begin_codes(self, password: str) -> str:
        """Begin to enrol one-time codes; returns the ``otpauth`` address for the authenticator."""
        return str(self._object("POST", "/v1/totp", role=SESSION, json={"password": password})["uri"])

    def confirm_codes(self, code: str) -> list[str]:
        """Show the first one-time code; returns recovery codes. Other sessions end."""
        made = self._object("POST", "/v1/totp/confirmation", role=SESSION, json={"code": code})
        self._renew(made)
        return [str(one) for one in made["recovery_codes"]]

    def invite(self, name: str) -> str:
        """Invite a person to choose a new password, as an administrator; the present one is gone."""
        path = f"/v1/people/{quote(name, safe='')}/invitation"
        return str(self._object("POST", path, role="administrator")["invitation"])

    def link(self, name: str, subject: str) -> None:
        """Link an account to a subject at the identity provider, as an administrator; "" takes it away."""
        path = f"/v1/people/{quote(name, safe='')}/subject"
        self._send("PUT", path, role="administrator", json={"subject": subject})

    def reset_codes(self, name: str) -> None:
        """Take a person's one-time codes away, as an administrator."""
        self._send("DELETE", f"/v1/people/{quote(name, safe='')}/totp", role="administrator")

    def _renew(self, answer: Json) -> None:
        self.profile = self.profile.of_session(str(answer["secret"]))
