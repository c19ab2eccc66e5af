"""People: organisations, principals with roles, the projects that answer for a use, and the tokens that stand for a person.

Owns those nouns and the pure rules about them: what a good name is, when a token may be used. It never stores anything,
never sees a clock or a source of randomness (law 12: both are arguments) and never holds a password or a token in the
clear: a token's secret is shown once, and only its SHA-256 is kept. The secret has 256 bits of entropy, so a plain hash
is enough; passwords have not, so they go through `access.ports.Passwords` (argon2).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from privacy.errors import Conflict, Malformed, NotFound, Refused, Text, Unauthenticated

#: Marks a secret as one of ours, so that scanners find it where it should not be.
TOKEN_PREFIX = "dos_"  # noqa: S105 - a public prefix, not a secret
SESSION_LIFETIME = timedelta(hours=12)
LONGEST_LIFETIME = timedelta(days=366)
SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 1024
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")


class Role(StrEnum):
    """What a principal is for. A principal may hold several; no role lets anyone judge their own work (law 9)."""

    STEWARD = "steward"
    RESEARCHER = "researcher"
    REVIEWER = "reviewer"
    PUBLISHER = "publisher"
    CUSTODIAN = "custodian"
    OPERATOR = "operator"
    AUDITOR = "auditor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Organisation:
    """Who answers for people and projects."""

    id: str
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """Somebody (or something) that asks. `login` is unique; `organisation` is an id."""

    id: str
    login: str
    name: str
    organisation: str
    roles: frozenset[Role]
    disabled_at: datetime | None = None

    def has(self, role: Role) -> bool:
        """True when the principal holds the role."""
        return role in self.roles


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """Why data is used and by whom. `name` is unique and short, `members` are principal ids of one organisation."""

    id: str
    name: str
    title: str
    purpose: str
    organisation: str
    created_by: str
    created_at: datetime
    members: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A revocable, expiring stand-in for a principal. `hash` is the SHA-256 (hex) of the secret, never the secret."""

    id: str
    owner: str
    label: str
    hash: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None

    def usable_at(self, now: datetime) -> bool:
        """True while the token stands for its owner."""
        return self.revoked_at is None and now < self.expires_at


@dataclass(frozen=True, kw_only=True, slots=True)
class IssuedToken:
    """A token with its secret: this object exists once, in the answer to whoever asked for the token."""

    token: Token
    secret: str

    def __repr__(self) -> str:
        return f"IssuedToken(token={self.token.id!r}, secret=…)"


class NotSignedIn(Unauthenticated):
    """The token is absent, forged, expired or revoked, or its owner is disabled: one answer for all of them."""

    code = "people.not_signed_in"
    sentence = Text(
        "The access token is missing, unknown, expired or revoked.", "访问令牌缺失、无法识别、已过期或已被吊销。"
    )
    hint = Text("Sign in again, or ask for a new token.", "请重新登录，或申请新的令牌。")


class WrongPassword(Unauthenticated):
    """Unknown login and wrong password are the same answer."""

    code = "people.wrong_password"
    sentence = Text("Login and password do not belong together.", "登录名与密码不匹配。")
    hint = Text(
        "Check both. The operator of this instance can set a new password.", "请检查两者；本实例的运营方可以重设密码。"
    )


class PasswordTooWeak(Malformed):
    """A new password breaks the only two rules: its length."""

    code = "people.password_length"
    sentence = Text("The password has {length} characters.", "密码长度为 {length} 个字符。")
    hint = Text(
        "Between {shortest} and {longest} characters are allowed.", "允许的长度为 {shortest} 至 {longest} 个字符。"
    )


class BadName(Malformed):
    """A login or a project name cannot be used."""

    code = "people.bad_name"
    sentence = Text("“{name}” cannot be used as {field}.", "“{name}”不能用作{field}。")
    hint = Text(
        "Use 1 to 64 of a-z, 0-9, dot, hyphen and underscore; begin and end with a letter or a digit.",
        "请使用 1 至 64 个字符：a-z、0-9、点、连字符、下划线，且以字母或数字开头和结尾。",
    )


class BadText(Malformed):
    """A text for people is empty, too long or holds control characters."""

    code = "people.bad_text"
    sentence = Text("The {field} cannot be used as it is.", "{field}的内容无法使用。")
    hint = Text(
        "Write 1 to {longest} characters without control characters.", "请填写 1 至 {longest} 个字符，不含控制字符。"
    )


class NameTaken(Conflict):
    """A unique name exists already."""

    code = "people.name_taken"
    sentence = Text("The {field} “{name}” is taken.", "{field}“{name}”已被占用。")
    hint = Text("Choose another one.", "请换一个名称。")


class PrincipalNotFound(NotFound):
    """No principal of that login or id is known to the asker."""

    code = "people.principal_not_found"
    sentence = Text("There is no principal “{principal}”.", "没有用户“{principal}”。")
    hint = Text("Ask the operator which logins exist.", "请向运营方确认登录名。")


class OrganisationNotFound(NotFound):
    """No organisation of that id."""

    code = "people.organisation_not_found"
    sentence = Text("There is no organisation “{organisation}”.", "没有机构“{organisation}”。")
    hint = Text("Ask the operator which organisations exist.", "请向运营方确认机构。")


class ProjectNotFound(NotFound):
    """No such project, or not one of the asker's."""

    code = "people.project_not_found"
    sentence = Text("There is no project “{project}”.", "没有项目“{project}”。")
    hint = Text("List your projects to see their names and ids.", "请列出您的项目以查看名称和编号。")


class TokenNotFound(NotFound):
    """No such token, or not one of the asker's."""

    code = "people.token_not_found"
    sentence = Text("There is no token “{token}”.", "没有令牌“{token}”。")
    hint = Text("List your tokens to see their ids.", "请列出您的令牌以查看编号。")


class LifetimeRefused(Malformed):
    """A token may not live that long."""

    code = "people.token_lifetime"
    sentence = Text("A token cannot be valid for {seconds} seconds.", "令牌有效期不能为 {seconds} 秒。")
    hint = Text("Choose between 1 second and {longest} days.", "请在 1 秒至 {longest} 天之间选择。")


class ForeignMember(Refused):
    """A project has one organisation that answers for it."""

    code = "people.foreign_member"
    sentence = Text(
        "“{login}” does not belong to the organisation that answers for this project.",
        "“{login}”不属于对该项目负责的机构。",
    )
    hint = Text("Only people of the project's organisation can be members.", "只有项目所属机构的人员才能成为成员。")


class AlreadyFounded(Conflict):
    """The first operator exists; there is no second beginning."""

    code = "people.already_founded"
    sentence = Text("This instance already has its first operator.", "本实例已有首位运营人员。")
    hint = Text("Let an operator create further people.", "请由运营人员创建其他用户。")


def require_name(name: str, field: Text) -> str:
    """The name as it stands, or `BadName`."""
    if not _NAME.fullmatch(name):
        raise BadName(name=name[:80], field=field)
    return name


def require_text(text: str, field: Text, longest: int = 200) -> str:
    """The text without outer blanks, or `BadText`. Line feeds and tabs count as text when more than a line may be said."""
    trimmed = text.strip()
    allowed = "\n\t" if longest > 200 else ""
    hidden = any(unicodedata.category(c) in ("Cc", "Cs", "Cn") and c not in allowed for c in trimmed)
    if not trimmed or len(trimmed) > longest or hidden:
        raise BadText(field=field, longest=longest)
    return trimmed


def require_password(password: str) -> str:
    """The password, or `PasswordTooWeak`; length is the rule, composition is not (NIST SP 800-63B, section 5.1.1)."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise PasswordTooWeak(length=len(password), shortest=SHORTEST_PASSWORD, longest=LONGEST_PASSWORD)
    return password


def token_hash(secret: str) -> str:
    """What is stored of a secret: SHA-256 in hex."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def issue(
    owner: Principal,
    *,
    token_id: str,
    label: str,
    now: datetime,
    lifetime: timedelta,
    entropy: Callable[[int], bytes],
) -> IssuedToken:
    """A fresh token for the owner with 32 bytes of entropy; at most a year old, or `LifetimeRefused`."""
    if not timedelta(seconds=1) <= lifetime <= LONGEST_LIFETIME:
        raise LifetimeRefused(seconds=int(lifetime.total_seconds()), longest=LONGEST_LIFETIME.days)
    secret = TOKEN_PREFIX + urlsafe_b64encode(entropy(32)).rstrip(b"=").decode()
    token = Token(
        id=token_id, owner=owner.id, label=label, hash=token_hash(secret), created_at=now, expires_at=now + lifetime
    )
    return IssuedToken(token=token, secret=secret)
