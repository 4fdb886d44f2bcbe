"""What every test file shares."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # as `streamlit run` does

from lib.live import devices  # noqa: E402, F401  the simulated devices, before JAX's backend starts
