"""The error tree: one class per reaction of the caller, each with the exit code of the command.

    FedkseedError                     1   anything we foresaw
    ├── SettingError                 10   a setting is unknown, missing or out of range
    ├── FileError                    11   a file cannot be read or written
    ├── DataError                    20   a data file cannot be used
    │   ├── EmptyData                21   it holds no example
    │   ├── MalformedData            22   a line is not what it should be
    │   └── ClientWithoutExamples    23   a client would have nothing to train on
    ├── BaseError                    30   a base model cannot be used
    │   ├── BaseMissing              31   it cannot be found or loaded
    │   ├── BaseMismatch             32   its tensors are not those of the genesis
    │   └── SupportMismatch          33   the support is missing or not the one of the genesis
    ├── ArtifactError                40   a ledger artifact cannot be used
    │   ├── ArtifactUnreadable       41   it is truncated or not an artifact
    │   └── ArtifactAltered          42   its digests do not match its contents
    ├── DecodeError                  50   bytes are not a message (sent to the dead letters)
    ├── LedgerError                  60   the ledger refuses a change
    │   ├── GenesisMismatch          61   it belongs to another federation
    │   ├── UnknownVersion           62   a version it does not hold was asked for
    │   ├── LedgerUnreachable        63   its store cannot be reached, or takes no writes for now
    │   ├── LedgerDenied             64   its store refuses the credentials
    │   ├── LedgerSchemaUnknown      65   it was written by a version of the program with another schema
    │   ├── LedgerAltered            66   what is stored does not verify
    │   ├── LedgerBehind             67   it is older than what was already seen of it
    │   ├── LedgerMissing            68   no federation of that name was founded there
    │   └── LedgerUntrusted          69   its store and this process do not agree on TLS
    ├── BrokerError                  70   the message broker cannot be used
    │   ├── BrokerDenied             71   it refuses the credentials, or what they may do is not enough
    │   ├── TopologyMismatch         72   it has a queue or exchange of that name, but another one
    │   ├── QueueMissing             73   it has no queue of that name
    │   └── BrokerUntrusted          74   it and this process do not agree on TLS
    ├── LocalError                   80   a federation on this machine ended before its time
    │   └── CannotStart              81   a program of it is not installed, or does not come up
    ├── Quarantined                  85   a federation counts no update of this client
    ├── ArchiveIncomplete            86   the archive of updates does not hold what the ledger has counted
    └── Unwell                       90   `fedkseed doctor` found something that must be mended

A message is one line that names the setting, file, line or tensor at fault.
"""

from typing import ClassVar


class FedkseedError(Exception):
    """Base of every error that fedkseed raises on purpose."""

    exit_code: ClassVar[int] = 1


class SettingError(FedkseedError):
    """A setting is unknown, missing or out of range; the message names it."""

    exit_code = 10


class FileError(FedkseedError):
    """A file cannot be read or written; the message names it."""

    exit_code = 11


class DataError(FedkseedError):
    """A data file cannot be used."""

    exit_code = 20


class EmptyData(DataError):
    """A data file holds no example."""

    exit_code = 21


class MalformedData(DataError):
    """A line of a data file is not what it should be; the message names the line."""

    exit_code = 22


class ClientWithoutExamples(DataError):
    """A client would have nothing to train on."""

    exit_code = 23


class BaseError(FedkseedError):
    """A base model cannot be used."""

    exit_code = 30


class BaseMissing(BaseError):
    """A base model cannot be found or loaded."""

    exit_code = 31


class BaseMismatch(BaseError):
    """The tensors of a base model are not those of the genesis."""

    exit_code = 32


class SupportMismatch(BaseError):
    """A support is missing, or is not the one of the genesis."""

    exit_code = 33


class ArtifactError(FedkseedError):
    """A ledger artifact cannot be used."""

    exit_code = 40


class ArtifactUnreadable(ArtifactError):
    """A file is truncated or is no ledger artifact."""

    exit_code = 41


class ArtifactAltered(ArtifactError):
    """The digests of an artifact do not match its contents."""

    exit_code = 42


class DecodeError(FedkseedError):
    """Bytes are not a message of the wire format."""

    exit_code = 50


class LedgerError(FedkseedError):
    """The ledger refuses a change."""

    exit_code = 60


class GenesisMismatch(LedgerError):
    """The ledger belongs to another federation."""

    exit_code = 61


class UnknownVersion(LedgerError):
    """A version was asked for that the ledger does not hold."""

    exit_code = 62


class LedgerUnreachable(LedgerError):
    """The store cannot be reached, or takes no writes for now: trying again is the right answer."""

    exit_code = 63


class LedgerDenied(LedgerError):
    """The store refuses the credentials, or what they may do is not enough."""

    exit_code = 64


class LedgerSchemaUnknown(LedgerError):
    """The ledger is stored in a way that this version of the program does not know."""

    exit_code = 65


class LedgerAltered(LedgerError):
    """What is stored is incomplete or does not match its digests; the message names the part."""

    exit_code = 66


class LedgerBehind(LedgerError):
    """The ledger is older than what was already seen of it: a restored backup, or a truncated file."""

    exit_code = 67


class LedgerMissing(LedgerError):
    """No federation of that name was founded in this store."""

    exit_code = 68


class LedgerUntrusted(LedgerError):
    """The store's certificate does not verify, or it does not take ours; the message says why."""

    exit_code = 69


class BrokerError(FedkseedError):
    """The message broker cannot be used."""

    exit_code = 70


class BrokerDenied(BrokerError):
    """The message broker refuses the credentials, or what they may do is not enough."""

    exit_code = 71


class TopologyMismatch(BrokerError):
    """The message broker has a queue or an exchange of that name, declared in another way; the message names it."""

    exit_code = 72


class QueueMissing(BrokerError):
    """The message broker has no queue of that name, where none is made; the message names it."""

    exit_code = 73


class BrokerUntrusted(BrokerError):
    """The message broker's certificate does not verify, or it does not take ours; the message says why."""

    exit_code = 74


class LocalError(FedkseedError):
    """A federation on this machine ended before its time; the message names the process and what it said last."""

    exit_code = 80


class CannotStart(LocalError):
    """A program is not installed, or does not come up."""

    exit_code = 81


class Quarantined(FedkseedError):
    """A federation counts no update of this client, because they disagree with those of others."""

    exit_code = 85


class ArchiveIncomplete(FedkseedError):
    """The archive of updates does not give the ledger as it stands; the message names the first update that is missing."""

    exit_code = 86


class Unwell(FedkseedError):
    """A check of `fedkseed doctor` found something that must be mended; the message names the checks."""

    exit_code = 90
