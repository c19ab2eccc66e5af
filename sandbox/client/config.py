"""Where the client finds its server: arguments, environment, then the file that `sandbox login` writes.

Owns `Settings` and the file `~/.config/data-open-sandbox/config.json` (mode 0600, its folder 0700, written in one step).
The file holds a token, so a file that others may read is refused. It never holds a password.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from sandbox.client.errors import SandboxError
from sandbox.say import say

DEFAULT_URL = "http://127.0.0.1:8750"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How to reach a server. `log_key` is the public key (PEM) that was pinned at the first sign-in."""

    url: str = ""
    token: str = ""
    token_id: str = ""
    login: str = ""
    project: str = ""
    log_key: str = ""


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The config file: `SANDBOX_CONFIG`, else under `XDG_CONFIG_HOME`, else under `~/.config`."""
    named = environ.get("SANDBOX_CONFIG")
    if named:
        return Path(named)
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".config")
    return Path(home) / "data-open-sandbox" / "config.json"


def load(path: Path) -> Settings:
    """The settings in the file, or empty ones when there is none. Refuses a file that others may read."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return Settings()
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise SandboxError(
            say(
                "The file {path} holds a token and others may read it.", "文件 {path} 含有令牌，但他人可读。", path=path
            ),
            hint=say("Make it yours alone: chmod 600 {path}", "请设为仅本人可读：chmod 600 {path}", path=path),
        )
    return _parse(path)


def _parse(path: Path) -> Settings:
    known = {one.name for one in fields(Settings)}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Settings(**{key: str(value) for key, value in dict(found).items() if key in known})
    except (ValueError, TypeError) as error:
        raise SandboxError(
            say("The file {path} cannot be read as settings.", "无法将文件 {path} 解析为配置。", path=path),
            hint=say("Sign in again with `sandbox login`.", "请用 `sandbox login` 重新登录。"),
        ) from error


def save(path: Path, settings: Settings) -> None:
    """Write the file in one step, readable by its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = json.dumps({key: value for key, value in asdict(settings).items() if value}, indent=2, ensure_ascii=False)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    beside.replace(path)


def forget(path: Path) -> None:
    """Drop the token, keep address, project and the pinned key."""
    if path.exists():
        save(path, replace(load(path), token="", token_id="", login=""))


def settle(
    *,
    url: str | None = None,
    token: str | None = None,
    project: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """What holds now: an argument first, then `SANDBOX_URL`, `SANDBOX_TOKEN`, `SANDBOX_PROJECT`, then the file.

    The token and the pinned key of the file are used for the file's own address only: a token is never sent elsewhere.
    """
    given_url, given_token = url or environ.get("SANDBOX_URL"), token or environ.get("SANDBOX_TOKEN")
    kept = Settings() if given_url and given_token else load(config_path(environ))
    address = (given_url or kept.url or DEFAULT_URL).rstrip("/")
    same_house = address == kept.url
    return Settings(
        url=address,
        token=given_token or (kept.token if same_house else ""),
        token_id=kept.token_id if same_house and not given_token else "",
        login=kept.login if same_house else "",
        project=project or environ.get("SANDBOX_PROJECT") or (kept.project if same_house else ""),
        log_key=kept.log_key if same_house else "",
    )
