"""What broke while a stream was read comes in; another try is waited for, or one line says what to mend."""

from __future__ import annotations

from pipeline.train import web_files
from pipeline.train.patience import (
    BUGS,
    Patience,
    http_status,
    is_of_content,
    kind_of_refusal,
    of_certificate,
    of_full_disk,
    one_line,
)
from pipeline.train.stream_names import FIELD
from utils.console import UserError


def hold_on(patience: Patience, error: Exception, what: str, mend: str) -> None:
    """Wait before another try; or tell the person in one line what was wrong for good, and with which file."""
    try:
        patience.wait(error)
    except UserError:
        raise
    except Exception as last:
        if isinstance(last, BUGS) and not _does_not_fit(last):
            raise
        reason = f"a file has no column {last}" if isinstance(last, KeyError) else one_line(last)
        file = next(iter(getattr(error, "__notes__", ())), None)
        mend = "mend that file, or leave it out" if file and is_of_content(last) else mend
        raise UserError(f"{FIELD}: {what.format(file or patience.what)} ({reason}); {_mend(last) or mend}") from error


def _does_not_fit(error: Exception) -> bool:
    """A column that is text in one file and lists in another is a TypeError to `datasets`."""
    return isinstance(error, TypeError) and str(error).startswith("Couldn't cast")


def _mend(error: Exception) -> str:
    """What to do about it, where the error says more than that something broke."""
    status = http_status(error)
    refusal = kind_of_refusal(status) if status else ""
    if isinstance(error, web_files.Changed):
        return "put back what it was, or train anew"
    if isinstance(error, KeyError) or _does_not_fit(error):
        return "mend that file, or leave it out"
    if isinstance(error, FileNotFoundError) or refusal == "missing":
        return "correct the name"
    if isinstance(error, PermissionError) or refusal == "forbidden":
        return "ask for access, and log in (hf auth login or HF_TOKEN, for the hub)"
    if of_full_disk(error):
        return "free some space"
    if of_certificate(error):
        return "give a host that proves who it is, or name its authority's certificate in SSL_CERT_FILE"
    return ""
