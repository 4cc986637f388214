"""Validate a query: one SELECT on the lake's tables, without side effects.

Spark parses the text, and every node of the plan, expression and function must be on an allow list. Everything else
is rejected: paths in place of tables, commands, scripts, and functions that call Java methods.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import ParseException, PySparkException
from pyspark.sql import SparkSession

from pomona.sql.plan import EXPRESSION, PLAN, PlanWalker, child_fields, to_strings
from streaming.errors import UsageError

_PLANS = """
Project Filter Aggregate Sort GlobalLimit LocalLimit Offset Distinct Union Intersect Except Join LateralJoin
SubqueryAlias UnresolvedSubqueryColumnAliases UnresolvedRelation RelationTimeTravel UnresolvedWith UnresolvedHaving
WithWindowDefinition OneRowRelation LocalRelation UnresolvedInlineTable Generate Sample Pivot Unpivot
UnresolvedTableValuedFunction UnresolvedTVFAliases LimitAll UnresolvedQualify PipeOperator
"""
_EXPRESSIONS = """
UnresolvedAttribute UnresolvedStar UnresolvedStarExcept UnresolvedStarExceptOrReplace UnresolvedAlias MultiAlias
UnresolvedExtractValue UnresolvedFunction UnresolvedGenerator UnresolvedWindowExpression UnresolvedNamedLambdaVariable
Alias Literal AttributeReference Cast SortOrder Add Subtract Multiply Divide Remainder IntegralDivide UnaryMinus
UnaryPositive BitwiseAnd BitwiseOr BitwiseXor BitwiseNot And Or Not EqualTo EqualNullSafe LessThan LessThanOrEqual
GreaterThan GreaterThanOrEqual In InSubquery ListQuery Exists ScalarSubquery LateralSubquery IsNull IsNotNull Like
LikeAll LikeAny NotLikeAll NotLikeAny RLike CaseWhen Concat CreateNamedStruct NamePlaceholder CurrentDate
CurrentTimestamp StringTrim StringTrimLeft StringTrimRight Substring LambdaFunction WindowSpecDefinition
WindowSpecReference WindowExpression SpecifiedWindowFrame UnspecifiedFrame UnboundedPreceding UnboundedFollowing
CurrentRow Coalesce GroupingSets Cube Rollup PipeExpression StringLocate Overlay ILike TimestampAdd TimestampDiff
AggregateExpression First Last AnyValue PercentileCont PercentileDisc
"""
_ALLOWED = {PLAN: frozenset(_PLANS.split()), EXPRESSION: frozenset(_EXPRESSIONS.split())}
# Function groups as Spark names them. Excluded are functions that read schema files (Avro, Protobuf), XML functions,
# and the miscellaneous functions except those in _SINGLE_FUNCTIONS.
_GROUPS = """
agg array bitwise collection conditional conversion csv datetime generator hash json lambda map math predicate string
struct url variant vector window
"""
_SINGLE_FUNCTIONS = frozenset(
    {"input_file_name", "monotonically_increasing_id", "typeof", "uuid", "extract"}
)
_TABLE_FUNCTIONS = frozenset({"range", "explode", "posexplode", "inline", "stack"})
# Java accepts also digits of other scripts.
_VERSION = re.compile(r"[0-9]{1,18}")
# Prefixes of the lines after the message of a Spark error.
_DETAILS = ("== ", "'", "+- ", "at ", "JVM stacktrace")


def validate_query(
    session: SparkSession, text: str, tables: Collection[str], *, allow_time_travel: bool = True
) -> dict[str, set[int]]:
    """Check that a text is one query that only reads the given tables; it is parsed but not executed.

    Parameters
    ----------
    session : SparkSession
        Session with built-in functions only and without variable substitution.
    text : str
        The query.
    tables : collection of str
        Lowercase names of the tables that may be read.
    allow_time_travel : bool
        Whether ``VERSION AS OF`` is allowed. ``TIMESTAMP AS OF`` never is: Delta compares it with the modification
        times of the log's files, which a copy of the lake does not keep.

    Returns
    -------
    dict of str to set of int
        The tables that the query reads, each with the versions that it names with ``VERSION AS OF``.

    Raises
    ------
    UsageError
        If the text is not SQL, or contains something that is not allowed; the message names it.
    """
    try:
        plan = _state(session).sqlParser().parsePlan(text)
    except ParseException as error:
        raise UsageError(f"query: {first_line(error)}") from error
    except Py4JJavaError as error:  # raised by Spark 4.0 for SQL scripts
        message = error.java_exception.getMessage()
        if message is None:  # StackOverflowError
            raise
        raise UsageError(f"query: {first_line(message)}") from error
    nodes = list(_allowed_nodes(session, plan))
    cte_names = {
        name.lower() for node, class_name in nodes for name in _cte_names(node, class_name)
    }
    read: dict[str, set[int]] = {}
    for node, class_name in nodes:
        if class_name == "UnresolvedRelation":
            read.setdefault(_relation_name(node, tables, cte_names), set())
        elif class_name in ("UnresolvedFunction", "UnresolvedGenerator"):
            _check_function(session, _function_name(node, class_name))
        elif class_name == "UnresolvedTableValuedFunction":
            name = ".".join(to_strings(node.name()))
            if name.lower() not in _TABLE_FUNCTIONS:
                raise _not_allowed(f"the function {name}")
        elif class_name == "RelationTimeTravel":
            _check_time_travel(node, allowed=allow_time_travel)
            name = _relation_name(node.relation(), tables, cte_names)
            read.setdefault(name, set()).add(_version_number(node))
    return {name: versions for name, versions in read.items() if name in tables}


def first_line(error: object) -> str:
    """Return the message of a Spark error as one line, without the quoted query, plan and stack trace."""
    message: list[str] = []
    for line in map(str.strip, str(error).split("\n")):
        if message and (not line or message[-1].endswith(";") or line.startswith(_DETAILS)):
            break
        message += [line] if line else []
    return " ".join(message).removesuffix(";") or type(error).__name__


def _not_allowed(what: str) -> UsageError:
    return UsageError(
        f"query: {what} is not allowed: use one SELECT on features, quarantine, refits and reduced, "
        "with built-in functions on values"
    )


def _check_time_travel(node: Any, *, allowed: bool) -> None:
    if not allowed:
        raise UsageError("query: --as-of and a version in the query cannot be combined: omit one")
    if node.timestamp().isDefined():
        raise UsageError(
            "query: TIMESTAMP AS OF is not allowed, because Spark compares it with the times of files, which differ in "
            "a copy of the lake: use --as-of TIMESTAMP, or VERSION AS OF with a version of `pomona history`"
        )


def _version_number(node: Any) -> int:
    text = str(node.version().get())
    if not _VERSION.fullmatch(text):
        raise UsageError(
            f"query: VERSION AS OF {text[:100]!r} is not allowed: use a version number of `pomona history`"
        )
    return int(text)


def _state(session: SparkSession) -> Any:
    return session._jsparkSession.sessionState()


def _allowed_nodes(session: SparkSession, plan: Any) -> Iterator[tuple[Any, str]]:
    """Yield all plans and expressions with their class names; UsageError if one is not on the allow list."""
    for node, node_type, class_name in PlanWalker(session).nodes(plan):
        if class_name not in _ALLOWED.get(node_type, ()):
            raise _not_allowed(class_name)
        yield node, class_name


def _cte_names(node: Any, class_name: str) -> Iterator[str]:
    """Yield the names of the common table expressions of a WITH clause."""
    if class_name == "UnresolvedWith":
        for relation in child_fields(node.cteRelations()):
            yield str(relation.productElement(0))


def _relation_name(node: Any, tables: Collection[str], cte_names: Collection[str]) -> str:
    parts = to_strings(node.multipartIdentifier())
    name = parts[0].lower()
    if len(parts) > 1 or (name not in tables and name not in cte_names):
        raise _not_allowed(f"the table {'.'.join(parts)}")
    if not node.options().isEmpty() or node.isStreaming():
        raise _not_allowed("a table with options or as a stream")
    return name


def _function_name(node: Any, class_name: str) -> str:
    if class_name == "UnresolvedFunction":
        return ".".join(to_strings(node.nameParts()))
    return str(node.name().unquotedString())


def _check_function(session: SparkSession, name: str) -> None:
    if name.lower() in _SINGLE_FUNCTIONS:
        return
    jvm: Any = session._jvm
    identifier = jvm.org.apache.spark.sql.catalyst.FunctionIdentifier(name)
    try:
        group = _state(session).catalog().lookupFunctionInfo(identifier).getGroup()
    except (PySparkException, Py4JError):  # no such function
        group = None
    if group not in {f"{allowed}_funcs" for allowed in _GROUPS.split()}:
        raise _not_allowed(f"the function {name}")
