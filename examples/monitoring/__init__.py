"""Watch an app: a Grafana dashboard for what ``concurrency.metrics`` exports."""
