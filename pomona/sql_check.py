"""What a query of a lake may be: one SELECT of the lake's tables, which reads and does nothing else.

Spark parses the text, and each node of the plan, each expression and each function must be on a list here. What is on
none is refused, whether anybody has thought of it or not: paths in place of tables, commands, scripts, functions that
run Java's methods.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from py4j.java_collections import JavaArray
from py4j.java_gateway import JavaObject, is_instance_of
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import ParseException, PySparkException
from pyspark.sql import SparkSession

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


def check_query(session: SparkSession, text: str, tables: Collection[str]) -> set[str]:
    """Make sure that a text is one query, which reads some tables and does nothing else.

    Parameters
    ----------
    session : SparkSession
        Of Spark's own functions alone, and with no variables put into the text; it parses the query, and runs nothing.
    text : str
    tables : collection of str
        Names of the tables that may be read, in small letters.

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
    found = list(_Walk(session).nodes(plan))
    named = {name.lower() for node, kind in found for name in _named(node, kind)}
    read = set()
    for node, kind in found:
        if kind == "UnresolvedRelation":
            read.add(_relation(node, tables, named))
        elif kind in ("UnresolvedFunction", "UnresolvedGenerator"):
            _require_function(session, _function_name(node, kind))
        elif kind == "UnresolvedTableValuedFunction":
            name = ".".join(_strings(node.name()))
            if name.lower() not in _TABLE_FUNCTIONS:
                raise _refused(f"the function {name}")
    return read & set(tables)


def first_line(error: object) -> str:
    """The first line that says anything of what Spark tells of an error, or of its text."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__).removesuffix(";")


def _refused(what: str) -> UsageError:
    return UsageError(
        f"query: {what} is not for a query of a lake: give one SELECT of features, quarantine, refits and reduced, "
        "with Spark's own functions of values"
    )


def _state(session: SparkSession) -> Any:
    return session._jsparkSession.sessionState()


class _Walk:
    """All nodes of a plan: every field of each is looked into, not only what Spark calls its children."""

    def __init__(self, session: SparkSession) -> None:
        self._gateway: Any = session.sparkContext._gateway
        self._kinds: dict[str, str] = {}

    def nodes(self, value: Any) -> Iterator[tuple[Any, str]]:
        """Every plan and expression in a value with the name of its class; UsageError where one is on no list."""
        if isinstance(value, JavaArray):
            fields: Iterable[Any] = value
        elif not isinstance(value, JavaObject):  # a text or a number
            return
        else:
            name = value.getClass().getName()
            family = self._family(name, value)
            if family in ("plan", "expression"):
                kind = name.rpartition(".")[2].removesuffix("$")
                if kind not in (_PLANS if family == "plan" else _EXPRESSIONS).split():
                    raise _refused(kind)
                yield value, kind
            fields = _fields(value, family)
        for field in fields:
            yield from self.nodes(field)

    def _family(self, name: str, value: Any) -> str:
        if name not in self._kinds:
            self._kinds[name] = next(
                (kind for kind, known in _FAMILIES.items() if self._is(value, known)), "other"
            )
        return self._kinds[name]

    def _is(self, value: Any, class_name: str) -> bool:
        return bool(is_instance_of(self._gateway, value, class_name))


# In this order: a list of Scala's is a product too, and a type of a table's row a list.
_FAMILIES = {
    "type": "org.apache.spark.sql.types.DataType",
    "plan": "org.apache.spark.sql.catalyst.plans.logical.LogicalPlan",
    "expression": "org.apache.spark.sql.catalyst.expressions.Expression",
    "node": "org.apache.spark.sql.catalyst.trees.TreeNode",
    "list": "scala.collection.Iterable",
    "product": "scala.Product",
}


def _fields(value: Any, family: str) -> Iterator[Any]:
    if family == "node":
        raise _refused(str(value.nodeName()))
    if family == "list":
        iterator = value.iterator()
        while iterator.hasNext():
            yield iterator.next()
    elif family in ("plan", "expression", "product"):
        for index in range(value.productArity()):
            yield value.productElement(index)


def _named(node: Any, kind: str) -> Iterator[str]:
    """The names that a WITH gives to its queries."""
    if kind == "UnresolvedWith":
        for relation in _fields(node.cteRelations(), "list"):
            yield str(relation.productElement(0))


def _relation(node: Any, tables: Collection[str], named: Collection[str]) -> str:
    parts = _strings(node.multipartIdentifier())
    name = parts[0].lower()
    if len(parts) > 1 or (name not in tables and name not in named):
        raise _refused(f"the table {'.'.join(parts)}")
    if not node.options().isEmpty() or node.isStreaming():
        raise _refused("a table with options, or as a stream,")
    return name


def _function_name(node: Any, kind: str) -> str:
    if kind == "UnresolvedFunction":
        return ".".join(_strings(node.nameParts()))
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


def _strings(names: Any) -> list[str]:
    return [str(name) for name in _fields(names, "list")]
