"""Engines that touch data. Importing one sets up the memory of its process, before there are threads.

glibc gives every thread a heap of its own, and gives the pages of such a heap back whenever a batch of rows is freed: asking for
them again takes longer than the work on the next batch. With one heap for all threads its pages stay. Other C libraries have no
such heaps, and nothing to set.
"""

import ctypes

#: How many heaps there may be, as glibc's malloc.h names it.
_ARENA_MAX = -8

if hasattr(ctypes.CDLL(None), "mallopt"):
    ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
