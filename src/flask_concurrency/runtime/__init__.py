"""Machines that every folder above may use: they wait, time, end and drain. They know no Flask."""
