-- Questions around an answer: one aggregating subquery over private rows, and SELECTs over it and public tables.
SELECT * FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) AS t
SELECT city, n FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) AS t WHERE n > 600 ORDER BY n DESC
SELECT city, n, avg(n) OVER () AS usual FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t QUALIFY n > avg(n) OVER ()
SELECT 省份, sum(n) AS visits FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) AS t JOIN places USING (city) GROUP BY 省份 ORDER BY 省份
SELECT 省份, sum(n) AS visits, avg(n) AS a, min(n) AS least, max(n) AS most, median(n) AS middle, count(*) AS cities FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t JOIN places p ON p.city = t.city GROUP BY 省份
WITH t AS (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) SELECT city, n, 1.0 * n / (SELECT sum(n) FROM t) AS share FROM t ORDER BY share DESC
WITH t AS (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0), total AS (SELECT sum(n) AS n FROM t) SELECT city, t.n / total.n AS share FROM t CROSS JOIN total
WITH t AS (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0), total AS (SELECT sum(n) AS n FROM t) SELECT city, t.n / total.n AS share FROM t, total WHERE t.n / total.n > 0.1
SELECT t.city, n, 1000.0 * n / population AS rate FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t JOIN places p USING (city) ORDER BY rate DESC
SELECT p.city, coalesce(n, 0) AS n FROM places p LEFT JOIN (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t ON t.city = p.city ORDER BY p.city
SELECT avg(n) AS visits_per_city, max(n) AS most, stddev(n) AS spread FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t
SELECT count(*) AS cities FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 100) t
SELECT quarter(m) AS q, sum(n) AS n FROM (SELECT date_trunc('month', day) AS m, count(*) AS n FROM visits GROUP BY m) t GROUP BY q ORDER BY q
WITH m AS (SELECT date_trunc('month', day) AS m, count(*) AS n FROM visits GROUP BY m) SELECT year(m) AS y, quarter(m) AS q, sum(n) AS n, max(n) AS best FROM m GROUP BY 1, 2 ORDER BY 1, 2
WITH m AS (SELECT date_trunc('month', day) AS m, count(*) AS n FROM visits GROUP BY m) SELECT m, n, n - lag(n) OVER (ORDER BY m) AS change FROM m ORDER BY m
SELECT city, dept, n, n / sum(n) OVER (PARTITION BY city) AS share FROM (SELECT city, dept, count(*) AS n FROM visits GROUP BY city, dept HAVING count(*) > 0) t
WITH t AS (SELECT city, dept, count(*) AS n FROM visits GROUP BY city, dept HAVING count(*) > 0), s AS (SELECT city, dept, n / sum(n) OVER (PARTITION BY city) AS share FROM t) SELECT * FROM s WHERE share > 0.2
WITH t AS (SELECT city, dept, count(*) AS n FROM visits GROUP BY city, dept HAVING count(*) > 0) SELECT city, dept, n FROM t QUALIFY row_number() OVER (PARTITION BY city ORDER BY n DESC) = 1 ORDER BY city
WITH t AS (SELECT city, dept, count(*) AS n FROM visits GROUP BY city, dept HAVING count(*) > 0), c AS (SELECT city, sum(n) AS n FROM t GROUP BY city) SELECT t.city, t.dept, t.n / c.n AS share FROM t JOIN c USING (city)
SELECT dept, count(*) FILTER (WHERE n > 150) AS large, sum(n) FILTER (WHERE n > 100) AS rest FROM (SELECT city, dept, count(*) AS n FROM visits GROUP BY city, dept HAVING count(*) > 0) t GROUP BY dept
SELECT n > 600 AS large, count(*) AS cities FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t GROUP BY large
SELECT city FROM (SELECT city, count(*) AS n FROM visits GROUP BY city ORDER BY n DESC LIMIT 2) t
SELECT 省份, sum(n) AS n FROM (SELECT city, count(*) AS n FROM visits GROUP BY city ORDER BY n DESC LIMIT 3) t JOIN places USING (city) GROUP BY ALL
WITH t AS (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) SELECT city, n FROM t UNION ALL SELECT 'all', sum(n) FROM t
WITH t AS (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) (SELECT city, n FROM t WHERE n > 600) UNION ALL (SELECT 'rest', sum(n) FROM t WHERE n <= 600) ORDER BY 2 DESC
WITH t AS (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) SELECT city FROM places EXCEPT SELECT city FROM t
WITH t AS (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) SELECT city FROM places INTERSECT SELECT city FROM t WHERE n > 10
WITH t AS (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) SELECT city FROM t UNION SELECT city FROM places ORDER BY city LIMIT 3
WITH t AS (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) SELECT city, population FROM places WHERE city IN (SELECT city FROM t WHERE n > 600)
WITH t AS (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) SELECT city, population FROM places WHERE city NOT IN (SELECT city FROM t) OR population > 1000000
SELECT t.city, t.n FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t SEMI JOIN events e ON e.city = t.city AND e.kind = '庙会'
SELECT t.city, t.n FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t ANTI JOIN (SELECT city FROM places WHERE tier = 2) e USING (city)
SELECT t.city, t.n, p.held FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t, events p WHERE p.city = t.city AND p.level > 1
SELECT a.city, b.city AS other, a.n - b.n AS more FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) a JOIN (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) b ON a.n > b.n
SELECT t.city, r.people, n / r.people AS rate FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t JOIN places p USING (city) JOIN (SELECT 省份, sum(population) AS people FROM places GROUP BY 省份) r ON r.省份 = p.省份
SELECT DISTINCT 省份 FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t JOIN places USING (city) WHERE n > 0
SELECT 省份, city, n FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t JOIN places USING (city) QUALIFY rank() OVER (PARTITION BY 省份 ORDER BY n DESC) = 1
SELECT upper(city) AS c, CASE WHEN n > 600 THEN 'many' ELSE 'few' END AS size, round(fee, 1) AS fee FROM (SELECT city, count(*) AS n, avg(amount) AS fee FROM visits GROUP BY city HAVING count(*) > 0) t
SELECT fee - (SELECT avg(fee) FROM (SELECT city, count(*) AS n, avg(amount) AS fee FROM visits GROUP BY city HAVING count(*) > 0) a) AS above, city FROM (SELECT city, count(*) AS n, avg(amount) AS fee FROM visits GROUP BY city HAVING count(*) > 0) b
WITH v AS (SELECT city, person_id FROM visits WHERE age >= 60), t AS (SELECT city, count(DISTINCT person_id) AS people FROM v GROUP BY city HAVING count(*) > 0) SELECT 省份, sum(people) AS people FROM t JOIN places USING (city) GROUP BY 省份
SELECT corr(n, population) AS r, covar_samp(n, population) AS c FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t JOIN places USING (city)
SELECT per, count(*) AS cities FROM (SELECT city, floor(avg(per_person)) AS per FROM (SELECT person_id, city, count(*) AS per_person FROM visits GROUP BY person_id, city) GROUP BY city HAVING count(*) > 0) t GROUP BY per
SELECT x, y FROM (SELECT city, count(*) FROM visits GROUP BY city HAVING count(*) > 0) AS t(x, y) ORDER BY y LIMIT 2 OFFSET 1
SELECT t.* EXCLUDE (n), population FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t JOIN places USING (city)
SELECT quantile_cont(n, 0.75) AS q, bool_and(n > 0) AS filled, bool_or(n > 9999) AS huge, count_if(n > 600) AS large, count(DISTINCT n > 600) AS kinds FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t
SELECT 省份, sum(n) AS n, sum(n) / (SELECT sum(population) FROM places) AS rate FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t JOIN places USING (city) GROUP BY 省份 HAVING sum(n) > 10
SELECT (SELECT count(*) FROM visits) AS n, (SELECT count(*) FROM places) AS places
SELECT code, n FROM (SELECT code, count(*) AS n FROM visits GROUP BY code) t ORDER BY n DESC LIMIT 1
SELECT sum(n) OVER (ORDER BY m ROWS UNBOUNDED PRECEDING) AS running, m FROM (SELECT date_trunc('month', day) AS m, count(*) AS n FROM visits GROUP BY m) t ORDER BY m
SELECT 省份, max(n) - min(n) AS gap FROM (SELECT 省份, dept, count(*) AS n FROM visits JOIN places USING (city) GROUP BY 省份, dept) t GROUP BY 省份
SELECT city, n FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t WHERE EXISTS (SELECT 1 FROM places WHERE places.city = t.city AND population > 100)
SELECT city, n FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t WHERE NOT EXISTS (SELECT 1 FROM places p WHERE p.city = t.city AND p.population > 1000) AND n > 3
SELECT city FROM places p WHERE NOT EXISTS (SELECT * FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t WHERE city = p.city)
SELECT city FROM places p WHERE EXISTS (SELECT n FROM (SELECT city, count(*) AS n FROM visits GROUP BY city HAVING count(*) > 0) t WHERE n > 600)
