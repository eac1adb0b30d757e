# SPDX-License-Identifier: Apache-2.0
"""NumPy, imported when it is first used: `import splashmask` takes a few milliseconds."""

from typing import Any


class _Numpy:

    def __getattr__(self, name: str) -> Any:
        import numpy

        self.__dict__.update(vars(numpy))
        return getattr(numpy, name)


np = _Numpy()
