"""Models behind `ports/model.py`."""
