"""One event bus from the browser to the back end: HTTP in, a durable log, WebSockets out."""
