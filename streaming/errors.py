"""The exceptions that reach a user, one tree:

PomonaError            one line: what was wrong, the value, the remedy (exit status 1)
├── UsageError         the words of the command contradict each other or name nothing (exit status 2)
├── SourceError        the prefix of images cannot be read
├── LakeError          the lake is not there, is not a lake, or does not fit
├── LeaseError         another process writes the lake
├── ModelError         weights, exported model or engine cannot be used
├── SnapshotError      no such version of a table, or too few rows in it
├── FailureRateExceeded      most of the images that came cannot be decoded; nothing of them was written
├── ExternalError         something outside failed for longer than the patience lasts; run the same command again
├── AccountError       the description of what is to run on AWS, or the account, does not allow it
├── ThresholdExceeded        a limit that was to be watched was passed (exit status 3)
└── PlatformError      Java, jars or Spark are missing or broken on this machine
"""


class PomonaError(Exception):
    """A mistake or a fault that a user can mend; its text is one line that says how."""

    exit_status = 1


class UsageError(PomonaError):
    """The options given contradict each other, or are out of their range."""

    exit_status = 2


class SourceError(PomonaError):
    """The source does not exist, is empty, or may not be read."""


class LakeError(PomonaError):
    """The lake does not exist, is not a lake, or does not fit what is asked of it."""


class LeaseError(PomonaError):
    """Another process holds the lake, or has taken it over."""


class ModelError(PomonaError):
    """The weights or the exported model are missing, broken, or of another network."""


class SnapshotError(PomonaError):
    """The version asked for does not exist, or holds too little to be fitted."""


class FailureRateExceeded(PomonaError):
    """More of the images that came are broken than the user allows."""


class ExternalError(PomonaError):
    """A fault from outside ended the run: storage, network, a full disk."""


class AccountError(PomonaError):
    """The description of what is to run on AWS is wrong, or AWS refuses it."""


class ThresholdExceeded(PomonaError):
    """A limit that was to be watched was passed; the command itself has worked."""

    exit_status = 3


class PlatformError(PomonaError):
    """Java, a jar or Spark itself is missing or does not start."""
