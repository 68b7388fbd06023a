"""The example service: answers `check-domain` and `register-domain` on the event bus."""
