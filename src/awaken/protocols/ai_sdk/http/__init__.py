"""The routes of the AI SDK: streams in raw ASGI, the rest beside the native JSON API."""
