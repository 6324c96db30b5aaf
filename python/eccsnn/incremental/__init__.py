"""Class-incremental learning: learners on spike counts, learners that train the network, and their metrics."""
