"""The demo: a Gradio app over the published models, and a page that certifies in the browser."""
