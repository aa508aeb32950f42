"""The operations console: Streamlit over the API's typed client."""
