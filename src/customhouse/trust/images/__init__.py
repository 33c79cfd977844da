"""Images read layer by layer: which files they leave, what is installed, what a later layer only hides.

    layer = read_layer(source, descriptor, bounds)     # one layer: its entries, and what its files say
    image = merged([layer, …])                         # whiteouts, links and layer order applied
    listing_of(image, …)                               # packages with path and layer, what was removed, what is unread

May live here: archives of layers, their order, layouts and archives of images. May not: connections (whoever has one
hands over sources), writing a file of an image to disk under its name. Everything that could not be read makes a
listing incomplete; nothing is left out in silence.
"""
