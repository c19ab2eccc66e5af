-- What is refused, each behind the code of its refusal: one question a line.
sql.unsupported | SELECT * FROM visits
sql.unit_column | SELECT person_id FROM visits
sql.unit_column | SELECT person_id, count(*) FROM visits GROUP BY person_id
sql.unit_column | SELECT max(person_id) FROM visits
sql.unit_column | SELECT count(*) FROM visits WHERE person_id = 7
sql.not_grouped | SELECT city, amount FROM visits
sql.unbounded | SELECT sum(stock) FROM visits
sql.one_statement | SELECT count(*) FROM visits; SELECT 1
sql.unsupported | DELETE FROM visits
sql.unsupported | UPDATE visits SET amount = 0
sql.unsupported | CREATE TABLE t AS SELECT * FROM visits
sql.unsupported | SELECT count(*) FROM read_csv('/etc/passwd')
sql.unknown_table | SELECT count(*) FROM 'visits.parquet'
sql.unsupported | SELECT count(*) FROM information_schema.tables
sql.unsupported | SELECT count(*) FROM duckdb_settings()
sql.unsupported | SELECT count(*) FROM visits USING SAMPLE 10%
sql.unsupported | SELECT count(*) FROM visits TABLESAMPLE 10%
sql.unknown_function | SELECT stats(amount) FROM visits
sql.unsupported | SELECT count(*) FROM query('SELECT 1')
sql.unknown_function | SELECT random() AS r, count(*) FROM visits GROUP BY r
sql.unknown_function | SELECT count(*) FROM visits WHERE random() < 0.5
sql.unknown_function | SELECT hash(city) AS h, count(*) FROM visits GROUP BY h
sql.unknown_aggregate | SELECT list(amount) FROM visits
sql.unknown_aggregate | SELECT array_agg(amount) FROM visits
sql.unknown_aggregate | SELECT string_agg(note, ',') FROM visits
sql.unknown_aggregate | SELECT arg_max(amount, age) FROM visits
sql.unknown_aggregate | SELECT first(amount) FROM visits
sql.unknown_aggregate | SELECT any_value(note) FROM visits
sql.unbounded | SELECT max(stock) FROM visits
sql.unsupported | SELECT quantile_cont(amount, [0.1, 0.9]) FROM visits
sql.unsupported | SELECT quantile_cont(amount, 2) FROM visits
sql.unknown_aggregate | SELECT mode(city) FROM visits
sql.unsupported | SELECT count(DISTINCT city, dept) FROM visits
sql.distinct_not_counted | SELECT sum(DISTINCT age) FROM visits
sql.unknown_function | SELECT error('x') FROM visits
sql.unknown_function | SELECT count(*) FROM visits WHERE error(note) IS NULL
sql.unsupported | SELECT count(*) FROM (SELECT * FROM visits LIMIT 10) v
sql.unsupported | SELECT count(*) FROM (SELECT * FROM visits ORDER BY amount DESC) v
sql.unit_missing | SELECT count(*) FROM (SELECT row_number() OVER (ORDER BY amount) AS r FROM visits) v WHERE r < 10
sql.noisy_subquery | SELECT count(*) FROM visits WHERE city IN (SELECT city FROM visits GROUP BY city HAVING count(*) > 9)
sql.noisy_subquery | WITH wages AS (SELECT city, count(*) AS n FROM visits GROUP BY city) SELECT count(*) FROM visits WHERE person_id IN (SELECT person_id FROM wages)
sql.answer_beside_rows | SELECT count(*) FROM visits v JOIN (SELECT city, count(*) AS n FROM visits GROUP BY city) t ON v.city = t.city
sql.answer_beside_rows | WITH t AS (SELECT city, count(*) AS n FROM visits GROUP BY city) SELECT city, (SELECT note FROM visits LIMIT 1) AS x FROM t
sql.answer_beside_rows | WITH t AS (SELECT city, count(*) AS n FROM visits GROUP BY city) SELECT city FROM t WHERE city IN (SELECT city FROM visits)
sql.answer_beside_rows | WITH t AS (SELECT city, count(*) AS n FROM visits GROUP BY city) SELECT city FROM t UNION ALL SELECT note FROM visits
sql.unknown_column | SELECT city, (SELECT count(*) FROM visits WHERE visits.city = t.city) AS n FROM (SELECT city, count(*) AS n FROM visits GROUP BY city) t
sql.unknown_function | SELECT city, getenv('HOME') AS h FROM (SELECT city, count(*) AS n FROM visits GROUP BY city) t
sql.unknown_aggregate | SELECT string_agg(city, ',') AS c FROM (SELECT city, count(*) AS n FROM visits GROUP BY city) t
sql.unsupported | SELECT * FROM (SELECT city, count(*) AS n FROM visits GROUP BY city) t, read_csv('/etc/passwd') AS f
sql.unsupported | WITH RECURSIVE t AS (SELECT city, count(*) AS n FROM visits GROUP BY city UNION ALL SELECT city, n FROM t) SELECT * FROM t
sql.unknown_table | SELECT * FROM (SELECT city, count(*) AS n FROM visits GROUP BY city) t JOIN noisy ON TRUE
sql.too_many_parts | WITH t AS (SELECT day, count(*) AS n FROM visits GROUP BY day) SELECT count(*) FROM t a, t b, t c, t d
sql.unsupported | SELECT a.n FROM (SELECT city, count(*) AS n FROM visits GROUP BY city) a RIGHT JOIN places p USING (city)
sql.join_needs_condition | SELECT a.n FROM (SELECT city, count(*) AS n FROM visits GROUP BY city) a LEFT JOIN places p
sql.unsupported | SELECT n - (SELECT population FROM places) AS x FROM (SELECT city, count(*) AS n FROM visits GROUP BY city) a
sql.ambiguous_column | SELECT city FROM (SELECT city, count(*) AS n FROM visits GROUP BY city) a JOIN places p ON a.city = p.city
sql.not_grouped | SELECT 省份, n FROM (SELECT city, count(*) AS n FROM visits GROUP BY city) a JOIN places USING (city) GROUP BY 省份
sql.type_mismatch | WITH t AS (SELECT city, count(*) AS n FROM visits GROUP BY city) SELECT city FROM t UNION SELECT n FROM t
sql.unsupported | SELECT count(*) FROM visits WHERE amount > (SELECT avg(amount) FROM visits)
sql.no_private_table | SELECT (SELECT count(*) FROM places)
sql.private_not_on_unit | SELECT count(*) FROM visits a JOIN visits b ON a.city = b.city
sql.private_not_on_unit | SELECT count(*) FROM visits a CROSS JOIN visits b
sql.private_not_on_unit | SELECT count(*) FROM visits, wages
sql.unsupported | SELECT count(*) FROM visits v RIGHT JOIN places p ON v.city = p.city
sql.unsupported | SELECT count(*) FROM visits v FULL JOIN places p ON v.city = p.city
sql.join_needs_condition | SELECT count(*) FROM visits v JOIN places p
sql.join_needs_condition | SELECT count(*) FROM visits v LEFT JOIN places p
sql.join_too_large | SELECT count(*) FROM visits, events a, events b, events c, events d, events e, events f, events g
sql.private_not_on_unit | SELECT count(*) FROM visits v, wages w, places p WHERE p.tier = v.age AND w.wage > p.tier
sql.unsupported | SELECT count(*) FROM visits v NATURAL JOIN places p
sql.unsupported | SELECT count(*) FROM visits v ASOF JOIN events e ON v.day >= e.held
sql.unit_missing | SELECT count(*) FROM visits v WHERE EXISTS (SELECT 1 FROM wages w WHERE w.wage > v.age)
sql.unsupported | WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r
sql.not_grouped | SELECT sum(amount) OVER () FROM visits
sql.unsupported | SELECT count(*) FROM visits WHERE rank() OVER (ORDER BY age) < 3
sql.misplaced_aggregate | SELECT sum(count(*)) FROM visits
sql.misplaced_aggregate | SELECT count(*) FROM visits WHERE count(*) > 3
sql.unknown_table | SELECT count(*) FROM nowhere
sql.unknown_column | SELECT nothing, count(*) FROM visits GROUP BY nothing
sql.no_private_table | SELECT count(*) FROM places
sql.no_aggregate | SELECT city FROM visits GROUP BY city
sql.unsupported | SELECT count(*) FROM visits WHERE note ~ '(?=x)'
sql.unsupported | SELECT count(*) FROM visits WHERE regexp_matches(note, dept)
sql.unknown_function | SELECT repeat(note, 1000000000) AS r, count(*) FROM visits GROUP BY r
sql.unsupported | SELECT lpad(note, 1000000000, 'x') AS r, count(*) FROM visits GROUP BY r
sql.syntax | SELECT count(*) FROM visits WHERE note LIKE '%x' ESCAPE note
sql.unsupported | SELECT count(*) FROM visits WHERE age = $1
sql.unsupported | SELECT count(*) FROM visits WHERE age = ?
sql.unknown_function | SELECT getvariable('x'), count(*) FROM visits
sql.unknown_function | SELECT current_setting('threads'), count(*) FROM visits
sql.not_grouped | SELECT count(*) FROM visits ORDER BY amount
sql.bad_position | SELECT count(*) FROM visits LIMIT (SELECT 1)
sql.unsupported | PRAGMA table_info('visits')
sql.unsupported | EXPLAIN ANALYZE SELECT count(*) FROM visits
sql.unsupported | COPY visits TO 'x.csv'
sql.unit_column | SELECT coalesce(person_id, 0) AS p, count(*) FROM visits GROUP BY p
sql.unit_column | SELECT count(DISTINCT person_id + 1) FROM visits
sql.unit_column | SELECT count(*) FROM visits WHERE person_id IN (1, 2, 3)
sql.unbounded | SELECT min(seen), max(CAST(note AS TIMESTAMP)) FROM visits
sql.type_mismatch | SELECT median(note) FROM visits
sql.unknown_aggregate | SELECT approx_quantile(amount, 0.5) FROM visits
sql.too_many_cells | SELECT city, dept, level, rate, urgent, 性别, month(day), median(amount) FROM visits GROUP BY ALL
sql.unsupported | SELECT median(amount) FROM (SELECT person_id, quantile_cont(amount, 0.5) AS amount FROM visits GROUP BY person_id) v
sql.unsupported | SELECT city, count(*) FROM visits GROUP BY city WITH ROLLUP
sql.unsupported | SELECT count(*) FROM (SELECT person_id, city, count(*) AS n FROM visits GROUP BY person_id, ROLLUP (city)) t
sql.unsupported | SELECT n, count(*) FROM (SELECT city, count(*) AS n FROM visits GROUP BY city) t GROUP BY ROLLUP (n)
sql.too_many_parts | SELECT count(*) FROM visits GROUP BY CUBE (city, dept, urgent, month(day), year(day))
sql.not_grouped | SELECT dept, count(*) FROM visits GROUP BY ROLLUP (city)
sql.unit_column | SELECT count(*) FROM visits GROUP BY ROLLUP (person_id)
sql.unsupported | SELECT city, grouping(dept), count(*) FROM visits GROUP BY ROLLUP (city)
sql.no_aggregate | SELECT city, dept FROM visits GROUP BY CUBE (city, dept)
sql.answer_beside_rows | SELECT city FROM places p, (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t WHERE EXISTS (SELECT 1 FROM visits WHERE visits.city = p.city)
sql.unsupported | SELECT city FROM places p WHERE EXISTS (SELECT 1 FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t, events e)
sql.unsupported | SELECT n FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t WHERE (EXISTS (SELECT 1 FROM places)) OR n > 3
sql.unknown_function | SELECT n FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t WHERE EXISTS (SELECT getenv('x') FROM places)
