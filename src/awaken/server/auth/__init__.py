"""Who may do what: keys, tokens, scopes, limits, and the one point that enforces them."""
