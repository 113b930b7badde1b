"""The agents there are: from code to specifications, and from a pinned one back to code."""
