"""The composer: settings, wiring and the use cases that join planes. Only `app.wiring` names an adapter."""
