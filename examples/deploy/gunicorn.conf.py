bind = "127.0.0.1:8000"
worker_class = "gthread"
workers = 2  # see "Find your numbers"
threads = 8
timeout = 60  # kills a worker that does not answer at all; longer than any deadline
graceful_timeout = 30  # longer than CONCURRENCY_DRAIN_TIMEOUT
keepalive = 75  # longer than the proxy keeps a connection that is idle


def post_worker_init(worker: object) -> None:
    from flask_concurrency import watch_signals

    watch_signals()  # event streams and WebSockets end at SIGTERM
