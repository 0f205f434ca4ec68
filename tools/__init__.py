"""What make runs: installing, demonstrating, preparing the tests. Needs nothing but the system's Python; never installed."""
