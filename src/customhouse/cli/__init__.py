"""The command line: one module a verb, imported when it is asked for. No decisions here: it calls `app` and prints."""
