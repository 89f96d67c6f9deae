"""Have the patients, or what is said of them, changed since the training?"""
