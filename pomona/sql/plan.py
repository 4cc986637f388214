"""Traverse the parsed plan of a query: nodes and expressions as Java objects with their class names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from py4j.java_collections import JavaArray
from py4j.java_gateway import JavaObject, is_instance_of
from pyspark.sql import SparkSession

#: Kinds of nodes that a plan is made of.
PLAN, EXPRESSION, OTHER = "plan", "expression", "node"
# In this order: a list of Scala's is a product too, and a type of a table's row a list.
_FAMILIES = {
    "type": "org.apache.spark.sql.types.DataType",
    PLAN: "org.apache.spark.sql.catalyst.plans.logical.LogicalPlan",
    EXPRESSION: "org.apache.spark.sql.catalyst.expressions.Expression",
    OTHER: "org.apache.spark.sql.catalyst.trees.TreeNode",
    "list": "scala.collection.Iterable",
    "product": "scala.Product",
}


class PlanWalker:
    """All nodes of a plan: every field of each is looked into, not only what Spark calls its children.

    Parameters
    ----------
    session : SparkSession
        That has parsed it.
    """

    def __init__(self, session: SparkSession) -> None:
        self._gateway: Any = session.sparkContext._gateway
        self._families: dict[str, str] = {}

    def nodes(self, value: Any) -> Iterator[tuple[Any, str, str]]:
        """Every node in a value: itself, one of `PLAN`, `EXPRESSION` and `OTHER`, and the bare name of its class.

        Whoever stops at a node has seen nothing of what is in it: each comes before its own fields.
        """
        if isinstance(value, JavaArray):
            fields: Iterable[Any] = value
        elif not isinstance(value, JavaObject):  # a text or a number
            return
        else:
            name = value.getClass().getName()
            family = self._family(name, value)
            if family in (PLAN, EXPRESSION, OTHER):
                yield value, family, name.rpartition(".")[2].removesuffix("$")
            fields = child_fields(value, family)
        for field in fields:
            yield from self.nodes(field)

    def _family(self, name: str, value: Any) -> str:
        if name not in self._families:
            self._families[name] = next(
                (kind for kind, known in _FAMILIES.items() if self._is(value, known)), "none"
            )
        return self._families[name]

    def _is(self, value: Any, class_name: str) -> bool:
        return bool(is_instance_of(self._gateway, value, class_name))


def child_fields(value: Any, family: str = "list") -> Iterator[Any]:
    """What is in a Java object of a family; nothing in one of none."""
    if family == "list":
        iterator = value.iterator()
        while iterator.hasNext():
            yield iterator.next()
    elif family in (PLAN, EXPRESSION, "product"):
        for index in range(value.productArity()):
            yield value.productElement(index)


def to_strings(names: Any) -> list[str]:
    """A list of Scala's as texts."""
    return [str(name) for name in child_fields(names)]
