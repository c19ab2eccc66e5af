"""What an operator may set: one frozen record, read from `SANDBOXD_*` variables, checked before anything starts.

Owns the names, defaults and meanings of all settings, and where things lie under the home folder. It opens nothing. Every
setting stands in docs/settings.md, written by `python -m sandbox.settings` and held to it by a test. Law 10: a misspelt or
unreadable setting stops the start; it is never ignored.
"""

# ruff: noqa: RUF009 - `_setting` makes a dataclass field, which is what a default may be here

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from compute.ports import Limits
from privacy.errors import Malformed, Text

PREFIX = "SANDBOXD_"


class SettingUnreadable(Malformed):
    """A setting's value is not what it must be."""

    code = "settings.unreadable"
    sentence = Text("The setting {name} cannot be “{value}”.", "设置项 {name} 不能为“{value}”。")
    hint = Text("{meaning} Allowed: {allowed}.", "{meaning}允许的值：{allowed}。")


class SettingUnknown(Malformed):
    """A variable with our prefix that means nothing."""

    code = "settings.unknown"
    sentence = Text("There is no setting {name}.", "没有设置项 {name}。")
    hint = Text(
        "The settings are: {known}. See docs/settings.md.", "可用的设置项：{known}。参见 docs/settings.zh-CN.md。"
    )


def _setting(default: Any, read: Callable[[str], Any], allowed: Text, meaning: Text) -> Any:
    return field(default=default, metadata={"read": read, "allowed": allowed, "meaning": meaning})


_TEXT = Text("text", "文本")
_FOLDER = Text("a folder", "文件夹路径")
_FILE = Text("a file", "文件路径")


def _whole(low: int, high: int) -> tuple[Callable[[str], int], Text]:
    def read(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError(text)
        return number

    return read, Text(f"a whole number from {low} to {high}", f"{low} 至 {high} 的整数")


def _choice(*names: str) -> tuple[Callable[[str], str], Text]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError(text)
        return text

    listed = ", ".join(names)
    return read, Text(listed, listed)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings. The defaults are the embedded instance: one machine, no other server, everything under `home`."""

    home: Path = _setting(
        Path("var"), Path, _FOLDER, Text("Where everything of this instance lies.", "本实例全部内容所在的位置。")
    )
    database: str = _setting(
        "",
        str,
        Text(
            "an SQLAlchemy URL (sqlite:/// or postgresql+psycopg://)",
            "SQLAlchemy 地址（sqlite:/// 或 postgresql+psycopg://）",
        ),
        Text("The registry. By default SQLite under the home.", "登记库，默认为 home 下的 SQLite。"),
    )
    broker: str = _setting(
        "",
        str,
        Text("a RabbitMQ address (amqp://…)", "RabbitMQ 地址（amqp://…）"),
        Text(
            "Tells workers that a job waits. By default a folder under the home.",
            "通知工作进程有作业等待，默认为 home 下的文件夹。",
        ),
    )
    vault: Path | None = _setting(
        None,
        Path,
        _FOLDER,
        Text("The vault of dataset versions, unless it is on S3.", "数据集版本保管库（未使用 S3 时）。"),
    )
    s3_endpoint: str = _setting(
        "", str, Text("host:port", "主机:端口"), Text("An S3 server that holds the vault.", "存放保管库的 S3 服务。")
    )
    s3_bucket: str = _setting("data-open-sandbox", str, _TEXT, Text("The bucket of the vault.", "保管库所用的存储桶。"))
    s3_access_key: str = _setting("", str, _TEXT, Text("The access key of the S3 server.", "S3 服务的访问密钥 ID。"))
    s3_secret_key_file: Path | None = _setting(
        None, Path, _FILE, Text("A file with the secret key of the S3 server.", "存放 S3 服务私密密钥的文件。")
    )
    s3_tls: str = _setting(
        "yes", *_choice("yes", "no"), Text("Whether to speak TLS to the S3 server.", "与 S3 服务通信是否使用 TLS。")
    )
    signing_key: Path | None = _setting(
        None,
        Path,
        _FILE,
        Text("The Ed25519 key that signs the log; made at first start.", "为日志签名的 Ed25519 密钥，首次启动时生成。"),
    )
    host: str = _setting("127.0.0.1", str, Text("an address", "地址"), Text("Where the API listens.", "接口监听地址。"))
    port: int = _setting(
        8750, *_whole(0, 65535), Text("The API's port; 0 takes a free one.", "接口端口，0 表示任选空闲端口。")
    )
    workers: int = _setting(
        2, *_whole(1, 256), Text("Questions answered at the same time by one worker.", "每个工作进程同时回答的问题数。")
    )
    query_seconds: int = _setting(
        60, *_whole(1, 86_400), Text("Time limit of one question.", "单个问题的时间上限（秒）。")
    )
    query_memory_mb: int = _setting(
        2048, *_whole(64, 4_194_304), Text("Memory limit of one question.", "单个问题的内存上限（MB）。")
    )
    query_threads: int = _setting(2, *_whole(1, 1024), Text("Threads of one question.", "单个问题的线程数。"))
    answer_first_ms: int = _setting(
        250,
        *_whole(1, 86_400_000),
        Text(
            "The first moment at which an answer may be seen, in milliseconds after a worker began; each later one is twice "
            "as late. Five times the time limit makes all answers take equally long.",
            "结果最早可见的时刻（工作进程开始后的毫秒数），其后各时刻依次加倍；设为时限的五倍时，所有结果耗时相同。",
        ),
    )
    upload_mb: int = _setting(
        20_480, *_whole(1, 16_777_216), Text("Largest file a steward may upload.", "提供方可上传的最大文件（MB）。")
    )
    log_level: str = _setting(
        "info",
        *_choice("debug", "info", "warning", "error"),
        Text("What the operator's log holds.", "运行日志的级别。"),
    )

    @property
    def limits(self) -> Limits:
        """What one engine call may use."""
        memory = self.query_memory_mb * 2**20
        return Limits(seconds=float(self.query_seconds), memory=memory, threads=self.query_threads)

    @property
    def database_url(self) -> str:
        """Where the registry is."""
        return self.database or f"sqlite:///{self.home.absolute() / 'registry.sqlite3'}"

    @property
    def vault_folder(self) -> Path:
        """The vault on this machine, or the cache of the one on S3."""
        return self.vault or self.home / "vault"

    @property
    def key_file(self) -> Path:
        """The private signing key (mode 0600); its public half lies beside it as `.pub.pem`."""
        return self.signing_key or self.home / "keys" / "log.ed25519"

    @property
    def queue(self) -> Path:
        """The folder of the embedded queue."""
        return self.home / "queue"

    @property
    def staging(self) -> Path:
        """Uploads, and files on their way into the vault."""
        return self.home / "staging"

    @property
    def logs(self) -> Path:
        """The operator's log files."""
        return self.home / "logs"

    def environ(self) -> dict[str, str]:
        """The variables that give the same settings to a child process."""
        given = ((f, getattr(self, f.name)) for f in fields(self))
        return {variable(f): str(value) for f, value in given if value != f.default}

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """The settings of an environment. Raises `SettingUnreadable`, `SettingUnknown`."""
        known = {variable(f): f for f in fields(cls)}
        given = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
        for name in given:
            if name not in known:
                raise SettingUnknown(name=name, known=", ".join(known))
        return cls(**{known[name].name: _value(known[name], value) for name, value in given.items() if value})


def variable(setting: Field[Any]) -> str:
    """The variable of a setting."""
    return PREFIX + setting.name.upper()


def _value(setting: Field[Any], text: str) -> Any:
    meta = setting.metadata
    try:
        return meta["read"](text)
    except ValueError:
        raise SettingUnreadable(
            name=variable(setting), value=text[:100], meaning=meta["meaning"], allowed=meta["allowed"]
        ) from None


def document(lang: str) -> str:
    """docs/settings.md (en) or docs/settings.zh-CN.md."""
    words = Text(
        "# Settings\n\nEvery setting of `sandboxd` is an environment variable. The defaults run an embedded instance in one "
        "folder. A misspelt name or an unreadable value stops the start.\n\n| variable | meaning | allowed | default |\n",
        "# 设置\n\n`sandboxd` 的每个设置项都是环境变量。默认值在一个文件夹内运行嵌入式实例。"
        "名称拼错或值无法识别时，启动会中止。\n\n"
        "| 变量 | 含义 | 允许的值 | 默认值 |\n",
    )
    rows = [
        f"| `{variable(f)}` | {f.metadata['meaning'].say(lang)} | {f.metadata['allowed'].say(lang)} "
        f"| {'' if f.default in (None, '') else f'`{f.default}`'} |"
        for f in fields(Settings)
    ]
    return words.say(lang) + "|---|---|---|---|\n" + "\n".join(rows) + "\n"


def main() -> None:
    """Write both documents below the folder named on the command line (docs by default)."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    (folder / "settings.md").write_text(document("en"), encoding="utf-8")
    (folder / "settings.zh-CN.md").write_text(document("zh-CN"), encoding="utf-8")


if __name__ == "__main__":
    main()
