"""The server: settings, composition, command line."""
