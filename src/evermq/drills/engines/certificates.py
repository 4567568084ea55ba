"""A throw-away certificate authority and the key pairs it signs, as secured servers need them."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evermq.drills.engines.packages import debian

__all__ = ["Secrets"]

_NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a secured server was set up with. users: password by name; each is in `NAME.password` as well."""

    directory: Path
    users: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, directory: Path, users: Sequence[str]) -> Secrets:
        """New keys and passwords, readable by this user only."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = cls(directory, {user: secrets.token_hex(16) for user in users})
        for user, password in made.users.items():
            made.password_file(user).write_text(password)
            made.password_file(user).chmod(0o600)
        made._sign()
        return made

    @property
    def ca(self) -> Path:
        """The certificate of the authority, PEM."""
        return self.directory / "ca.pem"

    @property
    def certificate(self) -> Path:
        """The server's certificate for 127.0.0.1 and localhost, PEM."""
        return self.directory / "node.crt"

    @property
    def key(self) -> Path:
        """The server's key, PEM."""
        return self.directory / "node.key"

    @property
    def bundle(self) -> Path:
        """Key, certificate and authority in one file, PEM."""
        return self.directory / "node.pem"

    def password_file(self, user: str) -> Path:
        """For `password=file:…`."""
        return self.directory / f"{user}.password"

    def _sign(self) -> None:
        ca_key = self.directory / "ca.key"
        self._openssl(
            "req", "-x509", *_NEW, "-days", "30", "-subj", "/CN=evermq-drill-ca", "-keyout", ca_key, "-out", self.ca
        )
        request, names = self.directory / "node.csr", self.directory / "names"
        names.write_text(_NAMES)
        self._openssl("req", *_NEW, "-subj", "/CN=evermq-drill-node", "-keyout", self.key, "-out", request)
        signer = ("-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "30", "-extfile", names)
        self._openssl("x509", "-req", "-in", request, *signer, "-out", self.certificate)
        self.bundle.write_text("".join(each.read_text() for each in (self.key, self.certificate, self.ca)))
        self.bundle.chmod(0o600)

    @staticmethod
    def _openssl(*arguments: str | Path) -> None:
        program = debian("openssl", "openssl")
        subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, stdin=subprocess.DEVNULL)


_NEW = ("-newkey", "rsa:2048", "-nodes")
