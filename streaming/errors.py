"""The exceptions that reach a user, as one tree.

PomonaError                one line: what is wrong, the value, the remedy (exit code 1)
├── UsageError             arguments contradict each other or are out of range (exit code 2)
├── SourceError            the source of images cannot be read
├── LakeError              the lake does not exist, is not a lake, or has another format
├── LeaseError             another process writes the lake
├── ModelError             weights, exported model or engine cannot be used
├── SnapshotError          no such version or refit, or its rows or files cannot be used
│   └── TooFewRowsError    the version has fewer than 2 rows
├── FailureRateExceeded    most images are quarantined; the rows were not written
├── ExternalError          storage, network, disk, memory or permissions failed
├── AccountError           the AWS configuration is invalid, or AWS rejected a request
├── ThresholdExceeded      a monitored threshold was exceeded (exit code 3)
├── OutputError            standard output cannot be written
│   └── ClosedPipeError    the reader of standard output has ended; no message is printed
└── PlatformError          Java, jars or Spark are missing or broken on this machine
"""


class PomonaError(Exception):
    """An error that a user can resolve; its message is one line that says how."""

    exit_status = 1


class UsageError(PomonaError):
    """Arguments contradict each other or are out of range."""

    exit_status = 2


class SourceError(PomonaError):
    """The source does not exist, contains no images, or cannot be read."""


class LakeError(PomonaError):
    """The lake does not exist, is not a lake, or cannot be used for this command."""


class LeaseError(PomonaError):
    """Another process owns the lake, or has taken it over."""


class ModelError(PomonaError):
    """The weights or the exported model are missing, damaged, or belong to another network."""


class SnapshotError(PomonaError):
    """The requested version or refit does not exist, or its rows or files cannot be used, such as too few rows."""


class TooFewRowsError(SnapshotError):
    """The version has fewer than the 2 rows that a fit needs."""


class FailureRateExceeded(PomonaError):
    """The rate of quarantined images exceeds the limit."""


class ExternalError(PomonaError):
    """Storage, network, disk, memory or permissions failed; the message says how to continue."""


class AccountError(PomonaError):
    """The AWS configuration is invalid, or AWS rejected a request."""


class ThresholdExceeded(PomonaError):
    """A monitored threshold was exceeded; the command itself succeeded."""

    exit_status = 3


class OutputError(PomonaError):
    """Standard output cannot be written, for example because its disk is full."""


class ClosedPipeError(OutputError):
    """The process that read standard output has ended, for example ``head``."""


class PlatformError(PomonaError):
    """Java, a jar or Spark is missing or does not start."""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, or its class name if the text is empty.

    Only a line feed ends a line: names of files may contain the other characters that `str.splitlines` splits at.
    """
    return (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".")
