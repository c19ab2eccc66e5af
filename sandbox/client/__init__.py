"""The client: what a researcher's own machine runs. It speaks REST and imports no server code, ever.

`sandbox.__init__` says which of its names are public; everything else may change.
"""
