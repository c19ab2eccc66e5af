"""The dataset description: what it becomes, and every way it can be wrong, named by line, column and field."""

from __future__ import annotations

import json
import pickle
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from privacy.errors import Text, problem_codes
from privacy.facts import Keys, Kind
from sandbox.describe import description as module
from sandbox.describe.description import (
    DescriptionInvalid,
    fields_at,
    json_schema,
    load_description,
    require_complete,
    to_facts,
)
from sandbox.describe.located import LARGEST_TEXT, TextTooLarge, marks
from sandbox.describe.words import sentence_for

ROOT = Path(__file__).parents[2]

MINIMAL = """\
dataset: d
tables:
  t:
    unit: {column: person}
    max_rows: 3
    columns:
      person: {type: text}
"""

FULL = """\
dataset: health/visits
title: {zh: 就诊记录, en: Hospital visits}
summary: {zh: 说明, en: Words}
provider: {zh: 卫健委, en: Health Commission, contact: data@health.example}
grade: L2
tables:
  就诊:
    unit: {column: 人员, stands_for: person, space: resident-id}
    max_rows: 40
    columns:
      人员: {type: text}
      城市: {type: text, keys: public, domain: [云海, 'null', no, 010, 1.50], nullable: true}
      code: {type: text}
      amount: {type: number, lower: -0.5, upper: 5000, step: 0.25}
      loose: {type: number, step: 0.01}
      age: {type: integer, lower: 0, upper: 120, keys: public}
      band: {type: integer, lower: 0, upper: 100, step: 10, keys: public}
      listed: {type: integer, keys: public, domain: [3, 1, 2]}
      seen: {type: boolean, keys: public}
      day: {type: date, lower: 2024-01-01, upper: 2024-12-31}
      at: {type: timestamp, lower: 2024-01-01, upper: 2024-12-31 23:59:59}
      holiday: {type: date, keys: public, domain: [2024-10-01]}
  districts:
    columns:
      name: {type: text, unique: true}
policy:
  min_units: 7
  budget: {per_project: {epsilon: 4, delta: 1e-6}, total: {epsilon: 12, delta: 1e-6}}
  reviewers: 1
  expires: 2027-12-31
"""


def problems(text: str, filename: str = "d.yaml") -> list[str]:
    """The lines of the refusal, without the file's name."""
    with pytest.raises(DescriptionInvalid) as caught:
        load_description(text, filename)
    lines = caught.value.say("en").splitlines()[1:]
    assert len(lines) == caught.value.params["count"]
    assert len(caught.value.say("zh-CN").splitlines()) == len(lines) + 1
    return [line.removeprefix(f"{filename}:") for line in lines]


def column(text: str) -> list[str]:
    """The refusal of one column `c`, placed in line 9; only field and sentence are kept."""
    found = problems(MINIMAL + f"      x: {{type: text}}\n      c: {text}\n")
    assert all(line.startswith("9:") for line in found)
    return [line.split(": ", 1)[1].removeprefix("tables.t.columns.c.") for line in found]


def test_minimal_is_enough_for_the_workbench():
    described = load_description(MINIMAL)
    facts = to_facts(described)
    [table] = facts.tables
    assert table.unit is not None
    assert (table.unit.space, table.unit.stands_for, table.max_rows) == ("d:person", "person", 3)
    assert facts.min_units == 0
    assert described.policy.budget.per_project.epsilon == 1.0
    assert described.policy.methods == ["ask"]


def test_facts_of_a_full_description():
    facts = to_facts(load_description(FULL))
    assert (facts.name, facts.min_units) == ("health/visits", 7)
    visits, districts = facts.tables
    by_name = {c.name: c for c in visits.columns}
    assert by_name["城市"].domain == ("云海", "null", "no", "010", "1.50")
    assert (by_name["城市"].nullable, by_name["城市"].keys) == (True, Keys.PUBLIC)
    assert (by_name["code"].keys, by_name["code"].domain) == (Keys.PRIVATE, ())
    assert (by_name["amount"].lower, by_name["amount"].upper, by_name["amount"].step) == (
        Decimal("-0.5"),
        Decimal(5000),
        Decimal("0.25"),
    )
    assert (by_name["loose"].lower, by_name["loose"].step) == (None, Decimal("0.01"))
    assert by_name["age"].domain == tuple(range(121))
    assert by_name["band"].domain == tuple(range(0, 101, 10))
    assert by_name["listed"].domain == (3, 1, 2)
    assert all(isinstance(v, int) for v in by_name["listed"].domain)
    assert by_name["seen"].domain == (False, True)
    assert by_name["day"].lower == date(2024, 1, 1)
    assert by_name["at"].upper == datetime.fromisoformat("2024-12-31T23:59:59")
    assert by_name["holiday"].domain == (date(2024, 10, 1),)
    assert (districts.unit, districts.columns[0].max_repeats) == (None, 1)
    assert visits.columns[0].max_repeats is None
    assert by_name["day"].kind is Kind.DATE


@pytest.mark.parametrize(
    ("grade", "policy", "expected"),
    [
        ("", "", 0),
        ("grade: L3\n", "", 5),
        ("grade: L3\n", "policy: {min_units: 9}\n", 9),
        ("", "policy: {min_units: 2}\n", 2),
    ],
)
def test_min_units_follow_the_grade_unless_written(grade, policy, expected):
    assert to_facts(load_description(grade + MINIMAL + policy)).min_units == expected


def test_every_problem_is_named_at_once():
    text = """\
dataset: Health
title: {zh: x}
grade: L9
grade: L1
tables:
  t:
    unit: {column: nobody}
    max_row: 4
    columns:
      p: {type: txt}
      amount: {type: number, lower: 5, upper: !confirm 1, step: 0.01}
policy: {budget: {per_project: {epsilon: 9}, total: {epsilon: 3}}}
"""
    assert problems(text) == [
        "1:10: dataset: must be lower-case segments of letters, digits and single hyphens, joined by `/`, "
        "for example health/visits.",
        "2:1: title.en: missing.",
        "3:8: grade: must be one of: L1, L2, L3, L4.",
        "4:1: grade: written twice; the first is in line 3. Keep one.",
        "6:3: tables.t.max_rows: missing: how many rows of one unit count at most, a whole number from 1.",
        "7:20: tables.t.unit.column: no such column in this table. Its columns are: p, amount.",
        "8:5: tables.t.max_row: unknown field. Did you mean `max_rows`? Allowed here: title, unit, max_rows, columns.",
        "10:17: tables.t.columns.p.type: must be one of: integer, number, text, boolean, date, timestamp.",
        "11:37: tables.t.columns.amount.lower: is above `upper`.",
        "11:47: tables.t.columns.amount.upper: this value was read from the data. Check that it may be public, "
        "correct it if needed, then delete `!confirm`.",
        "12:42: policy.budget.per_project.epsilon: more than total.epsilon.",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "{type: number, lower: 0, upper: 9}",
            ["step: missing: a number column needs the spacing its values are rounded to, for example 0.01."],
        ),
        ("{type: number, step: 0}", ["step: must be above 0."]),
        ("{type: number, step: x}", ["step: must be a number above 0, for example 0.01."]),
        ("{type: number, step: nan}", ["step: must be a number above 0, for example 0.01."]),
        ("{type: number, step: 1e-10}", ["step: at most 9 decimal places and 8 significant digits."]),
        ("{type: number, step: 0.123456789}", ["step: at most 9 decimal places and 8 significant digits."]),
        ("{type: integer, step: 0.5}", ["step: an integer column needs a whole step."]),
        ("{type: text, step: 1}", ["step: only integer and number columns have a step."]),
        ("{type: integer, lower: 0}", ["upper: missing; give both bounds or none."]),
        ("{type: integer, upper: 0}", ["lower: missing; give both bounds or none."]),
        ("{type: integer, lower: 1.5, upper: 2}", ["lower: must be a whole number, for example 42."]),
        ("{type: integer, lower: 1e99999999, upper: 2}", ["lower: must be a whole number, for example 42."]),
        ("{type: integer, lower: 0, upper: 1e16}", ["upper: more than 1e15 steps away from 0; use a larger step."]),
        ("{type: number, step: 0.01, lower: 0.005, upper: 2}", ["lower: must be a multiple of the step 0.01."]),
        ("{type: number, step: 0.5, keys: public, domain: [0.25]}", ["domain.0: must be a multiple of the step 0.5."]),
        ("{type: text, lower: a}", ["lower: a text column has no bounds."]),
        ("{type: boolean, upper: true}", ["upper: a boolean column has no bounds."]),
        (
            "{type: date, lower: 2024-1-1, upper: 2024-02-30}",
            ["lower: must be a day, for example 2024-12-31.", "upper: must be a day, for example 2024-12-31."],
        ),
        (
            "{type: timestamp, lower: '2024-01-01T00:00:00Z', upper: x}",
            [
                "lower: must be a moment, for example 2024-12-31 23:59:59.",
                "upper: must be a moment, for example 2024-12-31 23:59:59.",
            ],
        ),
        ("{type: date, lower: 2024-02-01, upper: 2024-01-01}", ["lower: is above `upper`."]),
        (
            "{type: text, keys: public}",
            [
                "domain: missing: public keys need the list of all keys (only boolean and bounded integer columns derive it)."
            ],
        ),
        (
            "{type: integer, keys: public}",
            [
                "domain: missing: public keys need the list of all keys (only boolean and bounded integer columns derive it)."
            ],
        ),
        (
            "{type: integer, keys: public, lower: 0, upper: 10000}",
            ["keys: the bounds allow 10,001 keys; at most 10,000 can be derived. Use a larger step or private keys."],
        ),
        (
            "{type: text, domain: [a]}",
            ["domain: a domain is given, but the keys are private. Write `keys: public`, or delete the domain."],
        ),
        ("{type: text, keys: public, domain: []}", ["domain: must list at least one key."]),
        ("{type: text, keys: public, domain: [a, b, a]}", ["domain.2: listed twice."]),
        (
            "{type: text, keys: public, domain: [a, null]}",
            ["domain.1: NULL is not listed; set `nullable: true`. For the word null write it in quotes."],
        ),
        ("{type: boolean, keys: public, domain: [true]}", ["domain: boolean keys are known; delete the domain."]),
        (
            "{type: boolean, keys: public, domain: [maybe]}",
            ["domain: boolean keys are known; delete the domain.", "domain.0: must be true or false."],
        ),
        (
            "{type: integer, keys: public, lower: 1, upper: 3, domain: [0, 2, 4]}",
            ["domain.0: lies below `lower`.", "domain.2: lies above `upper`."],
        ),
        (
            "{type: text, unique: true}",
            ["unique: `unique` is for public tables; in a private table it would be a fact about persons."],
        ),
        ("{type: text, keys: secret}", ["keys: must be one of: public, private."]),
        ("{type: text, nullable: maybe}", ["nullable: must be true or false."]),
        ("{type: [text]}", ["type: must be one of: integer, number, text, boolean, date, timestamp."]),
        ("{type: text, domain: a, keys: public}", ["domain: must be a list."]),
    ],
)
def test_a_column_that_makes_no_sense(text, expected):
    assert column(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1:1: a description is a mapping that begins with `dataset:` and `tables:`."),
        ("- a\n", "1:1: a description is a mapping that begins with `dataset:` and `tables:`."),
        ("dataset: [\n", "2:1: this is not readable YAML"),
        ("dataset: d\n\ttables: x\n", "2:1: this is not readable YAML"),
        ("dataset: \x00\n", "1:1: this is not readable YAML"),
        ("a: &x 1\n", "1:4: YAML anchors and aliases"),
        ("a: *x\n", "1:4: YAML anchors and aliases"),
        ("a: 1\n---\nb: 2\n", "2:1: one file describes one dataset"),
        ("[" * 40, "1:17: nested more than 16 levels deep."),
        ("? [a]\n: b\n", "1:3: a key must be a single"),
        ("~: b\n", "1:1: a key must be a single"),
    ],
)
def test_a_text_that_is_no_description(text, expected):
    found = problems(text)
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_tags_construct_nothing():
    found = problems("dataset: !!python/object/apply:os.system [ls]\n" + MINIMAL.partition("\n")[2])
    assert found[0] == "1:10: dataset: YAML tags are not used here; delete the tag."


@pytest.mark.parametrize("name", ["_x", "a\u200bb", "' x'", "x" * 65, "a\u202eb", "''"])
def test_names_of_columns_and_tables(name):
    words = "a name has 1 to 64 characters"
    assert any(words in p for p in problems(MINIMAL + f"      {name}: {{type: text}}\n"))
    assert any(words in p for p in problems(MINIMAL + f"  {name}:\n    columns: {{a: {{type: text}}}}\n"))


@pytest.mark.parametrize("name", ["列", "Größe", "a b", 'say "x"; DROP TABLE t', "数据-1", "a'b"])
def test_names_in_any_script_are_kept(name):
    text = MINIMAL + f"      {json.dumps(name, ensure_ascii=False)}: {{type: text}}\n"
    assert to_facts(load_description(text)).tables[0].columns[1].name == name


@pytest.mark.parametrize(("first", "second"), [("City", "city"), ("ＡＢ", "ab"), ("Straße", "STRASSE")])
def test_names_that_sql_cannot_tell_apart(first, second):
    text = MINIMAL + f"      {first}: {{type: text}}\n      {second}: {{type: text}}\n"
    assert f"looks like “{first}”" in problems(text)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MINIMAL.replace("    unit: {column: person}\n    max_rows: 3\n", ""), "2:1: tables: no table names a `unit`"),
        (MINIMAL.replace("{column: person}", ""), "4:10: tables.t.unit: `unit` is empty."),
        (MINIMAL.replace("    max_rows: 3\n", ""), "3:3: tables.t.max_rows: missing: how many rows"),
        (MINIMAL.replace("max_rows: 3", "max_rows: 0"), "5:15: tables.t.max_rows: must be at least 1."),
        (MINIMAL.replace("max_rows: 3", "max_rows: many"), "5:15: tables.t.max_rows: must be a whole number."),
        (MINIMAL.replace("max_rows: 3", "max_rows: 1e9"), "5:15: tables.t.max_rows: must be a whole number."),
        (MINIMAL + "  p: {max_rows: 2, columns: {a: {type: text}}}\n", "8:17: tables.p.max_rows: `max_rows` bounds"),
        (MINIMAL.replace("{type: text}", "{type: date}"), "7:22: tables.t.columns.person.type: a unit column is text"),
        (
            MINIMAL.replace("{type: text}", "{type: text, nullable: true}"),
            "7:38: tables.t.columns.person.nullable: a unit",
        ),
        (MINIMAL.replace("      person: {type: text}", "      {}"), "tables.t.columns: needs at least 1 entry."),
        (MINIMAL + "policy: {methods: []}\n", "policy.methods: needs at least 1 entry."),
        (MINIMAL + "policy: {methods: [run]}\n", "policy.methods.0: must be one of: ask."),
        (MINIMAL + "policy: {expires: tomorrow}\n", "policy.expires: must be a day, for example 2027-12-31."),
        (MINIMAL + "policy: {budget: {total: {epsilon: 0}}}\n", "epsilon: must be above 0.0."),
        (MINIMAL + "policy: {budget: {total: {epsilon: .inf}}}\n", "epsilon: must be a number, for example 0.5."),
        (MINIMAL + "policy: {budget: {total: {epsilon: inf}}}\n", "epsilon: must be a number, for example 0.5."),
        (MINIMAL + "policy: {budget: {total: {epsilon: 9, delta: 1}}}\n", "delta: must be below 1.0."),
        (MINIMAL + "policy: {reviewers: 6}\n", "policy.reviewers: must be at most 5."),
        (MINIMAL + "policy: 3\n", "policy: must be a mapping (`name: value` lines, indented)."),
        (MINIMAL + "title: {zh: '', en: x}\n", "title.zh: must not be empty."),
        (MINIMAL + f"title: {{zh: {'x' * 2001}, en: x}}\n", "title.zh: at most 2000 characters."),
        (MINIMAL.replace("tables:\n", "tables: 3\nrest:\n"), "tables: must be a mapping"),
    ],
)
def test_a_table_or_policy_that_makes_no_sense(text, expected):
    assert any(expected in line for line in problems(text)), problems(text)


def test_tables_of_one_space_spell_their_units_alike():
    other = "  u:\n    unit: {column: person}\n    max_rows: 1\n    columns: {person: {type: integer}}\n"
    assert problems(MINIMAL + other) == [
        "11:30: tables.u.columns.person.type: text in table “t” of the same space; write the same type, or units will not match."
    ]
    assert load_description(MINIMAL + other.replace("person}\n", "person, space: cards}\n"))


def test_a_broken_column_hides_no_other_problem():
    text = MINIMAL.replace("max_rows: 3", "max_rows: x").replace("{type: text}", "3")
    assert problems(text) == [
        "5:15: tables.t.max_rows: must be a whole number.",
        "7:15: tables.t.columns.person: must be a mapping (`name: value` lines, indented).",
    ]


def test_a_long_list_of_columns_is_cut():
    many = "".join(f"      column_number_{i}: {{type: text}}\n" for i in range(60))
    [line] = problems(MINIMAL.replace("column: person", "column: nobody") + many)
    assert line.endswith(", ….")
    assert len(line) < 300


def test_a_text_of_a_megabyte_is_refused():
    with pytest.raises(TextTooLarge) as caught:
        load_description("#" * (LARGEST_TEXT + 1), "big.yaml")
    assert "big.yaml has 1,000,001 bytes" in caught.value.say("en")
    assert "big.yaml" in caught.value.say("zh-CN")


def test_what_the_catalogue_needs():
    with pytest.raises(DescriptionInvalid) as caught:
        require_complete(load_description(MINIMAL), "d.yaml")
    assert [p["field"] for p in caught.value.params["problems"]] == ["grade", "provider", "summary", "title"]
    described = load_description(FULL)
    assert require_complete(described) is described
    assert described.title is not None
    assert described.title.text() == Text("Hospital visits", "就诊记录")


def test_marks_tell_their_lines():
    assert list(marks("a: !confirm 1\nb: 2\nc: !confirm [1, 2]\n!confirm d: 3\n")) == [1, 3, 4]


def test_the_refusal_travels():
    with pytest.raises(DescriptionInvalid) as caught:
        load_description("x: {y}\n", "{odd}.yaml")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.say("en") == caught.value.say("en")
    assert "{odd}.yaml:1:1: x: unknown field." in copy.say("en")
    assert "未知字段" in copy.say("zh-CN")
    assert "docs/dataset-yaml" in copy.advise("en")
    assert json.dumps(copy.params["problems"])
    assert problem_codes()["description.invalid"] is DescriptionInvalid


def test_fields_are_known_at_every_level():
    assert fields_at(()) == tuple(module.Description.model_fields)
    assert fields_at(("tables", "x")) == tuple(module.Table.model_fields)
    assert fields_at(("tables", "x", "columns", "y")) == tuple(module.Column.model_fields)
    assert fields_at(("policy", "budget", "total")) == tuple(module.Allowance.model_fields)


def test_an_unknown_kind_of_error_still_gets_a_true_sentence():
    assert sentence_for("something_new", {}, "x", ()).en == "this value is not allowed here."


def test_the_published_schema_is_current_and_agrees():
    published = (ROOT / "docs" / "dataset.schema.json").read_text(encoding="utf-8")
    assert published == json_schema(), "write json_schema() to docs/dataset.schema.json"
    validator = Draft202012Validator(json.loads(published))
    Draft202012Validator.check_schema(json.loads(published))
    good = {
        "dataset": "health/visits",
        "tables": {"就诊": {"unit": {"column": "p"}, "max_rows": 4, "columns": {"p": {"type": "text"}}}},
        "policy": {"expires": "2027-12-31"},
    }
    assert validator.is_valid(good)
    assert not validator.is_valid(good | {"extra": 1})
    assert not validator.is_valid(good | {"dataset": "UPPER"})
    assert not validator.is_valid(good | {"tables": {"_hidden": {"columns": {"a": {"type": "text"}}}}})
