"""The native API over HTTP: JSON routes on FastAPI, event streams on raw ASGI beside it."""
