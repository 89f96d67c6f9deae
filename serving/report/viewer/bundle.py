"""NiiVue, as the package carries it."""

NIIVUE = "niivue-0.69.0.umd.js"
NIIVUE_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
"""Of the file as its authors publish it; infra/viewer.sh fetches it."""

LICENCES = "niivue-0.69.0.LICENSES.txt"
"""NiiVue's and those of the libraries in it, which go wherever it goes."""
