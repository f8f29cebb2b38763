"""The thin client: what the command line and other programs use to talk to nucleate's services.

Image folders become blobs in the object store (`intake`, `upload`), long calls are followed and re-attached (`jobs`), models
travel as folders (`models`), results land whole or not at all (`output`), and `local` runs the services as processes of this
machine. Imports neither numpy nor torch.
"""
