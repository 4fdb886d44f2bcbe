"""Start with `streamlit run dashboard.py`."""

from lib.ui import frame

frame.run()
