"""The command ``tlkit predict``: what it shows, and the files that it writes."""
