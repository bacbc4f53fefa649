"""What it takes to read files, imported and compiled, once for all processes of `jobs`. Nothing else imports this."""

import numpy as np

import videossl.datasets.index  # noqa: F401
from videossl.datasets.survey import Motion

profile = Motion([])
profile.add(np.zeros((240, 320), np.uint8))
profile.finish()
