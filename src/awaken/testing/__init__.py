"""For tests of Awaken and of what is built on it: fakes, faults and conformance suites."""
