"""Validate a query: one SELECT on the lake's tables, without side effects.

Spark parses the text, and every node of the plan, expression and function must be on an allow list. Everything else
is rejected: paths in place of tables, commands, scripts, and functions that call Java methods.
"""

from __future__ import annotations

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
_KNOWN = {PLAN: frozenset(_PLANS.split()), EXPRESSION: frozenset(_EXPRESSIONS.split())}
# As Spark groups its own functions. Left out: what reads files of schemas (Avro, Protobuf), XML, and of the
# miscellaneous all but four.
_GROUPS = """
agg array bitwise collection conditional conversion csv datetime generator hash json lambda map math predicate string
struct url variant vector window
"""
_SINGLE_FUNCTIONS = frozenset(
    {"input_file_name", "monotonically_increasing_id", "typeof", "uuid", "extract"}
)
_TABLE_FUNCTIONS = frozenset({"range", "explode", "posexplode", "inline", "stack"})
# How the lines begin that follow what Spark says.
_QUOTES = ("== ", "'", "+- ", "at ", "JVM stacktrace")


def validate_query(
    session: SparkSession, text: str, tables: Collection[str], *, past: bool = True
) -> set[str]:
    """Make sure that a text is one query, which reads some tables and does nothing else.

    Parameters
    ----------
    session : SparkSession
        Of Spark's own functions alone, and with no variables put into the text; it parses the query, and runs nothing.
    text : str
    tables : collection of str
        Names of the tables that may be read, in small letters.
    past : bool
        Whether it may ask for versions of them.

    Returns
    -------
    set of str
        Those that are.

    Raises
    ------
    UsageError
        Where it is not SQL, or anything else; the text names what was found.
    """
    try:
        plan = _state(session).sqlParser().parsePlan(text)
    except ParseException as error:
        raise UsageError(f"query: {first_line(error)}") from error
    except Py4JJavaError as error:  # of scripts, which Spark 4.0 refuses by an exception of its own
        raise UsageError(f"query: {first_line(error.java_exception.getMessage())}") from error
    found = list(_nodes(session, plan))
    named = {name.lower() for node, kind in found for name in _named(node, kind)}
    read = set()
    for node, kind in found:
        if kind == "UnresolvedRelation":
            read.add(_relation(node, tables, named))
        elif kind in ("UnresolvedFunction", "UnresolvedGenerator"):
            _require_function(session, _function_name(node, kind))
        elif kind == "UnresolvedTableValuedFunction":
            name = ".".join(to_strings(node.name()))
            if name.lower() not in _TABLE_FUNCTIONS:
                raise _refused(f"the function {name}")
        elif kind == "RelationTimeTravel" and not past:
            raise UsageError("query: --as-of and a version in the text: give one of the two")
    return read & set(tables)


def first_line(error: object) -> str:
    """What Spark says of an error before it quotes a query, a plan or a stack, as one line."""
    said: list[str] = []
    for line in map(str.strip, str(error).splitlines()):
        if said and (not line or said[-1].endswith(";") or line.startswith(_QUOTES)):
            break
        said += [line] if line else []
    return " ".join(said).removesuffix(";") or type(error).__name__


def _refused(what: str) -> UsageError:
    return UsageError(
        f"query: {what} is not for a query of a lake: give one SELECT of features, quarantine, refits and reduced, "
        "with Spark's own functions of values"
    )


def _state(session: SparkSession) -> Any:
    return session._jsparkSession.sessionState()


def _nodes(session: SparkSession, plan: Any) -> Iterator[tuple[Any, str]]:
    """Every plan and expression with the name of its class; UsageError where one is on no list."""
    for node, family, kind in PlanWalker(session).nodes(plan):
        if kind not in _KNOWN.get(family, ()):
            raise _refused(kind)
        yield node, kind


def _named(node: Any, kind: str) -> Iterator[str]:
    """The names that a WITH gives to its queries."""
    if kind == "UnresolvedWith":
        for relation in child_fields(node.cteRelations()):
            yield str(relation.productElement(0))


def _relation(node: Any, tables: Collection[str], named: Collection[str]) -> str:
    parts = to_strings(node.multipartIdentifier())
    name = parts[0].lower()
    if len(parts) > 1 or (name not in tables and name not in named):
        raise _refused(f"the table {'.'.join(parts)}")
    if not node.options().isEmpty() or node.isStreaming():
        raise _refused("a table with options, or as a stream,")
    return name


def _function_name(node: Any, kind: str) -> str:
    if kind == "UnresolvedFunction":
        return ".".join(to_strings(node.nameParts()))
    return str(node.name().unquotedString())


def _require_function(session: SparkSession, name: str) -> None:
    if name.lower() in _SINGLE_FUNCTIONS:
        return
    jvm: Any = session._jvm
    identifier = jvm.org.apache.spark.sql.catalyst.FunctionIdentifier(name)
    try:
        group = _state(session).catalog().lookupFunctionInfo(identifier).getGroup()
    except (PySparkException, Py4JError):  # there is no such function
        group = None
    if group not in {f"{known}_funcs" for known in _GROUPS.split()}:
        raise _refused(f"the function {name}")
