-- Several answers in one question: GROUPING SETS, ROLLUP and CUBE, and subqueries that ask different things.
SELECT city, count(*) AS n FROM visits GROUP BY ROLLUP (city) HAVING count(*) > 0
SELECT city, dept, grouping(city, dept) AS g, count(*) AS n FROM visits GROUP BY ROLLUP (city, dept) HAVING count(*) > 0
SELECT city, dept, grouping(city, dept) AS g, count(*) AS n, count_if(urgent) AS u, avg(age) AS mean FROM visits GROUP BY CUBE (city, dept) HAVING count(*) > 0
SELECT city, dept, grouping(city, dept) AS g, count(*) AS n FROM visits GROUP BY GROUPING SETS ((city), (dept), ()) HAVING n > 0
SELECT city, dept, grouping(city) AS g, grouping(city, dept) AS h, grouping_id(dept, city) AS i, count(*) AS n FROM visits GROUP BY CUBE (city, dept) HAVING count(*) > 0
SELECT coalesce(city, 'all') AS place, count(*) AS n FROM visits GROUP BY ROLLUP (1) HAVING count(*) > 0
SELECT month(day) AS m, urgent, grouping(m, urgent) AS g, count(*) AS n, count(DISTINCT person_id) AS people FROM visits GROUP BY ROLLUP (m, urgent)
SELECT year(day) AS y, month(day) AS m, count(*) AS n FROM visits WHERE urgent GROUP BY ROLLUP (y, m) HAVING count(*) > 0 ORDER BY y, m
SELECT city, dept, urgent, grouping(city, dept, urgent) AS g, count(*) AS n FROM visits GROUP BY ROLLUP (city, (dept, urgent)) HAVING count(*) > 0
SELECT city, dept, grouping(dept) AS g, count(*) AS n FROM visits GROUP BY city, ROLLUP (dept) HAVING count(*) > 0
SELECT city, dept, grouping(city, dept) AS g, count(*) AS n FROM visits GROUP BY ROLLUP (city), ROLLUP (dept) HAVING count(*) > 0
SELECT city, dept, urgent, grouping(city, dept, urgent) AS g, count(*) AS n FROM visits GROUP BY GROUPING SETS (ROLLUP (city, dept), CUBE (urgent), city) HAVING count(*) > 0
SELECT city, count(*) AS n FROM visits GROUP BY GROUPING SETS ((city), (city), ()) HAVING count(*) > 0
SELECT v.city, count(*) FILTER (WHERE v.urgent) AS u, min(v.age) AS youngest FROM visits AS v GROUP BY ROLLUP (city) HAVING count(*) > 0
SELECT 省份, city, count(*) AS n FROM visits JOIN places USING (city) GROUP BY ROLLUP (省份, city) HAVING count(*) > 0
SELECT city, count(*) AS n, 1.0 * count(*) / sum(count(*)) OVER (PARTITION BY grouping(city)) AS share FROM visits GROUP BY ROLLUP (city) HAVING count(*) > 0
SELECT city, dept, count(*) AS n, rank() OVER (PARTITION BY grouping(city, dept) ORDER BY count(*) DESC) AS place FROM visits GROUP BY CUBE (city, dept) HAVING count(*) > 0 QUALIFY rank() OVER (PARTITION BY grouping(city, dept) ORDER BY count(*) DESC) = 1
SELECT city, count(*) AS n FROM visits GROUP BY ROLLUP (city) HAVING count(*) > 0 ORDER BY grouping(city) DESC, n DESC LIMIT 3
SELECT CASE WHEN grouping(city) = 1 THEN 'all' ELSE upper(city) END AS place, sum(amount) / count(*) AS mean FROM visits GROUP BY ROLLUP (city) HAVING count(*) > 0
SELECT code, grouping(code) AS g, count(*) AS n FROM visits GROUP BY ROLLUP (code) HAVING count(*) > 0
WITH t AS (SELECT city, dept, grouping(city, dept) AS g, count(*) AS n FROM visits GROUP BY CUBE (city, dept) HAVING count(*) > 0) SELECT a.city, b.n - a.n AS others FROM t AS a JOIN t AS b ON b.g = 3 WHERE a.g = 1
SELECT city, n FROM (SELECT city, count(*) AS n FROM visits GROUP BY ROLLUP (city) HAVING count(*) > 0) t WHERE city IS NULL OR n > 600
WITH big AS (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) SELECT city, dept, count(*) AS n FROM visits WHERE city IN ('北京', '上海') GROUP BY ROLLUP (city, dept) HAVING count(*) > 0
SELECT (SELECT count(*) FROM visits WHERE urgent) / (SELECT count(*) FROM visits) AS share
SELECT a.city, a.n, b.n AS urgent FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) a JOIN (SELECT city, count(*) AS n FROM visits WHERE urgent GROUP BY city) b USING (city)
SELECT count(*) AS n FROM visits UNION ALL SELECT count(*) FROM wages
SELECT count(*) AS n FROM visits UNION SELECT count(*) FROM wages
SELECT a.city, n, people, n / people AS each FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) a JOIN (SELECT city, count(DISTINCT person_id) AS people FROM visits GROUP BY city HAVING count(*) > 0) b USING (city)
WITH m AS (SELECT median(age) AS middle FROM visits), n AS (SELECT count(*) AS n, avg(age) AS mean FROM visits) SELECT n, mean, middle FROM m CROSS JOIN n
SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0 AND count(*) > (SELECT count(*) / 5 FROM visits)
WITH spare AS (SELECT dept, sum(amount) AS s FROM visits GROUP BY dept), t AS (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) SELECT city, n FROM t
SELECT city, count(*) AS n, 100.0 * count(*) / (SELECT count(*) FROM visits) AS percent FROM visits GROUP BY city HAVING count(*) > 0 ORDER BY n DESC
SELECT city, avg(age) - (SELECT avg(age) FROM visits) AS beyond FROM visits GROUP BY city HAVING count(*) > (SELECT count(*) / 20 FROM visits)
SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0 AND city IN (SELECT city FROM places)
SELECT city, count(*) AS n, max(population) AS people FROM visits JOIN places USING (city) GROUP BY city HAVING count(*) > 0 AND n > (SELECT min(population) / 1000000 FROM places)
SELECT count(*) AS n, (SELECT count(*) FROM wages) AS wages FROM visits
