"""FastAPI and PyTorch in their usual form, with torch's default number of threads."""

from load_tests.ranking.peers.network import TorchModel
from load_tests.ranking.peers.shell import serve

if __name__ == "__main__":
    serve(TorchModel)
