"""`tlkit serve`: a finished run behind HTTP, for programs and for one page in the browser.

The extra ``tlkit[serve]`` brings what it is made with, and nothing else in tlkit imports that.
"""
