-- Questions over stored tables that DuckDB answers in the same words: one question a line.
SELECT dept, count(*) & 1 AS odd, xor(count(*), 3) AS x, count(*) << 1 AS twice FROM visits GROUP BY dept
SELECT COUNT(*) FROM visits
SELECT count(DISTINCT person_id) FROM visits
SELECT COUNT(DISTINCT (v.person_id)) AS n FROM visits v
SELECT count(person_id), count(dept), count(urgent), count(note) FROM visits
SELECT sum(amount), avg(amount), sum(score), avg(score) FROM visits
SELECT sum(fee), avg(fee), sum(age), avg(age) FROM visits
SELECT avg(amount), sum(amount) / count(amount), count(amount) FROM visits
SELECT sum(urgent), count_if(urgent), count_if(NOT urgent), countif(urgent IS NULL) FROM visits
SELECT sum(least(greatest(stock, -500), 500)), avg(least(greatest(stock, -500), 500)) FROM visits
SELECT sum(amount * score), sum(amount + score), sum(age - score), sum(-age) FROM visits
SELECT avg(amount / 7), sum(age / 2), sum(age // 7), sum(age % 7), sum(-age // 7), sum(-age % 7) FROM visits
SELECT sum(age * age), sum(power(age, 2)), sum(sqrt(age)), sum(ln(age + 1)), sum(log10(age + 1)) FROM visits
SELECT sum(round(amount, 1)), sum(round(amount)), sum(round(amount, -2)), sum(round(fee, -3)) FROM visits
SELECT sum(floor(score)), sum(ceil(score)), sum(trunc(score)), sum(abs(score)), sum(sign(score)) FROM visits
SELECT sum(exp(score)), avg(CAST(age AS DOUBLE)), sum(CAST(score AS BIGINT)), sum(CAST(score AS DECIMAL(9, 1))) FROM visits
SELECT sum(nullif(age, 0)), count(nullif(age, 0)), sum(coalesce(amount, 0)), avg(ifnull(amount, 0)) FROM visits
SELECT sum(CASE WHEN urgent THEN 1 ELSE 0 END), sum(CASE WHEN urgent THEN amount END) FROM visits
SELECT sum(CASE dept WHEN '外科' THEN 2 WHEN '内科' THEN 1 ELSE 0 END), sum(if(age > 60, 1, 0)) FROM visits
SELECT sum(least(length(note), 5)), sum(least(length(city), 3)) FROM visits WHERE length(note) < 10
SELECT count(*) FILTER (WHERE urgent), count(dept) FILTER (WHERE age > 40), count_if(urgent) FILTER (WHERE age > 40) FROM visits
SELECT sum(age) FILTER (WHERE dept = '外科'), avg(age) FILTER (WHERE dept = '外科') FROM visits
SELECT sum(urgent) FILTER (WHERE age > 40), avg(age) FILTER (WHERE urgent IS NULL) FROM visits
SELECT count(DISTINCT person_id) FILTER (WHERE urgent), count(DISTINCT person_id) FROM visits
SELECT dept, count(DISTINCT person_id) FILTER (WHERE urgent) FROM visits GROUP BY dept
SELECT code, count(DISTINCT person_id) FILTER (WHERE age > 40), avg(age) FILTER (WHERE age > 40) FROM visits GROUP BY code
SELECT dept, count(*) FROM visits GROUP BY dept HAVING count(*) FILTER (WHERE urgent) > 100
SELECT var_pop(age), var_samp(age), variance(age), stddev(age), stddev_pop(age), stddev_samp(age) FROM visits
SELECT var_pop(amount), stddev(score), var_pop(score), var_samp(level) FROM visits
SELECT urgent, stddev(age), var_pop(score) FROM visits GROUP BY urgent
SELECT stddev(age) FILTER (WHERE urgent), var_pop(least(greatest(stock, -500), 500)) FROM visits
SELECT covar_pop(age, score), covar_samp(score, age), covar_pop(amount / 100, age), corr(age, age), corr(age, -age) FROM visits
SELECT covar_pop(amount, rate), corr(amount, amount + age) FROM visits
SELECT urgent, covar_samp(age, score) FILTER (WHERE age > 40) FROM visits GROUP BY urgent
SELECT var_samp(age), stddev(age), covar_samp(age, score), corr(age, score) FROM visits WHERE age > 119 AND age < 0
SELECT count(*) FROM visits WHERE dept = '外科'
SELECT count(*) FROM visits WHERE dept <> '外科'
SELECT count(*) FROM visits WHERE NOT dept = '外科'
SELECT count(*) FROM visits WHERE dept IS NULL
SELECT count(*) FROM visits WHERE dept IS NOT NULL AND urgent
SELECT count(*) FROM visits WHERE urgent IS NOT TRUE
SELECT count(*) FROM visits WHERE urgent IS FALSE OR urgent IS NULL
SELECT count(*) FROM visits WHERE dept IS DISTINCT FROM '外科'
SELECT count(*) FROM visits WHERE dept IS NOT DISTINCT FROM NULL
SELECT count(*) FROM visits WHERE dept IN ('外科', '内科') AND city NOT IN ('东海市')
SELECT count(*) FROM visits WHERE dept NOT IN ('外科', NULL)
SELECT count(*) FROM visits WHERE dept IN ('外科', NULL)
SELECT count(*) FROM visits WHERE age BETWEEN 20 AND 30 AND score NOT BETWEEN -1 AND 1
SELECT count(*) FROM visits WHERE stock > 0 OR stock < -900 OR stock IS NULL
SELECT count(*) FROM visits WHERE (urgent AND dept = '外科') OR (NOT urgent AND dept = '内科')
SELECT count(*) FROM visits WHERE NOT (urgent AND dept = '外科')
SELECT count(*) FROM visits WHERE age / 0 > 3
SELECT count(*) FROM visits WHERE amount / nullif(age, 0) > 100
SELECT count(*) FROM visits WHERE note LIKE '10%'
SELECT count(*) FROM visits WHERE note NOT LIKE '%b%' AND note ILIKE '%A%'
SELECT count(*) FROM visits WHERE note LIKE 'a_b' OR note ILIKE 'ABC'
SELECT count(*) FROM visits WHERE note LIKE '北山 %'
SELECT count(*) FROM visits WHERE starts_with(note, '北山') OR contains(note, 'off') OR note ^@ 'x'
SELECT count(*) FROM visits WHERE lower(upper(note)) = 'abc' AND left(note, 1) = 'a' AND right(note, 1) = 'c'
SELECT count(*) FROM visits WHERE substring(note, 2, 1) = '_' OR substr(note, -1) = '诊'
SELECT count(*) FROM visits WHERE trim(note) = 'x' OR ltrim(note) = 'x ' OR rtrim(note) = ' x'
SELECT count(*) FROM visits WHERE note || dept = 'abc外科' OR concat(note, dept) = 'abc'
SELECT count(*) FROM visits WHERE TRY_CAST(note AS DOUBLE) < 0 OR TRY_CAST(note AS INTEGER) = 12
SELECT count(*) FROM visits WHERE TRY_CAST(note AS DATE) = '2024-02-29'
SELECT count(*) FROM visits WHERE CAST(age AS VARCHAR) LIKE '1_' AND age::VARCHAR <> '11'
SELECT count(*) FROM visits WHERE CAST(urgent AS BIGINT) = 1 AND CAST(age AS BOOLEAN)
SELECT count(*) FROM visits WHERE day = '2023-05-01' OR day = DATE '2023-06-01'
SELECT count(*) FROM visits WHERE day >= '2024-01-01' AND day < '2024-07-01'
SELECT count(*) FROM visits WHERE day BETWEEN '2024-01-01' AND '2024-12-31' AND seen < '2024-03-01 12:30:00'
SELECT count(*) FROM visits WHERE seen >= TIMESTAMP '2024-01-01 00:00:00' AND seen > day
SELECT count(*) FROM visits WHERE seen = day
SELECT count(*) FROM visits WHERE CAST(seen AS DATE) = day
SELECT count(*) FROM visits WHERE date_trunc('month', day) = '2024-02-01' OR date_trunc('week', day) = '2024-01-01'
SELECT count(*) FROM visits WHERE year(day) = 2024 AND month(day) IN (1, 2) AND quarter(day) = 1 AND dayofmonth(day) > 5
SELECT count(*) FROM visits WHERE extract(isodow FROM day) > 5 AND dayofweek(day) <> 0 AND dayofyear(day) > 100
SELECT count(*) FROM visits WHERE hour(seen) < 12 AND date_part('minute', seen) >= 30 AND week(day) < 20
SELECT count(*) FROM visits WHERE greatest(age, 50) = 50 AND least(score, 0) = 0
SELECT count(*) FROM visits WHERE coalesce(dept, '不详') = '不详'
SELECT count(*) FROM visits WHERE "性别" = '女' AND "怪 ""名""" = 'a''b'
SELECT count(*) FROM "visits" AS "就诊" WHERE "就诊"."性别" = '男'
SELECT count(*) FROM VISITS WHERE CITY = '东海市' AND Visits.Age > 3 -- 注释
SELECT count(*) /* ; */ FROM visits WHERE city = '东海市；--'
SELECT city, count(*) FROM visits GROUP BY city HAVING count(*) > 0
SELECT dept, count(*) FROM visits GROUP BY dept
SELECT dept, count(DISTINCT person_id), avg(amount) FROM visits GROUP BY dept ORDER BY dept NULLS LAST
SELECT "性别", urgent, count(*) FROM visits GROUP BY "性别", urgent
SELECT level, count(*) FROM visits WHERE level < 3 GROUP BY level HAVING count(*) > 0
SELECT rate, sum(amount) FROM visits GROUP BY rate
SELECT urgent, avg(score) FROM visits GROUP BY 1
SELECT dept AS 科室, count(*) AS 人次 FROM visits GROUP BY 科室 ORDER BY 人次 DESC
SELECT dept, urgent, count(*) FROM visits GROUP BY ALL
SELECT code, count(*) FROM visits GROUP BY code
SELECT code, dept, count(*), avg(age) FROM visits GROUP BY code, dept
SELECT age // 20 AS band, count(*) FROM visits GROUP BY band HAVING count(*) > 0
SELECT CASE WHEN age < 18 THEN '少年' WHEN age < 60 THEN '成年' ELSE '老年' END AS 年龄段, count(*) FROM visits GROUP BY 年龄段
SELECT date_trunc('quarter', day) AS q, count(*) FROM visits GROUP BY q
SELECT date_trunc('month', seen) AS m, count(*) FROM visits GROUP BY m HAVING count(*) > 0
SELECT year(day) AS y, month(day) AS m, count(*) FROM visits GROUP BY y, m
SELECT age > 40 AS older, dept IS NULL AS unknown, count(*) FROM visits GROUP BY older, unknown
SELECT coalesce(dept, '不详') AS d, count(*) FROM visits GROUP BY d HAVING count(*) > 0
SELECT upper(code) AS c, count(*) FROM visits GROUP BY c
SELECT left(note, 1) AS c, count(*) FROM visits GROUP BY c
SELECT TRY_CAST(note AS DATE) AS d, count(*) FROM visits GROUP BY d
SELECT score, count(*) FROM visits GROUP BY score HAVING count(DISTINCT person_id) > 1
SELECT count(*) FROM visits GROUP BY dept
SELECT dept, count(*) FROM visits GROUP BY dept HAVING count(*) > 520 AND dept IS NOT NULL
SELECT dept, count(*) AS n FROM visits GROUP BY dept HAVING n > 520 ORDER BY n DESC
SELECT dept, count(*) AS n FROM visits GROUP BY dept ORDER BY dept DESC NULLS FIRST
SELECT dept, count(*) AS n FROM visits GROUP BY dept ORDER BY dept ASC NULLS FIRST
SELECT dept, count(*) AS n FROM visits GROUP BY dept ORDER BY dept DESC
SELECT dept, count(*) AS n FROM visits GROUP BY dept ORDER BY 2 DESC, 1
SELECT dept, count(*) AS n FROM visits GROUP BY dept ORDER BY -n
SELECT dept, count(*) AS n FROM visits GROUP BY dept ORDER BY avg(amount) DESC LIMIT 2
SELECT dept, count(*) AS n FROM visits GROUP BY dept ORDER BY n DESC LIMIT 2 OFFSET 1
SELECT dept, count(*) AS n FROM visits GROUP BY dept ORDER BY dept LIMIT 0
SELECT count(*) FROM visits OFFSET 1
SELECT count(*) FROM visits HAVING count(*) < 0
SELECT dept, 100 * sum(CASE WHEN urgent THEN 1 ELSE 0 END) / count(*) AS pct FROM visits GROUP BY dept
SELECT count(*) + 1, count(*) - count(dept), -count(*), round(avg(amount), 2), CAST(avg(amount) AS INTEGER) FROM visits
SELECT CASE WHEN count(*) > 10 THEN '多' ELSE '少' END, coalesce(sum(amount), 0), count(*) > 5 FROM visits
SELECT sum(amount) / nullif(count(*), 0), greatest(count(*), 5000), least(count(dept), 3) FROM visits
SELECT dept || '*' AS d, count(*) FROM visits GROUP BY dept ORDER BY d
SELECT 1, 'x', count(*), TRUE, NULL FROM visits
SELECT "省份", count(*), count(DISTINCT person_id) FROM visits JOIN places USING (city) GROUP BY "省份"
SELECT p."省份", avg(v.amount) FROM visits v JOIN places p ON v.city = p.city GROUP BY p."省份"
SELECT "省份", count(*) FROM places p JOIN visits v ON p.city = v.city WHERE v.age > 30 GROUP BY "省份"
SELECT tier, count(*) FROM visits JOIN places USING (city) GROUP BY tier
SELECT tier, count(*) FROM visits LEFT JOIN places ON visits.city = places.city AND visits.age > 50 GROUP BY tier
SELECT count(*), count(tier), sum(population) FROM visits LEFT JOIN places USING (city)
SELECT "省份" AS s, count(p.city) FROM visits v LEFT JOIN places p ON v.city = p.city AND tier = 1 GROUP BY s HAVING count(*) > 0
SELECT city, count(*) FROM visits LEFT JOIN places USING (city) GROUP BY city HAVING count(*) > 0
SELECT kind, count(*) FROM visits v JOIN events e ON v.city = e.city GROUP BY kind
SELECT kind, count(*), sum(v.amount) FROM visits v JOIN events e ON v.city = e.city AND v.level = e.level GROUP BY kind
SELECT kind, count(*) FROM visits v LEFT JOIN events e ON v.city = e.city AND e.held >= v.day GROUP BY kind
SELECT count(*) FROM visits v JOIN events e USING (city, level)
SELECT count(*) FROM visits v JOIN events e ON v.day = e.held
SELECT "省份", tax, count(*) FROM visits JOIN places USING (city) JOIN provinces USING ("省份") GROUP BY "省份", tax
SELECT count(*), sum(tax * amount) FROM visits v JOIN places p ON v.city = p.city LEFT JOIN provinces q ON q."省份" = p."省份"
SELECT count(*) FROM places p LEFT JOIN provinces q USING ("省份") JOIN visits v ON v.city = p.city WHERE q.tax > 0.1
SELECT count(*) FROM visits v JOIN places p ON v.city = p.city AND p.population > 1000000 AND v.urgent
SELECT count(*) FROM visits v JOIN places p ON (v.city = p.city AND (p.tier = 2 OR v.age > 50))
SELECT count(*) FROM visits v JOIN hints h ON v.dept = h.dept
SELECT count(*), count(DISTINCT person_id) FROM visits, places
SELECT tier, count(*), sum(age) FROM visits CROSS JOIN places GROUP BY tier
SELECT kind, count(*) FROM visits v, events e WHERE v.day > e.held GROUP BY kind
SELECT count(*) FROM visits v JOIN places p ON v.city <> p.city
SELECT count(*) FROM visits v JOIN places p ON v.age > p.tier AND v.level < p.tier
SELECT kind, count(*), sum(v.amount) FROM visits v JOIN events e ON v.day BETWEEN e.held AND e.held + 60 GROUP BY kind
SELECT e.kind, count(*) FROM visits v JOIN events e ON v.day BETWEEN e.held AND date_add(e.held, INTERVAL 3 MONTH) AND v.level = e.level GROUP BY 1
SELECT count(*), count(kind) FROM visits v LEFT JOIN events e ON e.held < v.day AND e.level > v.level
SELECT count(*), count(p.city) FROM visits v LEFT JOIN places p ON TRUE
SELECT count(*), count(p.city) FROM visits v LEFT JOIN places p ON p.tier > v.level OR v.urgent
SELECT count(*) FROM visits v JOIN places p ON p.tier = v.level
SELECT count(*), count(v.level) FROM visits v JOIN places p ON p.tier IS NOT DISTINCT FROM nullif(v.level, 1)
SELECT motto, count(*) FROM visits v JOIN places p USING (city) JOIN provinces q ON q.motto > p."省份" GROUP BY motto HAVING count(*) > 0
SELECT count(*) FROM visits v JOIN provinces q ON q.motto <> v.city
SELECT count(*) FROM visits v JOIN places p ON upper(p.city) = v.city
SELECT count(*) FROM visits v JOIN places p ON v.city = p.city OR v.age > 90
SELECT a.kind, b.kind, count(*) FROM visits v JOIN events a ON a.city = v.city JOIN events b ON b.held > a.held GROUP BY a.kind, b.kind
SELECT count(*) FROM places p, provinces q, visits v WHERE p.city = v.city AND q.tax > 0.1
SELECT count(*), avg(age) FROM events e CROSS JOIN visits v WHERE e.held = v.day OR e.level = v.level
SELECT avg(wage), count(*), count(DISTINCT person_id) FROM wages
SELECT wage > 50000 AS rich, count(*) FROM wages GROUP BY rich
SELECT dept, count(*) AS n, rank() OVER (ORDER BY count(*) DESC) AS r FROM visits GROUP BY dept
SELECT dept, row_number() OVER (ORDER BY count(*) DESC, dept) AS r FROM visits GROUP BY dept
SELECT code, count(*), dense_rank() OVER (ORDER BY count(*)), rank() OVER (ORDER BY count(*) DESC) FROM visits GROUP BY code
SELECT city, dept, rank() OVER (PARTITION BY city ORDER BY count(*), dept) FROM visits GROUP BY city, dept HAVING count(*) > 0
SELECT code, percent_rank() OVER (ORDER BY count(*)), cume_dist() OVER (ORDER BY count(*)) FROM visits GROUP BY code
SELECT dept, ntile(2) OVER (ORDER BY count(*), dept) AS half FROM visits GROUP BY dept
SELECT dept, count(*) * 100.0 / sum(count(*)) OVER () AS share FROM visits GROUP BY dept
SELECT city, dept, count(*) / sum(count(*)) OVER (PARTITION BY city) AS share FROM visits GROUP BY city, dept HAVING count(*) > 0
SELECT date_trunc('quarter', day) AS q, sum(count(*)) OVER (ORDER BY date_trunc('quarter', day)) AS so_far FROM visits GROUP BY q
SELECT month(day) AS m, avg(count(*)) OVER (ORDER BY month(day) ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM visits GROUP BY m
SELECT year(day) AS y, month(day) AS m, count(*) - lag(count(*)) OVER (ORDER BY year(day), month(day)) FROM visits GROUP BY y, m
SELECT quarter(day) AS q, lead(count(*), 2, 0) OVER (ORDER BY quarter(day)) AS later FROM visits GROUP BY q
SELECT quarter(day) AS q, lag(avg(amount), 1, 0) OVER (ORDER BY quarter(day) DESC) AS later FROM visits GROUP BY q
SELECT dept, first_value(dept) OVER (ORDER BY count(*) DESC), last_value(count(*)) OVER (ORDER BY dept) FROM visits GROUP BY dept
SELECT dept, nth_value(dept, 2) OVER (ORDER BY dept ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING), sum(age) FROM visits GROUP BY dept
SELECT dept, max(count(*)) OVER (), min(count(*)) OVER (), count(*) OVER (), avg(count(*)) OVER () FROM visits GROUP BY dept
SELECT dept, sum(count(*)) FILTER (WHERE dept IS NOT NULL) OVER () AS known, count(dept) OVER () FROM visits GROUP BY dept
SELECT dept, sum(sum(amount)) OVER (ORDER BY sum(amount) ROWS UNBOUNDED PRECEDING) AS running FROM visits GROUP BY dept
SELECT dept, count(*) FROM visits GROUP BY dept QUALIFY rank() OVER (ORDER BY count(*) DESC) <= 2
SELECT city, urgent, count(*) FROM visits GROUP BY city, urgent HAVING count(*) > 0 QUALIFY rank() OVER (ORDER BY count(*)) > 2
SELECT dept, count(*) AS n, rank() OVER (ORDER BY count(*)) AS r FROM visits GROUP BY dept HAVING count(*) > 500 QUALIFY r < 3
SELECT dept, count(*) AS n FROM visits GROUP BY dept ORDER BY rank() OVER (ORDER BY count(*) DESC), dept LIMIT 2
SELECT dept, rank() OVER (ORDER BY count(*)) AS r FROM visits GROUP BY dept ORDER BY r DESC, dept
SELECT DISTINCT count(*) > 500 AS many FROM visits GROUP BY dept
SELECT DISTINCT urgent, count(*) > 0 FROM visits GROUP BY urgent, dept ORDER BY urgent
SELECT DISTINCT city FROM visits GROUP BY city, dept HAVING count(*) > 0 ORDER BY city DESC LIMIT 2
SELECT urgent, count(*), sum(count(*)) OVER (PARTITION BY urgent IS NULL) FROM visits GROUP BY urgent
SELECT dept, CASE WHEN rank() OVER (ORDER BY count(*) DESC) <= 2 THEN '前二' ELSE '其他' END AS g FROM visits GROUP BY dept
SELECT lag(dept IGNORE NULLS) OVER (ORDER BY dept NULLS FIRST) AS before, dept, count(*) FROM visits GROUP BY dept
SELECT floor(age / 10) * 10 AS band, count(*), avg(amount) FROM visits GROUP BY band HAVING count(*) > 0
SELECT strftime(day, '%Y-%m') AS m, count(*) FROM visits GROUP BY m HAVING count(*) > 0
SELECT dayname(day) AS d, count(*) FROM visits GROUP BY d
SELECT monthname(day) AS d, strftime(day, '%d') AS n, count(*) FROM visits GROUP BY d, n HAVING count(*) > 0
SELECT hour(seen) AS h, strftime(seen, '%H:00') AS t, count(*) FROM visits GROUP BY h, t HAVING count(*) > 0
SELECT last_day(day) AS m, count(*) FROM visits GROUP BY m HAVING count(*) > 0
SELECT time_bucket(INTERVAL 2 WEEK, day) AS b, count(*) FROM visits GROUP BY b HAVING count(*) > 0
SELECT CASE WHEN age < 18 THEN 0.5 WHEN age < 60 THEN 1 ELSE 1.5 END AS w, count(*) FROM visits GROUP BY w
SELECT round(amount, -3) AS about, count(*) FROM visits GROUP BY about HAVING count(*) > 0
SELECT sum(date_diff('day', day, DATE '2024-12-31')), avg(date_diff('month', day, seen)), sum(day - DATE '2023-01-01') FROM visits
SELECT sum(date_sub('year', day, DATE '2030-06-30')), avg(date_diff('hour', seen, TIMESTAMP '2025-01-01 00:00:00')) FROM visits
SELECT count(*) FROM visits WHERE day + INTERVAL 3 MONTH > '2024-05-15' AND day - 10 < '2024-04-01'
SELECT count(*) FROM visits WHERE seen - INTERVAL 90 MINUTE < '2024-01-01 12:00:00' AND date_trunc('hour', seen) >= '2023-02-01'
SELECT count(*) FROM visits WHERE make_date(year(day), level, 7) = day OR make_date(2024, level, age % 28 + 1) = day
SELECT count(*) FROM visits WHERE regexp_matches(note, '^[a-c]{3}$') OR note ~ '\d+%' OR note SIMILAR TO 'a(_|b).?'
SELECT count(*) FROM visits WHERE regexp_extract(note, '([0-9]+)', 1) = '10' OR regexp_replace(note, '[^a-z]', '', 'g') = 'ab'
SELECT count(*) FROM visits WHERE note LIKE '10$%' ESCAPE '$' OR note NOT ILIKE 'A$_B' ESCAPE '$'
SELECT count(*) FROM visits WHERE replace(note, 'b', '') = 'ac' OR split_part(note, ' ', 1) = '北山' OR reverse(note) = 'cba'
SELECT count(*) FROM visits WHERE lpad(note, 4, '0') = '0abc' OR concat_ws('-', dept, note) = '外科-abc' OR strpos(note, 'b') = 2
SELECT sum(least(strlen(note), 30)), sum(age & 7), sum(age | 1), sum(xor(age, 5)), sum(age >> 1) FROM visits WHERE note <> ''
SELECT sum(pow(age, 0.5)), sum(log2(age + 1)), sum(cbrt(score)), sum(sin(age)), sum(atan2(score, age)) FROM visits
SELECT count(*) FROM visits WHERE isnan(sqrt(score)) OR isinf(score / age) OR NOT isfinite(ln(age))
SELECT median(age), quantile_cont(age, 0.9), quantile_disc(age, 0.1), quantile(age, 0.25), min(age), max(age) FROM visits
SELECT urgent, median(level), min(score), max(score), min(fee), max(fee) FROM visits GROUP BY urgent
SELECT dept, min(amount), max(amount), quantile_disc(amount, 0.462) FROM visits GROUP BY dept
SELECT code, median(age), max(age), count(*) FROM visits GROUP BY code
SELECT percentile_cont(0.9) WITHIN GROUP (ORDER BY age), percentile_disc(0.75) WITHIN GROUP (ORDER BY fee DESC) FROM visits
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY rate) FILTER (WHERE urgent), max(age) FILTER (WHERE urgent) FROM visits
SELECT max(age) - min(age), min(least(greatest(stock, -500), 500)) FROM visits
SELECT dept FROM visits GROUP BY dept HAVING min(age) >= 0 AND max(age) < 0
SELECT dept, urgent, quantile_disc(score, 0.48) FROM visits GROUP BY dept, urgent
SELECT count(DISTINCT city), count(DISTINCT dept), count(DISTINCT code), count(DISTINCT note), count(DISTINCT age) FROM visits
SELECT count(DISTINCT stock), count(DISTINCT score), count(DISTINCT urgent), count(DISTINCT seen), count(DISTINCT day) FROM visits
SELECT dept, count(DISTINCT day), count(DISTINCT floor(amount / 100)) FILTER (WHERE urgent) FROM visits GROUP BY dept
SELECT code, count(DISTINCT city || '/' || dept), count(DISTINCT person_id) FROM visits GROUP BY code
SELECT count(DISTINCT date_trunc('month', day)), count(DISTINCT nullif(score, score)), count(DISTINCT 1) FROM visits
SELECT count(DISTINCT v.city), count(DISTINCT 省份), median(population) FROM visits v JOIN places p ON v.city = p.city
SELECT min(day), max(day), quantile_disc(day, 0.25) FROM visits
SELECT dept, max(day) FILTER (WHERE urgent), date_diff('day', min(day), max(day)) FROM visits GROUP BY dept
SELECT min(date_trunc('month', day)), max(day + 3), min(day) + INTERVAL 1 MONTH FROM visits
SELECT dept, rank() OVER (ORDER BY quantile_disc(amount, 0.462) DESC) AS r, max(age) - lag(max(age)) OVER (ORDER BY dept) AS d FROM visits GROUP BY dept
SELECT min(seen), max(seen), median(seen), quantile_cont(seen, 0.9) FROM visits
SELECT dept, max(seen) FILTER (WHERE urgent), date_diff('hour', min(seen), max(seen)) AS hours FROM visits GROUP BY dept
SELECT code, max(seen), count(*) FROM visits GROUP BY code
SELECT percentile_disc(0.258) WITHIN GROUP (ORDER BY seen DESC), hour(max(seen)) >= 0 AS h FROM visits
SELECT min(date_trunc('hour', seen)), max(seen + INTERVAL 36 HOUR), min(coalesce(seen, TIMESTAMP '2023-05-01 12:00:00')) FROM visits
SELECT NULL AS nothing, count(*) FROM visits GROUP BY nothing
