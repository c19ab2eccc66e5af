"""The people of the demo: five organisations, eight logins, one project, and how they come to exist.

Owns the cast. It creates organisations and people through the journeys, as the operator of a real instance would; the
REST interface has no route for that on purpose. Everything else in the demo (datasets, project, requests, votes, questions)
is done by these people over HTTP. Passwords are drawn afresh for every instance: a demo left running by accident has no
password that anyone could know.
"""

from __future__ import annotations

from base64 import b32encode
from dataclasses import dataclass

from access.people import Principal, Role
from privacy.errors import Text
from sandbox.journeys import people
from sandbox.journeys.house import House

_BUREAU = "云海市数据局 Yunhai Data Bureau"
_HEALTH = "云海市卫生健康委员会 Yunhai Health Commission"
_MARKET = "云海市市场监督管理局 Yunhai Market Regulation Bureau"
_UNIVERSITY = "海川大学 Haichuan University"
_AUDIT = "云海市审计局 Yunhai Audit Office"


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One person of the cast."""

    login: str
    name: str
    organisation: str
    roles: frozenset[Role]
    part: Text


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """What somebody types to sign in to a demo instance, and whom that makes them."""

    login: str
    password: str
    name: str
    organisation: str
    roles: tuple[str, ...]
    part: Text


def _member(login: str, name: str, organisation: str, role: Role, en: str, zh: str) -> Member:
    return Member(login=login, name=name, organisation=organisation, roles=frozenset({role}), part=Text(en, zh))


OPERATOR = _member("operator", "韩立 Han Li", _BUREAU, Role.OPERATOR, "runs the instance", "运营本实例")
CAST = (
    OPERATOR,
    _member("chen", "陈静 Chen Jing", _HEALTH, Role.STEWARD, "provides the hospital visits", "提供就诊记录"),
    _member("wu", "吴涛 Wu Tao", _MARKET, Role.STEWARD, "provides the enterprise register", "提供企业数据"),
    _member("library", "演示资料室 Reading room", _UNIVERSITY, Role.STEWARD, "provides two real files", "提供两份真实数据"),
    _member("lin", "林晓 Lin Xiao", _UNIVERSITY, Role.RESEARCHER, "asks the questions", "提出问题的研究者"),
    _member("zhou", "周宁 Zhou Ning", _BUREAU, Role.REVIEWER, "reviews access requests", "审核使用申请"),
    _member("he", "何敏 He Min", _HEALTH, Role.REVIEWER, "is the second, independent reviewer", "第二位独立审核员"),
    _member("song", "宋远 Song Yuan", _AUDIT, Role.AUDITOR, "reads the log, changes nothing", "只读日志的审计员"),
)  # fmt: skip

STEWARDS = {
    "health/visits": "chen",
    "economy/enterprises": "wu",
    "research/rand-hie": "library",
    "research/wage-panel": "library",
}
"""Who provides which dataset."""


def seed(house: House) -> tuple[Login, ...]:
    """Found a fresh instance with the whole cast and return their logins. Raises `AlreadyFounded` on an old one."""
    passwords = {m.login: _password(house) for m in CAST}
    operator = people.bootstrap(
        house,
        organisation=OPERATOR.organisation,
        login=OPERATOR.login,
        name=OPERATOR.name,
        password=passwords[OPERATOR.login],
    )
    organisations = {OPERATOR.organisation: operator.organisation}
    for member in CAST[1:]:
        if member.organisation not in organisations:
            founded = people.create_organisation(house, operator, name=member.organisation)
            organisations[member.organisation] = founded.id
        _join(house, operator, member, organisations[member.organisation], passwords[member.login])
    return tuple(_login(m, passwords[m.login]) for m in CAST)


def _join(house: House, operator: Principal, member: Member, organisation: str, password: str) -> None:
    people.create_principal(
        house,
        operator,
        login=member.login,
        name=member.name,
        organisation=organisation,
        roles=member.roles,
        password=password,
    )


def _login(member: Member, password: str) -> Login:
    return Login(
        login=member.login,
        password=password,
        name=member.name,
        organisation=member.organisation,
        roles=tuple(sorted(member.roles)),
        part=member.part,
    )


def _password(house: House) -> str:
    """Four groups of four letters and digits: 80 bits, and still possible to type."""
    text = b32encode(house.entropy(10)).decode().lower()
    return "-".join(text[n : n + 4] for n in range(0, 16, 4))
