"""How it is shown. Only here, in `pages` and in `dashboard.py` may Streamlit be imported."""
