# SPDX-License-Identifier: Apache-2.0
"""That a library's own table builder was not called."""

import contextlib


@contextlib.contextmanager
def untouched(module):
    """Fails when the module's cached `_process_mask` was asked for anything: its public names are bound
    to that very function, so that replacing it would not show who calls it."""
    def calls():
        info = module._process_mask.cache_info()
        return info.hits + info.misses

    before = calls()
    yield
    assert calls() == before, f"{module.__name__}._process_mask was called"
