"""The routes of AG-UI: streams in raw ASGI, the rest beside the native JSON API."""
