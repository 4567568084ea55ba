"""Real servers for tests, drills and development: installed, started, killed, frozen and restarted on loopback."""
