"""Class-incremental learning: learners and the metrics that judge them."""
