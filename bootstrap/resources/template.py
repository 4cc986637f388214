"""The resources of a CloudFormation template, and the text that is sent.

The templates are read by lines, so that no YAML parser is needed at run time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bootstrap.errors import CloudError

#: Maximum number of bytes of a template in a request, see the quotas of CloudFormation.
SIZE_LIMIT = 51_200


@dataclass(frozen=True)
class Resource:
    """A resource of a template.

    Parameters
    ----------
    name : str
        Logical ID.
    type : str
        Such as ``AWS::S3::Bucket``.
    purpose : str
        From the section `Purposes` of the template.
    properties : str
        Text of the definition.
    """

    name: str
    type: str
    purpose: str
    properties: str

    @property
    def name_property(self) -> str:
        """Return the property that names the resource, or an empty string."""
        match = re.search(r"^      (\w*Name): ", self.properties, re.M)
        return match[1] if match else ""

    def physical_name(self, parameters: Mapping[str, str]) -> str:
        """Return the custom name of the resource, or an empty string."""
        match = re.search(
            r'^      (?:\w+Name|Name): !(?:Sub|Ref) "?([^"\n]+)"?$', self.properties, re.M
        )
        name = match[1] if match else ""
        name = parameters.get(name, name)
        return re.sub(r"\$\{(\w+)\}", lambda found: parameters.get(found[1], found[0]), name)


def template_resources(template: str, parameters: Mapping[str, str]) -> list[Resource]:
    """Return the resources whose condition is true.

    Parameters
    ----------
    template : str
    parameters : dict of str
        Values of parameters, and of ``AWS::Partition``; a parameter without value has its default.
    """
    values = {**_defaults(template), "AWS::Partition": "aws", **parameters}
    conditions = _conditions(template)
    purposes = template_purposes(template)
    return [
        Resource(name, _field(text, "Type") or "", purposes.get(name, ""), text)
        for name, text in _blocks(_section(template, "Resources"))
        if _is_true(("Condition", _field(text, "Condition")), conditions, values)
    ]


def template_purposes(template: str) -> dict[str, str]:
    """Return the purpose of each resource."""
    (purposes,) = [
        text for name, text in _blocks(_section(template, "Metadata")) if name == "Purposes"
    ]
    return {
        key: str(_unquoted(text)) for key, text in re.findall(r"^    (\w+): (.+)$", purposes, re.M)
    }


def without_resource(template: str, name: str) -> str:
    """Return a template without a resource, if it has it; its parameters and conditions stay."""
    resources = _section(template, "Resources")
    kept = re.sub(rf"^  {name}:\n(?:    .*\n|\n)*", "", resources, flags=re.M)
    return template.replace(resources, kept)


def template_body(template: str, parameters: Mapping[str, str]) -> str:
    """Return the text that is sent: shorter, and with literal names of the resources that are retained.

    It has no comments, no metadata, and no descriptions of parameters.

    CloudFormation imports an existing resource only if its name is not the value of a function.

    Raises
    ------
    CloudError
        If the text exceeds `SIZE_LIMIT`.
    """
    values = {**_defaults(template), **parameters}
    text = template.replace(f"Metadata:\n{_section(template, 'Metadata')}", "")
    text = re.sub(r"^ *#.*\n|^ *\n|^    (?:Constraint)?Description: .+\n", "", text, flags=re.M)
    text = re.sub(
        r"^( +(?:BucketName|Bucket|DatabaseName): )!Ref (\w+)$",
        lambda match: match[1] + (json.dumps(values[match[2]]) if match[2] in values else match[0]),
        text,
        flags=re.M,
    )
    size = len(text.encode())
    if size > SIZE_LIMIT:
        raise CloudError(
            f"the template has {size:,} bytes, and CloudFormation accepts {SIZE_LIMIT:,}: shorten it"
        )
    return text


def _section(template: str, name: str) -> str:
    """Return the text of a top-level section."""
    match = re.search(rf"^{name}:\n((?: .*\n|#.*\n|\n)*)", template, re.M)
    return match[1] if match else ""


def _blocks(section: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each entry of a section."""
    parts = re.split(r"^  ([\w:]+):", section, flags=re.M)
    yield from zip(parts[1::2], parts[2::2], strict=True)


def _field(text: str, key: str) -> str | None:
    match = re.search(rf"^    {key}: (.+)$", text, re.M)
    return match[1] if match else None


def _defaults(template: str) -> dict[str, str]:
    """Return the default of each parameter that has one."""
    found = (
        (name, _field(text, "Default")) for name, text in _blocks(_section(template, "Parameters"))
    )
    return {name: str(_unquoted(text)) for name, text in found if text is not None}


def _conditions(template: str) -> dict[str, Any]:
    """Return the expression of each condition: nested tuples of function and argument."""
    result = {}
    for name, text in _blocks(_section(template, "Conditions")):
        head, *items = re.split(r"\n    - ", re.sub(r"^ *#.*\n", "", text, flags=re.M).strip())
        tokens = _tokens(f"{head} [{', '.join(items)}]" if items else head)
        result[name] = _expression(tokens)
    return result


def _tokens(text: str) -> list[str]:
    """Return the tokens of an expression in YAML's flow style, the last one first."""
    pattern = r'\s*(!\w+|[\[\]{},]|"(?:[^"\\]|\\.)*"|[^\[\]{},"\s][^\[\]{},]*)'
    return re.findall(pattern, text)[::-1]


def _expression(tokens: list[str]) -> Any:
    """Remove the tokens of an expression, and return it."""
    token = tokens.pop()
    if token.startswith("!"):
        return token[1:], _expression(tokens)
    if token == "{":
        key, _, name = tokens.pop().partition(": ")
        tokens.pop()  # the closing brace
        return key, name
    if token == "[":
        items = []
        while tokens[-1] != "]":
            if tokens[-1] == ",":
                tokens.pop()
            items.append(_expression(tokens))
        tokens.pop()
        return items
    return _unquoted(token)


def _unquoted(text: str) -> Any:
    text = text.strip()
    return json.loads(text) if text.startswith('"') else text


def _is_true(expression: Any, conditions: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    """Return the value of a condition."""

    def resolve(value: Any) -> Any:
        """Return the value of an expression or of an argument."""
        if not isinstance(value, tuple):
            return value
        function, argument = value
        match function:
            case "Condition":
                return argument is None or resolve(conditions[argument])
            case "Ref":
                return values[argument]
            case "Equals":
                return resolve(argument[0]) == resolve(argument[1])
            case "Not":
                return not resolve(argument[0])
            case "And":
                return all(map(resolve, argument))
            case "Or":
                return any(map(resolve, argument))
            case "Join":
                return argument[0].join(resolve(argument[1]).split(","))
        raise AssertionError(f"the function {function} is not supported in a condition")

    return bool(resolve(expression))
