"""The HTTP face: dashboard, API, metrics. No decisions here: it calls `app` and renders."""
