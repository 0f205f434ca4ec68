"""pycoredumpctl(1): one module for each verb; only these print."""
