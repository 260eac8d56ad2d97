"""Array types for annotations; they import numpy for type checkers only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    UInt8Array = NDArray[np.uint8]
    Int64Array = NDArray[np.int64]
    Float32Array = NDArray[np.float32]
else:  # numpy takes a third of the time that listing plugins takes
    UInt8Array = Int64Array = Float32Array = Any
