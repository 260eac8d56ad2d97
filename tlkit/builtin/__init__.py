"""The built-in plugins; they use the public API only, as a third party would."""
