"""How a registry learns who asks: Basic where it wants that; else a token, bought where its challenge says."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from urllib.parse import urlencode, urlsplit

from anew.core.reference import Repository, is_loopback
from anew.errors import EngineError
from anew.registry.credentials import Credential
from anew.registry.failures import of_status
from anew.registry.wire import Answer, Ask, Wire, address, body_of, require

_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_MOST_TOKEN = 1 << 20
CLIENT = "anew"


class Access:
    """What one command shows at the repositories of one registry; safe with several threads."""

    def __init__(self, wire: Wire, repository: Repository, credential: Callable[[], Credential | None]) -> None:
        self._wire = wire
        self._host = repository.host
        self._credential = credential
        self._lock = threading.Lock()
        self._asked: Credential | None = None
        self._is_asked = False
        self._shown = ""  # the value of the header that was good last

    def headers(self) -> Mapping[str, str]:
        """Return what to show with a request; nothing before the registry has asked."""
        return {"Authorization": self._shown} if self._shown else {}

    def learn(self, answer: Answer, scopes: tuple[str, ...], before: Mapping[str, str]) -> bool:
        """Take up the challenges of a 401; say whether there is something else to show now than `before`."""
        with self._lock:
            if self._shown and before.get("Authorization") != self._shown:
                return True  # another thread was faster
            for challenge in answer.challenges:
                scheme, _, rest = challenge.strip().partition(" ")
                said = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(rest)}
                shown = self._met(scheme.lower(), said, scopes)
                if shown and shown != before.get("Authorization"):
                    self._shown = shown
                    return True
        return False

    def refused(self, shown: Mapping[str, str]) -> str:
        """Return what a 401 to `shown` refuses; "" if no login was shown: a token may only be over."""
        value = shown.get("Authorization", "")
        if not value or value not in {self._own.basic, f"Bearer {self._own.bearer}"}:
            return ""
        return f"the login in {self._own.origin}" if self._own.origin else "the login"

    def _met(self, scheme: str, said: Mapping[str, str], scopes: tuple[str, ...]) -> str:
        if scheme == "basic":
            return self._own.basic
        if scheme == "bearer":
            return f"Bearer {self._own.bearer or self._token(said, scopes)}"
        return ""

    @property
    def _own(self) -> Credential:
        if not self._is_asked:
            self._asked, self._is_asked = self._credential(), True
        return self._asked or Credential()

    def _token(self, said: Mapping[str, str], scopes: tuple[str, ...]) -> str:
        realm = said.get("realm", "")
        parts = address(realm)
        if parts is None or parts.scheme not in ({"http", "https"} if is_loopback(self._host) else {"https"}):
            raise EngineError(
                f"the registry {self._host} names no place for tokens that is safe",
                where=self._host,
                hint="its `realm` has to be an address that begins with https",
            )
        wanted = (*scopes, *(one for one in (said.get("scope", ""),) if one and not _is_within(one, scopes)))
        service = {"service": said["service"]} if said.get("service") else {}
        return self._wire.tried(lambda: self._bought(realm, service, wanted))

    def _bought(self, realm: str, service: Mapping[str, str], scopes: tuple[str, ...]) -> str:
        own = self._own
        if own.identity:
            form = {"grant_type": "refresh_token", "refresh_token": own.identity, "client_id": CLIENT, **service}
            data = urlencode({**form, "scope": " ".join(scopes)}).encode()
            ask = Ask("POST", realm, {"Content-Type": "application/x-www-form-urlencoded"}, body_of(data))
        else:
            query = urlencode([*service.items(), ("client_id", CLIENT), *(("scope", one) for one in scopes)])
            headers = {"Authorization": own.basic} if own.basic else {}
            ask = Ask("GET", f"{realm}{'&' if urlsplit(realm).query else '?'}{query}", headers)
        with self._wire.answer(ask) as answer:
            if answer.status in {400, 401, 403}:
                raise self._refused(answer)
            require(answer, 200)
            data = answer.read(_MOST_TOKEN)
        try:
            told = json.loads(data)
            token = told.get("token") or told["access_token"]
        except (ValueError, KeyError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise EngineError("the place for tokens gave none", where=ask.where) from None
        return token

    def _refused(self, answer: Answer) -> EngineError:
        whose = "the login for" if self._own.user or self._own.identity else "without a login,"
        origin = f", the one in {self._own.origin}," if self._own.origin else ""
        error = of_status(answer.refusal())
        return EngineError(
            f"{whose} {self._host}{origin} is refused where its tokens come from",
            where=error.where,
            hint=f"log in again, for instance with `docker login {self._host}`",
        )


def _is_within(scope: str, scopes: tuple[str, ...]) -> bool:
    """Say whether we ask for `scope` anyway: ``repository:shop:pull`` is within ``repository:shop:pull,push``."""
    name, _, actions = scope.rpartition(":")
    return any(
        known.rpartition(":")[0] == name and set(actions.split(",")) <= set(known.rpartition(":")[2].split(","))
        for known in scopes
    )
