"""Traverse the parsed plan of a query through Py4J: plans and expressions are Java objects with class names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from py4j.java_collections import JavaArray
from py4j.java_gateway import JavaObject, is_instance_of
from pyspark.sql import SparkSession

#: Kinds of tree nodes.
PLAN, EXPRESSION, OTHER = "plan", "expression", "node"
# The first match counts: a Scala list is also a Product, and a StructType is also an Iterable.
_CLASSES = {
    "type": "org.apache.spark.sql.types.DataType",
    PLAN: "org.apache.spark.sql.catalyst.plans.logical.LogicalPlan",
    EXPRESSION: "org.apache.spark.sql.catalyst.expressions.Expression",
    OTHER: "org.apache.spark.sql.catalyst.trees.TreeNode",
    "list": "scala.collection.Iterable",
    "product": "scala.Product",
}


class PlanWalker:
    """Iterate over all nodes of a plan, including those in fields that Spark does not list as children.

    Parameters
    ----------
    session : SparkSession
        The session that parsed the plan.
    """

    def __init__(self, session: SparkSession) -> None:
        self._gateway: Any = session.sparkContext._gateway
        self._node_types: dict[str, str] = {}

    def nodes(self, value: Any) -> Iterator[tuple[Any, str, str]]:
        """Yield the nodes in a value: the Java object, `PLAN`, `EXPRESSION` or `OTHER`, and its simple class name.

        Each node comes before the nodes in its fields.
        """
        if isinstance(value, JavaArray):
            fields: Iterable[Any] = value
        elif not isinstance(value, JavaObject):  # a string or a number
            return
        else:
            name = value.getClass().getName()
            node_type = self._node_type(name, value)
            if node_type in (PLAN, EXPRESSION, OTHER):
                yield value, node_type, name.rpartition(".")[2].removesuffix("$")
            fields = child_fields(value, node_type)
        for field in fields:
            yield from self.nodes(field)

    def _node_type(self, name: str, value: Any) -> str:
        if name not in self._node_types:
            self._node_types[name] = next(
                (
                    node_type
                    for node_type, base in _CLASSES.items()
                    if self._is_instance(value, base)
                ),
                "none",
            )
        return self._node_types[name]

    def _is_instance(self, value: Any, class_name: str) -> bool:
        return bool(is_instance_of(self._gateway, value, class_name))


def child_fields(value: Any, node_type: str = "list") -> Iterator[Any]:
    """Yield the items of a Scala list or the fields of a product; nothing for other kinds."""
    if node_type == "list":
        iterator = value.iterator()
        while iterator.hasNext():
            yield iterator.next()
    elif node_type in (PLAN, EXPRESSION, "product"):
        for index in range(value.productArity()):
            yield value.productElement(index)


def to_strings(names: Any) -> list[str]:
    """Convert a Scala list to a list of strings."""
    return [str(name) for name in child_fields(names)]
