"""The example service: answers `check-domain` and `register-domain` on the event bus."""

__version__ = "0.1.0"
