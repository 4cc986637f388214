"""SQL queries that `validate_query` accepts and rejects; an indented line continues the line before."""

from __future__ import annotations

import re


def _queries(text: str) -> list[str]:
    return re.split(r"\n(?! )", text.strip())


#: Each runs on a lake with features at version 3 and refits; together they cover the syntax of SELECT in Spark.
VALID_QUERIES = _queries(r"""
SELECT * FROM features VERSION AS OF 3 WHERE label LIKE 'A%'
SELECT count(*) FROM features VERSION AS OF 2
SELECT count(*) FROM refits VERSION AS OF 1
SELECT count(*) FROM quarantine
select COUNT(*), refit_id from REDUCED group by refit_id
SELECT reduced[0], path FROM reduced WHERE refit_id = (SELECT max(refit_id) FROM refits)
SELECT a.path, a.reduced[0] - b.reduced[0] AS moved FROM reduced a JOIN reduced b USING (path)
    WHERE a.refit_id < b.refit_id ORDER BY abs(moved) DESC NULLS LAST LIMIT 3 OFFSET 1
WITH a AS (SELECT label, count(*) n FROM features GROUP BY label), b AS (SELECT * FROM a WHERE n
    > 1) SELECT * FROM b ORDER BY n DESC
SELECT label, count(*) c FROM features GROUP BY label HAVING c > 1
SELECT label, row_number() OVER (PARTITION BY label ORDER BY path) r, sum(length) OVER w, rank()
    OVER (ORDER BY path ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM features WINDOW w
    AS (PARTITION BY label ROWS BETWEEN 1 PRECEDING AND UNBOUNDED FOLLOWING) LIMIT 4
SELECT label, explode(filter(features, v -> v > 5)) FROM features LIMIT 3
SELECT e.v, e.p FROM features LATERAL VIEW posexplode(features) e AS p, v LIMIT 2
SELECT t.n FROM features, LATERAL (SELECT length + 1 AS n) t LIMIT 2
SELECT * FROM range(3)
SELECT * FROM VALUES (1, 'a'), (2, 'b') AS t(a, b)
VALUES (1), (2)
TABLE refits
SELECT CASE WHEN length > 1 THEN 1 WHEN length < 0 THEN 3 ELSE 2 END, CASE label WHEN 'a' THEN 1
    END, CAST(length AS INT), label || path, features[0], 1 + 2 - 3 * 4 / 5 % 6, 7 DIV 2,
    -length, +length, ~length, length & 1 | 2 ^ 3, INTERVAL 1 DAY, extract(YEAR FROM
    ingested_at), length IN (1,2), length IN (SELECT 1), EXISTS (SELECT 1), length NOT BETWEEN 1
    AND 2, label IS NULL, label IS NOT NULL, label RLIKE 'x', label NOT LIKE 'a' ESCAPE '!', NOT
    true, DATE '2020-01-01', TIMESTAMP '2020-01-01 00:00:00', label <=> path,
    length = 1 OR length <> 2 AND length >= 3, 1 < 2, 1 <= 2, 1 > 2, label IS DISTINCT FROM
    path, true IS TRUE FROM features LIMIT 1
SELECT label FROM features UNION SELECT label FROM quarantine INTERSECT SELECT label FROM
    features EXCEPT SELECT 'x' MINUS SELECT 'y'
SELECT label FROM features UNION ALL SELECT label FROM features
SELECT DISTINCT label FROM features
SELECT count(DISTINCT label), count(*) FILTER (WHERE length > 1), first(label), last(label),
    any_value(label), percentile_cont(0.5) WITHIN GROUP (ORDER BY length),
    percentile_disc(0.5) WITHIN GROUP (ORDER BY length), max(DISTINCT length),
    array_agg(label)[0], try_cast('a' AS int) FROM features
SELECT label, length, count(*) FROM features GROUP BY ROLLUP (label, length)
SELECT label, length, count(*) FROM features GROUP BY CUBE (label, length)
SELECT label, length, count(*), grouping(label) FROM features GROUP BY GROUPING SETS ((label),
    (length), ())
SELECT label, count(*) FROM features GROUP BY ALL
SELECT * FROM (SELECT label, format FROM features) PIVOT (count(*) AS n FOR format IN ('JPEG',
    'PNG'))
SELECT * FROM (SELECT label, width, height FROM features) UNPIVOT (value FOR name IN (width,
    height)) LIMIT 2
SELECT * EXCEPT (features) FROM features TABLESAMPLE (50 PERCENT) LIMIT 1
SELECT f.* FROM features AS f(a,b,c,d,e,f,g,h,i,j,k,l) LIMIT 1
SELECT a.label FROM features a LEFT JOIN quarantine b ON a.path = b.path LEFT ANTI JOIN refits r
    ON r.model_id = a.model_id CROSS JOIN (SELECT 1)
SELECT * FROM features NATURAL JOIN quarantine
SELECT (SELECT max(features_version) FROM refits) AS v, label FROM features WHERE EXISTS (SELECT
    1 FROM refits) LIMIT 1
SELECT vector_cosine_similarity(a.features, b.features) FROM features a, features b LIMIT 1
FROM features |> WHERE length > 0 |> AGGREGATE count(*) AS n GROUP BY label |> ORDER BY n |>
    LIMIT 2
FROM features SELECT label LIMIT 1
SELECT label FROM features QUALIFY row_number() OVER (ORDER BY path) = 1
SELECT label FROM features LIMIT 1;
SELECT stack(2, 1, 2)
SELECT inline(array(struct(1, 2)))
SELECT label FROM features SORT BY label LIMIT 1
SELECT * FROM explode(array(1,2)) AS t(x)
SELECT count(*) FROM features LIMIT ALL
SELECT _metadata.file_path FROM features LIMIT 1
SELECT avg(v) FROM (SELECT explode(features) AS v FROM features)
SELECT label, features FROM features ORDER BY ALL LIMIT 1
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT * FROM t
SELECT 1 -- a comment
SELECT 1.5e3, 2BD, X'1F', 'it''s', r'raw'
SELECT trim(BOTH ' ' FROM label), ltrim(label), trim(LEADING 'x' FROM label), trim(TRAILING 'x'
    FROM label), substring(label FROM 1 FOR 2) FROM features LIMIT 1
SELECT date_diff(DAY, ingested_at, now()), timestampadd(HOUR, 1, ingested_at),
    current_timestamp, current_date() FROM features LIMIT 1
SELECT position('a' IN label), overlay(label PLACING 'x' FROM 1) FROM features LIMIT 1
SELECT label ILIKE 'a%', label LIKE ANY ('a', 'b'), label LIKE ALL ('a'), label NOT LIKE ANY
    ('a'), label NOT LIKE ALL ('a') FROM features LIMIT 1
SELECT label::string, length::int FROM features LIMIT 1
SELECT cast(1 AS decimal(10, 2)), try_cast('a' AS int), extract(YEAR FROM ingested_at) FROM features
    LIMIT 1
SELECT input_file_name(), uuid(), typeof(1), (1, 2), struct(1, 2), named_struct('a', 1).a FROM
    features LIMIT 1
SELECT transform(features, x -> x * 2)[0], aggregate(features, CAST(0 AS DOUBLE), (a, x) -> a +
    x) FROM features LIMIT 1
""")

#: Syntax and functions in `VALID_QUERIES` and the first Spark version that supports them.
MINIMUM_SPARK_VERSIONS = {
    "::": "4.0",
    "* EXCEPT (": "4.0",
    "|>": "4.0",
    "WITH RECURSIVE": "4.1",
    "QUALIFY": "4.2",
    "vector_cosine_similarity": "4.2",
}

#: Each reads something else, writes, runs code, or is not SQL.
REJECTED_QUERIES = _queries(r"""
SELECT * FROM parquet.`/etc`
SELECT * FROM text.`/etc/passwd`
SELECT * FROM `/etc/passwd`
SELECT * FROM delta.`/x`
SELECT * FROM binaryFile.`/etc/passwd`
SELECT * FROM spark_catalog.default.features
SELECT * FROM default.features
SELECT * FROM information_schema.tables
SELECT * FROM others
SELECT * FROM features.history
SELECT * FROM (SELECT * FROM parquet.`/etc`)
SELECT (SELECT max(value) FROM text.`/etc/passwd`)
SELECT 1 WHERE 1 IN (SELECT 1 FROM csv.`/etc/passwd`)
SELECT 1 WHERE EXISTS (SELECT 1 FROM csv.`/etc/passwd`)
WITH a AS (SELECT * FROM json.`/x`) SELECT * FROM a
WITH a AS (SELECT 1) SELECT * FROM csv.`/x`
WITH a AS (WITH b AS (SELECT java_method('java.lang.System','exit',1)) SELECT * FROM b) SELECT *
    FROM a
SELECT * FROM features f JOIN LATERAL (SELECT * FROM text.`/etc/passwd`) t
SELECT * FROM features ORDER BY (SELECT max(value) FROM text.`/x`)
SELECT count(*) FROM features GROUP BY reflect('a','b')
SELECT count(*) FROM features HAVING reflect('a','b') = 1
SELECT sum(length) OVER w FROM features WINDOW w AS (PARTITION BY
    java_method('java.lang.System','exit',1))
SELECT sum(length) OVER (ORDER BY java_method('java.lang.System','exit',1)) FROM features
SELECT count(*) FILTER (WHERE java_method('a','b') = '1') FROM features
SELECT transform(features, x -> java_method('a','b')) FROM features
SELECT * FROM features TIMESTAMP AS OF (SELECT java_method('a','b'))
SELECT * FROM features TIMESTAMP AS OF java_method('a','b')
SELECT * FROM features VERSION AS OF 'one'
SELECT * FROM features VERSION AS OF '-1'
SELECT * FROM features VERSION AS OF '+1'
SELECT * FROM features VERSION AS OF '१'
SELECT * FROM features VERSION AS OF 12345678901234567890
SELECT * FROM VALUES (java_method('a','b'))
SELECT * FROM features TABLESAMPLE (java_method('a','b') ROWS)
SELECT * FROM features LIMIT java_method('a','b')
SELECT * FROM features PIVOT (max(java_method('a','b')) FOR label IN ('a'))
SELECT java_method('java.lang.System', 'getenv', 'HOME')
SELECT reflect('java.lang.System', 'getenv', 'HOME')
SELECT try_reflect('java.lang.System', 'getenv', 'HOME')
SELECT JAVA_METHOD('java.lang.System', 'getenv', 'HOME')
SELECT `java_method`('java.lang.System', 'getenv', 'HOME')
SELECT builtin.java_method('java.lang.System', 'getenv', 'HOME')
SELECT system.builtin.java_method('java.lang.System', 'getenv', 'HOME')
SELECT raise_error('x')
SELECT aes_encrypt('a', 'b')
SELECT from_protobuf(features, 'M', '/etc/passwd') FROM features
SELECT from_avro(features, '{}') FROM features
SELECT xpath('<a/>', '/a')
SELECT unknown_function(1)
SELECT IDENTIFIER('java_method')('java.lang.System', 'getenv', 'HOME')
SELECT * FROM IDENTIFIER('parquet.`/etc`')
SELECT * FROM IDENTIFIER('a' || 'b')
SELECT TRANSFORM (label) USING 'cat' AS (x) FROM features
FROM features MAP label USING 'cat' AS x
SELECT * FROM table_changes('features', 0)
SELECT * FROM read_files('/etc')
SELECT * FROM sql_keywords()
SELECT * FROM features WITH (`path` = '/etc')
SELECT * FROM STREAM features
SELECT * FROM STREAM(features)
SELECT /*+ BROADCAST(features) */ * FROM features
SELECT * FROM features DISTRIBUTE BY label
SELECT :x
SELECT ?
SET x = 1
SET
RESET
SET VAR x = 1
DECLARE VARIABLE x INT
USE default
SHOW TABLES
SHOW FUNCTIONS
DESCRIBE features
DESCRIBE HISTORY features
EXPLAIN SELECT 1
EXPLAIN ANALYZE SELECT 1
SELECT 1; SELECT 2
SELECT 1; DROP TABLE features
BEGIN SELECT 1; END
BEGIN DROP TABLE features; END
CREATE TABLE t AS SELECT 1
CREATE TABLE t (a INT)
CREATE VIEW v AS SELECT 1
CREATE TEMPORARY VIEW v AS SELECT 1
CREATE FUNCTION f AS 'org.example.F'
CREATE TEMPORARY FUNCTION f AS 'org.example.F' USING JAR '/x.jar'
CREATE FUNCTION f() RETURNS INT RETURN 1
CREATE DATABASE d
DROP TABLE features
DROP DATABASE x CASCADE
ALTER TABLE features ADD COLUMN x INT
TRUNCATE TABLE features
INSERT INTO features SELECT * FROM features
INSERT OVERWRITE DIRECTORY '/tmp/x' USING parquet SELECT 1
FROM features INSERT INTO refits SELECT *
UPDATE features SET label = 'x'
DELETE FROM features
MERGE INTO features USING refits ON true WHEN MATCHED THEN DELETE
COPY INTO features FROM '/x'
VACUUM features
VACUUM delta.`/x` RETAIN 0 HOURS
OPTIMIZE features
RESTORE TABLE features TO VERSION AS OF 0
CONVERT TO DELTA parquet.`/x`
GENERATE symlink_format_manifest FOR TABLE features
CLONE features
CREATE TABLE t SHALLOW CLONE features
REFRESH TABLE features
CACHE TABLE features
UNCACHE TABLE features
CLEAR CACHE
ANALYZE TABLE features COMPUTE STATISTICS
ADD JAR '/x.jar'
ADD FILE '/etc/passwd'
LIST JARS
MSCK REPAIR TABLE features
LOAD DATA INPATH '/x' INTO TABLE features
KILL 1
CALL system.x()
EXECUTE IMMEDIATE 'DROP TABLE features'
!
.
SELEKT 1
FROM features |> UNION ALL (TABLE parquet.`/etc`)
WITH features AS (SELECT * FROM text.`/etc/passwd`) SELECT * FROM features
SELECT * FROM features VERSION AS OF 1, parquet.`/etc`
""")
