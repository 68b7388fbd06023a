"""All that speaks HTTP or WebSocket to the outside."""
