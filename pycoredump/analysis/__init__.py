"""Why it crashed: minicore and module files in, report out. Runs after the release, sandboxed, never as root."""
