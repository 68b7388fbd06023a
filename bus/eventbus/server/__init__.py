"""What is below HTTP: sockets, TLS, processes, and the short cut."""
