"""How a claimed run of an agent proceeds: messages to the model, its answer to events."""
