"""What is taught: pure JAX. No clock, no session, no Streamlit."""
