"""The words of Customhouse (values) and the ports between planes.

May live here: frozen dataclasses, enumerations, pure functions over them, Protocols. May not: input or output, third
parties, and of `_kit` anything but canonical, digest, clock, frozen, money and quantity.
"""
