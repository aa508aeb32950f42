"""Wire models: what the API accepts and answers, one file per resource. Console and clients share them."""
