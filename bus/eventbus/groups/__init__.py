"""The instances of a service that share its events (a consumer group)."""
