"""Find the AWS partition of a region."""

from __future__ import annotations

from functools import cache

from bootstrap.errors import ConfigError


@cache
def region_partition(region: str) -> str:
    """Return the partition of a region, such as ``aws`` or ``aws-cn``; needs neither credentials nor network.

    Raises
    ------
    ConfigError
        If the name fits no partition that botocore knows.
    """
    import botocore.exceptions
    import botocore.session

    try:
        return str(botocore.session.get_session().get_partition_for_region(region))
    except botocore.exceptions.UnknownRegionError as error:
        raise ConfigError(
            f"region is {region!r}, which is not an AWS region: correct it"
        ) from error
