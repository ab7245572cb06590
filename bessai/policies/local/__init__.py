"""What a site does by itself while nobody plans for it; to add a way is to add one file.

A file here has a function ``build() -> LocalPolicy``. It runs in the site's process: nothing heavy.
"""
