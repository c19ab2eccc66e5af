"""Eleven queries of TPC-H, with the customer as the unit whose presence is hidden.

Owns a small generator of the eight tables (after the distributions of the specification's section 4.2.3, but for texts nobody
reads; deterministic, in SQL) and the queries as an analyst would write them here. Customers, orders and lines are private;
parts, suppliers, nations and regions are public. The office that provides the data writes the customer into every private
table, so a line has `l_custkey`, and private tables meet on the customer first.

Where the original shows one row for each order or customer, which is what privacy hides, it is asked as it stands and once
more (marked with ') in the way a study would ask it: by month, by nation.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from benchmarks.tables import uniform

PRIVATE = ("customer", "orders", "lineitem")
TABLES = (*PRIVATE, "part", "partsupp", "supplier", "nation", "region")

_NATIONS = (
    "ALGERIA 0,ARGENTINA 1,BRAZIL 1,CANADA 1,EGYPT 4,ETHIOPIA 0,FRANCE 3,GERMANY 3,INDIA 2,INDONESIA 2,IRAN 4,IRAQ 4,JAPAN 2,"
    "JORDAN 4,KENYA 0,MOROCCO 0,MOZAMBIQUE 0,PERU 1,CHINA 2,ROMANIA 3,SAUDI ARABIA 4,VIETNAM 2,RUSSIA 3,UNITED KINGDOM 3,"
    "UNITED STATES 1"
)
NATIONS = [tuple(nation.rsplit(" ", 1)) for nation in _NATIONS.split(",")]
REGIONS = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"]
SEGMENTS = ["AUTOMOBILE", "BUILDING", "FURNITURE", "MACHINERY", "HOUSEHOLD"]
PRIORITIES = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"]
MODES = ["REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB"]
INSTRUCTIONS = ["DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"]
_TYPES = (
    ["STANDARD", "SMALL", "MEDIUM", "LARGE", "ECONOMY", "PROMO"],
    ["ANODIZED", "BURNISHED", "PLATED", "POLISHED", "BRUSHED"],
    ["TIN", "NICKEL", "BRASS", "STEEL", "COPPER"],
)
_CONTAINERS = (["SM", "LG", "MED", "JUMBO", "WRAP"], ["CASE", "BOX", "BAG", "JAR", "PKG", "PACK", "CAN", "DRUM"])


def _description() -> str:
    nations = [name for name, _ in NATIONS]
    customer = "stands_for: customer, space: customer-id"
    return f"""
dataset: bench/tpch
tables:
  customer:
    unit: {{column: c_custkey, {customer}}}
    max_rows: 1
    columns:
      c_custkey: {{type: integer}}
      c_nationkey: {{type: integer, lower: 0, upper: 24, keys: public}}
      c_acctbal: {{type: number, lower: -1000, upper: 10000, step: 0.01}}
      c_mktsegment: {{type: text, keys: public, domain: {SEGMENTS}}}
  orders:
    unit: {{column: o_custkey, {customer}}}
    max_rows: 40
    columns:
      o_orderkey: {{type: integer}}
      o_custkey: {{type: integer}}
      o_orderstatus: {{type: text, keys: public, domain: [F, O, P]}}
      o_totalprice: {{type: number, lower: 0, upper: 600000, step: 0.01}}
      o_orderdate: {{type: date, lower: 1992-01-01, upper: 1998-08-02}}
      o_orderpriority: {{type: text, keys: public, domain: {PRIORITIES}}}
      o_shippriority: {{type: integer, lower: 0, upper: 0, keys: public}}
      o_comment: {{type: text}}
  lineitem:
    unit: {{column: l_custkey, {customer}}}
    max_rows: 160
    columns:
      l_custkey: {{type: integer}}
      l_orderkey: {{type: integer}}
      l_partkey: {{type: integer}}
      l_suppkey: {{type: integer}}
      l_linenumber: {{type: integer, lower: 1, upper: 7, keys: public}}
      l_quantity: {{type: number, lower: 1, upper: 50, step: 1}}
      l_extendedprice: {{type: number, lower: 900, upper: 105000, step: 0.01}}
      l_discount: {{type: number, lower: 0, upper: 0.1, step: 0.01}}
      l_tax: {{type: number, lower: 0, upper: 0.08, step: 0.01}}
      l_returnflag: {{type: text, keys: public, domain: [A, N, R]}}
      l_linestatus: {{type: text, keys: public, domain: [F, O]}}
      l_shipdate: {{type: date, lower: 1992-01-02, upper: 1998-12-01}}
      l_commitdate: {{type: date, lower: 1992-01-31, upper: 1998-10-31}}
      l_receiptdate: {{type: date, lower: 1992-01-03, upper: 1998-12-31}}
      l_shipinstruct: {{type: text, keys: public, domain: {INSTRUCTIONS}}}
      l_shipmode: {{type: text, keys: public, domain: {MODES}}}
  part:
    columns:
      p_partkey: {{type: integer, unique: true}}
      p_brand: {{type: text}}
      p_type: {{type: text}}
      p_size: {{type: integer, lower: 1, upper: 50}}
      p_container: {{type: text}}
      p_retailprice: {{type: number, lower: 900, upper: 2100, step: 0.01}}
  partsupp:
    columns:
      ps_partkey: {{type: integer}}
      ps_suppkey: {{type: integer}}
      ps_availqty: {{type: integer, lower: 1, upper: 9999}}
      ps_supplycost: {{type: number, lower: 1, upper: 1000, step: 0.01}}
  supplier:
    columns:
      s_suppkey: {{type: integer, unique: true}}
      s_nationkey: {{type: integer, lower: 0, upper: 24, keys: public}}
      s_acctbal: {{type: number, lower: -1000, upper: 10000, step: 0.01}}
  nation:
    columns:
      n_nationkey: {{type: integer, unique: true}}
      n_name: {{type: text, keys: public, domain: {nations}}}
      n_regionkey: {{type: integer, lower: 0, upper: 4, keys: public}}
  region:
    columns:
      r_regionkey: {{type: integer, unique: true}}
      r_name: {{type: text, keys: public, domain: {REGIONS}}}
"""


DESCRIPTION = _description()

_REVENUE = "l_extendedprice * (1 - l_discount)"
_ORDER_LINES = "orders JOIN lineitem ON l_custkey = o_custkey AND l_orderkey = o_orderkey"
_CUSTOMER_LINES = (
    "customer JOIN orders ON o_custkey = c_custkey JOIN lineitem ON l_custkey = o_custkey AND l_orderkey = o_orderkey"
)
_Q3 = "WHERE c_mktsegment = 'BUILDING' AND o_orderdate < DATE '1995-03-15' AND l_shipdate > DATE '1995-03-15'"
_Q10 = "WHERE o_orderdate >= DATE '1993-10-01' AND o_orderdate < DATE '1994-01-01' AND l_returnflag = 'R'"

QUERIES = {
    "1": f"""
        SELECT l_returnflag, l_linestatus, sum(l_quantity) AS sum_qty, sum(l_extendedprice) AS sum_base_price,
               sum({_REVENUE}) AS sum_disc_price, sum({_REVENUE} * (1 + l_tax)) AS sum_charge, avg(l_quantity) AS avg_qty,
               avg(l_extendedprice) AS avg_price, avg(l_discount) AS avg_disc, count(*) AS count_order
        FROM lineitem WHERE l_shipdate <= DATE '1998-09-02'
        GROUP BY l_returnflag, l_linestatus ORDER BY l_returnflag, l_linestatus""",
    "3": f"""
        SELECT l_orderkey, o_orderdate, o_shippriority, sum({_REVENUE}) AS revenue FROM {_CUSTOMER_LINES} {_Q3}
        GROUP BY l_orderkey, o_orderdate, o_shippriority ORDER BY revenue DESC, o_orderdate LIMIT 10""",
    "3'": f"""
        SELECT date_trunc('month', o_orderdate) AS ordered, sum({_REVENUE}) AS revenue FROM {_CUSTOMER_LINES} {_Q3}
        AND o_orderdate >= DATE '1994-12-01' GROUP BY ordered ORDER BY ordered""",
    "4": """
        SELECT o_orderpriority, count(*) AS order_count FROM orders
        WHERE o_orderdate >= DATE '1993-07-01' AND o_orderdate < DATE '1993-10-01' AND EXISTS (
            SELECT 1 FROM lineitem
            WHERE l_custkey = o_custkey AND l_orderkey = o_orderkey AND l_commitdate < l_receiptdate)
        GROUP BY o_orderpriority ORDER BY o_orderpriority""",
    "5": f"""
        SELECT n_name, sum({_REVENUE}) AS revenue FROM {_CUSTOMER_LINES}
        JOIN supplier ON l_suppkey = s_suppkey AND c_nationkey = s_nationkey
        JOIN nation ON s_nationkey = n_nationkey JOIN region ON n_regionkey = r_regionkey
        WHERE r_name = 'ASIA' AND o_orderdate >= DATE '1994-01-01' AND o_orderdate < DATE '1995-01-01'
        GROUP BY n_name ORDER BY revenue DESC""",
    "6": """
        SELECT sum(l_extendedprice * l_discount) AS revenue FROM lineitem
        WHERE l_shipdate >= DATE '1994-01-01' AND l_shipdate < DATE '1995-01-01'
          AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24""",
    "10": f"""
        SELECT c_custkey, n_name, sum({_REVENUE}) AS revenue
        FROM {_CUSTOMER_LINES} JOIN nation ON c_nationkey = n_nationkey {_Q10}
        GROUP BY c_custkey, n_name ORDER BY revenue DESC LIMIT 20""",
    "10'": f"""
        SELECT n_name, sum({_REVENUE}) AS revenue, count(DISTINCT c_custkey) AS customers
        FROM {_CUSTOMER_LINES} JOIN nation ON c_nationkey = n_nationkey {_Q10}
        GROUP BY n_name ORDER BY n_name""",
    "12": f"""
        SELECT l_shipmode,
               sum(CASE WHEN o_orderpriority IN ('1-URGENT', '2-HIGH') THEN 1 ELSE 0 END) AS high_line_count,
               sum(CASE WHEN o_orderpriority NOT IN ('1-URGENT', '2-HIGH') THEN 1 ELSE 0 END) AS low_line_count
        FROM {_ORDER_LINES}
        WHERE l_shipmode IN ('MAIL', 'SHIP') AND l_commitdate < l_receiptdate AND l_shipdate < l_commitdate
          AND l_receiptdate >= DATE '1994-01-01' AND l_receiptdate < DATE '1995-01-01'
        GROUP BY l_shipmode ORDER BY l_shipmode""",
    "13": """
        SELECT c_count, count(*) AS custdist FROM (
            SELECT c_custkey, count(o_orderkey) AS c_count FROM customer
            LEFT JOIN orders ON c_custkey = o_custkey AND o_comment NOT LIKE '%special%requests%'
            GROUP BY c_custkey) AS c_orders
        GROUP BY c_count ORDER BY custdist DESC, c_count DESC""",
    "14": f"""
        SELECT 100.00 * sum(CASE WHEN p_type LIKE 'PROMO%' THEN {_REVENUE} ELSE 0 END) / sum({_REVENUE}) AS promo_revenue
        FROM lineitem JOIN part ON l_partkey = p_partkey
        WHERE l_shipdate >= DATE '1995-09-01' AND l_shipdate < DATE '1995-10-01'""",
    "15": f"""
        WITH revenue AS (
            SELECT l_suppkey AS supplier_no, sum({_REVENUE}) AS total_revenue FROM lineitem
            WHERE l_shipdate >= DATE '1996-01-01' AND l_shipdate < DATE '1996-04-01' GROUP BY l_suppkey)
        SELECT s_suppkey, s_nationkey, total_revenue FROM supplier, revenue
        WHERE s_suppkey = supplier_no AND total_revenue = (SELECT max(total_revenue) FROM revenue) ORDER BY s_suppkey""",
    "19": f"""
        SELECT sum({_REVENUE}) AS revenue FROM lineitem JOIN part ON p_partkey = l_partkey
        WHERE l_shipmode IN ('AIR', 'REG AIR') AND l_shipinstruct = 'DELIVER IN PERSON' AND (
            (p_brand = 'Brand#12' AND p_container IN ('SM CASE', 'SM BOX', 'SM PACK', 'SM PKG')
             AND l_quantity BETWEEN 1 AND 11 AND p_size BETWEEN 1 AND 5)
            OR (p_brand = 'Brand#23' AND p_container IN ('MED BAG', 'MED BOX', 'MED PKG', 'MED PACK')
                AND l_quantity BETWEEN 10 AND 20 AND p_size BETWEEN 1 AND 10)
            OR (p_brand = 'Brand#34' AND p_container IN ('LG CASE', 'LG BOX', 'LG PACK', 'LG PKG')
                AND l_quantity BETWEEN 20 AND 30 AND p_size BETWEEN 1 AND 15))""",
}


def _whole(seed: str, low: int, high: int) -> str:
    """SQL of a whole number from low to high."""
    return f"({low} + floor({high - low + 1} * {uniform(seed)})::INT)"


def _one(seed: str, words: list[str]) -> str:
    """SQL of one of the words."""
    return f"{words}[{_whole(seed, 1, len(words))}]"


def _money(seed: str, low: int, high: int) -> str:
    """SQL of an amount with cents; the ends are in cents."""
    return f"({_whole(seed, low, high)} / 100.0)::DECIMAL(15, 2)"


def _tables(scale: float) -> dict[str, str]:
    """SQL of every table, in the order in which they are made; a seed is the row's number times 100 and a column's number."""
    customers, orders, parts, suppliers = (max(10, round(n * scale)) for n in (150_000, 1_500_000, 200_000, 10_000))
    supplier = f"({{part}} + {{i}} * ({suppliers} // 4 + ({{part}} - 1) // {suppliers})) % {suppliers} + 1"
    named = ", ".join(f"({i}, '{name}', {region})" for i, (name, region) in enumerate(NATIONS))
    return {
        "region": f"SELECT i - 1 AS r_regionkey, {REGIONS}[i] AS r_name FROM range(1, 6) t(i)",
        "nation": f"SELECT * FROM (VALUES {named}) t(n_nationkey, n_name, n_regionkey)",
        "supplier": f"""
            SELECT i AS s_suppkey, {_whole("i * 100 + 1", 0, 24)} AS s_nationkey,
                   {_money("i * 100 + 2", -99_999, 999_999)} AS s_acctbal FROM range(1, {suppliers + 1}) t(i)""",
        "part": f"""
            SELECT i AS p_partkey,
                   'Brand#' || {_whole("i * 100 + 3", 1, 5)} || {_whole("i * 100 + 4", 1, 5)} AS p_brand,
                   {" || ' ' || ".join(_one(f"i * 100 + {5 + k}", words) for k, words in enumerate(_TYPES))} AS p_type,
                   {_whole("i * 100 + 8", 1, 50)} AS p_size,
                   {" || ' ' || ".join(_one(f"i * 100 + {9 + k}", words) for k, words in enumerate(_CONTAINERS))}
                       AS p_container,
                   ((90000 + (i // 10) % 20001 + 100 * (i % 1000)) / 100.0)::DECIMAL(15, 2) AS p_retailprice
            FROM range(1, {parts + 1}) t(i)""",
        "partsupp": f"""
            SELECT p_partkey AS ps_partkey, {supplier.format(part="p_partkey", i="j")} AS ps_suppkey,
                   {_whole("(p_partkey * 4 + j) * 100 + 12", 1, 9999)} AS ps_availqty,
                   {_money("(p_partkey * 4 + j) * 100 + 13", 100, 100_000)} AS ps_supplycost
            FROM part, range(4) t(j)""",
        "customer": f"""
            SELECT i AS c_custkey, {_whole("i * 100 + 14", 0, 24)} AS c_nationkey,
                   {_money("i * 100 + 15", -99_999, 999_999)} AS c_acctbal,
                   {_one("i * 100 + 16", SEGMENTS)} AS c_mktsegment FROM range(1, {customers + 1}) t(i)""",
        "ordered": f"""
            SELECT i // 8 * 32 + i % 8 + 1 AS o_orderkey, n // 2 * 3 + n % 2 + 1 AS o_custkey,
                   DATE '1992-01-01' + {_whole("i * 100 + 18", 0, 2405)} AS o_orderdate,
                   {_one("i * 100 + 19", PRIORITIES)} AS o_orderpriority, 0 AS o_shippriority,
                   if({uniform("i * 100 + 20")} < 0.012, 'as special as all requests', 'as usual') AS o_comment
            FROM (SELECT i, floor({customers * 2 // 3} * {uniform("i * 100 + 17")})::INT AS n FROM range({orders}) t(i))""",
        "lineitem": f"""
            WITH line AS (
                SELECT o_custkey AS l_custkey, o_orderkey AS l_orderkey, j AS l_linenumber, o_orderdate,
                       (o_orderkey * 8 + j) * 100 AS seed FROM ordered, range(1, 8) t(j)
                WHERE j <= {_whole("o_orderkey * 100 + 21", 1, 7)}),
            sent AS (
                SELECT *, {_whole("seed + 22", 1, parts)} AS l_partkey, {_whole("seed + 24", 1, 50)} AS quantity,
                       o_orderdate + {_whole("seed + 25", 1, 121)} AS l_shipdate,
                       o_orderdate + {_whole("seed + 26", 30, 90)} AS l_commitdate FROM line),
            received AS (SELECT *, l_shipdate + {_whole("seed + 27", 1, 30)} AS l_receiptdate FROM sent)
            SELECT l_custkey, l_orderkey, l_partkey, {supplier.format(part="l_partkey", i=_whole("seed + 23", 0, 3))}
                       AS l_suppkey, l_linenumber, quantity::DECIMAL(15, 2) AS l_quantity,
                   (quantity * p_retailprice)::DECIMAL(15, 2) AS l_extendedprice,
                   {_money("seed + 28", 0, 10)} AS l_discount, {_money("seed + 29", 0, 8)} AS l_tax,
                   CASE WHEN l_receiptdate > DATE '1995-06-17' THEN 'N'
                        WHEN {uniform("seed + 30")} < 0.5 THEN 'R' ELSE 'A' END AS l_returnflag,
                   if(l_shipdate > DATE '1995-06-17', 'O', 'F') AS l_linestatus, l_shipdate, l_commitdate, l_receiptdate,
                   {_one("seed + 31", INSTRUCTIONS)} AS l_shipinstruct, {_one("seed + 32", MODES)} AS l_shipmode
            FROM received JOIN part ON p_partkey = l_partkey""",
        "orders": """
            SELECT o_orderkey, o_custkey, CASE WHEN open = 0 THEN 'F' WHEN open = 1 THEN 'O' ELSE 'P' END AS o_orderstatus,
                   price::DECIMAL(15, 2) AS o_totalprice, o_orderdate, o_orderpriority, o_shippriority, o_comment
            FROM ordered JOIN (
                SELECT l_orderkey, sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS price,
                       avg(if(l_linestatus = 'O', 1.0, 0.0)) AS open
                FROM lineitem GROUP BY l_orderkey) ON l_orderkey = o_orderkey""",
    }


def create(connection: duckdb.DuckDBPyConnection, scale: float) -> None:
    """Make the eight tables in an open database."""
    for name, select in _tables(scale).items():
        connection.execute(f"CREATE TABLE {name} AS {select}")
    connection.execute("DROP TABLE ordered")


def sources(scale: float, folder: Path) -> dict[str, Path]:
    """The eight tables as Parquet files."""
    with duckdb.connect() as connection:
        create(connection, scale)
        for name in TABLES:
            connection.execute(f"COPY (FROM {name}) TO '{folder / name}.parquet' (FORMAT PARQUET)")
    return {name: folder / f"{name}.parquet" for name in TABLES}
