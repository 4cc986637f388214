"""Tests for `bootstrap.config.names`: locations are compared with defaults, and overlapping ones are rejected."""

from __future__ import annotations

import itertools
import re

import pytest

from bootstrap.config.loader import parse_config
from bootstrap.config.names import Names
from bootstrap.errors import ConfigError
from support.aws.account import ACCOUNT
from support.aws.cluster_configs import MINIMAL

DATA, LOG = f"fruits-data-{ACCOUNT}", f"fruits-log-{ACCOUNT}"
#: Values of each setting of [storage]; None: the setting is omitted.
VALUES: dict[str, tuple[str | None, ...]] = {
    "data_bucket": (None, DATA, LOG, "mine"),
    "log_bucket": (None, DATA, LOG, "mine"),
    "images": (
        None, "lake/", "lake/a/", "a/", "lake-2/", "Lake/",
        *(f"s3://{bucket}/{folder}"
          for bucket in (DATA, LOG, "mine", "pictures") for folder in ("", "images/", "pomona/", "jupyter/")),
    ),
    "lake": (None, "images/", "images/a/", "a/b/"),
}  # fmt: skip


def config_text(settings: dict[str, str | None]) -> str:
    lines = (f'storage.{key} = "{value}"\n' for key, value in settings.items() if value)
    return MINIMAL + "".join(lines)


def locations_overlap(settings: dict[str, str | None]) -> bool:
    """Return whether two of images, lake, uploads, notebooks and logs overlap, by their complete URIs."""
    data = settings["data_bucket"] or DATA
    images = settings["images"] or "images/"
    uris = [
        images if images.startswith("s3://") else f"s3://{data}/{images}",
        f"s3://{settings['log_bucket'] or LOG}/",
        *(f"s3://{data}/{folder}" for folder in (settings["lake"] or "lake/", "pomona/", "jupyter/")),
    ]  # fmt: skip
    return any(one.startswith(other) for one, other in itertools.permutations(uris, 2))


@pytest.mark.slow
def test_overlapping_locations_are_rejected_in_all_combinations() -> None:
    rejected = 0
    for values in itertools.product(*VALUES.values()):
        settings = dict(zip(VALUES, values, strict=True))
        data_bucket, images = settings["data_bucket"] or DATA, settings["images"] or ""
        # The data bucket is not another bucket, even if the folder in it would be free.
        is_conflict = locations_overlap(settings) or images.startswith(f"s3://{data_bucket}/")
        message = error_message(settings)
        assert bool(message) == is_conflict, settings
        if message:
            rejected += 1
            assert "\n" not in message
            assert len(set(re.findall(r"storage\.\w+", message))) == 2
    assert rejected > 500


def error_message(settings: dict[str, str | None]) -> str:
    """Return the error for a configuration in the account; empty if it is valid."""
    try:
        Names(parse_config(config_text(settings).encode()), ACCOUNT)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'images = "s3://{DATA}/"', f"storage.images is 's3://{DATA}/', in the data bucket "
         f"(storage.data_bucket is '{DATA}' by default): name a folder of that bucket without s3://, "
         "such as 'images/', or another bucket"),
        ('images = "s3://mine/"\ndata_bucket = "mine"', "storage.images is 's3://mine/', in the data bucket "
         "(storage.data_bucket is 'mine'): name a folder"),
        (f'images = "s3://{LOG}/a/"', f"storage.images is 's3://{LOG}/a/', in the log bucket "
         f"(storage.log_bucket is '{LOG}' by default), where all objects expire after 90 days: name another bucket"),
        (f'log_bucket = "{DATA}"', f"storage.log_bucket is '{DATA}'; it must differ from the data bucket "
         f"(storage.data_bucket is '{DATA}' by default): name another bucket"),
        (f'data_bucket = "{LOG}"', f"storage.data_bucket is '{LOG}'; it must differ from the log bucket "
         f"(storage.log_bucket is '{LOG}' by default): name another bucket"),
        ('images = "a/"\nlake = "a/b/"', "storage.images is 'a/'; it must not contain the lake, storage.lake 'a/b/', "
         "or be inside it: name two separate folders"),
    ],
)  # fmt: skip
def test_overlap_is_reported_with_both_settings_line_and_remedy(text: str, message: str) -> None:
    content = f'account = "{ACCOUNT}"\n{MINIMAL}[storage]\n{text}\n'
    with pytest.raises(ConfigError, match=re.escape(f"line 5: {message}")):
        parse_config(content.encode())


def test_default_buckets_are_compared_once_the_account_is_known() -> None:
    config = parse_config(config_text({"images": f"s3://{DATA}/"}).encode())
    Names(config, "210987654321")  # there, the bucket is another one
    with pytest.raises(ConfigError, match=rf"cluster.toml, line 3: .* is '{DATA}' by default"):
        Names(config, ACCOUNT)


@pytest.mark.parametrize(
    "images",
    [
        "S3://pictures/a/", "s3a://pictures/a/", "s3://Pictures/a/", "s3://pictures", "s3://pictures/a",
        "s3://pictures//a/", "images", "/images/", "images//", "./images/", "a/../lake/", "pomona/", "pomona/a/",
        "jupyter/a/", "s3://my-alias-s3alias/", "s3://my-alias--ol-s3/", "s3://pictures/*/", "s3://pictures/a?/",
        " lake/",
    ],
)  # fmt: skip
def test_other_spellings_of_a_location_are_rejected(images: str) -> None:
    message = f"line 3: storage.images is {images!r}; it must be a folder of the data bucket"
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_config(config_text({"images": images}).encode())


def test_role_paths_and_existing_roles_are_part_of_arns() -> None:
    text = 'name = "fruits"\nregion = "eu-west-1"\nroles = {path = "/teams/", service = "emr", job = "a/jobs"}\n'
    found = Names(parse_config(text.encode()), "123456789012")
    arn = "arn:aws:iam::123456789012"
    assert found.role_arn("nodes") == f"{arn}:role/teams/fruits-nodes"
    assert found.role_arn("job") == f"{arn}:role/a/jobs"
    # EMR needs the path of a role or instance profile, which only an ARN contains.
    assert found.emr_role("nodes") == f"{arn}:instance-profile/teams/fruits-nodes"
    assert found.emr_role("service") == "emr"
