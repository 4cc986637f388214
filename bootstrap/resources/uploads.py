"""Upload files to the data bucket, under versioned keys."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bootstrap.aws.request import CurrentState, LocalFile, ReadApi, Request, overwrite_with
from bootstrap.config.names import Names
from bootstrap.errors import CloudError

#: Version and hash used in plans before the environment is built; a request that contains them is never sent.
VERSION_PLACEHOLDER = "${version}"
SHA256_PLACEHOLDER = "${environment.sha256}"
#: Uploaded last: a model is complete only with this file.
COMPLETION_MARKER = "model.json"


@dataclass(frozen=True)
class Uploads:
    """Local files to upload.

    Parameters
    ----------
    environment : LocalFile
        Archive of Python and Pomona for the nodes.
    code : dict of LocalFile
        By name: `bootstrap_emr.sh`, `submit.py`, `fenced-log-store.jar`.
    model : dict of LocalFile
        By ``<model ID>/<file>``; empty before the export.
    notebooks : dict of LocalFile
        By relative path.
    """

    environment: LocalFile
    code: Mapping[str, LocalFile]
    model: Mapping[str, LocalFile] = field(default_factory=dict)
    notebooks: Mapping[str, LocalFile] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """Hash of environment and code, 12 digits; `VERSION_PLACEHOLDER` if a file is missing."""
        files = [("environment.tar.gz", self.environment), *sorted(self.code.items())]
        if any(file.size is None for _, file in files):
            return VERSION_PLACEHOLDER
        return _version(dict(files))

    def locations(self, names: Names) -> UploadLocations:
        """Return the locations of these files."""
        return UploadLocations(names, self.version, self.environment.sha256 or SHA256_PLACEHOLDER)

    def missing(self) -> list[str]:
        """Return the paths of files that do not exist yet."""
        files = [self.environment, *self.code.values(), *self.model.values()]
        return [str(file.path) for file in files if file.size is None]


@dataclass(frozen=True)
class UploadLocations:
    """Locations of the uploads in the data bucket, used by steps and bootstrap actions.

    Parameters
    ----------
    names : Names
    version : str
        See `Uploads.version`.
    environment_sha256 : str
        Hash of the environment, which the nodes check.
    """

    names: Names
    version: str
    environment_sha256: str = SHA256_PLACEHOLDER

    def uri(self, name: str) -> str:
        """Return the ``s3://`` URI of a versioned file."""
        return f"s3://{self.names.data_bucket}/{self.key(name)}"

    def key(self, name: str) -> str:
        """Return the key of a versioned file."""
        return f"pomona/{self.version}/{name}"


def upload_requests(names: Names, uploads: Uploads) -> list[Request]:
    """Return the requests that upload files."""
    locations = uploads.locations(names)
    # The nodes of a cluster have the other files in the environment; EMR Serverless runs no script at the start.
    used = [
        name
        for name in uploads.code
        if (name == "bootstrap_emr.sh") == (names.config.mode == "cluster")
    ]
    files = {"environment.tar.gz": uploads.environment, **{n: uploads.code[n] for n in used}}
    result = [
        _upload(names, locations.key(name), file, _PURPOSES.get(name, "used by the nodes"))
        for name, file in files.items()
    ]
    if names.config.release == "emr-7.13.0":  # its JupyterHub reads this prefix
        # One folder per version, so that notebooks edited by users are kept.
        folder = f"jupyter/jovyan/pomona-{_version(uploads.notebooks)}"
        result += [
            _upload(names, f"{folder}/{name}", file, "notebook", overwrite=False)
            for name, file in sorted(uploads.notebooks.items())
        ]
    return [*result, *_model(names, uploads)]


_PURPOSES = {
    "environment.tar.gz": "Python, Pomona and its dependencies, for each node",
    "bootstrap_emr.sh": "unpacks the environment on each node",
    "submit.py": "entry point for spark-submit",
    "fenced-log-store.jar": "fenced log store for Delta: rejects the commits of a second writer",
}


def _model(names: Names, uploads: Uploads) -> list[Request]:
    """Return the requests that upload the model into the lake, `model.json` last."""
    prefix = f"{names.config.storage.lake}models/"
    ids = sorted({name.partition("/")[0] for name in uploads.model})

    def find_models(read: ReadApi) -> list[str]:
        """Return the IDs of the complete models in the lake."""
        query = {"Bucket": names.data_bucket, "Prefix": prefix}
        response = read("s3", "list_objects_v2", query, ("NoSuchBucket",)) or {}
        keys = [item["Key"] for item in response.get("Contents") or ()]
        return sorted({key.split("/")[-2] for key in keys if key.endswith(f"/{COMPLETION_MARKER}")})

    def is_kept(existing: list[str]) -> bool:
        """Return whether the lake has the same model with another decoder revision, which a lake keeps."""
        return (
            bool(ids) and existing != ids and _without_revision(existing) == _without_revision(ids)
        )

    def find_current(read: ReadApi) -> CurrentState:
        """Check that the lake contains no other model."""
        existing = find_models(read)
        if is_kept(existing):
            return CurrentState(True, {"model.Id": existing[0]})
        if ids and set(existing) - set(ids):
            raise CloudError(
                f"{names.lake_uri}: contains the model {', '.join(existing)}, and [files] weights would "
                f"add {', '.join(ids)}: a lake has one model; restore the previous weights, or use another "
                "[storage] lake"
            )
        return CurrentState(True, {"model.Id": ids[0] if ids else "".join(existing)})

    check_request = Request(
        name="model",
        service="s3",
        operation="list_objects_v2",
        parameters={"Bucket": names.data_bucket, "Prefix": prefix},
        purpose="checks that the lake has no other model",
        find_current=find_current,
    )
    files = sorted(
        uploads.model.items(), key=lambda item: (item[0].endswith(COMPLETION_MARKER), item[0])
    )
    purpose = "model, exported on this machine because the nodes have no TensorFlow"

    def upload_unless_kept(key: str, file: LocalFile) -> Request:
        """Return the request for a file, which counts as uploaded if the lake keeps its model."""
        request = _upload(names, key, file, purpose)

        def find_file(read: ReadApi) -> CurrentState | None:
            """Read size and hash of the uploaded object."""
            if is_kept(find_models(read)):
                return CurrentState(request.desired)
            return request.find_current(read)

        return replace(request, find_current=find_file)

    return [check_request, *(upload_unless_kept(prefix + name, file) for name, file in files)]


def _without_revision(model_ids: list[str]) -> list[str]:
    """Remove the decoder revision from model IDs, such as ``d3`` in ``mobilenetv2-224-…-gap-d3-float32``."""
    return [re.sub(r"-d\d+(?=-\w+$)", "", model_id) for model_id in model_ids]


def _version(files: Mapping[str, LocalFile]) -> str:
    listing = "\n".join(f"{name} {file.sha256}" for name, file in files.items())
    return hashlib.sha256(listing.encode()).hexdigest()[:12]


def _upload(
    names: Names, key: str, file: LocalFile, purpose: str, *, overwrite: bool = True
) -> Request:
    def find_current(read: ReadApi) -> CurrentState | None:
        """Read size and hash of the uploaded object; S3 has computed the hash, so that a changed object differs."""
        query = {"Bucket": names.data_bucket, "Key": key, "ChecksumMode": "ENABLED"}
        response = read("s3", "head_object", query, ("404", "NoSuchBucket", "NoSuchKey"))
        if response is None:
            return None
        if not overwrite:  # users edit notebooks
            return CurrentState({"bytes": file.size, "sha256": file.sha256})
        checksum = response.get("ChecksumSHA256")
        sha256 = base64.b64decode(checksum).hex() if checksum else None
        return CurrentState({"bytes": response["ContentLength"], "sha256": sha256})

    kms_key = names.config.encryption.data_key
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
    return Request(
        name=f"file {key}",
        service="s3",
        operation="put_object",
        parameters={
            "Bucket": names.data_bucket,
            "Key": key,
            "Body": file,
            "ChecksumAlgorithm": "SHA256",
            "ChecksumSHA256": base64.b64encode(bytes.fromhex(file.sha256)).decode(),
            **encryption,
        },
        purpose=purpose,
        find_current=find_current,
        desired={"bytes": file.size, "sha256": file.sha256},
        build_update=overwrite_with("put_object"),
    )
