"""The server: settings, composition, what watches it and what examines it."""
