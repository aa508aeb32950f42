"""One file a page; each is run by `console/app.py` and is thin: fetch, view model, render."""
