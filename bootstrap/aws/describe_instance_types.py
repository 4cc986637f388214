"""List the instance types that EMR supports."""

from __future__ import annotations

from bootstrap.aws.request import Parameters, ReadApi


def supported_instance_types(read: ReadApi, release: str) -> set[str]:
    """Return the instance types that EMR supports in the region with a release."""
    types: set[str] = set()
    query: Parameters = {"ReleaseLabel": release}
    while True:  # botocore has no paginator for this operation
        response = read("emr", "list_supported_instance_types", query) or {}
        types |= {one["Type"] for one in response.get("SupportedInstanceTypes", ())}
        if not response.get("Marker"):
            return types
        query = query | {"Marker": response["Marker"]}
