"""FastAPI and PyTorch, as most people would write it; torch's own number of threads."""

from load_tests.ranking.peers.network import TorchModel
from load_tests.ranking.peers.shell import serve

if __name__ == "__main__":
    serve(TorchModel)
