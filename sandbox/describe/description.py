"""The dataset description: one YAML file in which a steward states everything public about a dataset.

Owns the shape of that file (pydantic models, from which `docs/dataset.schema.json` is made), the reading of it with every
problem named at once by file, line, column and field, and the step from it to `DatasetFacts`. It reads no data and knows no
catalogue. Law 4 begins here: what does not stand in this file is not public. Law 10: an unknown field, a value still marked
`!confirm` or a doubtful bound is refused, never guessed.

    load_description(text, filename)  ->  Description   or DescriptionInvalid, one line a problem
    to_facts(description)             ->  DatasetFacts
    require_complete(description)     ->  what the catalogue needs beyond the workbench
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from access.policy import GRADE_RULES, Grade
from privacy.errors import Malformed, Text
from privacy.facts import ColumnFacts, DatasetFacts, Keys, Kind, PrivacyUnit, TableFacts
from sandbox.describe import column_rules, table_rules
from sandbox.describe.located import Flaw, Located, Path, Place, read
from sandbox.describe.words import sentence_for

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
LONGEST_NAME = 64
#: How many problems are named; a file with more is told their number.
MOST_LISTED = 100
LARGEST_MAX_ROWS = 1_000_000
_DATASET_NAME = r"^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*$"


def require_name(name: str) -> str:
    """The name of a table or column, or a pydantic error: any script, no control or invisible characters, no leading `_`."""
    if not name or name != name.strip() or len(name) > LONGEST_NAME or name.startswith("_"):
        raise PydanticCustomError("bad_name", "bad name")
    if any(unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp") for c in name):
        raise PydanticCustomError("bad_name", "bad name")
    return name


_NAME_SCHEMA: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME, "pattern": r"^[^_\s]"}
Name = Annotated[str, AfterValidator(require_name), WithJsonSchema(_NAME_SCHEMA)]
Scalar = Annotated[str, WithJsonSchema({"type": ["string", "number", "boolean"]})]
Words = Annotated[str, Field(min_length=1, max_length=2000)]
Epsilon = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Delta = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


class Part(BaseModel):
    """Base of every part of the file: unknown fields are refused, nothing can be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Bilingual(Part):
    """One text in Chinese and English."""

    zh: Words
    en: Words

    def text(self) -> Text:
        """The two sentences as a Text. They are plain words, not templates: read `.en` and `.zh`, never `say` them."""
        return Text(self.en, self.zh)


class Provider(Bilingual):
    """Who provides the dataset and answers questions about it."""

    contact: Words = Field(description="Where questions and objections go: an e-mail address or telephone number.")


class Unit(Part):
    """Whose presence in the table is hidden."""

    column: Name = Field(description="The column that identifies the unit. It is not kept in the compute copy.")
    stands_for: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        default="person", description="What a unit is: person, enterprise, household, …"
    )
    space: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        default=None,
        description="The id space. Tables with the same space speak of the same units. Default: dataset and column name.",
    )

    def facts(self, dataset: str) -> PrivacyUnit:
        """The unit as a public fact."""
        space = self.space or f"{dataset}:{self.column}"
        return PrivacyUnit(column=self.column, stands_for=self.stands_for, space=space)


class Column(Part):
    """One column and what is public about it."""

    title: Bilingual | None = Field(default=None, description="What people call the column.")
    type: Literal["integer", "number", "text", "boolean", "date", "timestamp"]
    nullable: bool = Field(default=False, description="False: rows without a value are rejected at ingest.")
    lower: Scalar | None = Field(default=None, description="Smallest public value; what lies below is moved up to it.")
    upper: Scalar | None = Field(default=None, description="Largest public value; what lies above is moved down to it.")
    step: Scalar | None = Field(
        default=None, description="Lattice spacing: values are rounded to multiples. Needed for number, 1 for integer."
    )
    keys: Literal["public", "private"] = Field(
        default="private", description="public: the domain below is public, and every key appears in an answer."
    )
    domain: list[Scalar | None] | None = Field(
        default=None, description="All public keys, in the order they are shown."
    )
    unique: bool = Field(default=False, description="Public tables: no two rows share a value; checked at ingest.")

    @model_validator(mode="after")
    def _sensible(self) -> Column:
        flaws = tuple(column_rules.flaws(self.declared()))
        if flaws:
            raise PydanticCustomError("flaws", "see flaws", {"flaws": flaws})
        return self

    def declared(self) -> column_rules.Declared:
        """What the rules about bounds, lattices and domains look at."""
        return column_rules.Declared(
            kind=Kind(self.type),
            lower=self.lower,
            upper=self.upper,
            step=self.step,
            public=self.keys == "public",
            domain=None if self.domain is None else tuple(self.domain),
            unique=self.unique,
        )

    def facts(self, name: str) -> ColumnFacts:
        """The column's public facts."""
        read_ = column_rules.values(self.declared())
        return ColumnFacts(
            name=name,
            kind=Kind(self.type),
            nullable=self.nullable,
            lower=read_.lower,
            upper=read_.upper,
            step=read_.step,
            keys=Keys(self.keys),
            domain=read_.domain,
            max_repeats=1 if self.unique else None,
        )


class Table(Part):
    """One table: private when it names a `unit`, else a public side table."""

    title: Bilingual | None = Field(default=None, description="What people call the table.")
    unit: Unit | None = Field(default=None, description="Whose presence is hidden. Left out: the table is PUBLIC.")
    max_rows: Annotated[int, Field(ge=1, le=LARGEST_MAX_ROWS)] | None = Field(
        default=None, description="How many rows of one unit count at most. Needed with `unit`."
    )
    columns: Annotated[
        dict[Name, Column], Field(min_length=1, max_length=1000, json_schema_extra={"propertyNames": _NAME_SCHEMA})
    ]

    def facts(self, name: str, dataset: str) -> TableFacts:
        """The table's public facts, as declared."""
        unit = None if self.unit is None else self.unit.facts(dataset)
        columns = tuple(column.facts(n) for n, column in self.columns.items())
        return TableFacts(name=name, columns=columns, unit=unit, max_rows=self.max_rows or 1)


class Allowance(Part):
    """A privacy budget as people set it."""

    epsilon: Epsilon
    delta: Delta = 1e-6


class Budgets(Part):
    """How much may be spent by one project, and by all projects together."""

    per_project: Allowance = Allowance(epsilon=1.0)
    total: Allowance = Allowance(epsilon=3.0)

    @model_validator(mode="after")
    def _sensible(self) -> Budgets:
        for name in ("epsilon", "delta"):
            if getattr(self.per_project, name) > getattr(self.total, name):
                flaw = column_rules.Wrong(
                    path=("per_project", name),
                    sentence=Text(f"more than total.{name}.", f"超过了 total.{name}。"),
                )
                raise PydanticCustomError("flaws", "see flaws", {"flaws": (flaw,)})
        return self


class Policy(Part):
    """The steward's terms of use. Left out: strict defaults."""

    methods: Annotated[list[Literal["ask"]], Field(min_length=1)] = Field(
        default=["ask"], description="How the data may be used."
    )
    purposes: list[Words] = Field(default=[], description="Purposes that are allowed; empty: any purpose.")
    min_units: Annotated[int, Field(ge=0, le=1_000_000)] | None = Field(
        default=None,
        description="Smallest number of units a released cell may rest on. Default: what the grade demands.",
    )
    budget: Budgets = Budgets()
    reviewers: Annotated[int, Field(ge=0, le=5)] | None = Field(
        default=None, description="Independent reviews a grant takes. Default: what the grade demands."
    )
    expires: date | None = Field(default=None, description="Last day of use, for example 2027-12-31.")


class Description(Part):
    """One dataset. `dataset` and `tables` suffice for the workbench; the catalogue needs the rest."""

    dataset: Annotated[str, Field(pattern=_DATASET_NAME, max_length=128)] = Field(
        description="The name: lower-case path segments, for example health/visits."
    )
    title: Bilingual | None = None
    summary: Bilingual | None = None
    provider: Provider | None = None
    grade: Literal["L1", "L2", "L3", "L4"] | None = Field(
        default=None, description="L1 不敏感, L2 低敏感, L3 较敏感, L4 敏感. The highest grade of any column counts."
    )
    openness: Literal["unconditional", "conditional", "closed"] = Field(
        default="conditional", description="无条件开放, 有条件开放, 不予开放."
    )
    tables: Annotated[
        dict[Name, Table], Field(min_length=1, max_length=100, json_schema_extra={"propertyNames": _NAME_SCHEMA})
    ]
    policy: Policy = Policy()


class DescriptionInvalid(Malformed):
    """Something in the file is wrong; every problem is named, one a line."""

    code = "description.invalid"
    sentence = Text(
        "{file} cannot be used; problems found: {count}\n{listing}", "{file} 无法使用，发现 {count} 处问题：\n{listing}"
    )
    hint = Text(
        "Correct the places named above; docs/dataset-yaml.md explains every field.",
        "请修改上述位置；各字段说明见 docs/dataset-yaml.zh-CN.md。",
    )

    @classmethod
    def of(cls, flaws: Iterable[Flaw], filename: str) -> DescriptionInvalid:
        """The problem for these flaws, sorted by place, each said once."""
        ordered = sorted(set(flaws), key=lambda f: (f.place.line, f.place.column, str(f.path), f.sentence.en))
        listed = ordered[:MOST_LISTED]
        return cls(
            file=filename,
            count=len(ordered),
            listing=Text(*(_listing(listed, len(ordered), lang, filename) for lang in ("en", "zh-CN"))),
            problems=[
                {
                    "line": f.place.line,
                    "column": f.place.column,
                    "field": f.name,
                    "en": f.words("en"),
                    "zh-CN": f.words("zh-CN"),
                }
                for f in listed
            ],
        )


def _listing(flaws: list[Flaw], total: int, lang: str, filename: str) -> str:
    more = total - len(flaws)
    return "\n".join([f.say(lang, filename) for f in flaws] + ([_MORE.say(lang, more=more)] if more else []))


def load_description(text: str, filename: str = "dataset.yaml") -> Description:
    """Read a description, or raise `DescriptionInvalid` with every problem at once (`TextTooLarge` above 1 MB)."""
    located = read(text, filename)
    flaws = list(located.flaws)
    description: Description | None = None
    if not located.whole:
        pass  # half a text has no meaning: more sentences about it would mislead
    elif isinstance(located.tree, dict):
        flaws += table_rules.flaws(located)
        try:
            description = Description.model_validate(located.tree)
        except ValidationError as error:
            flaws += _flaws_of(error, located)
    else:
        flaws.append(Flaw(place=located.place(()), path=(), sentence=_NOT_A_MAPPING))
    if flaws or description is None:
        raise DescriptionInvalid.of(flaws, filename)
    return description


def to_facts(description: Description) -> DatasetFacts:
    """Everything public about the dataset, as declared; ingest holds the data to it."""
    return DatasetFacts(
        tables=tuple(table.facts(name, description.dataset) for name, table in description.tables.items()),
        min_units=min_units(description),
        name=description.dataset,
    )


def min_units(description: Description) -> int:
    """The smallest number of units a released cell may rest on: as written, else as the grade demands, else no rule."""
    if description.policy.min_units is not None:
        return description.policy.min_units
    return GRADE_RULES[Grade(description.grade)].min_units if description.grade else 0


def require_complete(description: Description, filename: str = "dataset.yaml") -> Description:
    """The description, or `DescriptionInvalid` naming what an entry of the catalogue still needs."""
    missing = [n for n in ("title", "summary", "provider", "grade") if getattr(description, n) is None]
    if missing:
        raise DescriptionInvalid.of(
            [Flaw(place=Place(), path=(n,), sentence=_FOR_CATALOGUE) for n in missing], filename
        )
    return description


def json_schema() -> str:
    """The JSON Schema of the file, as committed at docs/dataset.schema.json."""
    schema = Description.model_json_schema()
    head = {"$schema": SCHEMA_DIALECT, "title": "Data Open Sandbox dataset description"}
    return json.dumps(head | {k: v for k, v in schema.items() if k != "title"}, ensure_ascii=False, indent=2) + "\n"


# --- from pydantic's errors and from rules about whole tables to flaws ---------------------------------------------------


def _flaws_of(error: ValidationError, located: Located) -> Iterator[Flaw]:
    for one in error.errors(include_url=False, include_input=False):
        path = tuple(part for part in one["loc"] if part != "[key]")
        context = one.get("ctx", {})
        if one["type"] == "flaws":
            for wrong in context["flaws"]:
                whole = path + wrong.path
                yield Flaw(place=located.place(whole), path=whole, sentence=wrong.sentence)
            continue
        is_key = one["type"] == "extra_forbidden" or "[key]" in one["loc"]
        sentence = sentence_for(one["type"], context, str(path[-1]) if path else "", fields_at(path[:-1]))
        yield Flaw(place=located.place(path, key=is_key), path=path, sentence=sentence)


def fields_at(path: Path) -> tuple[str, ...]:
    """The fields that may be written inside the mapping at that path of the file."""
    kind: Any = Description
    for part in path:
        inner = _models_in(kind.model_fields[part].annotation) if isinstance(part, str) and _has(kind, part) else ()
        kind = inner[0] if inner else kind
    return tuple(kind.model_fields)


def _has(kind: type[BaseModel], part: str) -> bool:
    return part in kind.model_fields


def _models_in(annotation: Any) -> tuple[type[BaseModel], ...]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(found for inner in getattr(annotation, "__args__", ()) for found in _models_in(inner))


_MORE = Text("… and {more} more.", "……另有 {more} 处。")
_NOT_A_MAPPING = Text(
    "a description is a mapping that begins with `dataset:` and `tables:`.",
    "描述文件应为映射，以 `dataset:` 与 `tables:` 开头。",
)
_FOR_CATALOGUE = Text("missing; an entry of the catalogue needs it.", "缺失；登记到目录时必须填写。")
