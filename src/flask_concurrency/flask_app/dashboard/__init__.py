"""One page that shows what an app does: load, refusals, limits, executors, as they are now."""
