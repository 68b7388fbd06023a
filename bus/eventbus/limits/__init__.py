"""Nobody can take everything: how much a host, a client or a connection may have."""
