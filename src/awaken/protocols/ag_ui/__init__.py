"""AG-UI, the protocol between agents and user interfaces: version 1.0 over server-sent events."""
