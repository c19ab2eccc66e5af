-- Subqueries, rows of one unit beside each other, and what a row may ask about others: one question a line.
SELECT count(*) FROM (SELECT * FROM visits) v
SELECT dept, count(*) FROM (SELECT dept, age FROM visits WHERE age > 30) v WHERE age < 60 GROUP BY dept
SELECT count(DISTINCT p), sum(a) FROM (SELECT person_id AS p, age + 1 AS a FROM visits) v
SELECT c, count(*) FROM (SELECT city, age FROM visits) AS v(c, a) WHERE a > 50 GROUP BY c HAVING count(*) > 0
WITH v AS (SELECT * FROM visits WHERE urgent) SELECT count(*), count(DISTINCT person_id) FROM v
WITH a AS (SELECT person_id, amount FROM visits), b AS (SELECT person_id AS who, amount * 2 AS twice FROM a) SELECT sum(twice), count(DISTINCT who) FROM b
WITH visits AS (SELECT * FROM visits WHERE age > 40) SELECT dept, count(*) FROM visits GROUP BY dept
WITH w(p, m) AS (SELECT person_id, wage FROM wages) SELECT avg(m), count(DISTINCT p) FROM w
WITH a AS (SELECT person_id, dept FROM visits) SELECT count(*) FROM a x JOIN a y ON x.person_id = y.person_id AND x.dept = y.dept
SELECT count(*) FROM (FROM visits) WHERE dept IS NULL
SELECT count(*), avg(n) FROM (SELECT person_id, count(*) AS n FROM visits GROUP BY person_id) p
SELECT n, count(*) FROM (SELECT person_id, count(*) AS n FROM visits GROUP BY person_id) p GROUP BY n HAVING count(*) > 0
SELECT avg(total), stddev(total), sum(total) FROM (SELECT person_id, sum(amount) AS total FROM visits GROUP BY person_id) p
SELECT avg(a), avg(b), avg(c), avg(d) FROM (SELECT person_id, avg(amount) AS a, min(score) AS b, max(age) AS c, avg(score) AS d FROM visits GROUP BY person_id) p
SELECT k, count(*) FROM (SELECT count(DISTINCT city) AS k FROM visits GROUP BY person_id) p GROUP BY k HAVING count(*) > 0
SELECT avg(v), avg(w), count(v), avg(s), avg(t) FROM (SELECT var_samp(amount) AS v, stddev_pop(age) AS w, stddev(score) AS s, var_pop(fee) AS t FROM visits GROUP BY person_id) p
SELECT a, o, count(*) FROM (SELECT bool_and(urgent) AS a, bool_or(urgent) AS o FROM visits GROUP BY person_id) p GROUP BY a, o HAVING count(*) > 0
SELECT city, avg(n) FROM (SELECT person_id, city, count(*) AS n FROM visits GROUP BY person_id, city) p GROUP BY city HAVING avg(n) > 0
SELECT count(*) FROM (SELECT person_id FROM visits GROUP BY 1 HAVING count(*) > 3 AND avg(age) > 50) p
SELECT count(*) FROM (SELECT person_id, dept FROM visits GROUP BY ALL) p
SELECT avg(r) FROM (SELECT person_id, sum(CASE WHEN urgent THEN 1 ELSE 0 END) / count(*) AS r FROM visits GROUP BY person_id) p
SELECT sum(u), sum(f) FROM (SELECT count(*) FILTER (WHERE urgent) AS u, count_if(age > 40) AS f FROM visits GROUP BY person_id) p
SELECT avg(x) FROM (SELECT sum(amount) FILTER (WHERE age > 90) AS x FROM visits GROUP BY person_id) p
SELECT m, count(*) FROM (SELECT min(dept) AS m FROM visits GROUP BY person_id) p GROUP BY m
SELECT h, count(*) FROM (SELECT max(city) AS h, max(day) AS last FROM visits GROUP BY person_id) p WHERE last > '2024-06-30' GROUP BY h HAVING count(*) > 0
SELECT s, count(*) FROM (SELECT person_id, count(*) > 4 AS s FROM visits GROUP BY person_id) p GROUP BY s
SELECT month, avg(n) FROM (SELECT person_id, date_trunc('month', day) AS month, count(*) AS n FROM visits GROUP BY person_id, month) p GROUP BY month HAVING avg(n) > 0
SELECT avg(n) FROM (SELECT who, count(*) AS n FROM (SELECT person_id AS who, dept FROM visits WHERE urgent) v GROUP BY who) p
SELECT avg(least(greatest(t, -3000), 3000)) FROM (SELECT sum(stock) AS t FROM visits GROUP BY person_id) p
SELECT count(*), avg(wage), count(DISTINCT v.person_id) FROM visits v JOIN wages w ON v.person_id = w.person_id
SELECT dept, avg(wage) FROM visits JOIN wages USING (person_id) GROUP BY dept
SELECT count(*), count(wage), count(DISTINCT w.person_id) FROM visits v LEFT JOIN wages w ON v.person_id = w.person_id AND w.wage > 60000
SELECT count(*) FROM visits v LEFT JOIN wages w ON v.person_id = w.person_id AND w.wage > 60000 WHERE w.wage IS NULL
SELECT count(*) FROM visits a JOIN visits b ON a.person_id = b.person_id AND a.day < b.day
SELECT a.city, count(*) FROM visits a JOIN visits b USING (person_id) WHERE a.city <> b.city GROUP BY a.city HAVING count(*) > 0
SELECT tier, avg(w.wage) FROM visits v JOIN places p ON v.city = p.city JOIN wages w ON w.person_id = v.person_id GROUP BY tier
SELECT tier, count(*) FROM places p JOIN visits v USING (city) LEFT JOIN wages w ON w.person_id = v.person_id AND w.wage > 50000 * p.tier GROUP BY tier
SELECT avg(n), avg(m) FROM (SELECT person_id, count(*) AS n FROM visits GROUP BY person_id) v JOIN (SELECT person_id, max(wage) AS m FROM wages GROUP BY person_id) w USING (person_id)
SELECT count(*) FROM (SELECT * FROM visits WHERE FALSE) v JOIN wages w ON v.person_id = w.person_id
SELECT count(*), count(v.age) FROM wages w LEFT JOIN (SELECT * FROM visits WHERE urgent AND city = '东海市') v ON v.person_id = w.person_id
SELECT count(*) FROM wages SEMI JOIN (SELECT person_id FROM visits WHERE dept = '外科') v USING (person_id)
SELECT count(*) FROM wages w ANTI JOIN visits v ON w.person_id = v.person_id AND v.dept = '外科'
SELECT count(*) FROM visits SEMI JOIN events USING (city, level)
SELECT count(*) FROM visits v ANTI JOIN events e ON v.city = e.city AND e.held >= v.day
SELECT count(*) FROM visits WHERE person_id IN (SELECT person_id FROM wages WHERE wage > 50000)
SELECT count(*) FROM visits WHERE person_id NOT IN (SELECT person_id FROM wages WHERE wage > 50000) AND age > 30
SELECT dept, count(*) FROM visits WHERE person_id IN (SELECT person_id FROM visits GROUP BY person_id HAVING count(*) >= 5) GROUP BY dept
SELECT count(*) FROM visits WHERE (person_id, day) IN (SELECT person_id, max(day) FROM visits GROUP BY person_id)
SELECT count(*) FROM visits v WHERE EXISTS (SELECT 1 FROM wages w WHERE w.person_id = v.person_id AND w.wage > 90000)
SELECT count(*) FROM visits v WHERE NOT EXISTS (SELECT * FROM visits e WHERE e.person_id = v.person_id AND e.day < v.day)
SELECT count(*) FROM visits v WHERE v.urgent OR NOT (EXISTS (SELECT w.person_id, wage FROM wages w WHERE v.person_id = w.person_id AND w.wage > 50000) AND v.age > 20)
SELECT count(*) FROM visits WHERE city IN (SELECT city FROM places WHERE tier = 2)
SELECT count(*) FROM visits WHERE level NOT IN (SELECT tier FROM places)
SELECT count(*) FROM visits WHERE level NOT IN (SELECT tier FROM places WHERE tier IS NOT NULL)
SELECT count(*) FROM visits WHERE dept NOT IN (SELECT kind FROM events)
SELECT count(*) FROM visits WHERE (city, level) IN (SELECT city, level FROM events)
SELECT count(*) FROM visits WHERE age IN (SELECT level * 10 FROM events UNION ALL SELECT tier FROM places)
SELECT count(*) FROM visits v WHERE EXISTS (SELECT 1 FROM events e WHERE e.city = v.city AND e.held < v.day)
SELECT count(*) FROM visits v WHERE EXISTS (SELECT 1 FROM places p WHERE p.city = v.city AND EXISTS (SELECT 1 FROM wages w WHERE w.person_id = v.person_id AND w.wage > p.population / 20))
SELECT count(*), count(DISTINCT person_id) FROM (SELECT person_id FROM visits UNION ALL SELECT person_id FROM wages) u
SELECT sum(x), count(x), avg(x) FROM (SELECT person_id, age AS x FROM visits UNION ALL SELECT person_id, wage FROM wages) u
SELECT k, count(*) FROM (SELECT person_id, '就诊' AS k, NULL AS w FROM visits UNION ALL SELECT person_id, '工资', wage FROM wages UNION ALL (SELECT person_id, '急诊', amount FROM visits WHERE urgent)) u GROUP BY k
SELECT count(*) FROM (SELECT person_id, city FROM visits UNION SELECT person_id, dept FROM visits) u
SELECT city, count(*) FROM (SELECT DISTINCT person_id, city, level FROM visits) d GROUP BY city HAVING count(*) > 0
SELECT count(*) FROM (SELECT DISTINCT person_id, dept, code, urgent FROM visits) d
SELECT count(*) FROM (SELECT DISTINCT * FROM wages) d
SELECT avg(age), count(*) FROM (SELECT age, row_number() OVER (PARTITION BY person_id ORDER BY day DESC, age, score, amount) AS rn FROM visits) x WHERE rn = 1
SELECT sum(age) FROM (SELECT age FROM visits QUALIFY row_number() OVER (PARTITION BY person_id ORDER BY age DESC) <= 2) x
SELECT rn, count(*) FROM (SELECT row_number() OVER (PARTITION BY person_id) AS rn FROM visits) x GROUP BY rn
SELECT r, count(*) FROM (SELECT rank() OVER (PARTITION BY person_id ORDER BY level) AS r, dense_rank() OVER (PARTITION BY person_id ORDER BY level) AS d FROM visits) x WHERE d < 3 GROUP BY r HAVING count(*) > 0
SELECT avg(day_gap), count(day_gap) FROM (SELECT age - lag(age) OVER (PARTITION BY person_id ORDER BY day, age) AS day_gap FROM visits) x
SELECT sum(nxt), count(*) FROM (SELECT lead(age, 2, 0) OVER (PARTITION BY person_id ORDER BY day, age) AS nxt FROM visits) x
SELECT avg(f), avg(l) FROM (SELECT first_value(age) OVER (PARTITION BY person_id ORDER BY day, age) AS f, last_value(age) OVER (PARTITION BY person_id ORDER BY day, age ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS l FROM visits) x
SELECT avg(s), avg(c), avg(m), avg(a) FROM (SELECT sum(amount) OVER (PARTITION BY person_id ORDER BY day, age ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s, count(*) OVER (PARTITION BY person_id) AS c, max(score) OVER (PARTITION BY person_id, dept) AS m, avg(fee) OVER (PARTITION BY person_id ORDER BY level) AS a FROM visits) x
SELECT count(*) FROM (SELECT amount / sum(amount) OVER (PARTITION BY person_id) AS share FROM visits) x WHERE share > 0.5
SELECT dept, count(*) FROM (SELECT dept, count(*) OVER (PARTITION BY person_id) AS n FROM visits WHERE urgent QUALIFY n > 2 AND dept IS NOT NULL) x GROUP BY dept HAVING count(*) > 0
SELECT tier, count(*) FROM visits JOIN (SELECT city, tier FROM places WHERE population > 500000) p USING (city) GROUP BY tier HAVING count(*) > 0
SELECT n, count(*) FROM visits JOIN (SELECT city, count(*) AS n, max(level) AS top FROM events GROUP BY city) e USING (city) GROUP BY n
SELECT count(*) FROM visits v LEFT JOIN (SELECT DISTINCT city FROM events WHERE level = 1) e ON v.city = e.city WHERE e.city IS NULL
SELECT count(*) FROM visits v SEMI JOIN (SELECT city, kind FROM events QUALIFY row_number() OVER (PARTITION BY city ORDER BY held) = 1) e ON e.city = v.city AND kind = '庙会' JOIN places USING (city)
SELECT avg(person_id_1), avg(x.age_1), count(DISTINCT person_id), sum(age) FROM (SELECT person_id, age, 1 AS person_id, age * 2 AS age FROM visits) x
SELECT count(*), count(w.person_id), count(DISTINCT w.person_id) FILTER (WHERE v.urgent) FROM visits v LEFT JOIN wages w ON v.person_id = w.person_id AND w.wage > 60000
SELECT count(*) FROM (SELECT * FROM visits v JOIN wages w ON v.person_id = w.person_id) x WHERE wage > age
SELECT avg(b) FROM (SELECT max(a) AS b FROM (SELECT person_id, dept, count(*) AS a FROM visits GROUP BY person_id, dept) x GROUP BY person_id) y
SELECT "省份", count(*) FROM visits v, places p WHERE v.city = p.city AND age > 30 GROUP BY "省份"
SELECT tier, avg(wage) FROM visits v, wages w, places p WHERE p.city = v.city AND v.person_id = w.person_id AND w.wage > 1000 GROUP BY tier
SELECT count(*) FROM visits a LEFT JOIN visits b ON a.day = b.day WHERE a.person_id = b.person_id
SELECT count(*) FROM visits v CROSS JOIN wages w WHERE v.person_id = w.person_id AND (v.urgent OR w.wage > 50000)
SELECT count(*) FROM visits v WHERE EXISTS (SELECT 1 FROM wages w, places p WHERE w.person_id = v.person_id AND p.city = v.city AND p.population > w.wage * 10 AND p.city = '东海市')
SELECT count(*) FROM visits v JOIN (SELECT tier, max(city) AS c FROM places GROUP BY tier) p ON p.c = v.city
SELECT count(*) FROM visits v JOIN (SELECT city, kind FROM events WHERE level = 1) e USING (city)
SELECT count(*) FROM visits v JOIN (SELECT city FROM events UNION ALL SELECT city FROM places) e USING (city)
SELECT count(*), sum(v.age) FROM visits v, (SELECT avg(population) AS m, max(tier) AS t FROM places) a WHERE v.stock < a.m AND v.age > a.t
SELECT count(*) FROM visits v, (SELECT held FROM events QUALIFY row_number() OVER (ORDER BY held) <= 2) e WHERE v.day > e.held
SELECT count(*) FROM visits v, (SELECT held, row_number() OVER (ORDER BY held DESC) AS n FROM events) e WHERE e.n < 3 AND v.day > e.held
SELECT count(*) FROM visits v, (SELECT a.held AS h, b.tier AS t FROM events a, places b WHERE b.tier > a.level) e WHERE v.day > e.h
SELECT k, count(*) FROM (SELECT person_id, count(*) AS k FROM visits v, events e WHERE v.day < e.held GROUP BY person_id) p GROUP BY k HAVING count(*) > 0
SELECT count(*) FROM (SELECT v.person_id, v.age, p.tier FROM visits v CROSS JOIN places p) x JOIN wages w ON w.person_id = x.person_id AND w.wage > x.tier
SELECT tier, avg(n) FROM (SELECT v.person_id, p.tier, count(*) AS n FROM visits v JOIN places p ON v.age > p.tier GROUP BY v.person_id, p.tier) x GROUP BY tier HAVING avg(n) > 0
SELECT count(*) FROM (SELECT person_id, held, row_number() OVER (PARTITION BY person_id ORDER BY held DESC, day, seen, amount, score, age) AS n FROM visits v JOIN events e ON e.held > v.day) x WHERE n <= 2
SELECT count(DISTINCT person_id) FROM visits v WHERE EXISTS (SELECT 1 FROM events e, places p WHERE e.held > v.day AND p.tier < v.level)
SELECT median(n), min(n), max(n) FROM (SELECT person_id, count(*) AS n FROM visits GROUP BY person_id) v
SELECT least(age // 20, 4) AS a, median(n), count(DISTINCT n) FROM (SELECT person_id, max(age) AS age, count(*) AS n FROM visits GROUP BY person_id) v GROUP BY a
