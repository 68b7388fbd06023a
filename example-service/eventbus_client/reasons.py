"""Why something failed, in one line that its reader can act on."""

from __future__ import annotations

from ssl import SSLCertVerificationError

from aiohttp import ClientConnectorCertificateError
from websockets.exceptions import ConnectionClosed

# OpenSSL's codes for a certificate by a CA that it does not know: X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT and the three
# that follow it.
UNKNOWN_CA = range(18, 22)


def one_line(error: object) -> str:
    """Bring a message into one line of the output."""
    line = "" if error is None else " ".join(str(error).split())
    return line or (type(error).__name__ if isinstance(error, Exception) else "no reason given")


def reason(error: Exception) -> str:
    """Say in plain words why the bus cannot be reached; what is rare keeps its own."""
    if isinstance(error, ClientConnectorCertificateError):
        return reason(error.certificate_error)
    if isinstance(error, SSLCertVerificationError):
        return _why_not_trusted(error)
    if isinstance(error, ConnectionClosed):
        return _why_closed(error)
    # For each of the host's addresses, perhaps.
    return "nobody answers there" if "Connect call failed" in str(error) else one_line(error)


def _why_closed(error: ConnectionClosed) -> str:
    if error.rcvd is None:
        return "the connection broke"
    said = error.rcvd.reason.strip()
    return f"the bus said: {one_line(said)}" if said else f"the bus closed with code {error.rcvd.code}"


def _why_not_trusted(error: SSLCertVerificationError) -> str:
    line = f"its certificate cannot be trusted ({error.verify_message.rstrip('.')})"
    if error.verify_code not in UNKNOWN_CA:
        return line
    return f"{line}; set SSL_CERT_FILE to the file of the CA that signed it, and start again"
