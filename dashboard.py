"""Start with `streamlit run dashboard.py`."""

import streamlit as st

from lib.live import devices
from lib.ui import frame, push, room_routes

if st.runtime.exists():  # a visitor's run of this script
    frame.run()
else:  # the server starts: it takes what it serves from here
    devices.check()
    app = st.App(__file__, routes=[*push.routes(), *room_routes.routes()])
